//! The Nix archive format (NAR): one canonical byte stream per tree, which hashes and caches are over.
//!
//! Format: E. Dolstra, "The Purely Functional Software Deployment Model", figure 5.2.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

#[cfg(feature = "tools")]
pub mod pipeline;
pub mod read;
#[cfg(feature = "tools")]
mod unpack;

#[cfg(feature = "tools")]
pub use unpack::{UnpackError, unpack};

const MAGIC: &[u8] = b"nix-archive-1";
pub(crate) const BUFFER: usize = 256 * 1024;

/// Why a tree can't be archived.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// A device node, socket or fifo.
    #[error("{0}: neither a file, a directory nor a symbolic link: a store path can't hold it")]
    UnsupportedType(String),
    /// A flat hash is over a file's bytes.
    #[error("{0}: not a file: only the archive of a tree can be hashed")]
    NoFile(String),
    /// The file was changed while it was read.
    #[error("{0}: its size changed while it was read")]
    Changed(String),
    /// Reading the tree failed.
    #[error("{0}: {1}")]
    Read(String, #[source] io::Error),
    /// Writing the archive failed.
    #[error("writing an archive: {0}")]
    Write(#[from] io::Error),
}

/// Writes the archive of the file, link or tree at `path` to `sink`.
pub fn write(path: &Path, sink: &mut dyn Write) -> Result<(), NarError> {
    string(sink, MAGIC)?;
    node(path, sink, &mut vec![0; BUFFER])
}

/// SHA-256 and size of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NarHash {
    /// SHA-256 of the archive.
    pub sha256: [u8; 32],
    /// Its bytes.
    pub size: u64,
}

/// Hash and size of the archive of what lies at `path`, without making it. `also` sees every byte too.
pub fn hash(path: &Path, also: &mut dyn FnMut(&[u8])) -> Result<NarHash, NarError> {
    hash_written(also, |sink| write(path, sink))
}

/// Hash and size of the archive that `writer` writes. `also` sees every byte too.
pub fn hash_written(
    also: &mut dyn FnMut(&[u8]),
    writer: impl FnOnce(&mut dyn Write) -> Result<(), NarError>,
) -> Result<NarHash, NarError> {
    let mut sink = HashSink {
        sha256: Sha256::new(),
        size: 0,
        also,
    };
    let mut buffered = io::BufWriter::with_capacity(BUFFER, &mut sink);
    writer(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    Ok(NarHash {
        sha256: sink.sha256.finalize().into(),
        size: sink.size,
    })
}

struct HashSink<'a> {
    sha256: Sha256,
    size: u64,
    also: &'a mut dyn FnMut(&[u8]),
}

impl Write for HashSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
        (self.also)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn node(path: &Path, sink: &mut dyn Write, buffer: &mut [u8]) -> Result<(), NarError> {
    let failed = |error| NarError::Read(path.display().to_string(), error);
    let metadata = path.symlink_metadata().map_err(failed)?;
    strings(sink, &[b"(", b"type"])?;
    if metadata.is_file() {
        string(sink, b"regular")?;
        if metadata.permissions().mode() & 0o100 != 0 {
            strings(sink, &[b"executable", b""])?;
        }
        string(sink, b"contents")?;
        contents(path, metadata.size(), sink, buffer)?;
    } else if metadata.is_symlink() {
        let target = std::fs::read_link(path).map_err(failed)?;
        strings(sink, &[b"symlink", b"target", target.as_os_str().as_bytes()])?;
    } else if metadata.is_dir() {
        string(sink, b"directory")?;
        let mut names = std::fs::read_dir(path)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|e| e.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(failed)?;
        names.sort_unstable();
        for name in names {
            strings(sink, &[b"entry", b"(", b"name", name.as_bytes(), b"node"])?;
            node(&path.join(&name), sink, buffer)?;
            string(sink, b")")?;
        }
    } else {
        return Err(NarError::UnsupportedType(path.display().to_string()));
    }
    string(sink, b")")
}

fn contents(path: &Path, size: u64, sink: &mut dyn Write, buffer: &mut [u8]) -> Result<(), NarError> {
    let failed = |error| NarError::Read(path.display().to_string(), error);
    let mut file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .map_err(failed)?;
    sink.write_all(&size.to_le_bytes())?;
    let mut seen = 0u64;
    loop {
        let count = match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        sink.write_all(buffer.get(..count).unwrap_or_default())?;
        seen += count as u64;
    }
    // A length that disagrees with the bytes would make an archive that reads as something else.
    if seen != size {
        return Err(NarError::Changed(path.display().to_string()));
    }
    padding(sink, size)
}

fn strings(sink: &mut dyn Write, all: &[&[u8]]) -> Result<(), NarError> {
    all.iter().try_for_each(|bytes| string(sink, bytes))
}

fn string(sink: &mut dyn Write, bytes: &[u8]) -> Result<(), NarError> {
    sink.write_all(&(bytes.len() as u64).to_le_bytes())?;
    sink.write_all(bytes)?;
    padding(sink, bytes.len() as u64)
}

fn padding(sink: &mut dyn Write, size: u64) -> Result<(), NarError> {
    let missing = (8 - size % 8) % 8;
    Ok(sink.write_all(
        [0u8; 8]
            .get(..usize::try_from(missing).unwrap_or(0))
            .unwrap_or_default(),
    )?)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;

    #[test]
    fn a_file_is_archived_with_length_and_padding() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"hi\n").unwrap();
        let mut out = Vec::new();
        write(&path, &mut out).unwrap();
        assert_eq!(out.len() % 8, 0);
        assert_eq!(&out[..8], 13u64.to_le_bytes());
        assert!(out.windows(11).any(|w| w == b"\x03\0\0\0\0\0\0\0hi\n"));
        let seen = hash(&path, &mut |_| {}).unwrap();
        assert_eq!(
            (seen.size, seen.sha256),
            (out.len() as u64, Sha256::digest(&out).into())
        );
    }

    #[test]
    fn refuses_a_fifo_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let error = write(dir.path(), &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("pipe: neither a file"), "{error}");
    }

    #[test]
    fn archives_are_those_of_nix() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("tree");
        std::fs::create_dir_all(top.join("b/empty")).unwrap();
        for (name, size) in [
            ("b/none", 0),
            ("a", 7),
            ("a.b", 8),
            ("a-b", 4097),
            ("B", 300_001),
            ("\u{e9}", 1),
        ] {
            std::fs::write(top.join(name), vec![b'x'; size]).unwrap();
        }
        std::fs::set_permissions(top.join("a"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("../somewhere", top.join("link")).unwrap();
        let mut out = Vec::new();
        write(&top, &mut out).unwrap();
        let nix = std::process::Command::new("nix-store")
            .arg("--dump")
            .arg(&top)
            .output()
            .unwrap();
        assert!(nix.status.success());
        assert!(out == nix.stdout);
    }
}
