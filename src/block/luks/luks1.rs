//! The LUKS1 header (LUKS1 on-disk format 1.2.3, section 2): 592 bytes, numbers big endian, no checksum, no second copy.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::copy::is_uuid;
use super::hash::Hash;
use super::json::{Area, CryptParameters, Digest, Keyslot, KeyslotKind, KeyslotParameters, Metadata};
use super::kdf::{Kdf, SALT_LEN};
use super::support::Data;
use crate::block::ReadAt;
use crate::block::probe::bytes::{array, be32, text};

const HEADER_LEN: usize = 592;
const SECTOR: u64 = 512;
const KEYSLOTS: u32 = 8;
const KEYSLOTS_AT: usize = 208;
const KEYSLOT_LEN: usize = 48;
/// What a keyslot in use starts with. As in cryptsetup, every other value means that it isn't.
const ENABLED: u32 = 0x00ac_71f3;
const STRIPES: u32 = 4000;
/// The digest of the volume key has this length whatever the hash is.
const DIGEST_LEN: usize = 20;

/// What is wrong with a LUKS1 header.
#[derive(Debug, Error)]
pub enum Luks1Error {
    /// The device gave an error.
    #[error("can't be read: {0}")]
    Read(#[source] io::Error),
    /// The device ends before the header does.
    #[error("reaches beyond the end of the device")]
    Truncated,
    /// The hash is unknown, or too short for the digest.
    #[error("uses the hash {0:?}, which keel does not know")]
    Hash(String),
    /// No name of a cipher.
    #[error("names no cipher")]
    Cipher,
    /// The identifier is none.
    #[error("has no valid UUID")]
    Uuid,
    /// A keyslot breaks a rule of the format.
    #[error("is damaged: keyslot {keyslot}: {why}")]
    Keyslot {
        /// Its number.
        keyslot: u32,
        /// Which rule.
        why: &'static str,
    },
}

/// A checked header in LUKS2's terms.
#[derive(Debug)]
pub(super) struct Luks1 {
    pub(super) uuid: String,
    pub(super) metadata: Metadata,
    pub(super) data: Data,
    /// Bytes that the header and its keyslots take on their device.
    pub(super) needed: u64,
}

/// A keyslot as it is written.
struct RawKeyslot {
    id: u32,
    active: bool,
    iterations: u32,
    salt: [u8; SALT_LEN],
    /// In sectors.
    area_offset: u64,
    stripes: u32,
}

/// Reads and checks the header of `dev`, whose signature and version were seen.
pub(super) fn read(dev: &dyn ReadAt) -> Result<Luks1, Luks1Error> {
    if dev.size().map_err(Luks1Error::Read)? < HEADER_LEN as u64 {
        return Err(Luks1Error::Truncated);
    }
    let mut header = [0; HEADER_LEN];
    dev.read_exact_at(0, &mut header).map_err(Luks1Error::Read)?;
    parse(&header)
}

fn parse(header: &[u8; HEADER_LEN]) -> Result<Luks1, Luks1Error> {
    let number = |at| be32(header, at).ok_or(Luks1Error::Truncated);
    let hash = text(header, 72, 32).unwrap_or_default();
    if Hash::from_name(&hash).is_none_or(|known| known.output_len() < DIGEST_LEN) {
        return Err(Luks1Error::Hash(hash));
    }
    let encryption = match (text(header, 8, 32), text(header, 40, 32)) {
        (Some(cipher), Some(mode)) => format!("{cipher}-{mode}"),
        _ => return Err(Luks1Error::Cipher),
    };
    let payload = u64::from(number(104)?);
    let key_size = number(108)?;
    let uuid = text(header, 168, 40)
        .filter(|uuid| is_uuid(uuid))
        .ok_or(Luks1Error::Uuid)?;
    let keyslots = (0..KEYSLOTS)
        .map(|id| keyslot(header, id).ok_or(Luks1Error::Truncated))
        .collect::<Result<Vec<_>, _>>()?;
    let area_sectors = (u64::from(key_size) * u64::from(STRIPES)).div_ceil(SECTOR);
    check_keyslots(&keyslots, area_sectors, payload)?;
    let end = keyslots.iter().map(|slot| slot.area_offset + area_sectors).max();

    let digest = Digest {
        id: 0,
        kind: "pbkdf2".to_owned(),
        keyslots: (0..KEYSLOTS).collect(),
        segments: vec![0],
        hash: Some(hash.clone()),
        iterations: Some(number(164)?),
        salt: array::<SALT_LEN>(header, 132).map(|salt| STANDARD.encode(salt)),
        digest: array::<DIGEST_LEN>(header, 112).map(|digest| STANDARD.encode(digest)),
    };
    let active = keyslots.iter().filter(|slot| slot.active).map(|slot| Keyslot {
        id: slot.id,
        area: Area {
            offset: slot.area_offset * SECTOR,
            size: area_sectors * SECTOR,
        },
        priority: 1,
        kind: KeyslotKind::Luks2(KeyslotParameters {
            key_size,
            area_encryption: encryption.clone(),
            area_key_size: key_size,
            af_hash: hash.clone(),
            af_stripes: slot.stripes.into(),
            kdf: Kdf::Pbkdf2 {
                hash: hash.clone(),
                iterations: slot.iterations,
            },
            salt: STANDARD.encode(slot.salt),
        }),
    });
    Ok(Luks1 {
        uuid,
        metadata: Metadata {
            keyslots: active.collect(),
            tokens: Vec::new(),
            segments: Vec::new(),
            digests: vec![digest],
            json_size: 0,
            keyslots_size: 0,
            flags: Vec::new(),
            requirements: Vec::new(),
        },
        data: Data {
            offset: payload * SECTOR,
            size: None,
            crypt: CryptParameters {
                iv_tweak: 0,
                encryption: encryption.clone(),
                sector_size: 512,
                integrity: None,
            },
            digest: 0,
        },
        needed: end.unwrap_or(0) * SECTOR,
    })
}

fn keyslot(header: &[u8], id: u32) -> Option<RawKeyslot> {
    let at = KEYSLOTS_AT + KEYSLOT_LEN * id as usize;
    Some(RawKeyslot {
        id,
        active: be32(header, at)? == ENABLED,
        iterations: be32(header, at + 4)?,
        salt: array(header, at + 8)?,
        area_offset: be32(header, at + 40)?.into(),
        stripes: be32(header, at + 44)?,
    })
}

/// The rules of cryptsetup (`LUKS_check_keyslots`), for keyslots in use or not. `area_sectors` is the length of an area,
/// `payload` the start of the data, 0 in a detached header; both in sectors.
fn check_keyslots(keyslots: &[RawKeyslot], area_sectors: u64, payload: u64) -> Result<(), Luks1Error> {
    let damaged = |keyslot: &RawKeyslot, why| Luks1Error::Keyslot {
        keyslot: keyslot.id,
        why,
    };
    for keyslot in keyslots {
        if keyslot.stripes != STRIPES {
            return Err(damaged(keyslot, "it has not 4000 anti-forensic stripes"));
        }
        if keyslot.area_offset * SECTOR < HEADER_LEN as u64 {
            return Err(damaged(keyslot, "its area lies in the header"));
        }
        if payload != 0 && keyslot.area_offset + area_sectors > payload {
            return Err(damaged(keyslot, "its area runs into the data"));
        }
    }
    let mut sorted: Vec<&RawKeyslot> = keyslots.iter().collect();
    sorted.sort_by_key(|keyslot| keyslot.area_offset);
    for pair in sorted.windows(2) {
        if let [first, second] = pair
            && first.area_offset + area_sectors > second.area_offset
        {
            return Err(damaged(first, "its area overlaps that of another keyslot"));
        }
    }
    Ok(())
}
