//! The label of a physical volume: which device it is, where its metadata and its data are (lvm2, lib/label/label.h and
//! lib/format_text/layout.h).

use std::io;

use super::crc::crc;
use crate::block::ReadAt;

const SECTOR: usize = 512;
/// The label is in one of the first four sectors.
const LABEL_SECTORS: usize = 4;
const MAGIC: &[u8] = b"LABELONE";
const TYPE: &[u8] = b"LVM2 001";
/// More areas than any tool writes: lvm allows two metadata areas and one data area.
const MOST_AREAS: usize = 16;

/// A part of a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Offset from the start of the device.
    pub offset: u64,
    /// Length; 0 means up to the end.
    pub size: u64,
}

/// The label of a physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvLabel {
    /// UUID of the physical volume, 32 characters without dashes.
    pub id: String,
    /// Size of the device when the label was written, bytes.
    pub device_size: u64,
    /// Where the extents are.
    pub data_areas: Vec<Region>,
    /// Where the metadata is.
    pub metadata_areas: Vec<Region>,
}

/// Why a label can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The checksum.
    #[error("the LVM label in sector {sector} has a wrong checksum; `pvck` may find the metadata again")]
    Checksum {
        /// The sector.
        sector: usize,
    },
    /// The content.
    #[error("the LVM label in sector {sector} is damaged: {reason}")]
    Damaged {
        /// The sector.
        sector: usize,
        /// What doesn't fit.
        reason: &'static str,
    },
    /// The device.
    #[error("the LVM label can't be read: {0}")]
    Read(#[from] io::Error),
}

/// Reads the label of a device. `None` when it has none.
pub(super) fn read(device: &dyn ReadAt) -> Result<Option<PvLabel>, LabelError> {
    let size = device.size()?;
    let mut head = [0; SECTOR * LABEL_SECTORS];
    let sectors = usize::try_from(size).unwrap_or(usize::MAX).min(head.len()) / SECTOR;
    let Some(head) = head.get_mut(..sectors * SECTOR) else {
        return Ok(None);
    };
    device.read_exact_at(0, head)?;
    for (sector, bytes) in head.chunks_exact(SECTOR).enumerate() {
        if bytes.starts_with(MAGIC)
            && bytes.get(24..32) == Some(TYPE)
            && number(bytes, 8) == Some(sector as u64)
        {
            return parse(bytes, sector).map(Some);
        }
    }
    Ok(None)
}

fn parse(bytes: &[u8], sector: usize) -> Result<PvLabel, LabelError> {
    let damaged = |reason| LabelError::Damaged { sector, reason };
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let covered = bytes.get(20..).unwrap_or_default();
    if word(16) != Some(crc(covered)) {
        return Err(LabelError::Checksum { sector });
    }
    let header = word(20).ok_or_else(|| damaged("it is too short"))? as usize;
    let header = bytes
        .get(header..)
        .ok_or_else(|| damaged("its header lies outside of the sector"))?;
    let id = header.get(..32).ok_or_else(|| damaged("its header is cut"))?;
    if !id.iter().all(u8::is_ascii_alphanumeric) {
        return Err(damaged("its UUID has characters that LVM doesn't use"));
    }
    let id = String::from_utf8_lossy(id).into_owned();
    let device_size = number(header, 32).ok_or_else(|| damaged("its header is cut"))?;
    let mut at = 40;
    let data_areas = areas(header, &mut at).ok_or_else(|| damaged("its list of data areas doesn't end"))?;
    let metadata_areas =
        areas(header, &mut at).ok_or_else(|| damaged("its list of metadata areas doesn't end"))?;
    Ok(PvLabel {
        id,
        device_size,
        data_areas,
        metadata_areas,
    })
}

/// A list of regions that ends with zeros.
fn areas(header: &[u8], at: &mut usize) -> Option<Vec<Region>> {
    let mut areas = Vec::new();
    loop {
        let region = Region {
            offset: number(header, *at)?,
            size: number(header, *at + 8)?,
        };
        *at += 16;
        if region.offset == 0 {
            return Some(areas);
        }
        if areas.len() == MOST_AREAS {
            return None;
        }
        areas.push(region);
    }
}

/// A little-endian number of eight bytes.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}
