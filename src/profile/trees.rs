//! The trees of packages in a store, whose links are resolved below the store's root.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::farm::{Kind, Trees};
use crate::store::Layout;
use crate::sys::open_in_root::RootDir;

/// A longer list of what comes along with a package is refused.
const TEXT_MAX: u64 = 1 << 20;

/// The packages of a store.
#[derive(Debug)]
pub(super) struct StoreTrees {
    root: RootDir,
    store_dir: String,
    // The root without links, as the kernel names what lies below it.
    real_root: PathBuf,
    // The store's directory without links, when it is itself behind one.
    real_store: PathBuf,
}

impl StoreTrees {
    /// The packages of the store that `layout` describes.
    pub(super) fn open(layout: &Layout) -> io::Result<Self> {
        let root = RootDir::open(layout.root())?;
        let real_root = real_path(&root)?;
        let mut trees = Self {
            root,
            store_dir: layout.store_dir().to_owned(),
            real_root,
            real_store: PathBuf::new(),
        };
        trees.real_store = trees.below_root(Path::new(layout.store_dir()))?;
        Ok(trees)
    }

    // Where `path` leads, without links, the root being `/`.
    fn below_root(&self, path: &Path) -> io::Result<PathBuf> {
        let opened = self.root.open_at(path, OFlag::O_PATH)?;
        let real = real_path(&opened)?;
        let below = real.strip_prefix(&self.real_root).map_err(io::Error::other)?;
        Ok(Path::new("/").join(below))
    }
}

fn real_path(opened: &impl AsFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd()))
}

impl Trees for StoreTrees {
    fn list(&self, directory: &Path) -> io::Result<Option<Vec<(OsString, Kind)>>> {
        let names = match self.root.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            other => other?,
        };
        let kind = |name: OsString| {
            let kind = match self.root.is_dir(directory.join(&name)) {
                Ok(true) => Kind::Directory,
                // Nothing there and something else there are one answer: only a link can lead nowhere.
                Ok(false) => match self.root.open_at(directory.join(&name), OFlag::O_PATH) {
                    Ok(_) => Kind::File,
                    Err(_) => Kind::Dangling,
                },
                Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => Kind::Dangling,
                Err(error) => return Err(error),
            };
            Ok((name, kind))
        };
        names.into_iter().map(kind).collect::<io::Result<_>>().map(Some)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let real = self.below_root(path)?;
        Ok(match real.strip_prefix(&self.real_store) {
            Ok(below) => Path::new(&self.store_dir).join(below),
            Err(_) => real,
        })
    }

    fn text(&self, path: &Path) -> io::Result<Option<String>> {
        match self.root.read(path, TEXT_MAX) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            other => Ok(Some(String::from_utf8_lossy(&other?).into_owned())),
        }
    }

    fn store_dir(&self) -> &str {
        &self.store_dir
    }
}
