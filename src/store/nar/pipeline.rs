//! Archives a tree with several threads: one walks it, some read its files ahead, the caller's hashes in order.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::write::{DEPTH_MAX, Out};
use super::{BUFFER, NarError};

/// Steps and files are handed over in batches: a thread that is woken for each costs more than the files.
const BATCH_STEPS: usize = 128;
const BATCH_FILES: usize = 32;
/// How many batches the walk may be ahead: so many files lie in memory, or are open.
const AHEAD: usize = 4;
/// A file of at most so many bytes is held in memory.
pub(crate) const SMALL: u64 = 64 * 1024;
/// So is a larger one while those that wait for the archive take no more than so many bytes together; otherwise whoever
/// archives reads it.
const HELD: u64 = 16 << 20;
/// A file of so many bytes is worth a thread that reads while another hashes.
const LARGE: u64 = 4 << 20;

/// A file's contents, on their way to the archive.
#[derive(Debug)]
pub enum Contents {
    /// All of them.
    Bytes(Vec<u8>),
    /// A file that is at its beginning, and its size.
    File(File, u64),
}

/// How much may be held in memory of the files that aren't small.
#[derive(Debug, Default)]
pub struct Budget(AtomicU64);

impl Budget {
    fn take(&self, bytes: u64) -> bool {
        let update = |held: u64| held.checked_add(bytes).filter(|&sum| sum <= HELD);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .is_ok()
    }

    fn give_back(&self, bytes: u64) {
        let _before = self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What is done with each part of a tree beside being archived, by several threads at once. Paths are relative to the top.
pub trait Visitor: Sync {
    /// A directory, before anything that lies in it.
    fn directory(&self, _relative: &Path) -> io::Result<()> {
        Ok(())
    }

    /// A symbolic link.
    fn symlink(&self, _relative: &Path, _target: &Path) -> io::Result<()> {
        Ok(())
    }

    /// A file that is open: gives what is archived.
    fn file(
        &self,
        source: File,
        metadata: &Metadata,
        _relative: &Path,
        budget: &Budget,
    ) -> io::Result<Contents> {
        read(source, metadata, budget)
    }

    /// Everything in a directory is done.
    fn leave(&self, _relative: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Does nothing beside.
#[derive(Clone, Copy, Debug)]
pub struct Only;

impl Visitor for Only {}

/// Whether a file's owner may execute it.
pub fn is_executable(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o100 != 0
}

/// Reads a file when it's small, or there is room for it.
///
/// # Errors
/// When it can't be read.
pub fn read(mut source: File, metadata: &Metadata, budget: &Budget) -> io::Result<Contents> {
    let size = metadata.size();
    if size >= LARGE || size > SMALL && !budget.take(size) {
        return Ok(Contents::File(source, size));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    source.read_exact(&mut bytes)?;
    Ok(Contents::Bytes(bytes))
}

/// Opens a file for reading, never a link.
pub(crate) fn open(source: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(source)
}

/// Writes the archive of the tree at `top` to `sink`, like [`super::write()`], with `workers` threads beside the caller's.
///
/// # Errors
/// What can't be read or archived, and what `visitor` says.
pub fn write(
    top: &Path,
    sink: &mut dyn Write,
    workers: usize,
    visitor: &dyn Visitor,
) -> Result<(), NarError> {
    let (steps_in, steps) = sync_channel(AHEAD);
    let (jobs_in, jobs) = channel();
    let (done_in, done) = channel();
    let jobs = Mutex::new(jobs);
    let budget = &Budget::default();
    std::thread::scope(|scope| {
        let _walker = scope.spawn(move || {
            let mut walk = Walk {
                visitor,
                steps_in,
                jobs_in,
                steps: Vec::new(),
                jobs: Vec::new(),
                files: 0,
            };
            // Whoever hashes has seen an error, and left.
            let _left = walk.whole(top);
        });
        for _ in 0..workers.max(1) {
            let (jobs, done_in) = (&jobs, done_in.clone());
            let _worker =
                scope.spawn(move || work(jobs, &done_in, &|relative| visit(top, relative, visitor, budget)));
        }
        drop(done_in);
        let files = Files {
            done,
            early: HashMap::new(),
            budget,
        };
        let result = archive(top, sink, steps, files, visitor);
        // Nobody needs what is still to be read.
        while jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
            .is_ok()
        {}
        result
    })
}

/// A file to read, by its number and its relative path.
struct Job {
    number: usize,
    relative: PathBuf,
}

enum Step {
    Directory,
    Entry(OsString),
    File { number: usize, relative: PathBuf },
    Symlink(PathBuf),
    Leave(PathBuf),
    Failed(NarError),
}

struct Walk<'v> {
    visitor: &'v dyn Visitor,
    steps_in: SyncSender<Vec<Step>>,
    jobs_in: Sender<Vec<Job>>,
    steps: Vec<Step>,
    jobs: Vec<Job>,
    files: usize,
}

/// Nobody listens any more.
struct Left;

impl Walk<'_> {
    fn whole(&mut self, top: &Path) -> Result<(), Left> {
        match top.symlink_metadata() {
            Ok(metadata) => self.node(top, metadata.file_type(), &mut PathBuf::new(), 0)?,
            Err(error) => self.fail(top, error)?,
        }
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<(), Left> {
        // The steps first: their channel alone has an end.
        self.steps_in
            .send(std::mem::take(&mut self.steps))
            .map_err(|_| Left)?;
        self.jobs_in
            .send(std::mem::take(&mut self.jobs))
            .map_err(|_| Left)
    }

    fn step(&mut self, step: Step) -> Result<(), Left> {
        self.steps.push(step);
        if self.steps.len() >= BATCH_STEPS || self.jobs.len() >= BATCH_FILES {
            self.hand_over()?;
        }
        Ok(())
    }

    fn fail(&mut self, path: &Path, error: io::Error) -> Result<(), Left> {
        self.failed(NarError::Read(path.display().to_string(), error))
    }

    fn failed(&mut self, error: NarError) -> Result<(), Left> {
        self.steps.push(Step::Failed(error));
        self.hand_over()?;
        Err(Left)
    }

    fn node(
        &mut self,
        path: &Path,
        kind: FileType,
        relative: &mut PathBuf,
        depth: usize,
    ) -> Result<(), Left> {
        if kind.is_file() {
            let number = self.files;
            self.files += 1;
            self.jobs.push(Job {
                number,
                relative: relative.clone(),
            });
            return self.step(Step::File {
                number,
                relative: relative.clone(),
            });
        }
        if kind.is_symlink() {
            let target = fs::read_link(path);
            let seen = target.and_then(|target| self.visitor.symlink(relative, &target).map(|()| target));
            return match seen {
                Ok(target) => self.step(Step::Symlink(target)),
                Err(error) => self.fail(path, error),
            };
        }
        if !kind.is_dir() {
            return self.failed(NarError::UnsupportedType(path.display().to_string()));
        }
        if depth >= DEPTH_MAX {
            return self.fail(path, io::Error::other("directories lie too deep in each other"));
        }
        self.step(Step::Directory)?;
        let names = self.visitor.directory(relative).and_then(|()| names(path));
        let names = match names {
            Ok(names) => names,
            Err(error) => return self.fail(path, error),
        };
        for (name, kind) in names {
            self.step(Step::Entry(name.clone()))?;
            relative.push(&name);
            let inside = self.node(&path.join(&name), kind, relative, depth + 1);
            let _was = relative.pop();
            inside?;
        }
        self.step(Step::Leave(relative.clone()))
    }
}

fn names(directory: &Path) -> io::Result<Vec<(OsString, FileType)>> {
    let mut names = fs::read_dir(directory)?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name(), entry.file_type()?))
        })
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(names)
}

/// What is archived of a file, and whether it's executable.
type Visited = io::Result<(Contents, bool)>;

type Done = Vec<(usize, Visited)>;

fn work(jobs: &Mutex<Receiver<Vec<Job>>>, done: &Sender<Done>, visit: &dyn Fn(&Path) -> Visited) {
    loop {
        let batch = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = batch else { return };
        let results = batch
            .into_iter()
            .map(|job| (job.number, visit(&job.relative)))
            .collect();
        if done.send(results).is_err() {
            return;
        }
    }
}

fn visit(top: &Path, relative: &Path, visitor: &dyn Visitor, budget: &Budget) -> Visited {
    let file = open(&below(top, relative))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it was a file, and isn't any more"));
    }
    let contents = visitor.file(file, &metadata, relative, budget)?;
    Ok((contents, is_executable(&metadata)))
}

/// The files that were visited, in the order in which they are asked for.
struct Files<'a> {
    done: Receiver<Done>,
    /// Those that came before they were asked for.
    early: HashMap<usize, Visited>,
    budget: &'a Budget,
}

impl Files<'_> {
    fn take(&mut self, number: usize) -> Visited {
        let (contents, executable) = loop {
            if let Some(visited) = self.early.remove(&number) {
                break visited?;
            }
            match self.done.recv() {
                Ok(results) => self.early.extend(results),
                Err(_) => return Err(io::Error::other("a thread that reads files has ended")),
            }
        };
        if let Contents::Bytes(bytes) = &contents {
            let size = bytes.len() as u64;
            if size > SMALL {
                self.budget.give_back(size);
            }
        }
        Ok((contents, executable))
    }
}

/// The top alone has an empty relative path, and no slash after it: it may be a file.
fn below(top: &Path, relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() {
        top.to_owned()
    } else {
        top.join(relative)
    }
}

fn archive(
    top: &Path,
    sink: &mut dyn Write,
    steps: Receiver<Vec<Step>>,
    mut files: Files<'_>,
    visitor: &dyn Visitor,
) -> Result<(), NarError> {
    let mut buffer = vec![0; BUFFER];
    let mut out = Out::new(sink, &mut buffer);
    // For each directory that is open, and the top: what ends it is written when it ends.
    let mut depth = 0usize;
    out.string(super::MAGIC)?;
    for step in steps.into_iter().flatten() {
        match step {
            Step::Directory => {
                out.strings(&[b"(", b"type", b"directory"])?;
                depth += 1;
                continue;
            }
            Step::Entry(name) => {
                out.strings(&[b"entry", b"(", b"name", name.as_bytes(), b"node"])?;
                continue;
            }
            Step::Symlink(target) => {
                let target = target.as_os_str().as_bytes();
                out.strings(&[b"(", b"type", b"symlink", b"target", target])?;
            }
            Step::File { number, relative } => {
                let path = || below(top, &relative);
                let (contents, executable) = files
                    .take(number)
                    .map_err(|error| NarError::Read(path().display().to_string(), error))?;
                out.file(executable)?;
                match contents {
                    Contents::Bytes(bytes) => out.string(&bytes)?,
                    Contents::File(file, size) if size >= LARGE => out.contents_ahead(file, size, &path())?,
                    Contents::File(mut file, size) => out.contents(&mut file, size, &path())?,
                }
            }
            Step::Leave(relative) => {
                visitor
                    .leave(&relative)
                    .map_err(|error| NarError::Read(below(top, &relative).display().to_string(), error))?;
                depth -= 1;
            }
            Step::Failed(error) => return Err(error),
        }
        // A node has ended, and with it the entry that it was.
        out.string(b")")?;
        if depth > 0 {
            out.string(b")")?;
        }
    }
    out.finish()
}
