//! Looking into the root file system: where it's mounted, or through its blocks (ext4). What early boot reads there is
//! read by early boot's own code, from a copy of just those files.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use ext4_view::{Ext4, Ext4Error, Ext4Read};

use super::device::Device;
use crate::store::{Layout, StorePath};

/// Largest file that is taken out of an image: initrds have some megabytes.
const FILE_MAX: u64 = 512 << 20;

/// Why a root can't be looked into.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    /// The file system.
    #[error("its file system can't be read: {0}")]
    FileSystem(#[from] Ext4Error),
    /// The copy.
    #[error("its files can't be copied aside: {0}")]
    Copy(#[from] io::Error),
    /// A file that no initrd and no text is.
    #[error("{0} is too large to be looked at")]
    TooLarge(String),
}

/// A root file system.
pub(super) enum Root {
    /// One that is mounted.
    Mounted(std::path::PathBuf),
    /// One in blocks, with a copy of what early boot reads.
    Blocks {
        /// The file system.
        files: Box<Ext4>,
        /// The copy.
        copy: tempfile::TempDir,
    },
}

struct Reader(Device);

impl Ext4Read for Reader {
    fn read(&mut self, start: u64, to: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        Ok(self.0.read_exact_at(start, to)?)
    }
}

impl Root {
    /// Opens the file system on a device, and copies what early boot reads of it.
    pub(super) fn on(device: Device) -> Result<Root, RootError> {
        let files = Ext4::load(Box::new(Reader(device)))?;
        let copy = tempfile::tempdir()?;
        copy_profile(&files, copy.path())?;
        Ok(Root::Blocks {
            files: Box::new(files),
            copy,
        })
    }

    /// The directory where early boot would find it.
    pub(super) fn directory(&self) -> &Path {
        match self {
            Root::Mounted(path) => path,
            Root::Blocks { copy, .. } => copy.path(),
        }
    }

    /// A file, through every link.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, RootError> {
        match self {
            Root::Mounted(root) => {
                let opened = crate::sys::open_in_root::RootDir::open(root)?;
                Ok(opened.read(path, FILE_MAX)?)
            }
            Root::Blocks { files, .. } => {
                if files.metadata(path)?.len() > FILE_MAX {
                    return Err(RootError::TooLarge(path.to_owned()));
                }
                Ok(files.read(path)?)
            }
        }
    }
}

/// A file of at most `limit` bytes on the ext4 file system of a device.
pub(super) fn read_file(device: Device, path: &Path, limit: u64) -> Result<Vec<u8>, RootError> {
    let files = Ext4::load(Box::new(Reader(device)))?;
    let path = path.to_string_lossy().into_owned();
    if files.metadata(path.as_str())?.len() > limit {
        return Err(RootError::TooLarge(path));
    }
    Ok(files.read(path.as_str())?)
}

/// Links of the profile, names of all store paths, and of the systems the files that early boot reads.
fn copy_profile(files: &Ext4, to: &Path) -> Result<(), RootError> {
    let layout = Layout::below(Path::new("/"));
    let store = layout.store_dir();
    let mut systems = Vec::new();
    let profiles = layout.profiles_dir();
    for name in names(files, &profiles)? {
        let path = format!("{profiles}/{name}");
        if files.symlink_metadata(path.as_str())?.is_symlink() {
            let target = files.read_link(path.as_str())?;
            let target = String::from_utf8_lossy(target.as_ref()).into_owned();
            let link = below(to, &path);
            make_parent(&link)?;
            symlink(&target, link)?;
            systems.push(target);
        }
    }
    for name in names(files, store)? {
        fs::create_dir_all(below(to, &format!("{store}/{name}")))?;
    }
    for system in systems.iter().filter(|target| target.starts_with(store)) {
        for name in ["boot.json", "closure"] {
            let path = format!("{system}/{name}");
            if files.exists(path.as_str())? {
                let content = files.read(path.as_str())?;
                fs::write(below(to, &path), content)?;
            }
        }
        if let Ok(path) = StorePath::from_absolute(store, system) {
            let stamp = layout.stamp(&path);
            if files.exists(stamp.as_str())? {
                make_parent(&below(to, &stamp))?;
                fs::write(below(to, &stamp), "")?;
            }
        }
    }
    Ok(())
}

fn names(files: &Ext4, directory: &str) -> Result<Vec<String>, RootError> {
    if !files.exists(directory)? {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in files.read_dir(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().as_str()
            && !matches!(name, "." | "..")
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn below(root: &Path, path: &str) -> std::path::PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}
