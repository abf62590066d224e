//! What is registered about single paths: reading, registering, making invalid.

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, TransactionBehavior};

use super::{Database, DbError};
use crate::store::base32;
use crate::store::nar::NarHash;
use crate::store::path::{StorePath, hex};

/// What is registered about a path (Nix's `ValidPathInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// Hash and size of its NAR.
    pub nar: NarHash,
    /// In order; with itself, when it names itself.
    pub references: Vec<StorePath>,
    /// The derivation that it was built from. It need not be valid.
    pub deriver: Option<StorePath>,
    /// Seconds since 1970; 0 stands for the moment at which it is registered.
    pub registration_time: i64,
    /// Built here rather than copied from elsewhere: trusted without a signature.
    pub ultimate: bool,
    /// `<key name>:<base64>`, each.
    pub signatures: Vec<String>,
    /// How its name follows from its content, for paths that are content-addressed: `fixed:r:sha256:<base-32>`,
    /// `text:sha256:<base-32>`.
    pub ca: Option<String>,
}

/// What a derivation is for: identifiers of its outputs, and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivationOutputs {
    /// The derivation, valid or about to be.
    pub derivation: StorePath,
    /// Its outputs, which need not be valid.
    pub outputs: Vec<(String, StorePath)>,
}

impl PathInfo {
    /// A path with no more than content.
    pub fn new(path: StorePath, nar: NarHash, references: Vec<StorePath>) -> Self {
        Self {
            path,
            nar,
            references,
            deriver: None,
            registration_time: 0,
            ultimate: false,
            signatures: Vec::new(),
            ca: None,
        }
    }

    /// One whose name is computed from `content_hash`: that of the NAR, or the one without references to itself.
    pub fn content_addressed(
        path: StorePath,
        nar: NarHash,
        content_hash: &[u8; 32],
        references: Vec<StorePath>,
    ) -> Self {
        Self {
            ca: Some(format!("fixed:r:sha256:{}", base32::encode(content_hash))),
            ..Self::new(path, nar, references)
        }
    }
}

// A row of ValidPaths as it stands there.
struct Raw {
    id: i64,
    hash: String,
    time: i64,
    deriver: Option<String>,
    size: Option<i64>,
    ultimate: Option<i64>,
    signatures: Option<String>,
    ca: Option<String>,
}

impl Raw {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            hash: row.get(1)?,
            time: row.get(2)?,
            deriver: row.get(3)?,
            size: row.get(4)?,
            ultimate: row.get(5)?,
            signatures: row.get(6)?,
            ca: row.get(7)?,
        })
    }
}

impl Database {
    /// All that is registered about `path`; nothing when it isn't valid.
    pub fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, DbError> {
        let absolute = path.absolute(&self.store_dir);
        let row = self
            .connection
            .prepare_cached(
                "select id, hash, registrationTime, deriver, narSize, ultimate, sigs, ca from ValidPaths \
                 where path = ?",
            )?
            .query_row([&absolute], Raw::read)
            .optional()?;
        let Some(raw) = row else { return Ok(None) };
        let sha256 = sha256(&raw.hash).ok_or_else(|| DbError::BadHash {
            path: absolute,
            hash: raw.hash.chars().take(100).collect(),
        })?;
        let deriver = raw.deriver.filter(|deriver| !deriver.is_empty());
        let signatures = raw.signatures.unwrap_or_default();
        Ok(Some(PathInfo {
            path: path.clone(),
            nar: NarHash {
                sha256,
                size: raw.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            },
            references: self.related(
                "select path from Refs join ValidPaths on id = reference where referrer = ? order by path",
                raw.id,
            )?,
            deriver: deriver.map(|deriver| self.parse(&deriver)).transpose()?,
            registration_time: raw.time,
            ultimate: raw.ultimate == Some(1),
            signatures: signatures.split_whitespace().map(str::to_owned).collect(),
            ca: raw.ca.filter(|ca| !ca.is_empty()),
        }))
    }

    /// Hash and size of the archive of `path`, without the rest; nothing when it isn't valid.
    pub fn content(&self, path: &StorePath) -> Result<Option<(StorePath, NarHash)>, DbError> {
        let Some((hash, size)) = self.nar(path)? else {
            return Ok(None);
        };
        let sha256 = sha256(&hash).ok_or_else(|| DbError::BadHash {
            path: path.absolute(&self.store_dir),
            hash: hash.chars().take(100).collect(),
        })?;
        Ok(Some((path.clone(), NarHash { sha256, size })))
    }

    /// What `path` refers to, in order. A path that isn't valid refers to nothing.
    pub fn references(&self, path: &StorePath) -> Result<Vec<StorePath>, DbError> {
        let sql = "select path from Refs join ValidPaths on id = reference where referrer = ? order by path";
        self.id(path)?.map_or(Ok(Vec::new()), |id| self.related(sql, id))
    }

    /// The valid paths that refer to `path`, in order; itself among them, when it names itself.
    pub fn referrers(&self, path: &StorePath) -> Result<Vec<StorePath>, DbError> {
        let sql = "select path from Refs join ValidPaths on id = referrer where reference = ? order by path";
        self.id(path)?.map_or(Ok(Vec::new()), |id| self.related(sql, id))
    }

    /// The outputs of the valid derivation `derivation`: identifier (`out`) and path, which need not be valid.
    pub fn derivation_outputs(&self, derivation: &StorePath) -> Result<Vec<(String, StorePath)>, DbError> {
        let Some(id) = self.id(derivation)? else {
            return Ok(Vec::new());
        };
        let mut statement = self
            .connection
            .prepare_cached("select id, path from DerivationOutputs where drv = ? order by id")?;
        let rows = statement.query_map([id], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        rows.map(|row| {
            let (name, path) = row?;
            Ok((name, self.parse(&path)?))
        })
        .collect()
    }

    /// The valid derivations that have `output` among their outputs.
    pub fn valid_derivers(&self, output: &StorePath) -> Result<Vec<StorePath>, DbError> {
        let mut statement = self.connection.prepare_cached(
            "select v.path from DerivationOutputs d join ValidPaths v on d.drv = v.id where d.path = ? order by v.path",
        )?;
        let rows = statement.query_map([output.absolute(&self.store_dir)], |row| row.get::<_, String>(0))?;
        rows.map(|row| self.parse(&row?)).collect()
    }

    /// The valid path whose hash part is `hash_part`.
    pub fn by_hash_part(&self, hash_part: &str) -> Result<Option<StorePath>, DbError> {
        let prefix = format!("{}/{hash_part}-", self.store_dir);
        let row: Option<String> = self
            .connection
            .prepare_cached("select path from ValidPaths where path >= ? order by path limit 1")?
            .query_row([&prefix], |row| row.get(0))
            .optional()?;
        row.filter(|path| path.starts_with(&prefix))
            .map(|path| self.parse(&path))
            .transpose()
    }

    /// Every valid path, in order.
    pub fn all_paths(&self) -> Result<Vec<StorePath>, DbError> {
        let mut statement = self
            .connection
            .prepare_cached("select path from ValidPaths order by path")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        rows.map(|row| self.parse(&row?)).collect()
    }

    /// Registers `all` in one transaction: after a power cut either all are valid or none. Paths that are valid
    /// already are left as they are. `now` is in seconds since 1970.
    pub fn register(&mut self, all: &[PathInfo], now: i64) -> Result<(), DbError> {
        self.register_with_outputs(all, &[], now)
    }

    /// The same, and notes in the same transaction what the derivations among them are for.
    pub fn register_with_outputs(
        &mut self,
        all: &[PathInfo],
        outputs: &[DerivationOutputs],
        now: i64,
    ) -> Result<(), DbError> {
        let store_dir = self.store_dir.clone();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut new = Vec::new();
        for info in all {
            if find(&transaction, &info.path.absolute(&store_dir))?.is_none() {
                insert(&transaction, &store_dir, info, now)?;
                new.push((transaction.last_insert_rowid(), info));
            }
        }
        for (referrer, info) in new {
            for reference in &info.references {
                let id = find(&transaction, &reference.absolute(&store_dir))?.ok_or_else(|| {
                    DbError::InvalidReference {
                        referrer: info.path.to_string(),
                        reference: reference.to_string(),
                    }
                })?;
                let _rows = transaction
                    .prepare_cached("insert or replace into Refs (referrer, reference) values (?, ?)")?
                    .execute((referrer, id))?;
            }
        }
        for one in outputs {
            let derivation = one.derivation.absolute(&store_dir);
            let id = find(&transaction, &derivation)?.ok_or(DbError::NotValid(derivation))?;
            insert_outputs(&transaction, &store_dir, id, &one.outputs)?;
        }
        Ok(transaction.commit()?)
    }

    /// Notes the outputs of the valid derivation `derivation`, as Nix does when it registers one.
    pub fn register_outputs(
        &mut self,
        derivation: &StorePath,
        outputs: &[(String, StorePath)],
    ) -> Result<(), DbError> {
        let id = self.known_id(derivation)?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        insert_outputs(&transaction, &self.store_dir, id, outputs)?;
        Ok(transaction.commit()?)
    }

    /// Adds a signature to a valid path; whether it's new.
    pub fn add_signature(&mut self, path: &StorePath, signature: &str) -> Result<bool, DbError> {
        let id = self.known_id(path)?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known: Option<String> = transaction
            .prepare_cached("select sigs from ValidPaths where id = ?")?
            .query_row([id], |row| row.get(0))?;
        let known = known.unwrap_or_default();
        if known.split_whitespace().any(|one| one == signature) {
            return Ok(false);
        }
        let all = format!("{known} {signature}");
        let _rows = transaction
            .prepare_cached("update ValidPaths set sigs = ? where id = ?")?
            .execute((all.trim(), id))?;
        transaction.commit()?;
        Ok(true)
    }

    /// Makes `all` invalid, in one transaction: all or, with an error, none. Those that aren't valid are passed over.
    /// Whatever refers to one of them must be among them.
    pub fn invalidate(&mut self, all: &[StorePath]) -> Result<(), DbError> {
        let store_dir = self.store_dir.clone();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut ids = Vec::new();
        for path in all {
            if let Some(id) = find(&transaction, &path.absolute(&store_dir))? {
                let _rows = transaction
                    .prepare_cached("delete from Refs where referrer = ?")?
                    .execute([id])?;
                ids.push((id, path));
            }
        }
        for (id, path) in ids {
            let referrer: Option<String> = transaction
                .prepare_cached(
                    "select path from Refs join ValidPaths on id = referrer where reference = ? limit 1",
                )?
                .query_row([id], |row| row.get(0))
                .optional()?;
            if let Some(referrer) = referrer {
                return Err(DbError::InUse {
                    path: path.absolute(&store_dir),
                    referrer,
                });
            }
            let _rows = transaction
                .prepare_cached("delete from ValidPaths where id = ?")?
                .execute([id])?;
        }
        Ok(transaction.commit()?)
    }

    fn related(&self, sql: &str, id: i64) -> Result<Vec<StorePath>, DbError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([id], |row| row.get::<_, String>(0))?;
        rows.map(|row| self.parse(&row?)).collect()
    }
}

fn find(transaction: &Transaction<'_>, path: &str) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("select id from ValidPaths where path = ?")?
        .query_row([path], |row| row.get(0))
        .optional()
}

fn insert_outputs(
    transaction: &Transaction<'_>,
    store_dir: &str,
    derivation: i64,
    outputs: &[(String, StorePath)],
) -> Result<(), DbError> {
    for (name, path) in outputs {
        let _rows = transaction
            .prepare_cached("insert or replace into DerivationOutputs (drv, id, path) values (?, ?, ?)")?
            .execute((derivation, name, path.absolute(store_dir)))?;
    }
    Ok(())
}

fn insert(transaction: &Transaction<'_>, store_dir: &str, info: &PathInfo, now: i64) -> Result<(), DbError> {
    let too_large = |error| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(error));
    let size = i64::try_from(info.nar.size).map_err(too_large)?;
    let _rows = transaction
        .prepare_cached(
            "insert into ValidPaths (path, hash, registrationTime, deriver, narSize, ultimate, sigs, ca) \
             values (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute((
            info.path.absolute(store_dir),
            format!("sha256:{}", hex(&info.nar.sha256)),
            if info.registration_time == 0 {
                now
            } else {
                info.registration_time
            },
            info.deriver.as_ref().map(|deriver| deriver.absolute(store_dir)),
            size,
            info.ultimate.then_some(1),
            (!info.signatures.is_empty()).then(|| info.signatures.join(" ")),
            &info.ca,
        ))?;
    Ok(())
}

// `sha256:` and the hash in hexadecimal, which Nix writes, or in base-32, which it reads, too.
pub(crate) fn sha256(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?;
    if digits.len() != 64 {
        return base32::decode(digits);
    }
    let mut hash = [0u8; 32];
    for (slot, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *slot = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(hash)
}
