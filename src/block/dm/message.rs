//! The ioctl's buffer: `struct dm_ioctl`, then targets. Pure.

use zeroize::Zeroizing;

use super::Table;
use crate::block::DeviceNumber;
use crate::sys::dm::HEADER_BYTES;

/// `DM_NAME_LEN`, with the NUL byte.
const NAME_BYTES: usize = 128;
/// `DM_UUID_LEN`, with the NUL byte.
const UUID_BYTES: usize = 129;
/// `sizeof(struct dm_target_spec)`
const SPEC_BYTES: usize = 40;
/// `DM_MAX_TYPE_NAME`, with the NUL byte.
const KIND_BYTES: usize = 16;

#[allow(clippy::cast_possible_truncation, reason = "a constant")]
const HEADER_BYTES_U32: u32 = HEADER_BYTES as u32;

/// `DM_READONLY_FLAG`
pub(super) const READ_ONLY: u32 = 1;
/// `DM_STATUS_TABLE_FLAG`: the table rather than the status.
pub(super) const STATUS_TABLE: u32 = 1 << 4;
/// `DM_SECURE_DATA_FLAG`: the kernel wipes its copies of the buffer.
pub(super) const SECURE_DATA: u32 = 1 << 15;

/// Something that doesn't fit into the ioctl's fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A name.
    #[error("device-mapper name {0:?} has more than 127 bytes, is empty, or contains a slash or NUL byte")]
    Name(String),
    /// A UUID.
    #[error("device-mapper UUID {0:?} has more than 128 bytes or contains a NUL byte")]
    Uuid(String),
    /// A target.
    #[error(
        "a target of {0:?} can't be expressed: its type or its parameters are too long or contain a NUL byte"
    )]
    Target(String),
    /// Lines that leave gaps or overlap.
    #[error("the table's lines don't follow on each other")]
    Gap,
}

/// The fields that keel sets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Header<'a> {
    pub name: &'a str,
    pub uuid: &'a str,
    pub flags: u32,
    /// What udev's rules learn from the event that this causes.
    pub event_number: u32,
}

/// A buffer with a header and, for a table load, the targets.
pub(super) fn encode(header: Header<'_>, table: Option<&Table>) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    let name = header.name;
    if name.len() >= NAME_BYTES || name.bytes().any(|byte| byte == 0 || byte == b'/') {
        return Err(EncodeError::Name(name.to_owned()));
    }
    if header.uuid.len() >= UUID_BYTES || header.uuid.contains('\0') {
        return Err(EncodeError::Uuid(header.uuid.to_owned()));
    }
    let specs = match table {
        Some(table) => encode_targets(table)?,
        None => Zeroizing::new(Vec::new()),
    };
    let target_count = table.map_or(0, |table| u32::try_from(table.targets.len()).unwrap_or(u32::MAX));
    // Reserved in full, so that growing leaves no copy of a key behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + specs.len()));
    for version in [4_u32, 0, 0] {
        buffer.extend_from_slice(&version.to_ne_bytes());
    }
    let size = u32::try_from(HEADER_BYTES + specs.len()).unwrap_or(u32::MAX);
    for field in [
        size,
        HEADER_BYTES_U32,
        target_count,
        0,
        header.flags,
        header.event_number,
        0,
    ] {
        buffer.extend_from_slice(&field.to_ne_bytes());
    }
    // The device number, which these commands take from name or UUID.
    buffer.extend_from_slice(&[0; 8]);
    push_padded(&mut buffer, name.as_bytes(), NAME_BYTES);
    push_padded(&mut buffer, header.uuid.as_bytes(), UUID_BYTES);
    buffer.resize(HEADER_BYTES, 0);
    buffer.extend_from_slice(&specs);
    Ok(buffer)
}

fn encode_targets(table: &Table) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    let total = table
        .targets
        .iter()
        .map(|target| spec_bytes(&target.parameters))
        .sum();
    let mut specs = Zeroizing::new(Vec::with_capacity(total));
    let mut next_sector = 0_u64;
    for target in &table.targets {
        if target.start != next_sector || target.length == 0 {
            return Err(EncodeError::Gap);
        }
        next_sector = target.start.checked_add(target.length).ok_or(EncodeError::Gap)?;
        let unusable = || EncodeError::Target(target.kind.clone());
        if target.kind.is_empty() || target.kind.len() >= KIND_BYTES || target.kind.contains('\0') {
            return Err(unusable());
        }
        if target.parameters.contains('\0') {
            return Err(unusable());
        }
        let next = u32::try_from(spec_bytes(&target.parameters)).map_err(|_| unusable())?;
        let end = specs.len() + next as usize;
        specs.extend_from_slice(&target.start.to_ne_bytes());
        specs.extend_from_slice(&target.length.to_ne_bytes());
        specs.extend_from_slice(&0_i32.to_ne_bytes());
        specs.extend_from_slice(&next.to_ne_bytes());
        push_padded(&mut specs, target.kind.as_bytes(), KIND_BYTES);
        specs.extend_from_slice(target.parameters.as_bytes());
        specs.resize(end, 0);
    }
    Ok(specs)
}

/// A spec with its parameters, NUL byte and padding to eight bytes.
fn spec_bytes(parameters: &str) -> usize {
    (SPEC_BYTES + parameters.len() + 1).next_multiple_of(8)
}

fn push_padded(buffer: &mut Vec<u8>, bytes: &[u8], length: usize) {
    let end = buffer.len() + length;
    buffer.extend_from_slice(bytes);
    buffer.resize(end, 0);
}

/// The device number in an answer.
pub(super) fn device_number(answer: &[u8]) -> Option<DeviceNumber> {
    let raw = u64::from_ne_bytes(answer.get(40..48)?.try_into().ok()?);
    // The kernel's huge_encode_dev: minor bits 0 to 7 and 20 to 31, major bits 8 to 19.
    let low = u32::try_from(raw & 0xffff_ffff).ok()?;
    Some(DeviceNumber {
        major: (low >> 8) & 0xfff,
        minor: (low & 0xff) | ((low >> 12) & 0xfff00),
    })
}

/// The UUID in an answer.
pub(super) fn uuid(answer: &[u8]) -> Option<String> {
    let field = answer.get(48 + NAME_BYTES..48 + NAME_BYTES + UUID_BYTES)?;
    let end = field.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(field.get(..end)?).into_owned())
}

/// The table in an answer of `DM_TABLE_STATUS` with [`STATUS_TABLE`]. `None` when it isn't well formed.
pub(super) fn table(answer: &[u8]) -> Option<Table> {
    let field = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let (start, count) = (field(16)? as usize, field(20)?);
    let data = answer.get(start..)?;
    let mut targets = Vec::new();
    let mut at = 0_usize;
    for _ in 0..count {
        let spec = data.get(at..at.checked_add(SPEC_BYTES)?)?;
        let number = |from: usize| Some(u64::from_ne_bytes(spec.get(from..from + 8)?.try_into().ok()?));
        // In an answer `next` counts from the first spec.
        let next = u32::from_ne_bytes(spec.get(20..24)?.try_into().ok()?) as usize;
        let parameters = data.get(at + SPEC_BYTES..next.max(at + SPEC_BYTES))?;
        targets.push(super::Target {
            start: number(0)?,
            length: number(8)?,
            kind: text(spec.get(24..40)?),
            parameters: text(parameters),
        });
        if next <= at {
            return None;
        }
        at = next;
    }
    Some(Table { targets })
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::Target;
    use super::*;
    use proptest::prelude::*;

    fn line(start: u64, length: u64, kind: &str, parameters: &str) -> Target {
        Target {
            start,
            length,
            kind: kind.to_owned(),
            parameters: parameters.to_owned(),
        }
    }

    #[test]
    fn a_table_load_has_the_layout_of_the_kernel_header() {
        let table = Table::from(vec![line(0, 8, "linear", "254:0 2048"), line(8, 8, "error", "")]);
        let buffer = encode(
            Header {
                name: "vg-root",
                uuid: "LVM-x",
                flags: SECURE_DATA,
                event_number: 7,
            },
            Some(&table),
        )
        .unwrap();
        assert_eq!(&buffer[0..12], &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            u32::from_ne_bytes(buffer[16..20].try_into().unwrap()),
            312,
            "data_start"
        );
        assert_eq!(
            u32::from_ne_bytes(buffer[20..24].try_into().unwrap()),
            2,
            "target_count"
        );
        assert_eq!(
            u32::from_ne_bytes(buffer[28..32].try_into().unwrap()),
            1 << 15,
            "flags"
        );
        assert_eq!(
            u32::from_ne_bytes(buffer[32..36].try_into().unwrap()),
            7,
            "event_nr"
        );
        assert_eq!(&buffer[48..56], b"vg-root\0");
        assert_eq!(&buffer[176..182], b"LVM-x\0");
        let spec = &buffer[312..];
        assert_eq!(u64::from_ne_bytes(spec[8..16].try_into().unwrap()), 8, "length");
        assert_eq!(
            u32::from_ne_bytes(spec[20..24].try_into().unwrap()),
            56,
            "next: 40 + 10 + 1, rounded up to 8"
        );
        assert_eq!(&spec[24..31], b"linear\0");
        assert_eq!(&spec[40..51], b"254:0 2048\0");
        assert_eq!(&spec[56 + 24..56 + 30], b"error\0");
        assert_eq!(buffer.len(), 312 + 56 + 48);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let name = |name: &str| {
            encode(
                Header {
                    name,
                    ..Header::default()
                },
                None,
            )
            .map(drop)
        };
        assert_eq!(name(&"x".repeat(127)), Ok(()));
        assert_eq!(name(&"x".repeat(128)), Err(EncodeError::Name("x".repeat(128))));
        assert!(name("a/b").is_err());
        let gap = Table::from(vec![line(0, 8, "linear", ""), line(9, 1, "linear", "")]);
        assert_eq!(encode(Header::default(), Some(&gap)), Err(EncodeError::Gap));
        let long = Table::from(vec![line(0, 8, "sixteen-bytes-ab", "")]);
        assert!(matches!(
            encode(Header::default(), Some(&long)),
            Err(EncodeError::Target(_))
        ));
    }

    #[test]
    fn device_numbers_are_decoded() {
        let mut answer = vec![0; 312];
        answer[40..48].copy_from_slice(&0x0010_fe05_u64.to_ne_bytes());
        assert_eq!(
            device_number(&answer),
            Some(DeviceNumber {
                major: 254,
                minor: 0x105
            })
        );
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(mut answer in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = (device_number(&answer), uuid(&answer), table(&answer));
            if answer.len() > 24 {
                answer[16..20].copy_from_slice(&24_u32.to_ne_bytes());
                let _ = table(&answer);
            }
        }
    }
}
