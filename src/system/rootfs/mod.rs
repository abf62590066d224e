//! Reading a Debian root file system, from a directory or an archive, into a tree and a pool. What must not reach the
//! store is left out here, before its content is written anywhere.

mod dir;
pub(crate) mod tar;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::notice::Notice;
use super::secrets::{self, Verdict};
use crate::store::pool::{ContentId, IN_MEMORY, Pool};
use crate::store::tree::{Entries, Meta, Node, TreeError};

pub use tar::TarError;

/// Contents that wait for a thread: bounds the memory, together with [`IN_MEMORY`].
const QUEUE: usize = 16;
/// Files that are longer are not looked through for private keys.
const KEY_FILE_MAX: u64 = 64 << 10;
/// Longest account file that is read.
const ACCOUNTS_MAX: u64 = 16 << 20;
/// More members than any root file system has; a guard for memory.
const MEMBERS_MAX: usize = 4_000_000;

/// Why a root file system can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// A file can't be read.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// The archive is damaged or of an unknown kind.
    #[error("{0}: {1}")]
    Tar(String, #[source] TarError),
    /// A path that can't be placed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A hard link to something that isn't there (yet).
    #[error("'{path}' is a hard link to '{target}', which does not come before it")]
    DanglingHardLink {
        /// The link.
        path: String,
        /// What it should be another name of.
        target: String,
    },
    /// A guard for memory.
    #[error("it has more than {MEMBERS_MAX} files: is this a root file system?")]
    TooMany,
}

/// A root file system that was read.
#[derive(Debug)]
pub struct Rootfs {
    /// Everything that may become part of the system, below `/`.
    pub tree: Node,
    /// `passwd`, `group`, `shadow`, as far as they are there.
    pub accounts: BTreeMap<String, Vec<u8>>,
}

/// Reads the root file system at `source`: a directory, or an archive, plain or compressed by zstd, xz or gzip. Times
/// later than `clamp` (seconds since 1970; `SOURCE_DATE_EPOCH`) become that.
pub fn read(
    source: &Path,
    pool: &Pool,
    clamp: Option<i64>,
    report: &mut dyn FnMut(Notice),
) -> Result<Rootfs, RootfsError> {
    let (sender, receiver) = sync_channel(QUEUE);
    let receiver = Mutex::new(receiver);
    let threads = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(8);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&receiver, pool)))
            .collect();
        let mut collector = Collector {
            pool,
            sender,
            clamp,
            report,
            tree: Node::directory(clamp.unwrap_or(0)),
            accounts: BTreeMap::new(),
            members: 0,
        };
        let read = if source.is_dir() {
            dir::read(source, &mut collector)
        } else {
            read_archive(source, &mut collector)
        };
        let Collector {
            sender,
            tree,
            accounts,
            ..
        } = collector;
        // The threads end when nobody can send any more.
        drop(sender);
        let mut worked = Ok(());
        for worker in workers {
            let result = worker.join().unwrap_or_else(|_| {
                Err(RootfsError::File(
                    "a thread".into(),
                    io::Error::other("it panicked"),
                ))
            });
            worked = worked.and(result);
        }
        worked.and(read).map(|()| Rootfs { tree, accounts })
    })
}

enum Source {
    Bytes(Vec<u8>),
    File(PathBuf),
}

struct Job {
    id: ContentId,
    executable: bool,
    path: PathBuf,
    source: Source,
}

// After a failure the queue is still emptied: the sender would wait for ever otherwise.
fn work(receiver: &Mutex<Receiver<Job>>, pool: &Pool) -> Result<(), RootfsError> {
    let mut result = Ok(());
    loop {
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return result };
        if result.is_ok() {
            result = match &job.source {
                Source::Bytes(bytes) => pool.fill(job.id, bytes, job.executable),
                Source::File(path) => {
                    dir::open(path).and_then(|mut file| pool.fill_from(job.id, &mut file, job.executable))
                }
            }
            .map_err(|error| RootfsError::File(job.path.display().to_string(), error));
        }
    }
}

struct Collector<'a> {
    pool: &'a Pool,
    sender: SyncSender<Job>,
    clamp: Option<i64>,
    report: &'a mut dyn FnMut(Notice),
    tree: Node,
    accounts: BTreeMap<String, Vec<u8>>,
    members: usize,
}

enum Content<'a> {
    Stream(&'a mut dyn Read, u64),
    File(PathBuf, u64),
}

impl Collector<'_> {
    // Whether the path shall be read at all; counts it.
    fn wanted(&mut self, path: &Path) -> Result<bool, RootfsError> {
        self.members += 1;
        if self.members > MEMBERS_MAX {
            return Err(RootfsError::TooMany);
        }
        Ok(path.to_str().is_none_or(|path| {
            let mut at = Some(path);
            while let Some(part) = at {
                if secrets::forget_below(part) {
                    return false;
                }
                at = part.rsplit_once('/').map(|(above, _)| above);
            }
            true
        }))
    }

    fn judge(&mut self, path: &Path) -> Verdict {
        let verdict = path.to_str().map_or(Verdict::Keep, secrets::judge);
        match verdict {
            Verdict::LeaveOut(why) => self.leave_out(path, why),
            Verdict::Account => self.leave_out(path, "accounts travel in accounts.json, without passwords"),
            Verdict::Keep | Verdict::Forget => {}
        }
        verdict
    }

    fn leave_out(&mut self, path: &Path, why: &'static str) {
        (self.report)(Notice::LeftOut {
            path: Path::new("/").join(path),
            why,
        });
    }

    fn put(&mut self, path: &Path, mut node: Node) -> Result<(), RootfsError> {
        let clamp = self.clamp.unwrap_or(i64::MAX);
        let meta = node.meta_mut();
        meta.mtime = meta.mtime.min(clamp);
        Ok(self.tree.put(path, node, 0)?)
    }

    fn root(&mut self, mut meta: Meta) {
        meta.mtime = meta.mtime.min(self.clamp.unwrap_or(i64::MAX));
        *self.tree.meta_mut() = meta;
    }

    fn directory(&mut self, path: &Path, meta: Meta) -> Result<(), RootfsError> {
        self.put(path, Node::Directory(meta, Entries::new()))
    }

    fn symlink(&mut self, path: &Path, meta: Meta, target: std::ffi::OsString) -> Result<(), RootfsError> {
        if self.judge(path) != Verdict::Keep {
            return Ok(());
        }
        // The hash links of a certificate that is left out would lead nowhere.
        if path.starts_with("etc/ssl/certs") && target == "ssl-cert-snakeoil.pem" {
            return Ok(());
        }
        self.put(path, Node::Symlink(meta, target))
    }

    // The id of the content, unless it was left out.
    fn file(
        &mut self,
        path: &Path,
        meta: Meta,
        content: Content<'_>,
    ) -> Result<Option<ContentId>, RootfsError> {
        let failed = |error| RootfsError::File(path.display().to_string(), error);
        let executable = meta.mode & 0o100 != 0;
        match self.judge(path) {
            Verdict::LeaveOut(_) | Verdict::Forget => return Ok(None),
            Verdict::Account => {
                let bytes = content.read(ACCOUNTS_MAX).map_err(failed)?;
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let _old = self.accounts.insert(name, bytes);
                return Ok(None);
            }
            Verdict::Keep => {}
        }
        // A copy of the builder's, made to have a network while packages were installed.
        if path == Path::new("etc/resolv.conf") {
            self.leave_out(path, "name servers of the machine that built it; a link is kept");
            return Ok(None);
        }
        let name = path.to_str().unwrap_or_default();
        let in_memory = content.size() <= KEY_FILE_MAX && secrets::may_hold_keys(name);
        let id = self.pool.reserve();
        let source = match content {
            Content::File(file, _) if !in_memory => Some(Source::File(file)),
            Content::Stream(stream, size) if size > IN_MEMORY as u64 => {
                self.pool.fill_from(id, stream, executable).map_err(failed)?;
                None
            }
            content => {
                let bytes = content.read(IN_MEMORY as u64).map_err(failed)?;
                if in_memory && secrets::holds_private_key(&bytes) {
                    self.leave_out(path, secrets::PRIVATE_KEY);
                    return Ok(None);
                }
                Some(Source::Bytes(bytes))
            }
        };
        if name.starts_with("etc/") && meta.mode & 0o004 == 0 && !secrets::readable_anyway(name) {
            (self.report)(Notice::Warning(format!(
                "/{name} can't be read by all (mode {:04o}), but its content goes into the store, which all can read",
                meta.mode
            )));
        }
        if let Some(source) = source {
            let job = Job {
                id,
                executable,
                path: path.to_owned(),
                source,
            };
            self.sender
                .send(job)
                .map_err(|_| failed(io::Error::other("no thread left to read it")))?;
        }
        self.put(path, Node::File(meta, id))?;
        Ok(Some(id))
    }

    // Another name of a file that was read before.
    fn hard_link(&mut self, path: &Path, meta: Meta, id: ContentId) -> Result<(), RootfsError> {
        if self.judge(path) == Verdict::Keep {
            self.put(path, Node::File(meta, id))
        } else {
            Ok(())
        }
    }

    fn special(&mut self, path: &Path, what: &str) {
        (self.report)(Notice::Warning(format!(
            "/{} is {what}: left out",
            path.display()
        )));
    }
}

impl Content<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::Stream(_, size) | Self::File(_, size) => *size,
        }
    }

    fn read(self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = match self {
            Self::Stream(stream, _) => stream.take(limit + 1).read_to_end(&mut bytes)?,
            Self::File(path, _) => dir::open(&path)?.take(limit + 1).read_to_end(&mut bytes)?,
        };
        if read as u64 > limit {
            Err(io::ErrorKind::FileTooLarge.into())
        } else {
            Ok(bytes)
        }
    }
}

fn read_archive(source: &Path, collector: &mut Collector<'_>) -> Result<(), RootfsError> {
    use std::io::BufRead;
    let shown = || source.display().to_string();
    let failed = |error| RootfsError::File(shown(), error);
    let file = std::fs::File::open(source).map_err(failed)?;
    let mut file = io::BufReader::with_capacity(1 << 20, file);
    let start = file.fill_buf().map_err(failed)?;
    let stream: Box<dyn Read> = match start {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file).map_err(failed)?),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file))
        }
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    // The headers are read in small pieces.
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(1 << 20, stream));
    let mut names: BTreeMap<PathBuf, Option<(Meta, ContentId)>> = BTreeMap::new();
    while let Some(member) = archive.next().map_err(|error| RootfsError::Tar(shown(), error))? {
        let path = relative(&member.path)?;
        let meta = Meta {
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            capability: member.capability,
        };
        if path.as_os_str().is_empty() {
            collector.root(meta);
            continue;
        }
        if !collector.wanted(&path)? {
            continue;
        }
        match member.kind {
            tar::Kind::Directory => collector.directory(&path, meta)?,
            tar::Kind::Symlink => collector.symlink(&path, meta, to_os(member.link))?,
            tar::Kind::Special => collector.special(&path, "a device node or fifo"),
            tar::Kind::File => {
                let id = collector.file(&path, meta.clone(), Content::Stream(&mut archive, member.size))?;
                let _old = names.insert(path, id.map(|id| (meta, id)));
            }
            tar::Kind::HardLink => {
                let target = relative(&member.link)?;
                let known = names
                    .get(&target)
                    .cloned()
                    .ok_or_else(|| RootfsError::DanglingHardLink {
                        path: path.display().to_string(),
                        target: target.display().to_string(),
                    })?;
                // Another name of what was left out is left out too.
                if let Some((meta, id)) = &known {
                    collector.hard_link(&path, meta.clone(), *id)?;
                }
                let _old = names.insert(path, known);
            }
        }
    }
    Ok(())
}

fn to_os(bytes: Vec<u8>) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

// `./usr/bin/`, `usr/bin` and `/usr/bin` are the same member.
fn relative(path: &[u8]) -> Result<PathBuf, RootfsError> {
    let path = PathBuf::from(to_os(path.to_vec()));
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::CurDir | std::path::Component::RootDir => {}
            _ => return Err(TreeError::BadPath(path.display().to_string()).into()),
        }
    }
    Ok(clean)
}
