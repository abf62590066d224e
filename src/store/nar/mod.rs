//! The Nix archive format (NAR): one canonical byte stream per tree, which hashes and caches are over.
//!
//! Format: E. Dolstra, "The Purely Functional Software Deployment Model", figure 5.2.

use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

#[cfg(feature = "tools")]
pub mod pipeline;
pub mod read;
#[cfg(feature = "tools")]
mod unpack;
mod write;

#[cfg(feature = "tools")]
pub use unpack::{UnpackError, unpack};
pub use write::Archiver;

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
    Archiver::default().write(path, sink)
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

impl Archiver {
    /// Hash and size of the archive of what lies at `path`.
    ///
    /// # Errors
    /// What can't be read or archived.
    pub fn hash(&mut self, path: &Path) -> Result<NarHash, NarError> {
        hash_written(&mut |_| {}, |sink| self.write(path, sink))
    }
}

/// Hash and size of the archive that `writer` writes, in large pieces. `also` sees every byte too.
pub fn hash_written(
    also: &mut dyn FnMut(&[u8]),
    writer: impl FnOnce(&mut dyn Write) -> Result<(), NarError>,
) -> Result<NarHash, NarError> {
    let mut sink = HashSink {
        sha256: Sha256::new(),
        size: 0,
        also,
    };
    writer(&mut sink)?;
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

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use std::os::unix::fs::PermissionsExt;

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
