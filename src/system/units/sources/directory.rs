//! A root that is a directory: the running system's, a mounted one, a tree of the store.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;

use super::{Found, Sources};
use crate::sys::open_in_root::RootDir;
use crate::sys::xattr;

/// A directory that is the root.
#[derive(Debug)]
pub struct InDirectory(RootDir);

impl InDirectory {
    /// Opens the directory `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        RootDir::open(path).map(Self)
    }

    /// The value of an extended attribute that overlayfs has set on `path`.
    pub(super) fn overlay_attribute(&self, path: &str, name: &str) -> io::Result<Option<Vec<u8>>> {
        let below = self.0.path().join(path.trim_start_matches('/'));
        xattr::get(&below, &format!("trusted.overlay.{name}"), 4096)
    }
}

impl Sources for InDirectory {
    fn look(&self, path: &str) -> io::Result<Option<Found>> {
        let stat = match self.0.stat(path) {
            Ok(Some(stat)) => stat,
            Ok(None) => return Ok(None),
            // Something above is a file.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(error),
        };
        let format = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        Ok(Some(if format == SFlag::S_IFDIR {
            Found::Directory
        } else if format == SFlag::S_IFREG {
            Found::File {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                executable: stat.st_mode & 0o111 != 0,
            }
        } else if format == SFlag::S_IFLNK {
            let target = self.0.read_link(path)?.into_os_string().into_string();
            target.map_or(Found::Other, Found::Symlink)
        } else if format == SFlag::S_IFCHR && stat.st_rdev == 0 {
            Found::Whiteout
        } else {
            Found::Other
        }))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let names = self.0.list(path)?.into_iter();
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }

    fn open(&self, path: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
        let file = File::from(self.0.open_at(path, flags)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(file)
    }
}
