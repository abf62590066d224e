//! Unpacking a tar archive below the root directory, with owners, modes, times and capabilities.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, futimens, utimensat};
use nix::sys::time::TimeSpec;

use crate::store::tree::Meta;
use crate::sys::xattr;
use crate::system::rootfs::TarError;
use crate::system::rootfs::tar::{Archive, Kind};

/// Files up to this are handed to another thread.
const IN_MEMORY: u64 = 4 << 20;
/// How many wait for a thread.
const QUEUE: usize = 32;
/// Threads that write files: more are no faster on one disk.
const THREADS: usize = 2;

/// Why an archive can't be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// The archive is damaged.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A file can't be made.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A member that has no business in a root file system.
    #[error("'{0}' leads out of the root, or is a device")]
    BadMember(String),
    /// A thread ended.
    #[error("a thread that writes files ended unexpectedly: this is a fault in keel")]
    Thread,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> UnpackError {
    let path = path.to_owned();
    move |source| UnpackError::File { path, source }
}

struct Job {
    path: PathBuf,
    meta: Meta,
    bytes: Vec<u8>,
}

/// Unpacks the archive that `source` brings below `root`. What is there gives way, but a directory, or a link to one, stays a place
/// for what belongs into it, as dpkg has it.
/// Paths that `skip` names, relative to the root, stay away.
pub(super) fn unpack(
    source: &mut dyn Read,
    root: &Path,
    skip: &dyn Fn(&Path) -> bool,
) -> Result<(), UnpackError> {
    let (sender, receiver) = sync_channel(QUEUE);
    let receiver = Mutex::new(receiver);
    let mut late = Late::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| work(&receiver))).collect();
        let read = members(source, (root, skip), &sender, &mut late);
        // The threads end when nobody can send any more.
        drop(sender);
        let mut worked = Ok(());
        for worker in workers {
            worked = worked.and(worker.join().unwrap_or(Err(UnpackError::Thread)));
        }
        worked.and(read)
    })?;
    late.finish()
}

// What has to wait until all files are there.
#[derive(Default)]
struct Late {
    links: Vec<(PathBuf, PathBuf)>,
    directories: Vec<(PathBuf, Meta)>,
}

impl Late {
    fn finish(self) -> Result<(), UnpackError> {
        for (first, path) in &self.links {
            make_way(path)?;
            fs::hard_link(first, path).map_err(at(path))?;
        }
        // The innermost first: a directory that may not be written to could hold others.
        for (path, meta) in self.directories.iter().rev() {
            let times = TimeSpec::new(meta.mtime, 0);
            utimensat(AT_FDCWD, path, &times, &times, UtimensatFlags::FollowSymlink)
                .map_err(|errno| at(path)(errno.into()))?;
        }
        Ok(())
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) -> Result<(), UnpackError> {
    let mut result = Ok(());
    loop {
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return result };
        // The queue is emptied in any case: the sender would wait for ever otherwise.
        if result.is_ok() {
            result = write(&job.path, &job.meta, &mut job.bytes.as_slice());
        }
    }
}

fn members(
    source: &mut dyn Read,
    (root, skip): (&Path, &dyn Fn(&Path) -> bool),
    sender: &SyncSender<Job>,
    late: &mut Late,
) -> Result<(), UnpackError> {
    let device = root.metadata().map_err(at(root))?.dev();
    let mut archive = Archive::new(io::BufReader::with_capacity(1 << 20, source));
    while let Some(member) = archive.next()? {
        let path = below(&member.path)?;
        if skip(&path) {
            continue;
        }
        let path = root.join(path);
        let meta = Meta {
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            capability: member.capability,
        };
        match member.kind {
            Kind::Directory => {
                if directory(&path, &meta, device)? {
                    late.directories.push((path, meta));
                }
            }
            Kind::Symlink => {
                make_way(&path)?;
                symlink(std::ffi::OsStr::from_bytes(&member.link), &path).map_err(at(&path))?;
                lchown(&path, Some(meta.uid), Some(meta.gid)).map_err(at(&path))?;
                let times = TimeSpec::new(meta.mtime, 0);
                utimensat(AT_FDCWD, &path, &times, &times, UtimensatFlags::NoFollowSymlink)
                    .map_err(|errno| at(&path)(errno.into()))?;
            }
            Kind::HardLink => late.links.push((root.join(below(&member.link)?), path)),
            Kind::File if member.size > IN_MEMORY => write(&path, &meta, &mut archive)?,
            Kind::File => {
                let mut bytes = Vec::new();
                let _length = archive.read_to_end(&mut bytes).map_err(at(&path))?;
                let job = Job { path, meta, bytes };
                sender.send(job).map_err(|_| UnpackError::Thread)?;
            }
            Kind::Special => {
                return Err(UnpackError::BadMember(
                    String::from_utf8_lossy(&member.path).into_owned(),
                ));
            }
        }
    }
    Ok(())
}

fn below(path: &[u8]) -> Result<PathBuf, UnpackError> {
    let mut clean = PathBuf::new();
    for component in Path::new(std::ffi::OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            _ => return Err(UnpackError::BadMember(String::from_utf8_lossy(path).into_owned())),
        }
    }
    Ok(clean)
}

// Whether it's one whose metadata are the archive's: neither a link nor another file system's root.
fn directory(path: &Path, meta: &Meta, device: u64) -> Result<bool, UnpackError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !path.is_dir() {
                make_way(path)?;
                fs::create_dir(path).map_err(at(path))?;
            } else if path.is_symlink() || path.metadata().map_err(at(path))?.dev() != device {
                return Ok(false);
            }
        }
        other => other.map_err(at(path))?,
    }
    lchown(path, Some(meta.uid), Some(meta.gid)).map_err(at(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(meta.mode)).map_err(at(path))?;
    Ok(true)
}

fn make_way(path: &Path) -> Result<(), UnpackError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(at(path)),
    }
}

fn write(path: &Path, meta: &Meta, bytes: &mut dyn Read) -> Result<(), UnpackError> {
    let open = || {
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            make_way(path)?;
            open()
        }
        other => other,
    }
    .map_err(at(path))?;
    let _length = io::copy(bytes, &mut file).map_err(at(path))?;
    file.flush().map_err(at(path))?;
    fchown(&file, Some(meta.uid), Some(meta.gid)).map_err(at(path))?;
    // A new owner takes setuid bits and capabilities away: they come after it.
    file.set_permissions(fs::Permissions::from_mode(meta.mode))
        .map_err(at(path))?;
    if let Some(capability) = &meta.capability {
        xattr::set(path, "security.capability", capability).map_err(at(path))?;
    }
    let times = TimeSpec::new(meta.mtime, 0);
    futimens(&file, &times, &times).map_err(|errno| at(path)(errno.into()))
}
