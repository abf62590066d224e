//! AES-XTS with the IV `plain64`, as dm-crypt has it: the tweak is the number of the 512-byte sector.

use aes::cipher::{Array, KeyInit};
use aes::{Aes128, Aes256};
use xts_mode::{Xts128, get_tweak_default};

/// Encryption and decryption of sectors.
pub(super) enum Xts {
    /// 256-bit keys: twice AES-128.
    Aes128(Box<Xts128<Aes128>>),
    /// 512-bit keys: twice AES-256.
    Aes256(Box<Xts128<Aes256>>),
}

impl Xts {
    /// `None` unless the key has 32 or 64 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let (data, tweak) = key.split_at_checked(key.len() / 2)?;
        match key.len() {
            32 => Some(Self::Aes128(Box::new(Xts128::new(
                Aes128::new_from_slice(data).ok()?,
                Aes128::new_from_slice(tweak).ok()?,
            )))),
            64 => Some(Self::Aes256(Box::new(Xts128::new(
                Aes256::new_from_slice(data).ok()?,
                Aes256::new_from_slice(tweak).ok()?,
            )))),
            _ => None,
        }
    }

    /// Decrypts `data`, a whole number of encryption sectors, in place. `iv` is that of the first one; every sector
    /// counts as many 512-byte units as it is long, as dm-crypt does without `iv_large_sectors`.
    pub(super) fn decrypt(&self, data: &mut [u8], sector_size: usize, iv: u64) {
        let step = (sector_size / 512) as u64;
        let mut iv = iv;
        for sector in data.chunks_exact_mut(sector_size) {
            let tweak: Array<u8, _> = get_tweak_default(u128::from(iv));
            match self {
                Self::Aes128(xts) => xts.decrypt_sector(sector, tweak),
                Self::Aes256(xts) => xts.decrypt_sector(sector, tweak),
            }
            iv = iv.wrapping_add(step);
        }
    }

    /// The inverse of [`Xts::decrypt`].
    #[cfg(test)]
    pub(super) fn encrypt(&self, data: &mut [u8], sector_size: usize, iv: u64) {
        let step = (sector_size / 512) as u64;
        let mut iv = iv;
        for sector in data.chunks_exact_mut(sector_size) {
            let tweak: Array<u8, _> = get_tweak_default(u128::from(iv));
            match self {
                Self::Aes128(xts) => xts.encrypt_sector(sector, tweak),
                Self::Aes256(xts) => xts.encrypt_sector(sector, tweak),
            }
            iv = iv.wrapping_add(step);
        }
    }
}
