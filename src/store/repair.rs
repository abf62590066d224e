//! Puts what a cache has in the place of what was damaged or is missing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::cache::copy::CopyError;
use super::cache::{Cache, Trust, copy};
use super::db::{Database, PathInfo};
use super::locks::PathLock;
use super::objects::{self, INLINE_MAX};
use super::pool::object_name;
use super::verify::{Fault, Report};
use super::verity::Verity;
use super::{Addition, Layout, StorePath, files};

/// What was mended, and what wasn't, with the reason.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Paths that are whole again.
    pub paths: Vec<StorePath>,
    /// Objects that are whole again.
    pub objects: Vec<PathBuf>,
    /// What is still as it was: a sentence for each.
    pub left: Vec<String>,
}

/// Mends the faults of `report` with what `caches` have. A path takes its place in one step; what lay there before is removed.
/// Objects are mended by the paths that hold their contents.
///
/// # Errors
/// When the store itself can't be worked on. That a cache hasn't a path is no error, but told in [`Repaired::left`].
pub fn repair(
    layout: &Layout,
    report: &Report,
    caches: &[Box<dyn Cache>],
    trust: &Trust,
    waiting: &mut dyn FnMut(&Path),
) -> Result<Repaired, CopyError> {
    let mut repaired = Repaired::default();
    let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
    let mut damaged: BTreeSet<PathBuf> = report
        .faults
        .iter()
        .filter_map(|fault| match fault {
            Fault::Object(path, _) => Some(path.clone()),
            _ => None,
        })
        .collect();
    let mut addition = Addition::begin(layout, waiting)?;
    for fault in &report.faults {
        let path = match fault {
            Fault::Missing(path) | Fault::Changed { path, .. } | Fault::Unreadable(path, _) => path,
            Fault::Object(..) => continue,
        };
        let Some(info) = database.path_info(path)? else {
            continue;
        };
        let temporary = addition.temporary();
        match copy::receive_again(layout, caches, trust, &info, &temporary) {
            Ok(()) => {
                replace(layout, &info, &temporary, waiting)
                    .and_then(|()| {
                        mend(
                            layout,
                            &layout.physical_path(path),
                            &mut damaged,
                            &mut repaired.objects,
                        )
                    })
                    .map_err(|source| CopyError::Store {
                        path: layout.physical_path(path),
                        source,
                    })?;
                repaired.paths.push(path.clone());
            }
            Err(error) => repaired.left.push(error.to_string()),
        }
    }
    mend_from_systems(layout, &mut damaged, &mut repaired.objects)?;
    repaired.left.extend(damaged.into_iter().map(|object| {
        format!(
            "no path holds the contents of the object {}: make its generation again",
            object.display()
        )
    }));
    Ok(repaired)
}

/// The new tree takes the place of the old one in one step.
fn replace(
    layout: &Layout,
    info: &PathInfo,
    temporary: &Path,
    waiting: &mut dyn FnMut(&Path),
) -> io::Result<()> {
    let place = layout.physical_path(&info.path);
    let store = layout.physical(layout.store_dir());
    let _lock = PathLock::take(&place, waiting)?;
    nix::unistd::syncfs(&fs::File::open(&store)?)?;
    if place.symlink_metadata().is_err() {
        fs::rename(temporary, &place)?;
        return files::sync_parent(&place);
    }
    forget_links(&store.join(".links"), &place)?;
    renameat2(
        AT_FDCWD,
        temporary,
        AT_FDCWD,
        &place,
        RenameFlags::RENAME_EXCHANGE,
    )?;
    files::sync_parent(&place)?;
    // What is there under the temporary name now is what was damaged.
    files::remove_tree(temporary)
}

/// Nothing is made equal to a file of a damaged path any more.
fn forget_links(links: &Path, damaged: &Path) -> io::Result<()> {
    let mut inodes = BTreeSet::new();
    walk(damaged, &mut |path| {
        let _new = inodes.insert(path.symlink_metadata()?.ino());
        Ok(())
    })?;
    let entries = match fs::read_dir(links) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if inodes.contains(&entry.ino()) {
            files::remove_file_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// What no mended path has brought is in the trees of the systems.
fn mend_from_systems(
    layout: &Layout,
    damaged: &mut BTreeSet<PathBuf>,
    mended: &mut Vec<PathBuf>,
) -> Result<(), CopyError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| CopyError::Store { path, source }
    };
    let directory = layout.physical(&layout.objects_dir());
    for system in objects::stamped(layout).map_err(at(&directory))? {
        // A system that is itself damaged has none to offer.
        for tree in objects::trees(layout, &system).unwrap_or_default() {
            mend(layout, &tree, damaged, mended).map_err(at(&tree))?;
        }
    }
    Ok(())
}

/// Objects among `damaged` whose contents the tree holds become links to its files.
fn mend(
    layout: &Layout,
    tree: &Path,
    damaged: &mut BTreeSet<PathBuf>,
    mended: &mut Vec<PathBuf>,
) -> io::Result<()> {
    if damaged.is_empty() || tree.symlink_metadata().is_err() {
        return Ok(());
    }
    let objects = layout.physical(&layout.objects_dir());
    let mut buffer = vec![0; super::nar::BUFFER];
    walk(tree, &mut |file| {
        let metadata = file.symlink_metadata()?;
        if !metadata.is_file() || metadata.size() <= INLINE_MAX {
            return Ok(());
        }
        let mut verity = Verity::default();
        let mut source = fs::File::open(file)?;
        loop {
            match io::Read::read(&mut source, &mut buffer)? {
                0 => break,
                count => verity.update(buffer.get(..count).unwrap_or_default()),
            }
        }
        let object = objects.join(object_name(&verity.finish().0));
        if damaged.remove(&object) {
            let temporary = object.with_extension("keel-tmp");
            files::remove_file_if_there(&temporary)?;
            fs::hard_link(file, &temporary)?;
            fs::rename(&temporary, &object)?;
            files::sync_parent(&object)?;
            mended.push(object);
        }
        Ok(())
    })
}

fn walk(path: &Path, look: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), look)?;
        }
        return Ok(());
    }
    look(path)
}
