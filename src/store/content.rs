//! Content addresses: how the name of a path follows from what it holds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::base32;
use super::derivation::Algorithm;
use super::nar::{self, NarError};
use super::path::{Kind, PathError, References, StorePath, fixed_output_path, hex, make_store_path};

/// What a content address is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// How it's hashed.
    pub algorithm: Algorithm,
    /// Over the bytes of a single file, instead of over the archive of a tree.
    pub flat: bool,
}

impl Method {
    /// What `nix-store --add` does.
    pub const SOURCE: Method = Method {
        algorithm: Algorithm::Sha256,
        flat: false,
    };

    /// The path of content with this hash, and its content address as the database and caches name it.
    ///
    /// # Errors
    /// When `name` is none for a store path.
    pub fn path(self, store_dir: &str, hash: &[u8], name: &str) -> Result<(StorePath, String), PathError> {
        let recursive = if self.flat { "" } else { "r:" };
        let address = format!(
            "fixed:{recursive}{}:{}",
            self.algorithm.name(),
            base32::encode(hash)
        );
        let path = match <&[u8; 32]>::try_from(hash) {
            Ok(sha256) if !self.flat && self.algorithm == Algorithm::Sha256 => {
                make_store_path(store_dir, Kind::Source(References::default()), sha256, name)?
            }
            _ => fixed_output_path(store_dir, !self.flat, (self.algorithm.name(), &hex(hash)), name)?,
        };
        Ok((path, address))
    }

    /// The hash of what lies at `path`.
    ///
    /// # Errors
    /// What can't be read; a flat hash of what is no file.
    pub fn hash(self, path: &Path) -> Result<Vec<u8>, NarError> {
        let mut hasher = Hasher::new(self.algorithm);
        if self.flat {
            let failed = |error| NarError::Read(path.display().to_string(), error);
            if !path.symlink_metadata().map_err(failed)?.is_file() {
                return Err(NarError::NoFile(path.display().to_string()));
            }
            let mut file = File::open(path).map_err(failed)?;
            let mut buffer = vec![0; nar::BUFFER];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        } else {
            nar::write(path, &mut hasher)?;
        }
        Ok(hasher.finish())
    }
}

/// A hash that is being computed.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// MD5.
    Md5(Md5),
    /// SHA-1.
    Sha1(Sha1),
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// One of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::new(Sha512::new())),
        }
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hash) => Digest::update(hash, bytes),
            Self::Sha1(hash) => Digest::update(hash, bytes),
            Self::Sha256(hash) => Digest::update(hash, bytes),
            Self::Sha512(hash) => Digest::update(&mut **hash, bytes),
        }
    }

    /// The hash.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Md5(hash) => hash.finalize().to_vec(),
            Self::Sha1(hash) => hash.finalize().to_vec(),
            Self::Sha256(hash) => hash.finalize().to_vec(),
            Self::Sha512(hash) => hash.finalize().to_vec(),
        }
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
