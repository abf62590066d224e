//! Files of equal contents become one (`nix-store --optimise`): `.links/<hash>` is a hard link to each, named by the SHA-256
//! of the file's archive, and every equal file is replaced by a link to it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::path::StorePath;
use super::{Layout, base32, files, nar};

/// What was saved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Saved {
    /// Files that were replaced by links.
    pub files: u64,
    /// Bytes that they took.
    pub bytes: u64,
}

/// A file that can't be looked at or replaced.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct OptimiseError {
    path: PathBuf,
    source: io::Error,
}

/// Deduplicates the files of `paths`, with all processors. The caller sees to it that they stay: by the collector's lock, or
/// by temporary roots.
///
/// # Errors
/// The first file that can't be read or replaced. What was done until then is whole.
pub fn optimise(
    layout: &Layout,
    paths: &[StorePath],
    progress: &(dyn Fn(&StorePath) + Sync),
) -> Result<Saved, OptimiseError> {
    let store = layout.physical(layout.store_dir());
    let links = store.join(".links");
    fs::create_dir_all(&links).map_err(|source| OptimiseError {
        path: links.clone(),
        source,
    })?;
    let known = known_inodes(&links)?;
    let work = Work {
        links,
        known,
        temporary: store.join(format!(".tmp-link-{}", std::process::id())),
        next: AtomicU32::new(0),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        failed: AtomicBool::new(false),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let _worker = scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let place = layout.physical_path(path);
                    match work.walk(&place, None) {
                        Ok(()) => progress(path),
                        Err(error) => {
                            work.failed.store(true, Ordering::Relaxed);
                            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    Ok(Saved {
        files: work.files.into_inner(),
        bytes: work.bytes.into_inner(),
    })
}

/// Files that have their link already need not be read.
fn known_inodes(links: &Path) -> Result<BTreeSet<u64>, OptimiseError> {
    let failed = |source| OptimiseError {
        path: links.to_owned(),
        source,
    };
    let mut known = BTreeSet::new();
    for entry in fs::read_dir(links).map_err(failed)? {
        use std::os::unix::fs::DirEntryExt;
        let _new = known.insert(entry.map_err(failed)?.ino());
    }
    Ok(known)
}

struct Work {
    links: PathBuf,
    known: BTreeSet<u64>,
    temporary: PathBuf,
    next: AtomicU32,
    files: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicBool,
}

impl Work {
    fn walk(&self, path: &Path, parent: Option<&Path>) -> Result<(), OptimiseError> {
        let failed = |source| OptimiseError {
            path: path.to_owned(),
            source,
        };
        if self.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let metadata = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            metadata => metadata.map_err(failed)?,
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                self.walk(&entry.path(), Some(path))?;
            }
            return Ok(());
        }
        // As Nix: links aren't worth it, and what can be written to was touched by somebody.
        let is_writable = metadata.permissions().mode() & 0o200 != 0;
        if !metadata.is_file() || metadata.size() == 0 || is_writable || self.known.contains(&metadata.ino())
        {
            return Ok(());
        }
        self.file(path, parent, &metadata).map_err(failed)
    }

    fn file(&self, path: &Path, parent: Option<&Path>, metadata: &fs::Metadata) -> io::Result<()> {
        let hash = nar::hash(path, &mut |_| {}).map_err(io::Error::other)?;
        let link = self.links.join(base32::encode(&hash.sha256));
        let known = loop {
            match link.symlink_metadata() {
                Ok(known) => break known,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            match fs::hard_link(path, &link) {
                // It's the first one.
                Ok(()) => return Ok(()),
                // Another thread's or process's was first; a collector may have taken it away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if can_do_without(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        };
        if known.ino() == metadata.ino() {
            return Ok(());
        }
        if known.size() != metadata.size()
            || known.permissions().mode() & 0o777 != metadata.permissions().mode() & 0o777
        {
            // Its name tells another content: it was damaged. Whoever links to it has a damaged file, which `verify` finds.
            return fs::remove_file(&link);
        }
        self.replace(path, parent, &link, metadata.size())
    }

    /// Puts a link in the file's place, in one step.
    fn replace(&self, path: &Path, parent: Option<&Path>, link: &Path, bytes: u64) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut temporary = self.temporary.clone().into_os_string();
        temporary.push(format!("-{number}"));
        let temporary = PathBuf::from(temporary);
        files::remove_file_if_there(&temporary)?;
        match fs::hard_link(link, &temporary) {
            Ok(()) => {}
            // Collected meanwhile, or it has as many names as a file can have.
            Err(error) if can_do_without(&error) || error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let renamed = rename_into(&temporary, path, parent);
        if let Err(error) = renamed {
            files::remove_file_if_there(&temporary)?;
            return if can_do_without(&error) {
                Ok(())
            } else {
                Err(error)
            };
        }
        let _before = self.files.fetch_add(1, Ordering::Relaxed);
        let _before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// Neither the limit of a file's names nor a full disk makes anything worse than it was.
fn can_do_without(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMLINK | libc::ENOSPC))
}

/// The directory keeps its canonical form: whoever isn't root has to make it writable, and its time changes.
fn rename_into(temporary: &Path, path: &Path, parent: Option<&Path>) -> io::Result<()> {
    let Some(parent) = parent else {
        // The path itself is a file: the store's directory has no canonical form.
        return fs::rename(temporary, path);
    };
    let directory = File::open(parent)?;
    directory.set_permissions(fs::Permissions::from_mode(0o755))?;
    let renamed = fs::rename(temporary, path);
    files::canonicalise_file(&directory, true)?;
    renamed
}
