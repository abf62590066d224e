//! One copy of the LUKS2 header: the binary part and the JSON area behind it (LUKS2 on-disk format 1.1, section 2).

use std::fmt;
use std::io;

use thiserror::Error;

use super::hash::Hash;
use super::json::{self, JsonError, Metadata};
use crate::block::ReadAt;
use crate::block::probe::bytes::{array, be16, be64, has, text};

/// Size of the binary part.
pub(super) const BINARY_LEN: usize = 4096;
const HEADER_MIN: u64 = 0x4000;
const HEADER_MAX: u64 = 0x40_0000;
const CHECKSUM_AT: usize = 448;
const CHECKSUM_LEN: usize = 64;

/// The header is kept twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// At the start of the device.
    Primary,
    /// Behind the first one.
    Secondary,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        })
    }
}

/// What is wrong with one copy of the header.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The device gave an error.
    #[error("can't be read: {0}")]
    Read(#[source] io::Error),
    /// The copy, as large as it says it is, reaches beyond the end of the device.
    #[error("reaches beyond the end of the device")]
    Truncated,
    /// Not a header at all.
    #[error("has no LUKS signature")]
    Signature,
    /// A version other than 2.
    #[error("is of version {0}, not 2")]
    Version(u16),
    /// It belongs elsewhere.
    #[error("says that it lies at offset {says:#x}, but it lies at {found:#x}")]
    Offset {
        /// Where it was found.
        found: u64,
        /// Where it says that it is.
        says: u64,
    },
    /// A size that no header has.
    #[error("has the impossible size {0}")]
    Size(u64),
    /// A checksum of an unknown kind.
    #[error("uses the unknown checksum algorithm {0:?}")]
    ChecksumAlgorithm(String),
    /// The content isn't what was written.
    #[error("has a wrong checksum")]
    Checksum,
    /// The identifier is none.
    #[error("has no valid UUID")]
    Uuid,
    /// Its JSON part is bad.
    #[error("has bad metadata: {0}")]
    Json(#[from] JsonError),
}

/// A copy of the header that passed all checks.
#[derive(Debug)]
pub(super) struct HeaderCopy {
    pub(super) size: u64,
    pub(super) seqid: u64,
    pub(super) uuid: String,
    pub(super) label: Option<String>,
    pub(super) subsystem: Option<String>,
    pub(super) metadata: Metadata,
}

/// What is known about a copy that can't be used.
#[derive(Debug)]
pub(super) struct BadCopy {
    pub(super) why: CopyError,
    /// Its size, when its binary part and checksum are right and only the JSON is bad.
    pub(super) size: Option<u64>,
}

impl<E: Into<CopyError>> From<E> for BadCopy {
    fn from(why: E) -> Self {
        Self {
            why: why.into(),
            size: None,
        }
    }
}

/// Reads and checks the copy at `offset`.
pub(super) fn read(dev: &dyn ReadAt, offset: u64, which: Which) -> Result<HeaderCopy, BadCopy> {
    let device_size = dev.size().map_err(CopyError::Read)?;
    let read = |offset: u64, len: u64| {
        if offset.checked_add(len).is_none_or(|end| end > device_size) {
            return Err(CopyError::Truncated);
        }
        // At most 4 MiB: the caller passes sizes that were checked.
        let mut buf = vec![0; usize::try_from(len).map_err(|_| CopyError::Truncated)?];
        dev.read_exact_at(offset, &mut buf).map_err(CopyError::Read)?;
        Ok(buf)
    };
    // A device that ends before says nothing of a header.
    let binary = read(offset, BINARY_LEN as u64).map_err(|error| match error {
        CopyError::Truncated => CopyError::Signature,
        other => other,
    })?;
    let size = check_binary(&binary, offset, which)?;
    let header = read(offset, size)?;
    check_sum(&header)?;
    // The two reads could differ; what counts is what the checksum covers.
    let size = check_binary(&header, offset, which)?;
    let uuid = text(&header, 168, 40)
        .filter(|uuid| is_uuid(uuid))
        .ok_or(CopyError::Uuid)?;
    let area = header.get(BINARY_LEN..).ok_or(CopyError::Truncated)?;
    let metadata = json::parse(area).map_err(|error| BadCopy {
        why: error.into(),
        size: Some(size),
    })?;
    Ok(HeaderCopy {
        size,
        seqid: be64(&header, 16).ok_or(CopyError::Truncated)?,
        uuid,
        label: text(&header, 24, 48),
        subsystem: text(&header, 208, 48),
        metadata,
    })
}

/// Checks what can be checked before the whole header is read; gives its size.
fn check_binary(header: &[u8], offset: u64, which: Which) -> Result<u64, CopyError> {
    let magic: &[u8] = match which {
        Which::Primary => b"LUKS\xba\xbe",
        Which::Secondary => b"SKUL\xba\xbe",
    };
    if !has(header, 0, magic) {
        return Err(CopyError::Signature);
    }
    let version = be16(header, 6).ok_or(CopyError::Truncated)?;
    if version != 2 {
        return Err(CopyError::Version(version));
    }
    let says = be64(header, 256).ok_or(CopyError::Truncated)?;
    if says != offset {
        return Err(CopyError::Offset { found: offset, says });
    }
    let size = be64(header, 8).ok_or(CopyError::Truncated)?;
    if !(HEADER_MIN..=HEADER_MAX).contains(&size) || (which == Which::Secondary && size != offset) {
        return Err(CopyError::Size(size));
    }
    Ok(size)
}

/// The checksum covers the whole header, with its own field zeroed.
fn check_sum(header: &[u8]) -> Result<(), CopyError> {
    let name = text(header, 72, 32).unwrap_or_default();
    let hash = Hash::from_name(&name).ok_or(CopyError::ChecksumAlgorithm(name))?;
    let stored: [u8; CHECKSUM_LEN] = array(header, CHECKSUM_AT).ok_or(CopyError::Truncated)?;
    let (before, rest) = header.split_at_checked(CHECKSUM_AT).ok_or(CopyError::Truncated)?;
    let after = rest.get(CHECKSUM_LEN..).ok_or(CopyError::Truncated)?;
    let right = hash.of(&[before, &[0; CHECKSUM_LEN], after], |sum| {
        stored.starts_with(sum)
    });
    if right { Ok(()) } else { Err(CopyError::Checksum) }
}

/// Whether it's written as cryptsetup writes UUIDs. One becomes part of key descriptions and device-mapper tables, where white
/// space would mean something.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, byte)| {
            if matches!(i, 8 | 13 | 18 | 23) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}
