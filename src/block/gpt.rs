//! GUID partition tables (UEFI specification 2.10, section 5.3). The kernel reads them itself, but doesn't say all of it; images
//! of disks have only this.

use std::io;

use super::ReadAt;
use super::probe::bytes::{le32, le64, uuid_at};

/// Longest table that is read: 1024 entries of 128 bytes, eight times what tools make.
const TABLE_MAX: u64 = 128 << 10;
/// Sizes that a logical block can have, in bytes.
const BLOCK_SIZES: [u64; 2] = [512, 4096];

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Where it starts, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Its UUID (`PARTUUID`), in lower case.
    pub uuid: String,
    /// Its name (`PARTLABEL`).
    pub label: String,
}

/// Reads the primary table, or the backup at the end of the disk. Nothing when there is none; entries that don't fit on
/// the disk are left out.
pub fn read(disk: &dyn ReadAt) -> io::Result<Option<Vec<Partition>>> {
    let size = disk.size()?;
    for block in BLOCK_SIZES {
        for at in [Some(block), size.checked_sub(block)].into_iter().flatten() {
            if let Some(partitions) = table(disk, size, block, at)? {
                return Ok(Some(partitions));
            }
        }
    }
    Ok(None)
}

fn table(disk: &dyn ReadAt, size: u64, block: u64, at: u64) -> io::Result<Option<Vec<Partition>>> {
    let mut header = [0; 92];
    if at.checked_add(92).is_none_or(|end| end > size) {
        return Ok(None);
    }
    disk.read_exact_at(at, &mut header)?;
    if !header.starts_with(b"EFI PART") {
        return Ok(None);
    }
    let (Some(checksum), Some(start), Some(count), Some(entry_size), Some(entries_checksum)) = (
        le32(&header, 16),
        le64(&header, 72),
        le32(&header, 80),
        le32(&header, 84),
        le32(&header, 88),
    ) else {
        return Ok(None);
    };
    header[16..20].fill(0);
    let bytes = u64::from(count).saturating_mul(u64::from(entry_size));
    let start = start.saturating_mul(block);
    let fits = start.checked_add(bytes).is_some_and(|end| end <= size);
    if crc32(&header) != checksum || entry_size < 128 || bytes > TABLE_MAX || !fits {
        return Ok(None);
    }
    let mut entries = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    disk.read_exact_at(start, &mut entries)?;
    if crc32(&entries) != entries_checksum {
        return Ok(None);
    }
    let entry_size = usize::try_from(entry_size).map_err(io::Error::other)?;
    let found = entries
        .chunks_exact(entry_size)
        .zip(1..)
        .filter_map(|(entry, number)| partition(entry, number, block));
    Ok(Some(
        found
            .filter(|found| {
                found
                    .start
                    .checked_add(found.length)
                    .is_some_and(|end| end <= size)
            })
            .collect(),
    ))
}

/// An entry; nothing when it's unused (its type is all zeros).
fn partition(entry: &[u8], number: u32, block: u64) -> Option<Partition> {
    if entry.get(..16)?.iter().all(|&byte| byte == 0) {
        return None;
    }
    let (first, last) = (le64(entry, 32)?, le64(entry, 40)?);
    let blocks = last.checked_sub(first)?.checked_add(1)?;
    let units: Vec<u16> = entry
        .get(56..128)?
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .take_while(|unit| *unit != 0)
        .collect();
    Some(Partition {
        number,
        start: first.checked_mul(block)?,
        length: blocks.checked_mul(block)?,
        uuid: guid(entry.get(16..32)?)?,
        label: String::from_utf16_lossy(&units),
    })
}

/// The first three fields of a GUID are little endian (UEFI specification, appendix A).
fn guid(bytes: &[u8]) -> Option<String> {
    let mut mixed: [u8; 16] = bytes.try_into().ok()?;
    mixed[..4].reverse();
    mixed[4..6].reverse();
    mixed[6..8].reverse();
    uuid_at(&mixed, 0)
}

/// CRC-32 of ISO 3309, as zip has it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: u32| {
        if crc & 1 == 1 {
            crc >> 1 ^ 0xedb8_8320
        } else {
            crc >> 1
        }
    };
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// `sfdisk` of util-linux.
    fn made(script: &str) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        let mut sfdisk = Command::new("sfdisk")
            .arg("--quiet")
            .arg(file.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(sfdisk.wait().unwrap().success());
        std::fs::read(file.path()).unwrap()
    }

    const SCRIPT: &str = "label: gpt\nstart=1MiB, size=2MiB, uuid=5F0B3C5E-7A10-4C5B-9D57-6B65656C0001, name=\"first\"\n\
                          start=4MiB, size=1MiB, name=\"größe\"\n";

    #[test]
    fn partitions_of_real_tables() {
        let disk = made(SCRIPT);
        let partitions = read(&disk).unwrap().unwrap();
        let [first, second] = &partitions[..] else {
            unreachable!()
        };
        assert_eq!((first.number, first.start, first.length), (1, 1 << 20, 2 << 20));
        assert_eq!(first.uuid, "5f0b3c5e-7a10-4c5b-9d57-6b65656c0001");
        assert_eq!((first.label.as_str(), second.label.as_str()), ("first", "größe"));
        assert_eq!(
            (second.number, second.start, second.length),
            (2, 4 << 20, 1 << 20)
        );
    }

    #[test]
    fn the_backup_serves_when_the_first_is_damaged() {
        let mut disk = made(SCRIPT);
        let whole = read(&disk).unwrap().unwrap();
        disk[512 + 40] ^= 1;
        assert_eq!(read(&disk).unwrap().unwrap(), whole);
        let end = disk.len();
        disk[end - 512..].fill(0);
        assert_eq!(read(&disk).unwrap(), None);
        assert_eq!(read(&vec![0; 100]).unwrap(), None);
    }
}
