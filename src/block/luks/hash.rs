//! The hash functions that a header can name, and what is built on them.

use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// A hash function by its name in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

macro_rules! with_digest {
    ($hash:expr, $digest:ident => $body:expr) => {
        match $hash {
            Hash::Sha1 => {
                type $digest = Sha1;
                $body
            }
            Hash::Sha224 => {
                type $digest = Sha224;
                $body
            }
            Hash::Sha256 => {
                type $digest = Sha256;
                $body
            }
            Hash::Sha384 => {
                type $digest = Sha384;
                $body
            }
            Hash::Sha512 => {
                type $digest = Sha512;
                $body
            }
        }
    };
}

impl Hash {
    /// `None` for a name that keel doesn't know (`whirlpool`, `ripemd160`, `sha3-512`, `blake2b-512`).
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "sha1" => Some(Self::Sha1),
            "sha224" => Some(Self::Sha224),
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Length of the hash in bytes.
    pub(super) fn output_len(self) -> usize {
        with_digest!(self, D => <D as Digest>::output_size())
    }

    /// Calls `sink` with the hash of all `parts`, one after the other.
    pub(super) fn of<T>(self, parts: &[&[u8]], sink: impl FnOnce(&[u8]) -> T) -> T {
        with_digest!(self, D => {
            let mut state = D::new();
            for part in parts {
                state.update(part);
            }
            let mut output = state.finalize();
            let result = sink(&output);
            zeroize::Zeroize::zeroize(output.as_mut_slice());
            result
        })
    }

    /// PBKDF2 with HMAC of this hash (RFC 8018, section 5.2) into `out`.
    pub(super) fn pbkdf2(self, password: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
        with_digest!(self, D => pbkdf2::pbkdf2_hmac::<D>(password, salt, iterations, out));
    }
}
