//! The archive of a tree on its way: files are read straight into the buffer that is hashed or written.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
#[cfg(feature = "tools")]
use std::sync::mpsc::sync_channel;

use nix::dir::{Dir, Type};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::{BUFFER, MAGIC, NarError};

/// Deeper trees are refused: they are walked by recursion, with a descriptor for each directory.
pub(super) const DEPTH_MAX: usize = 256;
/// What is as long goes to the sink by itself, and a file isn't read by less.
const PIECE: usize = 16 * 1024;
/// How many buffers are on their way between whoever reads a large file and whoever hashes it.
#[cfg(feature = "tools")]
const BUFFERS: usize = 3;
/// Of so many bytes each: more than a processor's own cache, so that they lie in the one that both share.
#[cfg(feature = "tools")]
const AHEAD: usize = 1 << 20;

/// Where an archive goes, by way of a buffer.
pub(super) struct Out<'a> {
    sink: &'a mut dyn Write,
    buffer: &'a mut [u8],
    filled: usize,
}

impl<'a> Out<'a> {
    /// `buffer` holds at least two pieces; the archive has gone to `sink` after [`Out::finish`].
    pub(super) fn new(sink: &'a mut dyn Write, buffer: &'a mut [u8]) -> Self {
        Self {
            sink,
            buffer,
            filled: 0,
        }
    }

    pub(super) fn finish(mut self) -> Result<(), NarError> {
        Ok(self.flush()?)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink
            .write_all(self.buffer.get(..self.filled).unwrap_or_default())?;
        self.filled = 0;
        Ok(())
    }

    /// The buffer's free rest, of at least `wanted` bytes, or of all that it has.
    fn room(&mut self, wanted: usize) -> io::Result<&mut [u8]> {
        if self.buffer.len() - self.filled < wanted {
            self.flush()?;
        }
        Ok(self.buffer.get_mut(self.filled..).unwrap_or_default())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), NarError> {
        if bytes.len() >= PIECE {
            self.flush()?;
            return Ok(self.sink.write_all(bytes)?);
        }
        let room = self.room(bytes.len())?;
        if let Some(place) = room.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.filled += bytes.len();
        Ok(())
    }

    fn padding(&mut self, size: u64) -> Result<(), NarError> {
        let missing = usize::try_from((8 - size % 8) % 8).unwrap_or(0);
        self.put([0u8; 8].get(..missing).unwrap_or_default())
    }

    /// Length, bytes, and zeroes up to a multiple of eight.
    pub(super) fn string(&mut self, bytes: &[u8]) -> Result<(), NarError> {
        self.put(&(bytes.len() as u64).to_le_bytes())?;
        self.put(bytes)?;
        self.padding(bytes.len() as u64)
    }

    pub(super) fn strings(&mut self, all: &[&[u8]]) -> Result<(), NarError> {
        all.iter().try_for_each(|bytes| self.string(bytes))
    }

    /// What stands before a file's contents.
    pub(super) fn file(&mut self, executable: bool) -> Result<(), NarError> {
        self.strings(&[b"(", b"type", b"regular"])?;
        if executable {
            self.strings(&[b"executable", b""])?;
        }
        self.string(b"contents")
    }

    /// `size` bytes of a file, which is called `path`. What is appended to it meanwhile isn't archived.
    pub(super) fn contents(&mut self, file: &mut File, size: u64, path: &Path) -> Result<(), NarError> {
        self.put(&size.to_le_bytes())?;
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let room = self.room(most.min(PIECE))?;
            let wanted = room.len().min(most);
            match file.read(room.get_mut(..wanted).unwrap_or_default()) {
                // A length that disagrees with the bytes would make an archive that reads as something else.
                Ok(0) => return Err(NarError::Changed(path.display().to_string())),
                Ok(count) => {
                    self.filled += count;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NarError::Read(path.display().to_string(), error)),
            }
        }
        self.padding(size)
    }

    /// The same, where another thread reads ahead.
    #[cfg(feature = "tools")]
    pub(super) fn contents_ahead(&mut self, mut file: File, size: u64, path: &Path) -> Result<(), NarError> {
        self.put(&size.to_le_bytes())?;
        self.flush()?;
        let (full_in, full) = sync_channel::<io::Result<Vec<u8>>>(BUFFERS);
        let (empty_in, empty) = sync_channel::<Vec<u8>>(BUFFERS);
        let left = std::thread::scope(|scope| {
            let _reader = scope.spawn(move || {
                let mut left = size;
                let mut fresh = BUFFERS;
                while left > 0 {
                    let mut buffer = if fresh > 0 {
                        fresh -= 1;
                        Vec::with_capacity(AHEAD)
                    } else {
                        // Whoever hashes has seen an error, and left.
                        let Ok(buffer) = empty.recv() else { return };
                        buffer
                    };
                    buffer.resize(usize::try_from(left).unwrap_or(AHEAD).min(AHEAD), 0);
                    let read = file.read_exact(&mut buffer).map(|()| buffer);
                    let is_over = read.is_err();
                    left -= read.as_ref().map_or(0, |buffer| buffer.len() as u64);
                    if full_in.send(read).is_err() || is_over {
                        return;
                    }
                }
            });
            let mut left = size;
            for read in full {
                let buffer = read.map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => NarError::Changed(path.display().to_string()),
                    _ => NarError::Read(path.display().to_string(), error),
                })?;
                self.sink.write_all(&buffer)?;
                left -= buffer.len() as u64;
                // The reader may be done.
                let _ignored = empty_in.send(buffer);
            }
            Ok::<_, NarError>(left)
        })?;
        if left > 0 {
            let error = io::Error::other("the thread that reads it has ended");
            return Err(NarError::Read(path.display().to_string(), error));
        }
        self.padding(size)
    }

    /// The whole archive of what lies at `path`.
    pub(super) fn archive(&mut self, path: &Path) -> Result<(), NarError> {
        self.string(MAGIC)?;
        self.node(Place(AT_FDCWD, path.as_os_str()), None, &mut path.to_owned(), 0)
    }

    fn node(
        &mut self,
        place: Place<'_>,
        known: Option<Type>,
        path: &mut PathBuf,
        depth: usize,
    ) -> Result<(), NarError> {
        let failed = |path: &Path, error: io::Error| NarError::Read(path.display().to_string(), error);
        let kind = match known {
            Some(kind) => kind,
            None => place.kind().map_err(|error| failed(path, error))?,
        };
        match kind {
            Type::File => {
                let (mut file, metadata) = place.open_file().map_err(|error| failed(path, error))?;
                if !metadata.is_file() {
                    return Err(NarError::Changed(path.display().to_string()));
                }
                self.file(metadata.permissions().mode() & 0o100 != 0)?;
                self.contents(&mut file, metadata.size(), path)?;
            }
            Type::Symlink => {
                let target = readlinkat(place.0, place.1).map_err(|errno| failed(path, errno.into()))?;
                self.strings(&[b"(", b"type", b"symlink", b"target", target.as_bytes()])?;
            }
            Type::Directory => {
                if depth >= DEPTH_MAX {
                    let error = io::Error::other("directories lie too deep in each other");
                    return Err(failed(path, error));
                }
                let (directory, names) = place.list().map_err(|error| failed(path, error))?;
                self.strings(&[b"(", b"type", b"directory"])?;
                for (name, kind) in names {
                    let name = OsStr::from_bytes(name.as_bytes());
                    self.strings(&[b"entry", b"(", b"name", name.as_bytes(), b"node"])?;
                    path.push(name);
                    let inside = Place(std::os::fd::AsFd::as_fd(&directory), name);
                    self.node(inside, kind, path, depth + 1)?;
                    let _was = path.pop();
                    self.string(b")")?;
                }
            }
            _ => return Err(NarError::UnsupportedType(path.display().to_string())),
        }
        self.string(b")")
    }
}

/// A name in an open directory.
#[derive(Clone, Copy)]
struct Place<'a>(BorrowedFd<'a>, &'a OsStr);

/// A name in a directory, and its type where the file system tells it.
type Listed = (CString, Option<Type>);

impl Place<'_> {
    fn kind(self) -> io::Result<Type> {
        let stat = fstatat(self.0, self.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        Ok(match kind {
            SFlag::S_IFREG => Type::File,
            SFlag::S_IFDIR => Type::Directory,
            SFlag::S_IFLNK => Type::Symlink,
            // Which of the others doesn't matter.
            _ => Type::Fifo,
        })
    }

    fn open_file(self) -> io::Result<(File, std::fs::Metadata)> {
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let file = File::from(openat(self.0, self.1, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }

    /// The directory, and what is in it, in order.
    fn list(self) -> io::Result<(Dir, Vec<Listed>)> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut directory = Dir::openat(self.0, self.1, flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push((name.to_owned(), entry.file_type()));
            }
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok((directory, names))
    }
}

/// A buffer for archives, for whoever makes many.
#[derive(Debug)]
pub struct Archiver {
    buffer: Vec<u8>,
}

impl Default for Archiver {
    fn default() -> Self {
        Self {
            buffer: vec![0; BUFFER],
        }
    }
}

impl Archiver {
    /// Writes the archive of the file, link or tree at `path` to `sink`.
    ///
    /// # Errors
    /// What can't be read or archived, and what `sink` says.
    pub fn write(&mut self, path: &Path, sink: &mut dyn Write) -> Result<(), NarError> {
        let mut out = Out::new(sink, &mut self.buffer);
        out.archive(path)?;
        out.finish()
    }

    /// Writes the archive of a file that is open, and called `path`.
    ///
    /// # Errors
    /// When it can't be read, and what `sink` says.
    pub fn write_file(&mut self, file: &mut File, path: &Path, sink: &mut dyn Write) -> Result<(), NarError> {
        let metadata = file
            .metadata()
            .map_err(|error| NarError::Read(path.display().to_string(), error))?;
        let mut out = Out::new(sink, &mut self.buffer);
        out.string(MAGIC)?;
        out.file(metadata.permissions().mode() & 0o100 != 0)?;
        out.contents(file, metadata.size(), path)?;
        out.string(b")")?;
        out.finish()
    }
}
