//! Locks on files, as Nix takes them: `flock`, so that they end with the process that held them.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Who else may hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Other shared holders.
    Shared,
    /// Nobody.
    Exclusive,
}

/// Takes the lock on `path` (made when absent). When another process holds it, `waiting` is called once with the
/// path, before waiting without limit.
pub fn take(path: &Path, access: Access, waiting: &mut dyn FnMut(&Path)) -> io::Result<Flock<File>> {
    let file = open(path)?;
    let (now, later) = match access {
        Access::Shared => (FlockArg::LockSharedNonblock, FlockArg::LockShared),
        Access::Exclusive => (FlockArg::LockExclusiveNonblock, FlockArg::LockExclusive),
    };
    let mut file = match Flock::lock(file, now) {
        Ok(lock) => return Ok(lock),
        Err((file, Errno::EWOULDBLOCK)) => file,
        Err((_, errno)) => return Err(errno.into()),
    };
    waiting(path);
    loop {
        match Flock::lock(file, later) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(errno.into()),
        }
    }
}

/// Opens the file that a lock is taken on; makes it when there is none.
pub fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // Its directory may belong to a user: a link or a fifo there must not make root open another file, or wait for ever.
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}
