//! One `.deb`: looked for in directories, then at mirrors; a cut is gone on with, also by the next command.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::lock::Pin;
use super::mirror::Mirror;
use crate::store::cache::copy::Progress;
use crate::store::path::hex;

/// How often a cut is gone on with though nothing came since the last one.
const TRIES: u32 = 3;
/// How long it's waited before that; each time twice as long.
const PAUSE: Duration = Duration::from_millis(250);
const BUFFER: usize = 128 * 1024;

/// Why a package didn't come: each source and what was wrong there, on one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DownloadError(pub(super) String);

/// Where packages come from and go to.
pub(super) struct Download<'a> {
    /// Files lie here until they're whole.
    pub(super) directory: &'a Path,
    pub(super) mirrors: &'a [Mirror],
    pub(super) deb_dirs: &'a [PathBuf],
    pub(super) progress: &'a Progress,
}

/// A file that grows, and its hash so far.
struct Piece {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Piece {
    /// Goes on with what lies at `path`.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => {
                    hash.update(buffer.get(..count).unwrap_or_default());
                    bytes += count as u64;
                }
            }
        }
        Ok(Self { file, hash, bytes })
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        let _start = self.file.seek(SeekFrom::Start(0))?;
        self.hash = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn is(&self, pin: &Pin) -> bool {
        self.bytes == pin.size && hex(&self.hash.clone().finalize()) == pin.sha256
    }
}

/// What came of a try.
enum Outcome {
    Whole,
    /// The source doesn't have it as it should be.
    Wrong(String),
}

impl Download<'_> {
    /// Fetches a package; the file is whole and right.
    pub(super) fn get(&self, pin: &Pin) -> Result<PathBuf, DownloadError> {
        let path = self.directory.join(format!("{}.part", pin.sha256));
        let own = |error: io::Error| DownloadError(format!("{}: {error}", path.display()));
        let mut piece = Piece::open(&path).map_err(own)?;
        if piece.bytes > pin.size {
            piece.restart().map_err(own)?;
        }
        self.progress.bytes(piece.bytes);
        if piece.is(pin) {
            return Ok(path);
        }
        for directory in self.deb_dirs {
            if self.take(pin, &directory.join(pin.file_name()), &mut piece) {
                return Ok(path);
            }
        }
        let mut wrong = Vec::new();
        for (mirror, name) in self.places(pin)? {
            match self.ask(pin, &mirror, &name, &mut piece).map_err(own)? {
                Outcome::Whole => return Ok(path),
                Outcome::Wrong(why) => wrong.push(format!("{}: {why}", mirror.uri())),
            }
        }
        if wrong.is_empty() {
            wrong.push("no mirror is known (packages.mirrors)".to_owned());
        }
        if piece.bytes == 0 {
            // Nothing to go on with.
            let _ignored = std::fs::remove_file(&path);
        }
        Err(DownloadError(wrong.join(", ")))
    }

    /// Takes a file of a directory when it's the right one.
    fn take(&self, pin: &Pin, file: &Path, piece: &mut Piece) -> bool {
        let right_size = file.metadata().is_ok_and(|metadata| metadata.len() == pin.size);
        if !right_size {
            return false;
        }
        let before = piece.bytes;
        let copied = File::open(file).and_then(|mut source| {
            piece.restart()?;
            let mut buffer = vec![0; BUFFER];
            loop {
                match source.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => piece.push(buffer.get(..count).unwrap_or_default())?,
                }
            }
        });
        let right = copied.is_ok() && piece.is(pin);
        if right {
            self.progress.bytes(pin.size - before);
        } else {
            log::warn!(
                "{} isn't the package that the lock names: passed over",
                file.display()
            );
            // What can't be emptied now is seen to be wrong later.
            let _ignored = piece.restart();
        }
        right
    }

    /// Where a package may be: below each mirror, or at the URI that the lock has.
    fn places<'b>(&'b self, pin: &Pin) -> Result<Vec<(MirrorRef<'b>, String)>, DownloadError> {
        if pin.place.contains(':') && pin.place.split(':').next().is_some_and(is_scheme) {
            let (base, name) = pin.place.rsplit_once('/').unwrap_or((&pin.place, ""));
            let mirror = Mirror::open(base).map_err(|error| DownloadError(error.to_string()))?;
            return Ok(vec![(MirrorRef::Own(mirror), name.to_owned())]);
        }
        // Debian's security archive keeps its packages apart from those of the main one.
        let is_security = |text: &str| text.contains("security");
        let of_security = pin.place.starts_with("pool/updates/");
        let mut mirrors: Vec<&Mirror> = self.mirrors.iter().collect();
        mirrors.sort_by_key(|mirror| is_security(mirror.uri()) != of_security);
        Ok(mirrors
            .into_iter()
            .map(|mirror| (MirrorRef::Shared(mirror), pin.place.clone()))
            .collect())
    }

    fn ask(&self, pin: &Pin, mirror: &Mirror, name: &str, piece: &mut Piece) -> io::Result<Outcome> {
        let mut tries = 0;
        // A piece of an earlier command may be of something else.
        let mut began_anew = piece.bytes == 0;
        loop {
            let before = piece.bytes;
            let came = self.read_on(pin, mirror, name, piece)?;
            if piece.is(pin) {
                return Ok(Outcome::Whole);
            }
            let why = match came {
                Ok(()) if piece.bytes >= pin.size => {
                    let why = format!(
                        "it serves other bytes: {}sha256 {} instead of {}",
                        if piece.bytes > pin.size {
                            "more than there should be, "
                        } else {
                            ""
                        },
                        hex(&piece.hash.clone().finalize()),
                        pin.sha256
                    );
                    piece.restart()?;
                    if !began_anew {
                        began_anew = true;
                        continue;
                    }
                    return Ok(Outcome::Wrong(why));
                }
                Ok(()) => format!("it ended after {} of {} bytes", piece.bytes, pin.size),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Outcome::Wrong("it doesn't have it (any more)".to_owned()));
                }
                Err(error) => error.to_string(),
            };
            if piece.bytes > before {
                tries = 0;
            }
            if tries >= TRIES {
                // One that answers is there, whatever it says.
                if piece.bytes == before && !why.starts_with("the server answers") {
                    mirror.set_away();
                }
                return Ok(Outcome::Wrong(why));
            }
            std::thread::sleep(PAUSE * (1 << tries));
            tries += 1;
        }
    }

    /// Reads from where the piece ends. The outer error is that of the own file.
    fn read_on(
        &self,
        pin: &Pin,
        mirror: &Mirror,
        name: &str,
        piece: &mut Piece,
    ) -> io::Result<io::Result<()>> {
        let mut source = match mirror.open_file(name, piece.bytes) {
            Ok(source) => source,
            Err(error) => return Ok(Err(error)),
        };
        let mut buffer = vec![0; BUFFER];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(count) => {
                    piece.push(buffer.get(..count).unwrap_or_default())?;
                    self.progress.bytes(count as u64);
                    if piece.bytes > pin.size {
                        return Ok(Ok(()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

enum MirrorRef<'a> {
    Shared(&'a Mirror),
    Own(Mirror),
}

impl std::ops::Deref for MirrorRef<'_> {
    type Target = Mirror;

    fn deref(&self) -> &Mirror {
        match self {
            Self::Shared(mirror) => mirror,
            Self::Own(mirror) => mirror,
        }
    }
}

fn is_scheme(text: &str) -> bool {
    matches!(text, "http" | "https" | "file" | "copy")
}
