//! The hash functions that a header can name, and what is built on them.

use hmac::{Hmac, SimpleHmac};
use pbkdf2::pbkdf2;
use sha2::digest::Digest;

/// A hash function by its name in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512Of224,
    Sha512Of256,
    Sha3Of224,
    Sha3Of256,
    Sha3Of384,
    Sha3Of512,
    Ripemd160,
    Whirlpool,
    Blake2b512,
    Blake2s256,
    Sm3,
}

/// Names as cryptsetup writes them in lower case. OpenSSL and libgcrypt, which it hands the name to, know some by a
/// second one.
const NAMES: &[(&str, Hash)] = &[
    ("md5", Hash::Md5),
    ("sha1", Hash::Sha1),
    ("sha-1", Hash::Sha1),
    ("sha224", Hash::Sha224),
    ("sha-224", Hash::Sha224),
    ("sha2-224", Hash::Sha224),
    ("sha256", Hash::Sha256),
    ("sha-256", Hash::Sha256),
    ("sha2-256", Hash::Sha256),
    ("sha384", Hash::Sha384),
    ("sha-384", Hash::Sha384),
    ("sha2-384", Hash::Sha384),
    ("sha512", Hash::Sha512),
    ("sha-512", Hash::Sha512),
    ("sha2-512", Hash::Sha512),
    ("sha512-224", Hash::Sha512Of224),
    ("sha512-256", Hash::Sha512Of256),
    ("sha3-224", Hash::Sha3Of224),
    ("sha3-256", Hash::Sha3Of256),
    ("sha3-384", Hash::Sha3Of384),
    ("sha3-512", Hash::Sha3Of512),
    ("ripemd160", Hash::Ripemd160),
    ("ripemd-160", Hash::Ripemd160),
    ("rmd160", Hash::Ripemd160),
    ("whirlpool", Hash::Whirlpool),
    ("blake2b-512", Hash::Blake2b512),
    ("blake2b512", Hash::Blake2b512),
    ("blake2s-256", Hash::Blake2s256),
    ("blake2s256", Hash::Blake2s256),
    ("sm3", Hash::Sm3),
];

macro_rules! with_digest {
    ($hash:expr, $digest:ident, $hmac:ident => $body:expr) => {
        with_digest!(@ $hash, $digest, $hmac, $body,
            Md5 => (md5::Md5, Hmac), Sha1 => (sha1::Sha1, Hmac),
            Sha224 => (sha2::Sha224, Hmac), Sha256 => (sha2::Sha256, Hmac),
            Sha384 => (sha2::Sha384, Hmac), Sha512 => (sha2::Sha512, Hmac),
            Sha512Of224 => (sha2::Sha512_224, Hmac), Sha512Of256 => (sha2::Sha512_256, Hmac),
            Sha3Of224 => (sha3::Sha3_224, SimpleHmac), Sha3Of256 => (sha3::Sha3_256, SimpleHmac),
            Sha3Of384 => (sha3::Sha3_384, SimpleHmac), Sha3Of512 => (sha3::Sha3_512, SimpleHmac),
            Ripemd160 => (ripemd::Ripemd160, Hmac), Whirlpool => (whirlpool::Whirlpool, Hmac),
            Blake2b512 => (blake2::Blake2b512, SimpleHmac), Blake2s256 => (blake2::Blake2s256, SimpleHmac),
            Sm3 => (sm3::Sm3, Hmac))
    };
    (@ $hash:expr, $digest:ident, $hmac:ident, $body:expr, $($name:ident => ($kind:ty, $mac:ident)),*) => {
        match $hash {
            $(Hash::$name => {
                #[allow(dead_code, reason = "a body uses one of the two")]
                type $digest = $kind;
                #[allow(dead_code, reason = "a body uses one of the two")]
                type $hmac = $mac<$kind>;
                $body
            })*
        }
    };
}

impl Hash {
    /// `None` for a name that keel doesn't know (`stribog512`, `tiger`, `shake256`).
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|&(_, hash)| hash)
    }

    /// Length of the hash in bytes.
    pub(super) fn output_len(self) -> usize {
        with_digest!(self, D, H => <D as Digest>::output_size())
    }

    /// Calls `sink` with the hash of all `parts`, one after the other.
    pub(super) fn of<T>(self, parts: &[&[u8]], sink: impl FnOnce(&[u8]) -> T) -> T {
        let mut buffer = zeroize::Zeroizing::new([0; 64]);
        let output = buffer.get_mut(..self.output_len()).unwrap_or_default();
        self.write_of(parts, output);
        sink(output)
    }

    fn write_of(self, parts: &[&[u8]], output: &mut [u8]) {
        with_digest!(self, D, H => {
            let mut state = D::new();
            for part in parts {
                state.update(part);
            }
            let mut digest = state.finalize();
            output.copy_from_slice(&digest);
            zeroize::Zeroize::zeroize(digest.as_mut_slice());
        });
    }

    /// PBKDF2 with HMAC of this hash (RFC 8018, section 5.2) into `out`.
    pub(super) fn pbkdf2(self, password: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
        // HMAC takes keys of every length.
        let _ = with_digest!(self, D, H => pbkdf2::<H>(password, salt, iterations, out));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(Hash::from_name("SHA256"), Some(Hash::Sha256));
        assert_eq!(Hash::from_name("Blake2b-512"), Some(Hash::Blake2b512));
        for name in ["", "shake128", "crc32", "stribog512"] {
            assert_eq!(Hash::from_name(name), None, "{name}");
        }
        assert!(
            NAMES
                .iter()
                .all(|(_, hash)| (16..=64).contains(&hash.output_len()))
        );
    }

    #[test]
    fn parts_are_hashed_as_one() {
        for (_, hash) in NAMES {
            let whole = hash.of(&[b"abc"], <[u8]>::to_vec);
            assert_eq!(hash.of(&[b"a", b"", b"bc"], <[u8]>::to_vec), whole);
            assert_eq!(whole.len(), hash.output_len());
        }
    }
}
