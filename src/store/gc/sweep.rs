//! Deleting files: trees, links of the deduplication that nothing shares any more, objects that no image names.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::GcError;
use crate::store::lock::{self, Access};
use crate::store::objects::{images, names_in};
use crate::store::{Layout, StorePath, files};

/// Bytes of a block, as the kernel counts them.
const BLOCK: u64 = 512;

/// Removes the tree at `path`, and returns the bytes that this frees; nothing there frees none. A content that has other
/// links frees nothing yet.
pub(super) fn remove_tree(path: &Path) -> io::Result<u64> {
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let own = metadata.blocks().saturating_mul(BLOCK);
    if !metadata.is_dir() {
        std::fs::remove_file(path)?;
        return Ok(if metadata.nlink() == 1 { own } else { 0 });
    }
    // Whoever isn't root can't remove entries of a canonical directory.
    if metadata.mode() & 0o700 != 0o700 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    let mut freed = own;
    for entry in std::fs::read_dir(path)? {
        freed += remove_tree(&entry?.path())?;
    }
    std::fs::remove_dir(path)?;
    Ok(freed)
}

/// What of `.links` or the objects goes: how many, and the bytes that frees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

/// Removes the links of the deduplication that are the only one of their file.
pub(super) fn unshare(layout: &Layout, dry_run: bool) -> Result<Removed, GcError> {
    let directory = layout.physical(layout.store_dir()).join(".links");
    remove_where(&directory, dry_run, &mut |_, metadata| metadata.nlink() == 1)
}

/// Removes the stamps of systems that are not valid any more, then the objects that no image of a valid one names.
/// `remain` says which paths stay.
pub(super) fn objects(
    layout: &Layout,
    remain: &dyn Fn(&StorePath) -> Result<bool, GcError>,
    dry_run: bool,
) -> Result<Removed, GcError> {
    let objects = layout.physical(&layout.objects_dir());
    if objects.symlink_metadata().is_err() {
        return Ok(Removed::default());
    }
    let lock = objects.with_extension("lock");
    let _lock = lock::take(&lock, Access::Exclusive, &mut |_| {}).map_err(GcError::at(&lock))?;
    let complete = objects.join("complete");
    let mut systems = Vec::new();
    let mut gone = false;
    for entry in entries(&complete)? {
        let stamp = entry.map_err(GcError::at(&complete))?;
        let name = stamp.file_name();
        let Some(system) = name
            .to_str()
            .and_then(|base| StorePath::from_base_name(base).ok())
        else {
            continue;
        };
        if remain(&system)? {
            systems.push(system);
        } else if !dry_run {
            gone = true;
            files::remove_file_if_there(&stamp.path()).map_err(GcError::at(&stamp.path()))?;
        }
    }
    if gone {
        // Before any object: a stamp promises all of them.
        std::fs::File::open(&complete)
            .and_then(|directory| directory.sync_all())
            .map_err(GcError::at(&complete))?;
    }
    let mut named = HashSet::new();
    for system in &systems {
        let images = images(layout, system).map_err(|(path, error)| GcError::at(&path)(error))?;
        for image in images {
            let bytes = std::fs::read(&image).map_err(GcError::at(&image))?;
            named.extend(names_in(&bytes));
        }
    }
    let mut removed = Removed::default();
    for prefix in 0..=255u8 {
        let directory = objects.join(format!("{prefix:02x}"));
        let here = remove_where(&directory, dry_run, &mut |name, _| {
            !named.contains(&format!("{prefix:02x}/{name}"))
        })?;
        removed.count += here.count;
        removed.bytes += here.bytes;
    }
    Ok(removed)
}

fn remove_where(
    directory: &Path,
    dry_run: bool,
    wanted: &mut dyn FnMut(&str, &std::fs::Metadata) -> bool,
) -> Result<Removed, GcError> {
    let mut removed = Removed::default();
    for entry in entries(directory)? {
        let entry = entry.map_err(GcError::at(directory))?;
        let path = entry.path();
        let metadata = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(GcError::at(&path))?,
        };
        let name = entry.file_name();
        if metadata.is_dir() || !wanted(&name.to_string_lossy(), &metadata) {
            continue;
        }
        if !dry_run {
            files::remove_file_if_there(&path).map_err(GcError::at(&path))?;
        }
        removed.count += 1;
        if metadata.nlink() == 1 {
            removed.bytes += metadata.blocks().saturating_mul(BLOCK);
        }
    }
    Ok(removed)
}

fn entries(directory: &Path) -> Result<impl Iterator<Item = io::Result<std::fs::DirEntry>>, GcError> {
    match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(GcError::at(directory)(error)),
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
    }
}
