//! Temporary roots: `temproots/<pid>` names the paths that a running process needs, each ended by a zero byte. Its owner
//! holds an exclusive lock on it; one that isn't locked belongs to a process that is gone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::path_lock::{is_removed, remove};
use super::{collector_socket, gc_lock_path, short_address};
use crate::store::lock;
use crate::store::{Layout, StorePath};

/// Longer files of temporary roots are refused: they would name a million paths.
const LENGTH_MAX: u64 = 256 << 20;
/// How long a collector that has taken its lock may take until its socket is there, before we wait for its end.
const SOCKET_TRIES: u32 = 500;
const SOCKET_PAUSE: Duration = Duration::from_millis(10);

/// How many of them this process has made: each needs a file of its own.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Paths that this process needs. No collector, ours or Nix's, deletes them or what they refer to until this is dropped
/// or the process ends. They need not be valid yet.
#[derive(Debug)]
pub struct TempRoots {
    layout: Layout,
    path: PathBuf,
    file: Flock<File>,
    collector: Option<UnixStream>,
}

impl TempRoots {
    /// With no paths yet.
    pub fn new(layout: &Layout) -> io::Result<Self> {
        let directory = layout.physical(layout.state_dir()).join("temproots");
        std::fs::create_dir_all(&directory)?;
        // Nix reads a name up to its first character that is no digit.
        let name = match MADE.fetch_add(1, Ordering::Relaxed) {
            0 => std::process::id().to_string(),
            n => format!("{}-{n}", std::process::id()),
        };
        let path = directory.join(name);
        loop {
            // Of an earlier process with our number.
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = lock::take(&path, lock::Access::Exclusive, &mut |_| {})?;
            // A collector may have removed it before we had the lock. It removes none that is locked.
            if !is_removed(&file)? {
                return Ok(Self {
                    layout: layout.clone(),
                    path,
                    file,
                    collector: None,
                });
            }
        }
    }

    /// Keeps `path` from being deleted from now on. Whether it is there still, the caller asks the database afterwards.
    pub fn add(&mut self, path: &StorePath) -> io::Result<()> {
        self.add_all(std::slice::from_ref(path))
    }

    /// The same for several.
    pub fn add_all(&mut self, paths: &[StorePath]) -> io::Result<()> {
        let store_dir = self.layout.store_dir().to_owned();
        let text =
            |end: &str| -> String { paths.iter().map(|path| path.absolute(&store_dir) + end).collect() };
        // While we hold the lock, no collector begins; one that begins later reads the file.
        let _gc_lock = self.lock_or_tell(&text("\n"), paths.len())?;
        self.file.write_all(text("\0").as_bytes())
    }

    // The shared lock on collection, or, when a collector runs, nothing, after it has acknowledged the roots.
    fn lock_or_tell(&mut self, lines: &str, count: usize) -> io::Result<Option<Flock<File>>> {
        let lock_path = gc_lock_path(&self.layout);
        for _ in 0..SOCKET_TRIES {
            match Flock::lock(lock::open(&lock_path)?, FlockArg::LockSharedNonblock) {
                Ok(lock) => return Ok(Some(lock)),
                Err((_, Errno::EWOULDBLOCK)) => {}
                Err((_, errno)) => return Err(errno.into()),
            }
            if self.tell(lines, count).is_ok() {
                return Ok(None);
            }
            // Its end, or its beginning: it hasn't opened its socket yet.
            self.collector = None;
            std::thread::sleep(SOCKET_PAUSE);
        }
        // A collector of an older Nix, which has no socket.
        lock::take(&lock_path, lock::Access::Shared, &mut |_| {}).map(Some)
    }

    fn tell(&mut self, lines: &str, count: usize) -> io::Result<()> {
        if self.collector.is_none() {
            let (directory, name) = collector_socket(&self.layout);
            let directory = File::open(directory)?;
            self.collector = Some(UnixStream::connect(short_address(&directory, name))?);
        }
        let stream = self.collector.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        // One at a time: neither side's buffer can then fill up while both write.
        for line in lines.split_inclusive('\n').take(count) {
            stream.write_all(line.as_bytes())?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            if answer != *b"1" {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }
}

impl Drop for TempRoots {
    fn drop(&mut self) {
        // One that stays isn't locked any more, and the next collection removes it.
        let _ignored = remove(&self.path, &self.file);
    }
}

/// The temporary roots of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningRoots {
    /// The process.
    pub pid: String,
    /// What it needs: absolute paths, which need not be valid.
    pub paths: Vec<String>,
}

/// Reads the temporary roots of all running processes, and removes the files of those that are gone. Whoever holds the
/// lock on collection learns all of them that way.
pub fn read_temp_roots(layout: &Layout) -> io::Result<Vec<RunningRoots>> {
    let directory = layout.physical(layout.state_dir()).join("temproots");
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        let pid = entry.file_name().to_string_lossy().into_owned();
        // Hidden files keep the directory alive for some package managers.
        if pid.starts_with('.') || !entry.file_type()?.is_file() {
            continue;
        }
        if let Some(paths) = read_one(&entry.path())? {
            all.push(RunningRoots { pid, paths });
        }
    }
    all.sort_by(|a, b| a.pid.cmp(&b.pid));
    Ok(all)
}

fn read_one(path: &Path) -> io::Result<Option<Vec<String>>> {
    let opened = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path);
    let file = match opened {
        // Its owner has ended meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(stale) => {
            match remove(path, &stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            return Ok(None);
        }
        Err((file, Errno::EWOULDBLOCK)) => file,
        Err((_, errno)) => return Err(errno.into()),
    };
    if file.metadata()?.len() > LENGTH_MAX {
        return Err(io::Error::other(format!("{} is too long", path.display())));
    }
    let mut bytes = Vec::new();
    let _length = file.read_to_end(&mut bytes)?;
    // What follows the last zero byte is being written.
    let complete = bytes
        .iter()
        .rposition(|&byte| byte == 0)
        .map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(bytes.get(..complete).unwrap_or_default()).into_owned();
    Ok(Some(text.split_terminator('\0').map(str::to_owned).collect()))
}
