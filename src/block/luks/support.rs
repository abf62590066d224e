//! Which headers keel can open: valid ones that need more are refused by name.

use thiserror::Error;

use super::json::{CryptParameters, Metadata, Segment};

/// Why a valid header can't be opened by keel. Each says what can be done instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unsupported {
    /// A reencryption was started and not finished.
    #[error(
        "a reencryption is in progress ({0:?}); finish it from another system with \"cryptsetup reencrypt --resume-only\""
    )]
    Reencryption(String),
    /// Something that the header says a reader must know.
    #[error(
        "the header requires {0:?}, which keel does not know; unlock it with cryptsetup from another system"
    )]
    Requirement(String),
    /// More than one segment of data.
    #[error(
        "the data lies in {0} segments, keel supports one; unlock it with cryptsetup from another system"
    )]
    Segments(usize),
    /// A segment that isn't dm-crypt's.
    #[error(
        "the data segment is of type {0:?}, keel supports crypt; unlock it with cryptsetup from another system"
    )]
    SegmentType(String),
    /// dm-integrity below dm-crypt.
    #[error(
        "the data is integrity protected ({0:?}), which keel does not support; unlock it with cryptsetup from another system"
    )]
    Integrity(String),
    /// Encryption that encrypts nothing: whoever can write to the disk could make a volume look unlocked.
    #[error("the data is not encrypted at all (cipher {0:?}); keel does not open such a volume")]
    NullCipher(String),
    /// A cipher that can't be put in a device-mapper table.
    #[error(
        "the cipher {0:?} is none that dm-crypt understands; check the header with \"cryptsetup luksDump\""
    )]
    Cipher(String),
    /// A sector size that dm-crypt doesn't have.
    #[error("encryption sectors of {0} bytes, dm-crypt has 512, 1024, 2048 and 4096")]
    SectorSize(u32),
    /// The segment's digest can't be checked.
    #[error("the volume key's digest is of type {0:?}; keel supports pbkdf2")]
    DigestType(String),
    /// The header has several keys for the same data.
    #[error(
        "the data segment belongs to {0} digests, not to one; unlock it with cryptsetup from another system"
    )]
    Digests(usize),
}

/// The one segment of data and its digest's number.
#[derive(Clone, Debug)]
pub(super) struct Data {
    /// Bytes from the start of the device that holds the data; 0 in a detached header.
    pub(super) offset: u64,
    /// Bytes; `None`: up to the end of the device.
    pub(super) size: Option<u64>,
    pub(super) crypt: CryptParameters,
    pub(super) digest: u32,
}

/// Finds the data of a header that keel can open.
pub(super) fn supported_data(metadata: &Metadata) -> Result<Data, Unsupported> {
    if let Some(name) = metadata.requirements.first() {
        let reencryption = metadata
            .requirements
            .iter()
            .find(|name| name.contains("reencrypt"));
        return Err(match reencryption {
            Some(name) => Unsupported::Reencryption(name.clone()),
            None => Unsupported::Requirement(name.clone()),
        });
    }
    let [
        Segment {
            id,
            kind,
            offset,
            size,
            crypt,
            ..
        },
    ] = metadata.segments.as_slice()
    else {
        return Err(Unsupported::Segments(metadata.segments.len()));
    };
    let crypt = match crypt {
        Some(crypt) if kind == "crypt" => crypt,
        _ => return Err(Unsupported::SegmentType(kind.clone())),
    };
    if let Some(integrity) = &crypt.integrity {
        return Err(Unsupported::Integrity(integrity.clone()));
    }
    check_cipher(&crypt.encryption)?;
    if !matches!(crypt.sector_size, 512 | 1024 | 2048 | 4096) {
        return Err(Unsupported::SectorSize(crypt.sector_size));
    }
    let mut digests = metadata
        .digests
        .iter()
        .filter(|digest| digest.segments.contains(id));
    let digest = match (digests.next(), digests.count()) {
        (Some(digest), 0) => digest,
        (_, more) => return Err(Unsupported::Digests(more + 1)),
    };
    if digest.kind != "pbkdf2" {
        return Err(Unsupported::DigestType(digest.kind.clone()));
    }
    Ok(Data {
        offset: *offset,
        size: *size,
        crypt: crypt.clone(),
        digest: digest.id,
    })
}

/// The name goes into a device-mapper table word for word, where a space would start the next parameter.
pub(super) fn check_cipher(name: &str) -> Result<(), Unsupported> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:(),.".contains(&byte);
    if name.contains("cipher_null") {
        return Err(Unsupported::NullCipher(name.to_owned()));
    }
    if !name.bytes().all(allowed) || !name.contains('-') || name.starts_with(':') {
        return Err(Unsupported::Cipher(name.to_owned()));
    }
    Ok(())
}
