//! Small operations on files that survive a power cut, and Nix's canonical form of files.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};

/// Seconds since 1970 that every file of a store carries.
const CANONICAL_TIME: i64 = 1;

/// Replaces `path` by `bytes`: temporary name, fsync, rename, fsync of the directory.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    remove_file_if_there(&temporary)?;
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(bytes)?;
    // The mode given to open() is subject to the umask.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Replaces the link `path` by one to `target`: temporary name, rename, fsync of the directory.
pub fn link_atomically(target: &Path, path: &Path) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    remove_file_if_there(&temporary)?;
    std::os::unix::fs::symlink(target, &temporary)?;
    std::fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Writes the directory entry of `path` to the disk.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        // A name alone is in the working directory.
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    File::open(parent)?.sync_all()
}

/// Gives a file Nix's canonical form: mode 0444 or 0555, time 1, owned by root when root makes it.
pub fn canonicalise_file(file: &File, executable: bool) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::fchown(file, Some(0), Some(0))?;
    }
    file.set_permissions(Permissions::from_mode(if executable { 0o555 } else { 0o444 }))?;
    let time = TimeSpec::new(CANONICAL_TIME, 0);
    Ok(nix::sys::stat::futimens(file, &time, &time)?)
}

/// The same for a directory, once it holds all that it will hold.
pub fn canonicalise_directory(path: &Path) -> io::Result<()> {
    canonicalise_file(&File::open(path)?, true)
}

/// The same for a symbolic link.
pub fn canonicalise_link(path: &Path) -> io::Result<()> {
    canonicalise_link_at(AT_FDCWD, path.as_os_str())
}

/// The same for a symbolic link named `name` in `directory`.
pub fn canonicalise_link_at(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        let root = (Some(Uid::from_raw(0)), Some(Gid::from_raw(0)));
        fchownat(directory, name, root.0, root.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    let time = TimeSpec::new(CANONICAL_TIME, 0);
    Ok(utimensat(
        directory,
        name,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )?)
}

/// Removes what lies at `path`, read-only directories included; nothing there is fine.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !metadata.is_dir() {
        return std::fs::remove_file(path);
    }
    // Whoever isn't root can't remove entries of a canonical directory.
    if metadata.mode() & 0o700 != 0o700 {
        std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    for entry in std::fs::read_dir(path)? {
        remove_tree(&entry?.path())?;
    }
    std::fs::remove_dir(path)
}

/// Removes a file or link; nothing there is fine.
pub fn remove_file_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn temporary_beside(path: &Path) -> io::Result<std::path::PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".keel-tmp");
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_directory_of_a_bare_name_is_the_working_directory() {
        sync_parent(Path::new("image")).unwrap();
        sync_parent(Path::new("/image")).unwrap();
        assert!(sync_parent(Path::new("/nonexistent/image")).is_err());
    }
}
