//! The lock on one path: `flock` on `<path>.lock`. Its holder removes that file when done, and first of all marks it by a
//! byte, so that whoever waits for the removed file knows that it guards nothing any more.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::super::lock;

/// An exclusive lock on a path of the store (or a profile), held until this is dropped. Who takes several takes them in
/// the order of their paths, as Nix does: two processes then never wait for each other.
#[derive(Debug)]
pub struct PathLock {
    file: Flock<File>,
    path: PathBuf,
}

impl PathLock {
    /// Waits for the lock on `target`. `waiting` is called with the lock file when another process holds it.
    pub fn take(target: &Path, waiting: &mut dyn FnMut(&Path)) -> io::Result<Self> {
        let path = beside(target);
        loop {
            let file = lock::take(&path, lock::Access::Exclusive, waiting)?;
            if !is_removed(&file)? {
                return Ok(Self { file, path });
            }
        }
    }

    /// The lock on `target`, unless another process holds it.
    pub fn try_take(target: &Path) -> io::Result<Option<Self>> {
        let path = beside(target);
        loop {
            let file = match Flock::lock(lock::open(&path)?, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(errno.into()),
            };
            if !is_removed(&file)? {
                return Ok(Some(Self { file, path }));
            }
        }
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        // A lock file that stays harms nobody: the next holder, or the next collection, removes it.
        let _ignored = remove(&self.path, &self.file);
    }
}

/// Removes the locked file at `path`, and tells those who wait for it.
pub(super) fn remove(path: &Path, mut file: &File) -> io::Result<()> {
    let removed = std::fs::remove_file(path);
    // Even then: a file that somebody else removed is stale, too.
    file.write_all(b"d")?;
    removed
}

/// Whether the locked file was removed by an earlier holder, after it was opened.
pub(super) fn is_removed(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.len() != 0)
}

fn beside(target: &Path) -> PathBuf {
    let mut path = OsString::from(target);
    path.push(".lock");
    path.into()
}
