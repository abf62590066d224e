//! Reads an archive from a stream, piece by piece: nothing is believed that the canonical form doesn't allow.

use std::io::{self, Read};

use super::{BUFFER, MAGIC};

/// Deeper archives are refused, as deeper trees are.
const DEPTH_MAX: usize = 256;
/// Longest name of a file (Linux, NAME_MAX), and longest target of a link (PATH_MAX without its end).
const NAME_MAX: u64 = 255;
const TARGET_MAX: u64 = 4095;
/// Longest of the words that make up the format.
const WORD_MAX: u64 = 13;

/// Why a stream is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream can't be read, or ends too early.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The stream ends within the archive.
    #[error("it ends after {0} bytes, in the middle")]
    Truncated(u64),
    /// Not the word that has to stand there.
    #[error(
        "at byte {at} stands '{found}' where {expected} has to stand: it is no archive of Nix, or damaged"
    )]
    Unexpected {
        /// Where, in bytes from the beginning.
        at: u64,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// Longer than what stands there can be.
    #[error("at byte {at} something of {length} bytes is announced, where at most {most} are possible")]
    TooLong {
        /// Where.
        at: u64,
        /// How long it is said to be.
        length: u64,
        /// How long it may be.
        most: u64,
    },
    /// The bytes that fill up to eight aren't zero.
    #[error("the bytes before byte {0} that only fill up are not zero: it is damaged")]
    Padding(u64),
    /// A name that no file may have.
    #[error("a file in it is named '{0}': such a name leads elsewhere, and is refused")]
    BadName(String),
    /// Names that are equal, or in another order than that of their bytes.
    #[error("'{second}' stands after '{first}' in it: names have to be in order, and different")]
    Order {
        /// The name before.
        first: String,
        /// The name after it.
        second: String,
    },
    /// A link that leads nowhere.
    #[error("a link in it has the target '{0}', which no link can have")]
    BadTarget(String),
    /// Too deep.
    #[error("directories in it lie deeper than {DEPTH_MAX}")]
    TooDeep,
    /// Bytes after the end.
    #[error("it goes on after its end")]
    GoesOn,
}

/// A piece of an archive, in the order of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A directory begins: [`Item::Entry`] and what it names, again and again, up to [`Item::Leave`].
    Directory,
    /// The name of what follows, in the directory that is open.
    Entry(Vec<u8>),
    /// A file. Its contents have to be taken by [`Reader::contents`] before the next item.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Bytes.
        size: u64,
    },
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// The directory that is open ends.
    Leave,
}

/// Reads an archive.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    at: u64,
    /// The last names of the open directories.
    open: Vec<Option<Vec<u8>>>,
    state: State,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begin,
    /// A node has to follow.
    Node,
    /// Contents of so many bytes have to be taken.
    Contents(u64),
    /// A node has ended.
    Ended,
    /// In a directory: an entry, or its end.
    InDirectory,
    Over,
}

impl<R: Read> Reader<R> {
    /// Reads from `source`, which should be buffered.
    pub fn new(source: R) -> Self {
        Self {
            source,
            at: 0,
            open: Vec::new(),
            state: State::Begin,
            buffer: Vec::new(),
        }
    }

    /// The next piece; nothing at the archive's end.
    ///
    /// # Errors
    /// Whatever isn't the canonical form.
    pub fn item(&mut self) -> Result<Option<Item>, ReadError> {
        loop {
            match self.state {
                State::Begin => {
                    self.expect(MAGIC, "the beginning of an archive")?;
                    self.state = State::Node;
                }
                State::Node => return self.node().map(Some),
                State::Contents(size) => {
                    // Nobody wanted them.
                    self.take_contents(size, &mut |_| Ok(()))?;
                }
                State::Ended => {
                    if self.open.is_empty() {
                        self.state = State::Over;
                    } else {
                        self.expect(b")", "the end of an entry")?;
                        self.state = State::InDirectory;
                    }
                }
                State::InDirectory => return self.entry_or_end().map(Some),
                State::Over => return Ok(None),
            }
        }
    }

    /// The contents of the file that was the last item.
    ///
    /// # Errors
    /// Those of `sink`, and of the stream.
    pub fn contents(&mut self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), ReadError> {
        match self.state {
            State::Contents(size) => self.take_contents(size, sink),
            _ => Ok(()),
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// What it reads from.
    pub fn into_source(self) -> R {
        self.source
    }

    fn node(&mut self) -> Result<Item, ReadError> {
        self.expect(b"(", "a file's beginning")?;
        self.expect(b"type", "a type")?;
        let at = self.at;
        let word = self.string(WORD_MAX)?;
        match word.as_slice() {
            b"regular" => self.file(),
            b"symlink" => {
                self.expect(b"target", "a link's target")?;
                let target = self.string(TARGET_MAX)?;
                if target.is_empty() || target.contains(&0) {
                    return Err(ReadError::BadTarget(shown(&target)));
                }
                self.expect(b")", "the end of a link")?;
                self.state = State::Ended;
                Ok(Item::Symlink(target))
            }
            b"directory" => {
                if self.open.len() >= DEPTH_MAX {
                    return Err(ReadError::TooDeep);
                }
                self.open.push(None);
                self.state = State::InDirectory;
                Ok(Item::Directory)
            }
            other => Err(unexpected(at, other, "'regular', 'symlink' or 'directory'")),
        }
    }

    fn file(&mut self) -> Result<Item, ReadError> {
        let mut executable = false;
        let mut at = self.at;
        let mut word = self.string(WORD_MAX)?;
        if word == b"executable" {
            self.expect(b"", "nothing")?;
            executable = true;
            at = self.at;
            word = self.string(WORD_MAX)?;
        }
        if word != b"contents" {
            return Err(unexpected(at, &word, "'contents'"));
        }
        let size = self.length()?;
        self.state = State::Contents(size);
        Ok(Item::File { executable, size })
    }

    fn entry_or_end(&mut self) -> Result<Item, ReadError> {
        let at = self.at;
        let word = self.string(WORD_MAX)?;
        match word.as_slice() {
            b")" => {
                let _last = self.open.pop();
                self.state = State::Ended;
                Ok(Item::Leave)
            }
            b"entry" => {
                self.expect(b"(", "an entry's beginning")?;
                self.expect(b"name", "an entry's name")?;
                let name = self.string(NAME_MAX)?;
                check_name(&name)?;
                if let Some(last) = self.open.last_mut() {
                    if let Some(first) = last.as_ref().filter(|first| **first >= name) {
                        return Err(ReadError::Order {
                            first: shown(first),
                            second: shown(&name),
                        });
                    }
                    *last = Some(name.clone());
                }
                self.expect(b"node", "an entry's file")?;
                self.state = State::Node;
                Ok(Item::Entry(name))
            }
            other => Err(unexpected(at, other, "'entry' or the end of a directory")),
        }
    }

    fn take_contents(
        &mut self,
        size: u64,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ReadError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            self.fill(piece)?;
            sink(piece)?;
            left -= piece.len() as u64;
        }
        self.buffer = buffer;
        self.padding(size)?;
        self.expect(b")", "the end of a file")?;
        self.state = State::Ended;
        Ok(())
    }

    fn expect(&mut self, word: &[u8], what: &'static str) -> Result<(), ReadError> {
        let at = self.at;
        let found = self.string(WORD_MAX)?;
        if found == word {
            Ok(())
        } else {
            Err(unexpected(at, &found, what))
        }
    }

    /// A string: its length, its bytes, zeroes up to a multiple of eight.
    fn string(&mut self, most: u64) -> Result<Vec<u8>, ReadError> {
        let at = self.at;
        let length = self.length()?;
        if length > most {
            return Err(ReadError::TooLong { at, length, most });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut bytes)?;
        self.padding(length)?;
        Ok(bytes)
    }

    fn length(&mut self) -> Result<u64, ReadError> {
        let mut bytes = [0u8; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn padding(&mut self, length: u64) -> Result<(), ReadError> {
        let mut bytes = [0u8; 8];
        let missing = usize::try_from((8 - length % 8) % 8).unwrap_or(0);
        let padding = bytes.get_mut(..missing).unwrap_or_default();
        self.fill(padding)?;
        if padding.iter().all(|&byte| byte == 0) {
            Ok(())
        } else {
            Err(ReadError::Padding(self.at))
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        match self.source.read_exact(bytes) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadError::Truncated(self.at)),
            Err(error) => Err(error.into()),
        }
    }
}

fn check_name(name: &[u8]) -> Result<(), ReadError> {
    let leads_elsewhere =
        name.is_empty() || matches!(name, b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0));
    if leads_elsewhere {
        return Err(ReadError::BadName(shown(name)));
    }
    Ok(())
}

fn unexpected(at: u64, found: &[u8], expected: &'static str) -> ReadError {
    ReadError::Unexpected {
        at,
        found: shown(found),
        expected,
    }
}

/// What a console may show of it.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .take(100)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
