//! Nix's locks: on single paths, on garbage collection, and the temporary roots of running processes. Whoever takes them
//! may use a store at the same time as Nix does.

mod path_lock;
mod temp_roots;
#[cfg(test)]
mod tests;

pub use path_lock::PathLock;
pub use temp_roots::{RunningRoots, TempRoots, read_temp_roots};

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use super::Layout;
use super::lock::{self, Access};

/// Where the lock on garbage collection is: shared while a temporary root is noted or a path is added, exclusive while
/// garbage is collected.
pub fn gc_lock_path(layout: &Layout) -> PathBuf {
    layout.physical(layout.state_dir()).join("gc.lock")
}

/// Takes the lock on garbage collection. `waiting` is told when another process holds it.
pub fn take_gc_lock(
    layout: &Layout,
    access: Access,
    waiting: &mut dyn FnMut(&Path),
) -> io::Result<Flock<File>> {
    let path = gc_lock_path(layout);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    lock::take(&path, access, waiting)
}

/// The directory of the socket on which a collector is told of new temporary roots, and the socket's name in it.
pub(super) fn collector_socket(layout: &Layout) -> (PathBuf, &'static str) {
    (layout.physical(layout.state_dir()).join("gc-socket"), "socket")
}

// The address of a socket holds 108 bytes; by way of its directory's descriptor it may lie as deep as it likes.
pub(super) fn short_address(directory: &File, name: &str) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}
