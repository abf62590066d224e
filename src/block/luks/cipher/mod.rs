//! Encryption of sectors as dm-crypt does it (Linux, Documentation/admin-guide/device-mapper/dm-crypt.rst), for keyslot
//! areas and for data that is read in process.

mod iv;
mod mode;

use thiserror::Error;
use zeroize::Zeroizing;

use iv::Iv;
use mode::{BlockMode, Keyed};

/// Why sectors can't be decrypted in process. dm-crypt may know the cipher all the same.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum CipherError {
    /// A cipher, mode or IV generator that keel doesn't have.
    #[error("the cipher {0:?}")]
    Unknown(String),
    /// A key of a length that the cipher doesn't take.
    #[error("{bits} bits of key for the cipher {cipher:?}")]
    KeySize { cipher: String, bits: usize },
}

/// A cipher with its key, which decrypts sectors.
pub(super) struct SectorCipher {
    keyed: Keyed,
    iv: Iv,
}

/// The parts of a specification such as `aes-cbc-essiv:sha256`.
struct Specification<'a> {
    cipher: &'a str,
    mode: BlockMode,
    /// Empty for `ecb`.
    iv: &'a str,
}

impl<'a> Specification<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (cipher, rest) = text.split_once('-')?;
        let (mode, iv) = rest.split_once('-').unwrap_or((rest, ""));
        let mode = match mode {
            "xts" => BlockMode::Xts,
            "cbc" => BlockMode::Cbc,
            "ctr" => BlockMode::Ctr,
            "ecb" => BlockMode::Ecb,
            _ => return None,
        };
        Some(Self { cipher, mode, iv })
    }
}

impl SectorCipher {
    /// Makes one of a specification as headers have it (`aes-xts-plain64`, `serpent-cbc-essiv:sha256`).
    pub(super) fn new(text: &str, key: &[u8]) -> Result<Self, CipherError> {
        let unknown = || CipherError::Unknown(text.to_owned());
        let wrong_size = || CipherError::KeySize {
            cipher: text.to_owned(),
            bits: key.len() * 8,
        };
        let specification = Specification::parse(text).ok_or_else(unknown)?;
        if !mode::CIPHERS.contains(&specification.cipher) {
            return Err(unknown());
        }
        let generator = iv::Generator::parse(specification.iv, specification.mode).ok_or_else(unknown)?;
        let keyed = Keyed::new(specification.cipher, specification.mode, key).ok_or_else(wrong_size)?;
        // Encrypts IVs with a key that isn't the data's.
        let essiv = match generator.essiv_hash() {
            Some(hash) => {
                let salt = hash.of(&[key], |salt| Zeroizing::new(salt.to_vec()));
                Some(Keyed::new(specification.cipher, BlockMode::Ecb, &salt).ok_or_else(unknown)?)
            }
            None => None,
        };
        Ok(Self {
            keyed,
            iv: Iv { generator, essiv },
        })
    }

    /// Decrypts `data`, a whole number of encryption sectors, in place. `iv` is that of the first one; every sector
    /// counts as many 512-byte units as it is long, as dm-crypt does without `iv_large_sectors`.
    pub(super) fn decrypt(&self, data: &mut [u8], sector_size: usize, iv: u64) {
        self.for_each_sector(data, sector_size, iv, |sector, block| {
            self.keyed.decrypt(sector, block);
        });
    }

    /// The inverse of [`SectorCipher::decrypt`].
    #[cfg(test)]
    pub(super) fn encrypt(&self, data: &mut [u8], sector_size: usize, iv: u64) {
        self.for_each_sector(data, sector_size, iv, |sector, block| {
            self.keyed.encrypt(sector, block);
        });
    }

    fn for_each_sector(
        &self,
        data: &mut [u8],
        sector_size: usize,
        iv: u64,
        crypt: impl Fn(&mut [u8], [u8; 16]),
    ) {
        let step = (sector_size / 512) as u64;
        let mut number = iv;
        for sector in data.chunks_exact_mut(sector_size.max(1)) {
            crypt(sector, self.iv.of(number, sector_size, &self.keyed));
            number = number.wrapping_add(step);
        }
    }
}

#[cfg(test)]
mod tests;
