//! Numbers and strings at fixed offsets of a structure read from a disk. Every access is checked: what lies beyond
//! the end of the slice is `None`.

/// `N` bytes at `offset`.
pub(crate) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// Whether `bytes` holds `magic` at `offset`.
pub(crate) fn has(bytes: &[u8], offset: usize, magic: &[u8]) -> bool {
    offset
        .checked_add(magic.len())
        .and_then(|end| bytes.get(offset..end))
        == Some(magic)
}

pub(crate) fn le16(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_le_bytes)
}

pub(crate) fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

pub(crate) fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_le_bytes)
}

pub(crate) fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_be_bytes)
}

pub(crate) fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_be_bytes)
}

pub(crate) fn be64(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_be_bytes)
}

/// The text of a fixed field: up to the first NUL, trailing white space dropped, invalid UTF-8 replaced; `None` when
/// nothing is left.
pub(crate) fn text(bytes: &[u8], offset: usize, len: usize) -> Option<String> {
    let field = bytes.get(offset..offset.checked_add(len)?)?;
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let text = String::from_utf8_lossy(field.get(..end)?);
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A UUID in its usual form, from 16 bytes in the order in which they are printed; `None` when all are zero.
pub(crate) fn uuid(raw: [u8; 16]) -> Option<String> {
    use std::fmt::Write;
    if raw == [0; 16] {
        return None;
    }
    let mut out = String::with_capacity(36);
    for (i, byte) in raw.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        // Writing to a string can't fail.
        let _ = write!(out, "{byte:02x}");
    }
    Some(out)
}

/// [`uuid`] of the 16 bytes at `offset`.
pub(crate) fn uuid_at(bytes: &[u8], offset: usize) -> Option<String> {
    uuid(array(bytes, offset)?)
}
