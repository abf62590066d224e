//! What was made before: links below `/nix/var/keel/made`, named by a hash of the inputs. They keep nothing alive; one whose
//! store path was collected is as if it weren't there.

use std::io;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::store::db::{Database, DbError};
use crate::store::path::hex;
use crate::store::{Layout, StorePath, files, roots};

/// Bytes of the hashes in names.
const NAME_BYTES: usize = 20;
/// More links than this are looked through for those that lead nowhere.
const CROWD: usize = 200;

/// The inputs of something, as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs(String);

impl Inputs {
    /// Of everything that decides what is made, in a fixed order.
    pub fn of<T: AsRef<[u8]>>(what: &str, parts: impl IntoIterator<Item = T>) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("{what} {}\0", env!("CARGO_PKG_VERSION")));
        for part in parts {
            let part = part.as_ref();
            hash.update(format!("{}\0", part.len()));
            hash.update(part);
        }
        let digest = hash.finalize();
        Self(format!(
            "{what}-{}",
            hex(digest.get(..NAME_BYTES).unwrap_or(&digest))
        ))
    }
}

impl std::fmt::Display for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn directory(layout: &Layout) -> PathBuf {
    layout.physical(&format!("{}/made", layout.keel_dir()))
}

/// What was made of these inputs, when it's still valid.
pub fn find(layout: &Layout, inputs: &Inputs) -> Result<Option<StorePath>, DbError> {
    let Ok(target) = std::fs::read_link(directory(layout).join(&inputs.0)) else {
        return Ok(None);
    };
    let Some(path) = roots::in_store(layout, &target) else {
        return Ok(None);
    };
    let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
    Ok(database.is_valid(&path)?.then_some(path))
}

/// Remembers what was made.
pub fn remember(layout: &Layout, inputs: &Inputs, path: &StorePath) -> io::Result<()> {
    let directory = directory(layout);
    std::fs::create_dir_all(&directory)?;
    let target = path.absolute(layout.store_dir());
    files::link_atomically(target.as_ref(), &directory.join(&inputs.0))?;
    forget(layout, &directory)
}

fn forget(layout: &Layout, directory: &std::path::Path) -> io::Result<()> {
    let links: Vec<PathBuf> = std::fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    if links.len() < CROWD {
        return Ok(());
    }
    for link in links {
        let target = std::fs::read_link(&link).ok();
        let path = target.and_then(|target| roots::in_store(layout, &target));
        let is_gone = |path| layout.physical_path(&path).symlink_metadata().is_err();
        if path.is_none_or(is_gone) {
            files::remove_file_if_there(&link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::Addition;

    #[test]
    fn only_what_is_valid_is_found_and_dead_links_go() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::below(place.path());
        let mut addition = Addition::begin(&layout, &mut |_| {}).unwrap();
        let path = addition.add_file("x", b"x").unwrap();
        addition.commit().unwrap();
        drop(addition);
        let (one, other) = (Inputs::of("t", ["a", "b"]), Inputs::of("t", ["ab"]));
        assert_ne!(one, other);
        remember(&layout, &one, &path).unwrap();
        assert_eq!(find(&layout, &one).unwrap(), Some(path.clone()));
        assert_eq!(find(&layout, &other).unwrap(), None);
        let gone = StorePath::from_base_name(&format!("{}-gone", "a".repeat(32))).unwrap();
        for number in 0..CROWD {
            remember(&layout, &Inputs::of("t", [number.to_string()]), &gone).unwrap();
        }
        assert_eq!(find(&layout, &Inputs::of("t", ["7"])).unwrap(), None);
        let left = std::fs::read_dir(directory(&layout)).unwrap().count();
        assert!(left < 3, "{left}");
        assert_eq!(find(&layout, &one).unwrap(), Some(path));
    }
}
