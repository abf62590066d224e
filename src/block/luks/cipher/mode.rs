//! Block ciphers and their modes of operation over one sector.

use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockSizeUser, InnerIvInit, KeyInit,
};
use aes::{Aes128, Aes192, Aes256};
use serpent::Serpent;
use twofish::Twofish;
use xts_mode::Xts128;

/// The block ciphers that are known.
pub(super) const CIPHERS: &[&str] = &["aes", "serpent", "twofish"];

/// A mode of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockMode {
    /// IEEE 1619; the key is that of the data and that of the tweak, of one length.
    Xts,
    /// NIST SP 800-38A.
    Cbc,
    /// NIST SP 800-38A; the IV is the first counter, big endian.
    Ctr,
    /// NIST SP 800-38A.
    Ecb,
}

/// A block cipher with its key, in a mode. Keys are wiped when it is dropped.
pub(super) struct Keyed(Box<dyn Sectors + Send + Sync>);

trait Sectors {
    fn decrypt(&self, sector: &mut [u8], iv: [u8; 16]);
    #[cfg(test)]
    fn encrypt(&self, sector: &mut [u8], iv: [u8; 16]);
    fn encrypt_block(&self, block: [u8; 16]) -> [u8; 16];
}

impl Keyed {
    /// `None` when the cipher is unknown or doesn't take a key of this length.
    pub(super) fn new(cipher: &str, mode: BlockMode, key: &[u8]) -> Option<Self> {
        let len = match mode {
            BlockMode::Xts if !key.len().is_multiple_of(2) => return None,
            BlockMode::Xts => key.len() / 2,
            _ => key.len(),
        };
        let sectors = match (cipher, len) {
            ("aes", 16) => with_cipher::<Aes128>(mode, key),
            ("aes", 24) => with_cipher::<Aes192>(mode, key),
            ("aes", 32) => with_cipher::<Aes256>(mode, key),
            ("serpent", 16 | 24 | 32) => with_cipher::<Serpent>(mode, key),
            ("twofish", 16 | 24 | 32) => with_cipher::<Twofish>(mode, key),
            _ => None,
        };
        sectors.map(Self)
    }

    pub(super) fn decrypt(&self, sector: &mut [u8], iv: [u8; 16]) {
        self.0.decrypt(sector, iv);
    }

    #[cfg(test)]
    pub(super) fn encrypt(&self, sector: &mut [u8], iv: [u8; 16]) {
        self.0.encrypt(sector, iv);
    }

    /// One block with the data's key, without mode and IV.
    pub(super) fn encrypt_block(&self, block: [u8; 16]) -> [u8; 16] {
        self.0.encrypt_block(block)
    }
}

/// What the ciphers here have in common.
trait Block16:
    BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync
{
}
impl<C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync>
    Block16 for C
{
}

fn with_cipher<C: Block16 + 'static>(mode: BlockMode, key: &[u8]) -> Option<Box<dyn Sectors + Send + Sync>> {
    if mode == BlockMode::Xts {
        let (data, tweak) = key.split_at_checked(key.len() / 2)?;
        let make = |key| C::new_from_slice(key).ok();
        return Some(Box::new(Tweaked {
            xts: Xts128::new(make(data)?, make(tweak)?),
            data: make(data)?,
        }));
    }
    let cipher = C::new_from_slice(key).ok()?;
    Some(Box::new(Untweaked { cipher, mode }))
}

struct Tweaked<C> {
    xts: Xts128<C>,
    data: C,
}

impl<C: Block16> Sectors for Tweaked<C> {
    fn decrypt(&self, sector: &mut [u8], iv: [u8; 16]) {
        self.xts.decrypt_sector(sector, Array::from(iv));
    }

    #[cfg(test)]
    fn encrypt(&self, sector: &mut [u8], iv: [u8; 16]) {
        self.xts.encrypt_sector(sector, Array::from(iv));
    }

    fn encrypt_block(&self, block: [u8; 16]) -> [u8; 16] {
        one_block(&self.data, block)
    }
}

/// Any mode but XTS.
struct Untweaked<C> {
    cipher: C,
    mode: BlockMode,
}

impl<C: Block16> Sectors for Untweaked<C> {
    fn decrypt(&self, sector: &mut [u8], iv: [u8; 16]) {
        let (blocks, _) = Array::slice_as_chunks_mut(sector);
        match self.mode {
            BlockMode::Cbc => {
                cbc::Decryptor::inner_iv_init(&self.cipher, &Array::from(iv)).decrypt_blocks(blocks);
            }
            BlockMode::Ctr => count(&self.cipher, sector, iv),
            BlockMode::Ecb | BlockMode::Xts => self.cipher.decrypt_blocks(blocks),
        }
    }

    #[cfg(test)]
    fn encrypt(&self, sector: &mut [u8], iv: [u8; 16]) {
        use aes::cipher::BlockModeEncrypt;
        let (blocks, _) = Array::slice_as_chunks_mut(sector);
        match self.mode {
            BlockMode::Cbc => {
                cbc::Encryptor::inner_iv_init(&self.cipher, &Array::from(iv)).encrypt_blocks(blocks);
            }
            BlockMode::Ctr => count(&self.cipher, sector, iv),
            BlockMode::Ecb | BlockMode::Xts => self.cipher.encrypt_blocks(blocks),
        }
    }

    fn encrypt_block(&self, block: [u8; 16]) -> [u8; 16] {
        one_block(&self.cipher, block)
    }
}

fn one_block<C: Block16>(cipher: &C, block: [u8; 16]) -> [u8; 16] {
    let mut block = Array::from(block);
    cipher.encrypt_block(&mut block);
    block.into()
}

/// Counter mode, which is its own inverse.
fn count<C: Block16>(cipher: &C, sector: &mut [u8], iv: [u8; 16]) {
    let mut counter = u128::from_be_bytes(iv);
    for block in sector.chunks_mut(16) {
        for (byte, pad) in block.iter_mut().zip(one_block(cipher, counter.to_be_bytes())) {
            *byte ^= pad;
        }
        counter = counter.wrapping_add(1);
    }
}
