//! Finding parts that were made before: by what they were made of, without looking at any of it.
//!
//! Below `/nix/var/keel/parts` lies a file for each root file system and treatment of it, `<made of>`, that holds the accounts of
//! the packages; and a link `<made of>-<numbers>` to the parts for each numbering of those accounts. So a new name among the
//! machine's numbers doesn't make other parts.

use std::io;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{FORMAT, Parts, PartsError, number};
use crate::store::db::Database;
use crate::store::path::hex;
use crate::store::{Layout, StorePath, files, roots};
use crate::system::declared::{Declared, Ids};
use crate::system::ids::Assigned;

/// Bytes of the hashes in names.
const NAME_BYTES: usize = 16;

/// What parts are made of, as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Of everything that makes parts what they are, in a fixed order: the root file system's store path, what replaces
    /// packages, the policy, keel's programs, the time that no time is later than.
    pub fn of<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("keel-parts {FORMAT} {}\0", env!("CARGO_PKG_VERSION")));
        for part in parts {
            let part = part.as_ref();
            hash.update(format!("{}\0", part.len()));
            hash.update(part);
        }
        Self(short(&hash.finalize()))
    }
}

fn short(hash: &[u8]) -> String {
    hex(hash.get(..NAME_BYTES).unwrap_or(hash))
}

fn directory(layout: &Layout) -> PathBuf {
    layout.physical(&format!("{}/parts", layout.keel_dir()))
}

// The packages' accounts as the machine numbers them are all that its numbers decide.
fn numbers(accounts: &Assigned) -> String {
    let text = serde_json::to_vec(&accounts.declared).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(&text);
    let mut owners: Vec<_> = accounts.numbering.users.iter().collect();
    owners.sort_unstable();
    let mut groups: Vec<_> = accounts.numbering.groups.iter().collect();
    groups.sort_unstable();
    hash.update(format!("{owners:?}{groups:?}"));
    short(&hash.finalize())
}

/// The parts that were made of `key` for a machine with these numbers, when they are still valid.
pub fn find(layout: &Layout, key: &Key, ids: &Ids) -> Result<Option<Parts>, PartsError> {
    let directory = directory(layout);
    let path = directory.join(&key.0);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PartsError::File { path, source }),
    };
    // Whatever else lies there, it is made anew.
    let Ok(declared) = serde_json::from_slice::<Declared>(&bytes) else {
        return Ok(None);
    };
    let link = directory.join(format!("{}-{}", key.0, numbers(&number(ids, &declared)?)));
    let Ok(target) = std::fs::read_link(&link) else {
        return Ok(None);
    };
    let Some(found) = roots::in_store(layout, &target) else {
        return Ok(None);
    };
    let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
    let stamp = layout.physical(&layout.stamp(&found));
    if database.is_valid(&found)? && stamp.symlink_metadata().is_ok() {
        return Parts::open(layout, found, ids).map(Some);
    }
    Ok(None)
}

/// Remembers parts, and forgets those that were collected.
pub(super) fn remember(
    layout: &Layout,
    key: &Key,
    declared: &Declared,
    accounts: &Assigned,
    parts: &StorePath,
) -> Result<(), PartsError> {
    let directory = directory(layout);
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| PartsError::File { path, source }
    };
    std::fs::create_dir_all(&directory).map_err(failed(&directory))?;
    forget_collected(layout, &directory);
    let link = directory.join(format!("{}-{}", key.0, numbers(accounts)));
    let target = parts.absolute(layout.store_dir());
    files::link_atomically(target.as_ref(), &link).map_err(failed(&link))?;
    let path = directory.join(&key.0);
    let bytes = serde_json::to_vec(declared).unwrap_or_default();
    files::write_atomically(&path, &bytes, 0o644).map_err(failed(&path))
}

// What can't be removed is in nobody's way.
fn forget_collected(layout: &Layout, directory: &PathBuf) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let (links, facts): (Vec<_>, Vec<_>) = entries
        .map(|entry| entry.path())
        .partition(|path| path.is_symlink());
    let (kept, gone): (Vec<_>, Vec<_>) = links.into_iter().partition(|link| {
        let target = std::fs::read_link(link).ok();
        let path = target.and_then(|target| roots::in_store(layout, &target));
        path.is_some_and(|path| layout.physical_path(&path).symlink_metadata().is_ok())
    });
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let used = |fact: &PathBuf| {
        let prefix = name(fact).unwrap_or_default() + "-";
        let mut names = kept.iter().filter_map(name);
        names.any(|link| link.starts_with(&prefix))
    };
    for path in gone.iter().chain(facts.iter().filter(|fact| !used(fact))) {
        let _ignored = std::fs::remove_file(path);
    }
}
