//! Names resolved below a directory: absolute links and `..` stay inside, as if it were the root (openat2(2),
//! `RESOLVE_IN_ROOT`). The links of a store and of profiles are absolute, and in the initrd the machine's root is
//! mounted elsewhere; a damaged or hostile link must lead neither outside nor in circles.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// openat2 says "try again" when something was renamed while it looked.
const RETRIES: u32 = 64;

/// A directory that names are resolved below.
#[derive(Debug)]
pub struct RootDir {
    directory: OwnedFd,
    path: PathBuf,
}

impl RootDir {
    /// Opens the directory `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            directory: nix::fcntl::open(path, flags, Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// What was given to [`RootDir::open`], for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens `path` with `flags`. A link in the last place is followed unless `O_NOFOLLOW` is given.
    pub fn open_at(&self, path: impl AsRef<Path>, flags: OFlag) -> io::Result<OwnedFd> {
        let path = path.as_ref();
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 0..RETRIES {
            match openat2(&self.directory, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// All bytes of the regular file `path`, at most `limit`: more is an error, as is anything but a regular file.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        // Without O_NONBLOCK a fifo in the place of the file would hold up the boot for ever.
        let file = File::from(self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        let _read = file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("it is larger than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// The target of the link `path`; its parents are resolved below this directory.
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let link = self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        // An empty name reads the link that the descriptor stands for, and ENOENT is what another type of file gives.
        match readlinkat(&link, "") {
            Ok(target) => Ok(PathBuf::from(OsString::from_vec(target.into_vec()))),
            Err(Errno::ENOENT) => Err(io::Error::other("it is no symbolic link")),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What lies at `path`, a link in the last place not followed; nothing when nothing does.
    pub fn stat(&self, path: impl AsRef<Path>) -> io::Result<Option<FileStat>> {
        match self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(found) => Ok(Some(fstat(&found)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `path` leads to a directory, links followed.
    pub fn is_dir(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        match self.open_at(path, OFlag::O_PATH) {
            Ok(found) => Ok(
                SFlag::from_bits_truncate(fstat(&found)?.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR,
            ),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The names in the directory `path`, without `.` and `..`, in no order.
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<OsString>> {
        let opened = self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let mut directory = Dir::from_fd(opened)?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_below_the_root_and_never_loop() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("secret");
        std::fs::write(&outside, b"outside").unwrap();
        let top = dir.path().join("root");
        std::fs::create_dir_all(top.join("etc")).unwrap();
        std::fs::write(top.join("etc/file"), b"inside").unwrap();
        symlink("/etc/file", top.join("absolute")).unwrap();
        symlink("../../../../secret", top.join("escape")).unwrap();
        symlink(&outside, top.join("outside")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let root = RootDir::open(&top).unwrap();
        assert_eq!(root.read("/absolute", 10).unwrap(), b"inside");
        assert_eq!(root.read("../etc/../../etc/file", 10).unwrap(), b"inside");
        for hostile in ["escape", "outside", "loop"] {
            assert!(root.read(hostile, 10).is_err(), "{hostile}");
        }
        assert_eq!(root.read_link("absolute").unwrap(), Path::new("/etc/file"));
        assert!(
            root.read_link("etc/file")
                .unwrap_err()
                .to_string()
                .contains("no symbolic link")
        );
        assert!(root.stat("loop").unwrap().is_some() && root.stat("none").unwrap().is_none());
        assert!(root.is_dir("etc").unwrap() && !root.is_dir("etc/file").unwrap());
        assert_eq!(root.list("/etc").unwrap(), ["file"]);
    }

    #[test]
    fn refuses_what_is_too_large_or_no_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"12345").unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), Mode::S_IRUSR).unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        assert!(
            root.read("f", 4)
                .unwrap_err()
                .to_string()
                .contains("larger than 4")
        );
        assert_eq!(root.read("f", 5).unwrap(), b"12345");
        assert!(
            root.read("pipe", 4)
                .unwrap_err()
                .to_string()
                .contains("no regular file")
        );
        assert!(
            root.read(".", 4)
                .unwrap_err()
                .to_string()
                .contains("no regular file")
        );
    }
}
