//! A metadata area: a header, and a ring buffer with the text (lvm2, lib/format_text/layout.h, `struct mda_header`).

use std::io;

use super::crc::crc;
use super::label::{Region, number};
use crate::block::ReadAt;

const HEADER: usize = 512;
const MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const VERSION: u32 = 1;
const IGNORED: u32 = 1;
/// lvm refuses larger metadata itself (`MDA_SIZE_MAX` of its tools is 4 GiB for the area, the text stays far below).
const LARGEST_TEXT: u64 = 64 << 20;

/// Why a metadata area can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AreaError {
    /// The header.
    #[error("the header of the metadata area at byte {offset} is damaged: {reason}")]
    Header {
        /// Where the area is.
        offset: u64,
        /// What doesn't fit.
        reason: &'static str,
    },
    /// The text.
    #[error("the metadata text of the area at byte {offset} is damaged: {reason}")]
    Text {
        /// Where the area is.
        offset: u64,
        /// What doesn't fit.
        reason: &'static str,
    },
    /// The device.
    #[error("the metadata area at byte {offset} can't be read: {source}")]
    Read {
        /// Where the area is.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

/// Reads the text of an area. `None` when the area is empty (a physical volume of no group) or marked as ignored.
pub(super) fn read_text(device: &dyn ReadAt, area: Region) -> Result<Option<Vec<u8>>, AreaError> {
    let offset = area.offset;
    let header_error = |reason| AreaError::Header { offset, reason };
    let text_error = |reason| AreaError::Text { offset, reason };
    let read_error = |source| AreaError::Read { offset, source };

    let mut header = [0; HEADER];
    device.read_exact_at(offset, &mut header).map_err(read_error)?;
    let word = |at: usize| {
        header
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    let quad = |at: usize| number(&header, at).unwrap_or(0);
    if header.get(4..20) != Some(MAGIC) {
        return Err(header_error("it has no magic number"));
    }
    if word(0) != crc(header.get(4..).unwrap_or_default()) {
        return Err(header_error("wrong checksum"));
    }
    if word(20) != VERSION {
        return Err(header_error("its version isn't known"));
    }
    let (start, size) = (quad(24), quad(32));
    if start != offset {
        return Err(header_error("it belongs to another place"));
    }
    // The first slot is the committed text; the second one is being committed.
    let (text_offset, text_size, text_crc, flags) = (quad(40), quad(48), word(56), word(60));
    if text_offset == 0 || flags & IGNORED != 0 {
        return Ok(None);
    }
    let ring = size
        .checked_sub(HEADER as u64)
        .ok_or_else(|| header_error("its size is impossible"))?;
    if text_size > ring || text_size > LARGEST_TEXT || text_offset < HEADER as u64 || text_offset >= size {
        return Err(header_error("its text lies outside of it"));
    }
    let end = start
        .checked_add(size)
        .ok_or_else(|| header_error("its size is impossible"))?;
    if end > device.size().map_err(read_error)? {
        return Err(header_error("it reaches beyond the device"));
    }
    // What doesn't fit at the end goes on behind the header.
    let first = text_size.min(size - text_offset);
    let length = usize::try_from(text_size).map_err(|_| header_error("its size is impossible"))?;
    let mut text = vec![0; length];
    let (head, tail) = text.split_at_mut(usize::try_from(first).unwrap_or(length).min(length));
    device
        .read_exact_at(start + text_offset, head)
        .map_err(read_error)?;
    device
        .read_exact_at(start + HEADER as u64, tail)
        .map_err(read_error)?;
    if crc(&text) != text_crc {
        return Err(text_error("wrong checksum"));
    }
    while text.last() == Some(&0) {
        let _ = text.pop();
    }
    Ok(Some(text))
}
