//! IV generators (Linux, drivers/md/dm-crypt.c, `crypt_iv_*_gen`), for ciphers with blocks of 16 bytes.

use super::mode::{BlockMode, Keyed};
use crate::block::luks::hash::Hash;

/// How the IV follows from the number of the 512-byte sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generator {
    /// No IV at all, or always 0.
    Null,
    /// Its low 32 bits, little endian.
    Plain,
    /// 64 bits, little endian.
    Plain64,
    /// 64 bits, big endian, at the end.
    Plain64Be,
    /// The number of the 16-byte block, counted from 1, big endian, at the end.
    Benbi,
    /// `Plain64`, encrypted with the hash of the key as key.
    Essiv(Hash),
    /// The byte offset, encrypted with the key itself.
    Eboiv,
}

impl Generator {
    pub(super) fn parse(text: &str, mode: BlockMode) -> Option<Self> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        match (name, argument) {
            ("", None) if mode == BlockMode::Ecb => Some(Self::Null),
            ("null", None) => Some(Self::Null),
            ("plain", None) => Some(Self::Plain),
            ("plain64", None) => Some(Self::Plain64),
            ("plain64be", None) => Some(Self::Plain64Be),
            ("benbi", None) => Some(Self::Benbi),
            ("eboiv", None) => Some(Self::Eboiv),
            ("essiv", Some(hash)) => Hash::from_name(hash).map(Self::Essiv),
            _ => None,
        }
    }

    pub(super) fn essiv_hash(self) -> Option<Hash> {
        match self {
            Self::Essiv(hash) => Some(hash),
            _ => None,
        }
    }
}

/// A generator with what it needs.
pub(super) struct Iv {
    pub(super) generator: Generator,
    /// The cipher of `essiv`.
    pub(super) essiv: Option<Keyed>,
}

impl Iv {
    /// The IV of the sector that starts at the 512-byte sector `number`. `data` is the cipher of the data.
    pub(super) fn of(&self, number: u64, sector_size: usize, data: &Keyed) -> [u8; 16] {
        match self.generator {
            Generator::Null => [0; 16],
            Generator::Plain => u128::from(number & 0xffff_ffff).to_le_bytes(),
            Generator::Plain64 => u128::from(number).to_le_bytes(),
            Generator::Plain64Be => u128::from(number).to_be_bytes(),
            Generator::Benbi => u128::from((number << 5).wrapping_add(1)).to_be_bytes(),
            Generator::Essiv(_) => {
                let plain = u128::from(number).to_le_bytes();
                self.essiv
                    .as_ref()
                    .map_or(plain, |cipher| cipher.encrypt_block(plain))
            }
            Generator::Eboiv => {
                let offset = number.wrapping_mul(sector_size as u64);
                data.encrypt_block(u128::from(offset).to_le_bytes())
            }
        }
    }
}
