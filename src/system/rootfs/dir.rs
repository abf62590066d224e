//! A root file system that lies in a directory.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{Collector, Content, RootfsError};
use crate::store::pool::ContentId;
use crate::store::tree::{DEPTH_MAX, Meta, TreeError};
use crate::sys::xattr;

/// Longer values are no capabilities.
const CAPABILITY_MAX: usize = 256;

// Inodes with several names, by device and number; nothing when the first name was left out.
type Inodes = HashMap<(u64, u64), Option<ContentId>>;

pub(super) fn read(root: &Path, collector: &mut Collector<'_>) -> Result<(), RootfsError> {
    let metadata = root
        .metadata()
        .map_err(|error| RootfsError::File(root.display().to_string(), error))?;
    collector.root(meta(&metadata, None));
    directory(root, Path::new(""), collector, &mut HashMap::new())
}

/// Opens a file of the tree; a link or fifo that took its place is not followed and doesn't block.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file any more"))
    }
}

fn directory(
    root: &Path,
    below: &Path,
    collector: &mut Collector<'_>,
    inodes: &mut Inodes,
) -> Result<(), RootfsError> {
    if below.components().count() > DEPTH_MAX {
        return Err(TreeError::TooDeep(below.display().to_string()).into());
    }
    let at = root.join(below);
    let failed = |error| RootfsError::File(at.display().to_string(), error);
    let mut names = std::fs::read_dir(&at)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|e| e.file_name()))
                .collect::<io::Result<Vec<_>>>()
        })
        .map_err(failed)?;
    names.sort_unstable();
    for name in names {
        let path = below.join(&name);
        let full = root.join(&path);
        if !collector.wanted(&path)? {
            continue;
        }
        let failed = |error| RootfsError::File(full.display().to_string(), error);
        let metadata = full.symlink_metadata().map_err(failed)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            collector.directory(&path, meta(&metadata, None))?;
            directory(root, &path, collector, inodes)?;
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&full).map_err(failed)?;
            collector.symlink(&path, meta(&metadata, None), target.into_os_string())?;
        } else if kind.is_file() {
            let capability = xattr::get(&full, "security.capability", CAPABILITY_MAX).map_err(failed)?;
            let meta = meta(&metadata, capability);
            let inode = (metadata.dev(), metadata.ino());
            match inodes.get(&inode) {
                Some(Some(id)) => collector.hard_link(&path, meta, *id)?,
                // Another name of what was left out.
                Some(None) => {}
                None => {
                    let id = collector.file(&path, meta, Content::File(full.clone(), metadata.size()))?;
                    if metadata.nlink() > 1 {
                        let _first = inodes.insert(inode, id);
                    }
                }
            }
        } else {
            let what = if kind.is_socket() {
                "a socket"
            } else {
                "a device node or fifo"
            };
            collector.special(&path, what);
        }
    }
    Ok(())
}

fn meta(metadata: &std::fs::Metadata, capability: Option<Vec<u8>>) -> Meta {
    Meta {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: metadata.mtime(),
        capability: capability.map(Into::into),
    }
}
