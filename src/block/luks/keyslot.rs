//! Opening one keyslot: passphrase to candidate for the volume key (LUKS2 on-disk format 1.1, section 4; LUKS1 on-disk
//! format 1.2.3, section 4).

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use super::af;
use super::cipher::{CipherError, SectorCipher};
use super::hash::Hash;
use super::json::{Digest, Keyslot, KeyslotKind, KeyslotParameters};
use super::kdf::{Kdf, KdfError, SALT_LEN};
use crate::block::ReadAt;

/// The number of anti-forensic stripes is fixed.
const STRIPES: usize = 4000;
/// Longer than any volume key (the longest in use, for XTS with a key for integrity, have 96 bytes).
const KEY_SIZE_MAX: u32 = 512;
const SECTOR: usize = 512;
/// 512 random bytes have about 221 different values; fewer than this many is no chance.
const DISTINCT_MIN: usize = 128;

/// Why a keyslot could not even be tried, so that nothing is known about the passphrase.
#[derive(Debug, Error)]
pub enum SkipReason {
    /// It asks for more memory than the machine has.
    #[error(
        "key derivation needs {needed_kib} KiB of memory, {}; add memory, or from another system a keyslot with a smaller \
         \"--pbkdf-memory\"",
        available(*.available_kib)
    )]
    OutOfMemory {
        /// KiB that it asks for.
        needed_kib: u64,
        /// KiB that there are; `None` when the kernel refused for another reason.
        available_kib: Option<u64>,
    },
    /// It needs something that keel doesn't have.
    #[error("{0}, which keel does not support; add a keyslot with cryptsetup's defaults")]
    Unsupported(String),
    /// Its content can't be right: no passphrase can open it.
    #[error("damaged: {0}; restore the header from a backup with \"cryptsetup luksHeaderRestore\"")]
    Damaged(String),
    /// The device gave an error.
    #[error("its area can't be read: {0}")]
    Read(#[source] io::Error),
}

fn available(kib: Option<u64>) -> String {
    kib.map_or_else(
        || "which the kernel refused".to_owned(),
        |kib| format!("{kib} KiB are available"),
    )
}

impl From<KdfError> for SkipReason {
    fn from(error: KdfError) -> Self {
        match error {
            KdfError::OutOfMemory {
                needed_kib,
                available_kib,
            } => Self::OutOfMemory {
                needed_kib,
                available_kib,
            },
            KdfError::Unsupported(what) => Self::Unsupported(format!("key derivation by {what}")),
        }
    }
}

/// A keyslot with everything that opening it needs, read and checked.
pub(super) struct Prepared<'a> {
    kdf: &'a Kdf,
    salt: [u8; SALT_LEN],
    area_encryption: &'a str,
    area_key_size: usize,
    key_size: usize,
    af_hash: Hash,
    /// The encrypted stripes.
    area: Zeroizing<Vec<u8>>,
}

impl<'a> Prepared<'a> {
    /// Checks the parameters and reads the area, so that a keyslot which can't be opened costs no key derivation.
    pub(super) fn read(dev: &dyn ReadAt, keyslot: &'a Keyslot) -> Result<Self, SkipReason> {
        let parameters = match &keyslot.kind {
            KeyslotKind::Luks2(parameters) => parameters,
            KeyslotKind::Other(kind) => {
                return Err(SkipReason::Unsupported(format!("it is of the type {kind:?}")));
            }
        };
        let salt = salt(&parameters.salt, &parameters.kdf)?;
        let (key_size, area_key_size) = key_sizes(parameters)?;
        let af_hash = Hash::from_name(&parameters.af_hash).ok_or_else(|| {
            SkipReason::Unsupported(format!("anti-forensic stripes by {:?}", parameters.af_hash))
        })?;
        // At most 512 * 4000 bytes.
        let len = (key_size * STRIPES).next_multiple_of(SECTOR);
        if len as u64 > keyslot.area.size {
            return Err(SkipReason::Damaged(format!(
                "its area has {} bytes, a key of {key_size} needs {len}",
                keyslot.area.size
            )));
        }
        let mut area = Zeroizing::new(vec![0; len]);
        dev.read_exact_at(keyslot.area.offset, &mut area)
            .map_err(SkipReason::Read)?;
        if let Some(at) = overwritten_at(&area) {
            return Err(SkipReason::Damaged(format!(
                "what lies at byte {} of the device is no encrypted key material",
                keyslot.area.offset + at
            )));
        }
        Ok(Self {
            kdf: &parameters.kdf,
            salt,
            area_encryption: &parameters.area_encryption,
            area_key_size,
            key_size,
            af_hash,
            area,
        })
    }

    /// KiB of memory that opening it takes.
    pub(super) fn memory_kib(&self) -> u64 {
        self.kdf.memory_kib()
    }

    /// What `passphrase` opens: the volume key if it is the right one, else bytes without meaning.
    pub(super) fn open(
        mut self,
        passphrase: &[u8],
        available_kib: impl FnOnce() -> Option<u64>,
    ) -> Result<Zeroizing<Vec<u8>>, SkipReason> {
        let derived = self
            .kdf
            .derive(passphrase, &self.salt, self.area_key_size, available_kib)?;
        let cipher =
            SectorCipher::new(self.area_encryption, &derived).map_err(|error| unsupported_area(&error))?;
        cipher.decrypt(&mut self.area, SECTOR, 0);
        let stripes = self.area.get(..self.key_size * STRIPES).unwrap_or_default();
        Ok(af::merge(stripes, self.key_size, self.af_hash))
    }
}

fn salt(text: &str, kdf: &Kdf) -> Result<[u8; SALT_LEN], SkipReason> {
    if let Kdf::Unknown { name } = kdf {
        return Err(SkipReason::Unsupported(format!("key derivation by {name:?}")));
    }
    decode(text)
        .and_then(|salt| salt.try_into().ok())
        .ok_or_else(|| SkipReason::Damaged("its salt is not 32 bytes in base64".to_owned()))
}

/// Lengths in bytes of the volume key and of the key that encrypts the area.
fn key_sizes(parameters: &KeyslotParameters) -> Result<(usize, usize), SkipReason> {
    if !(1..=KEY_SIZE_MAX).contains(&parameters.key_size) {
        return Err(SkipReason::Unsupported(format!(
            "a volume key of {} bytes",
            parameters.key_size
        )));
    }
    if usize::try_from(parameters.af_stripes) != Ok(STRIPES) {
        return Err(SkipReason::Unsupported(format!(
            "{} anti-forensic stripes",
            parameters.af_stripes
        )));
    }
    // No cipher takes longer keys; what is said names the length, not this limit.
    let probe = vec![0; parameters.area_key_size.min(KEY_SIZE_MAX) as usize];
    let _ =
        SectorCipher::new(&parameters.area_encryption, &probe).map_err(|error| unsupported_area(&error))?;
    Ok((parameters.key_size as usize, parameters.area_key_size as usize))
}

fn unsupported_area(error: &CipherError) -> SkipReason {
    SkipReason::Unsupported(format!("its area is encrypted with {error}"))
}

/// Where something that isn't ciphertext was written over the area: zeroes, text, another file system's tables. Bytes
/// that look random can't be told from the real ones, LUKS has no checksum there.
fn overwritten_at(area: &[u8]) -> Option<u64> {
    (0_u64..)
        .zip(area.chunks_exact(SECTOR))
        .find_map(|(number, sector)| {
            let mut seen = [false; 256];
            for &byte in sector {
                if let Some(flag) = seen.get_mut(usize::from(byte)) {
                    *flag = true;
                }
            }
            let distinct = seen.iter().filter(|&&flag| flag).count();
            (distinct < DISTINCT_MIN).then_some(number * SECTOR as u64)
        })
}

/// Whether `key` is the one that the digest was made of (LUKS2 on-disk format 1.1, section 3.4).
pub(super) fn verify(digest: &Digest, key: &[u8]) -> Result<bool, SkipReason> {
    let damaged = |what: &str| SkipReason::Damaged(format!("digest {}: {what}", digest.id));
    let name = digest.hash.as_deref().ok_or_else(|| damaged("no hash"))?;
    let hash = Hash::from_name(name)
        .ok_or_else(|| SkipReason::Unsupported(format!("digest {} uses the hash {name:?}", digest.id)))?;
    let iterations = digest
        .iterations
        .filter(|&count| count > 0)
        .ok_or_else(|| damaged("no iterations"))?;
    let salt = digest
        .salt
        .as_deref()
        .and_then(decode)
        .filter(|salt| salt.len() == SALT_LEN);
    let salt = salt.ok_or_else(|| damaged("its salt is not 32 bytes in base64"))?;
    let stored = digest.digest.as_deref().and_then(decode);
    // 20 bytes is what headers converted from LUKS1 have, whatever the hash.
    let stored = stored.filter(|stored| stored.len() == 20 || stored.len() == hash.output_len());
    let stored = stored.ok_or_else(|| damaged("its value has a wrong length"))?;
    let mut computed = Zeroizing::new(vec![0; stored.len()]);
    hash.pbkdf2(key, &salt, iterations, &mut computed);
    // Not in constant time: who can measure it here is the one who types the passphrase.
    Ok(*computed == stored)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
