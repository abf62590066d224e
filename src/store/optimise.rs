//! Files of equal contents become one (`nix-store --optimise`): `.links/<hash>` is a hard link to each, named by the SHA-256
//! of the file's archive, and every equal file is replaced by a link to it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirEntryExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::nar::{self, Archiver};
use super::path::StorePath;
use super::{Layout, base32, files};

/// Directories that the walk may be ahead.
const AHEAD: usize = 64;
/// Bytes that are compared at once.
const COMPARED: usize = 64 * 1024;

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

impl OptimiseError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { path, source }
    }
}

/// Deduplicates the files of `paths`, with all processors. The caller sees to it that they stay: by the collector's lock, or
/// by temporary roots.
///
/// # Errors
/// The first file that can't be read or replaced. What was done until then is whole.
pub fn optimise(layout: &Layout, paths: &[StorePath]) -> Result<Saved, OptimiseError> {
    let mut work = Work::new(layout)?;
    // Files that have their link already need not be read.
    for entry in fs::read_dir(&work.links.path).map_err(OptimiseError::at(&work.links.path))? {
        let entry = entry.map_err(OptimiseError::at(&work.links.path))?;
        work.known.push(entry.ino());
    }
    work.known.sort_unstable();
    work.trees(&mut paths.iter().map(|path| layout.physical_path(path)))
}

/// The same for trees that aren't valid yet, whose contents are known to be right: what takes the place of a file is compared
/// with it, since a damaged file must not become part of a new path. The caller holds the collector's lock.
///
/// # Errors
/// As for [`optimise`].
pub fn share(layout: &Layout, trees: &[&Path]) -> Result<Saved, OptimiseError> {
    let mut work = Work::new(layout)?;
    work.compares = true;
    work.trees(&mut trees.iter().map(|&tree| tree.to_owned()))
}

/// A directory, for names in it.
struct Directory {
    file: File,
    path: PathBuf,
}

impl Directory {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            path: path.to_owned(),
        })
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Files of one directory.
struct Task {
    directory: PathBuf,
    names: Vec<OsString>,
    /// Whether the directory has a canonical form: the store's own has none.
    is_canonical: bool,
}

struct Work {
    store: Directory,
    links: Directory,
    /// Sorted.
    known: Vec<u64>,
    compares: bool,
    /// How temporary names in the store's directory begin.
    temporary: String,
    next: AtomicU32,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Work {
    fn new(layout: &Layout) -> Result<Self, OptimiseError> {
        let store = layout.physical(layout.store_dir());
        let links = store.join(".links");
        fs::create_dir_all(&links).map_err(OptimiseError::at(&links))?;
        Ok(Self {
            store: Directory::open(&store).map_err(OptimiseError::at(&store))?,
            links: Directory::open(&links).map_err(OptimiseError::at(&links))?,
            known: Vec::new(),
            compares: false,
            temporary: format!(".tmp-link-{}", std::process::id()),
            next: AtomicU32::new(0),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    fn trees(self, trees: &mut dyn Iterator<Item = PathBuf>) -> Result<Saved, OptimiseError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let failure = Mutex::new(None);
        let fail = |error| {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        };
        let (tasks_in, tasks) = sync_channel(AHEAD);
        let tasks = Mutex::new(Some(tasks));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let _worker = scope.spawn(|| {
                    let mut archiver = Archiver::default();
                    while let Some(task) = next(&tasks) {
                        if let Err(error) = self.directory(&task, &mut archiver) {
                            // The walk ends when nobody listens.
                            drop(tasks.lock().unwrap_or_else(PoisonError::into_inner).take());
                            fail(error);
                        }
                    }
                });
            }
            for tree in trees {
                match self.tree(&tree, &tasks_in) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        fail(error);
                        break;
                    }
                }
            }
            drop(tasks_in);
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(Saved {
                files: self.files.into_inner(),
                bytes: self.bytes.into_inner(),
            }),
        }
    }

    /// Hands over the files of a tree; whether anybody listens.
    fn tree(&self, tree: &Path, tasks: &SyncSender<Task>) -> Result<bool, OptimiseError> {
        let metadata = match tree.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            metadata => metadata.map_err(OptimiseError::at(tree))?,
        };
        if metadata.is_dir() {
            return self.walk(tree, tasks);
        }
        let (true, Some(directory), Some(name)) = (metadata.is_file(), tree.parent(), tree.file_name())
        else {
            return Ok(true);
        };
        let task = Task {
            directory: directory.to_owned(),
            names: vec![name.to_owned()],
            is_canonical: false,
        };
        Ok(tasks.send(task).is_ok())
    }

    fn walk(&self, directory: &Path, tasks: &SyncSender<Task>) -> Result<bool, OptimiseError> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            entries => entries.map_err(OptimiseError::at(directory))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(OptimiseError::at(directory))?;
            let kind = entry.file_type().map_err(OptimiseError::at(directory))?;
            if kind.is_dir() && !self.walk(&entry.path(), tasks)? {
                return Ok(false);
            }
            if kind.is_file() && self.known.binary_search(&entry.ino()).is_err() {
                names.push(entry.file_name());
            }
        }
        if names.is_empty() {
            return Ok(true);
        }
        let task = Task {
            directory: directory.to_owned(),
            names,
            is_canonical: true,
        };
        Ok(tasks.send(task).is_ok())
    }

    fn directory(&self, task: &Task, archiver: &mut Archiver) -> Result<(), OptimiseError> {
        let directory = match Directory::open(&task.directory) {
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            directory => directory.map_err(OptimiseError::at(&task.directory))?,
        };
        let mut changed = false;
        let done = task.names.iter().try_for_each(|name| {
            self.file(&directory, name, task.is_canonical, archiver)
                .map(|replaced| changed |= replaced)
                .map_err(OptimiseError::at(&task.directory.join(name)))
        });
        if changed && task.is_canonical {
            files::canonicalise_file(&directory.file, true).map_err(OptimiseError::at(&task.directory))?;
        }
        done
    }

    /// Whether the file was replaced, or would have been.
    fn file(
        &self,
        directory: &Directory,
        name: &OsStr,
        is_canonical: bool,
        archiver: &mut Archiver,
    ) -> io::Result<bool> {
        let mut file = match open(directory, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let metadata = file.metadata()?;
        // As Nix: what can be written to was touched by somebody.
        let is_writable = metadata.permissions().mode() & 0o200 != 0;
        if !metadata.is_file() || metadata.size() == 0 || is_writable {
            return Ok(false);
        }
        let path = directory.path.join(name);
        let hash = nar::hash_written(&mut |_| {}, |sink| archiver.write_file(&mut file, &path, sink))
            .map_err(io::Error::other)?;
        let link = base32::encode(&hash.sha256);
        let known = loop {
            match linkat(directory, name, &self.links, link.as_str(), AtFlags::empty()) {
                // It's the first one.
                Ok(()) => return Ok(false),
                Err(Errno::EEXIST) => {}
                Err(errno) if can_do_without(errno) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
            match fstatat(&self.links, link.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(known) => break known,
                // A collector took it away meanwhile.
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        if known.st_ino == metadata.ino() {
            return Ok(false);
        }
        if !self.is_equal(&known, &link, &metadata, &mut file)? {
            // Its name tells another content: it was damaged. Whoever links to it has a damaged file, which `verify` finds.
            remove(&self.links, &link)?;
            return Ok(false);
        }
        if is_canonical && !nix::unistd::geteuid().is_root() {
            // Whoever isn't root can't rename in a canonical directory; the caller makes it canonical again.
            directory
                .file
                .set_permissions(fs::Permissions::from_mode(0o755))?;
        }
        self.replace(directory, name, &link, metadata.size())?;
        Ok(true)
    }

    fn is_equal(
        &self,
        known: &FileStat,
        link: &str,
        metadata: &Metadata,
        file: &mut File,
    ) -> io::Result<bool> {
        let same_size = u64::try_from(known.st_size) == Ok(metadata.size());
        if !same_size || known.st_mode & 0o777 != metadata.permissions().mode() & 0o777 {
            return Ok(false);
        }
        if !self.compares {
            return Ok(true);
        }
        file.rewind()?;
        let other = open(&self.links, OsStr::new(link))?;
        same_bytes(file, other)
    }

    /// Puts a link in the file's place, in one step.
    fn replace(&self, directory: &Directory, name: &OsStr, link: &str, bytes: u64) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{}-{number}", self.temporary);
        let linked = || {
            linkat(
                &self.links,
                link,
                &self.store,
                temporary.as_str(),
                AtFlags::empty(),
            )
        };
        let made = match linked() {
            // Of an earlier process with our number.
            Err(Errno::EEXIST) => remove(&self.store, &temporary).map(|()| linked())?,
            made => made,
        };
        match made {
            Ok(()) => {}
            // Collected meanwhile, or it has as many names as a file can have.
            Err(errno) if can_do_without(errno) || errno == Errno::ENOENT => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        if let Err(errno) = renameat(&self.store, temporary.as_str(), directory, name) {
            remove(&self.store, &temporary)?;
            return if can_do_without(errno) {
                Ok(())
            } else {
                Err(errno.into())
            };
        }
        let _before = self.files.fetch_add(1, Ordering::Relaxed);
        let _before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

fn next(tasks: &Mutex<Option<Receiver<Task>>>) -> Option<Task> {
    tasks
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()?
        .recv()
        .ok()
}

fn open(directory: &Directory, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    Ok(File::from(openat(directory, name, flags, Mode::empty())?))
}

fn remove(directory: &Directory, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        removed => Ok(removed?),
    }
}

fn same_bytes(one: &mut File, mut other: File) -> io::Result<bool> {
    let (mut first, mut second) = (vec![0; COMPARED], vec![0; COMPARED]);
    loop {
        let count = match one.read(&mut first) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        let (first, second) = (first.get(..count), second.get_mut(..count));
        let (Some(first), Some(second)) = (first, second) else {
            return Ok(false);
        };
        match other.read_exact(second) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if first != second {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

/// Neither the limit of a file's names nor a full disk makes anything worse than it was.
fn can_do_without(errno: Errno) -> bool {
    matches!(errno, Errno::EMLINK | Errno::ENOSPC)
}
