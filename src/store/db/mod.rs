//! The store's database: Nix's schema 10, in SQLite.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OptionalExtension, ffi};

mod closure;
mod graph;
mod info;
#[cfg(test)]
mod tests;

use super::files;
use super::lock::{self, Access};
use super::path::{PathError, StorePath};

pub use closure::Direction;
pub use graph::Graph;
pub(crate) use info::sha256;
pub use info::{DerivationOutputs, PathInfo};

/// The only schema that is read and written: that of Nix since 2.4.
const SCHEMA: u32 = 10;

/// Pages of the database that are held in memory. What a large transaction changes beyond that goes to the disk twice.
const CACHE_KIB: i64 = 24 << 10;

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite refused.
    #[error("the store's database: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// What processes share of the database has no room on the disk.
    #[error("the store's database: No space left on device: `keel gc` frees what nothing needs")]
    NoRoom(#[source] rusqlite::Error),
    /// A file beside the database can't be read or written.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// Made by another version of Nix.
    #[error(
        "the store has the database schema '{0}', keel knows {SCHEMA}: upgrade the store with a recent nix-store first"
    )]
    UnknownSchema(String),
    /// A row holds what is no store path.
    #[error("the store's database holds a bad path: {0}")]
    BadPath(#[from] PathError),
    /// A row holds no NAR hash.
    #[error("the store's database holds a bad hash for {path}: '{hash}'")]
    BadHash {
        /// The path.
        path: String,
        /// What stands for its hash.
        hash: String,
    },
    /// A path that is asked about isn't registered.
    #[error("{0} is not a valid path of this store")]
    NotValid(String),
    /// A path can't be made invalid, since another one refers to it.
    #[error("{path} can't be made invalid: {referrer} refers to it")]
    InUse {
        /// The path.
        path: String,
        /// One that refers to it.
        referrer: String,
    },
    /// A path to register refers to one that isn't valid.
    #[error("{referrer} refers to {reference}, which is not a valid path of this store")]
    InvalidReference {
        /// The path to be registered.
        referrer: String,
        /// What it refers to.
        reference: String,
    },
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error().map(|error| error.extended_code);
        match code {
            Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_FULL) => Self::NoRoom(error),
            _ => Self::Sqlite(error),
        }
    }
}

/// The open database. Nix's "big lock" is held shared, so that Nix doesn't change the schema meanwhile.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    store_dir: String,
    _big_lock: Flock<std::fs::File>,
}

impl Database {
    /// Opens the database in `dir` (`…/nix/var/nix/db`); makes it when there is none.
    pub fn open(dir: &Path, store_dir: &str) -> Result<Self, DbError> {
        let failed = |error| DbError::File(dir.display().to_string(), error);
        std::fs::create_dir_all(dir).map_err(failed)?;
        let big_lock = lock::take(&dir.join("big-lock"), Access::Shared, &mut |_| {}).map_err(failed)?;
        let schema = dir.join("schema");
        let mut known = is_known(&schema)?;
        let big_lock = if known {
            big_lock
        } else {
            // As Nix does: one process makes the tables, and whoever comes with it waits.
            drop(big_lock);
            let lock = lock::take(&dir.join("big-lock"), Access::Exclusive, &mut |_| {}).map_err(failed)?;
            known = is_known(&schema)?;
            lock
        };
        let connection = Connection::open(dir.join("db.sqlite"))?;
        connection.busy_timeout(Duration::from_mins(1))?;
        // WAL as Nix has it. FULL, because a profile is switched to a system right after its registration: a power
        // cut must not forget the one and keep the other, or the next collection would delete that system.
        connection.execute_batch(
            "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; \
             pragma temp_store = memory;",
        )?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        if !known {
            connection.execute_batch(&format!(
                "begin exclusive; {} commit;",
                include_str!("schema.sql")
            ))?;
            files::write_atomically(&schema, SCHEMA.to_string().as_bytes(), 0o644)
                .map_err(|error| DbError::File(schema.display().to_string(), error))?;
        }
        big_lock
            .relock(FlockArg::LockShared)
            .map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            connection,
            store_dir: store_dir.to_owned(),
            _big_lock: big_lock,
        })
    }

    /// Whether `path` is registered.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool, DbError> {
        Ok(self.id(path)?.is_some())
    }

    /// Those of `paths` that are registered, by one query.
    pub fn valid_of(&self, paths: &[StorePath]) -> Result<BTreeSet<StorePath>, DbError> {
        let asked: Vec<String> = paths.iter().map(|path| path.absolute(&self.store_dir)).collect();
        // Names of store paths hold nothing that JSON would have to escape.
        let json = format!("[\"{}\"]", asked.join("\",\""));
        let mut statement = self
            .connection
            .prepare_cached("select path from ValidPaths where path in (select value from json_each(?))")?;
        let rows = statement.query_map([json], |row| row.get::<_, String>(0))?;
        rows.map(|path| self.parse(&path?)).collect()
    }

    /// The NAR hash (`sha256:<hex>`) and size that are registered for `path`.
    pub fn nar(&self, path: &StorePath) -> Result<Option<(String, u64)>, DbError> {
        let row = self
            .connection
            .prepare_cached("select hash, coalesce(narSize, 0) from ValidPaths where path = ?")?
            .query_row([path.absolute(&self.store_dir)], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?))
            })
            .optional()?;
        Ok(row.map(|(hash, size)| (hash, u64::try_from(size).unwrap_or(0))))
    }

    fn id(&self, path: &StorePath) -> Result<Option<i64>, DbError> {
        Ok(self
            .connection
            .prepare_cached("select id from ValidPaths where path = ?")?
            .query_row([path.absolute(&self.store_dir)], |row| row.get(0))
            .optional()?)
    }

    fn known_id(&self, path: &StorePath) -> Result<i64, DbError> {
        self.id(path)?
            .ok_or_else(|| DbError::NotValid(path.absolute(&self.store_dir)))
    }

    fn parse(&self, path: &str) -> Result<StorePath, DbError> {
        Ok(StorePath::from_absolute(&self.store_dir, path)?)
    }
}

/// Whether the tables are there, as we know them.
fn is_known(schema: &Path) -> Result<bool, DbError> {
    match std::fs::read_to_string(schema) {
        Ok(text) if text.trim() == SCHEMA.to_string() => Ok(true),
        Ok(text) => Err(DbError::UnknownSchema(text.trim().chars().take(40).collect())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DbError::File(schema.display().to_string(), error)),
    }
}
