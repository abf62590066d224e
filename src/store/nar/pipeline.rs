//! Archives a tree with several threads: one walks it, some read its files ahead, the caller's hashes in order.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::{BUFFER, NarError, padding, string, strings};

/// How far the walk may be ahead: so many files lie in memory, or are open.
const AHEAD: usize = 128;
/// A file of at most so many bytes is held in memory; a larger one is read again, from the page cache.
const SMALL: u64 = 64 * 1024;
/// Deeper trees are refused: they are walked by recursion.
const DEPTH_MAX: usize = 256;

/// A file's contents, on their way to the archive.
#[derive(Debug)]
pub enum Contents {
    /// All of them.
    Bytes(Vec<u8>),
    /// A file that is at its beginning, and its size.
    File(File, u64),
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

    /// A file: gives what is archived.
    fn file(&self, source: &Path, _relative: &Path, _executable: bool) -> io::Result<Contents> {
        read(source)
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

/// Opens a file, and reads it when it's small.
///
/// # Errors
/// When it can't be read; when it's a link.
pub fn read(source: &Path) -> io::Result<Contents> {
    let mut file = open(source)?;
    let size = file.metadata()?.size();
    if size > SMALL {
        return Ok(Contents::File(file, size));
    }
    // One byte more shows that it has grown.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    let _count = file.read_to_end(&mut bytes)?;
    Ok(Contents::Bytes(bytes))
}

/// Opens a file for reading, never a link.
pub(crate) fn open(source: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(source)
}

/// Writes the archive of the tree at `top` to `sink`, like [`super::write`], with `workers` threads beside the caller's.
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
    std::thread::scope(|scope| {
        let _walker = scope.spawn(move || {
            let mut walk = Walk {
                visitor,
                steps: steps_in,
                jobs: jobs_in,
                files: 0,
            };
            // Whoever hashes has seen an error, and left.
            let _left = walk.node(top, &mut PathBuf::new(), 0);
        });
        for _ in 0..workers.max(1) {
            let (jobs, done_in) = (&jobs, done_in.clone());
            let _worker = scope.spawn(move || work(top, jobs, &done_in, visitor));
        }
        drop(done_in);
        let result = archive(top, sink, steps, &done, visitor);
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
    executable: bool,
}

enum Step {
    Directory,
    Entry(OsString),
    File {
        number: usize,
        executable: bool,
        relative: PathBuf,
    },
    Symlink(PathBuf),
    Leave(PathBuf),
    Failed(NarError),
}

struct Walk<'v> {
    visitor: &'v dyn Visitor,
    steps: SyncSender<Step>,
    jobs: Sender<Job>,
    files: usize,
}

/// Nobody listens any more.
struct Left;

impl Walk<'_> {
    fn step(&self, step: Step) -> Result<(), Left> {
        self.steps.send(step).map_err(|_| Left)
    }

    fn fail(&self, path: &Path, error: io::Error) -> Result<(), Left> {
        self.step(Step::Failed(NarError::Read(path.display().to_string(), error)))?;
        Err(Left)
    }

    fn node(&mut self, path: &Path, relative: &mut PathBuf, depth: usize) -> Result<(), Left> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) => return self.fail(path, error),
        };
        if metadata.is_file() {
            return self.file(&metadata, relative);
        }
        if metadata.is_symlink() {
            let target = fs::read_link(path);
            let seen = target.and_then(|target| self.visitor.symlink(relative, &target).map(|()| target));
            return match seen {
                Ok(target) => self.step(Step::Symlink(target)),
                Err(error) => self.fail(path, error),
            };
        }
        if !metadata.is_dir() {
            self.step(Step::Failed(NarError::UnsupportedType(
                path.display().to_string(),
            )))?;
            return Err(Left);
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
        for name in names {
            self.step(Step::Entry(name.clone()))?;
            relative.push(&name);
            let inside = self.node(&path.join(&name), relative, depth + 1);
            let _was = relative.pop();
            inside?;
        }
        self.step(Step::Leave(relative.clone()))
    }

    fn file(&mut self, metadata: &Metadata, relative: &Path) -> Result<(), Left> {
        let executable = metadata.permissions().mode() & 0o100 != 0;
        let number = self.files;
        self.files += 1;
        self.step(Step::File {
            number,
            executable,
            relative: relative.to_owned(),
        })?;
        let job = Job {
            number,
            relative: relative.to_owned(),
            executable,
        };
        self.jobs.send(job).map_err(|_| Left)
    }
}

fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

type Done = (usize, io::Result<Contents>);

fn work(top: &Path, jobs: &Mutex<Receiver<Job>>, done: &Sender<Done>, visitor: &dyn Visitor) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let contents = visitor.file(&below(top, &job.relative), &job.relative, job.executable);
        if done.send((job.number, contents)).is_err() {
            return;
        }
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
    steps: Receiver<Step>,
    done: &Receiver<Done>,
    visitor: &dyn Visitor,
) -> Result<(), NarError> {
    let mut early: HashMap<usize, io::Result<Contents>> = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    // For each directory that is open, and the top: what ends it is written when it ends.
    let mut depth = 0usize;
    string(sink, super::MAGIC)?;
    for step in steps {
        match step {
            Step::Directory => {
                strings(sink, &[b"(", b"type", b"directory"])?;
                depth += 1;
                continue;
            }
            Step::Entry(name) => {
                strings(sink, &[b"entry", b"(", b"name", name.as_bytes(), b"node"])?;
                continue;
            }
            Step::Symlink(target) => {
                strings(
                    sink,
                    &[
                        b"(",
                        b"type",
                        b"symlink",
                        b"target",
                        target.as_os_str().as_bytes(),
                    ],
                )?;
            }
            Step::File {
                number,
                executable,
                relative,
            } => {
                let failed = |error| NarError::Read(below(top, &relative).display().to_string(), error);
                let contents = loop {
                    if let Some(contents) = early.remove(&number) {
                        break contents;
                    }
                    match done.recv() {
                        Ok((number, contents)) => drop(early.insert(number, contents)),
                        Err(_) => break Err(io::Error::other("a thread that reads files has ended")),
                    }
                };
                strings(sink, &[b"(", b"type", b"regular"])?;
                if executable {
                    strings(sink, &[b"executable", b""])?;
                }
                string(sink, b"contents")?;
                match contents.map_err(failed)? {
                    Contents::Bytes(bytes) => string(sink, &bytes)?,
                    Contents::File(mut file, size) => {
                        sink.write_all(&size.to_le_bytes())?;
                        let mut seen = 0;
                        loop {
                            let count = match file.read(&mut buffer) {
                                Ok(0) => break,
                                Ok(count) => count,
                                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                                Err(error) => return Err(failed(error)),
                            };
                            seen += count as u64;
                            sink.write_all(buffer.get(..count).unwrap_or_default())?;
                        }
                        if seen != size {
                            return Err(NarError::Changed(below(top, &relative).display().to_string()));
                        }
                        padding(sink, size)?;
                    }
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
        string(sink, b")")?;
        if depth > 0 {
            string(sink, b")")?;
        }
    }
    Ok(())
}
