//! Ranges of ids for sandboxes: one for each build that runs, so that two builds can't reach each other.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::IDS;

/// The first id, as Nix's `start-id` has it: above those of accounts and of containers' usual ranges.
const FIRST: u32 = 0x3400_0000;
/// Builds at once, as Nix's `id-count` allows.
const SLOTS: u32 = 128;

/// Why a build has no ids.
#[derive(Debug, thiserror::Error)]
pub enum IdsError {
    /// A lock can't be taken.
    #[error("{path}: {source}")]
    File {
        /// The lock.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// All are in use.
    #[error("{SLOTS} builds run already: there are no more ids for another one")]
    AllTaken,
}

/// Ids that are this build's until it's dropped.
#[derive(Debug)]
pub struct IdRange {
    first: u32,
    _lock: Flock<File>,
}

impl IdRange {
    /// Takes a free range; Nix's builds take theirs by the same locks below `state_dir` (`/nix/var/nix`).
    pub fn take(state_dir: &Path) -> Result<Self, IdsError> {
        let directory = state_dir.join("userpool2");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| IdsError::File { path, source }
        };
        std::fs::create_dir_all(&directory).map_err(failed(&directory))?;
        for slot in 0..SLOTS {
            let path = directory.join(format!("slot-{slot}"));
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(failed(&path))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    return Ok(IdRange {
                        first: FIRST + slot * IDS,
                        _lock: lock,
                    });
                }
                Err((_, Errno::EWOULDBLOCK)) => {}
                Err((_, errno)) => return Err(failed(&path)(errno.into())),
            }
        }
        Err(IdsError::AllTaken)
    }

    /// The first id.
    pub fn first(&self) -> u32 {
        self.first
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_of_two_builds_are_apart_and_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let take = || IdRange::take(directory.path()).unwrap();
        let (one, two) = (take(), take());
        assert_eq!([one.first(), two.first()], [FIRST, FIRST + IDS]);
        drop(one);
        assert_eq!(take().first(), FIRST);
    }
}
