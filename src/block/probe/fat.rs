//! FAT12, FAT16 and FAT32 (Microsoft's "FAT: General Overview of On-Disk Format", 1.03).

use super::bytes::{array, has, le16, le32};
use super::{Kind, Source, Superblock};

/// A directory is searched for the volume's name up to here; the name is normally its first entry.
const DIRECTORY_BYTES: usize = 16 * 1024;

pub(super) fn vfat(source: &Source<'_>) -> Option<Superblock> {
    let head = source.head.as_slice();
    let sector_size = le16(head, 11)?;
    let cluster_sectors: [u8; 1] = array(head, 13)?;
    let reserved = le16(head, 14)?;
    let fats: [u8; 1] = array(head, 16)?;
    let media: [u8; 1] = array(head, 21)?;
    if le16(head, 510)? != 0xaa55
        || !matches!(sector_size, 512 | 1024 | 2048 | 4096)
        || !cluster_sectors.iter().all(|count| count.is_power_of_two())
        || reserved == 0
        || !matches!(fats, [1 | 2])
        || !matches!(media, [0xf0 | 0xf8..])
    {
        return None;
    }
    let sector = u64::from(sector_size);
    let [fats] = fats;
    let fat16_sectors = le16(head, 22)?;
    // FAT32 has no fixed root directory and counts its tables in a wider field.
    let fat32 = fat16_sectors == 0 && has(head, 82, b"FAT32   ");
    if !(fat32 || has(head, 54, b"FAT") || has(head, 54, b"MSDOS")) {
        return None;
    }
    let (serial_at, label_at) = if fat32 { (67, 71) } else { (39, 43) };
    let fat_sectors = if fat32 {
        u64::from(le32(head, 36)?)
    } else {
        u64::from(fat16_sectors)
    };
    let tables_end = (u64::from(reserved) + u64::from(fats) * fat_sectors) * sector;
    let (directory, directory_len) = if fat32 {
        let [cluster_sectors] = cluster_sectors;
        let cluster = u64::from(cluster_sectors) * sector;
        let first = u64::from(le32(head, 44)?.checked_sub(2)?);
        (
            tables_end.checked_add(first.checked_mul(cluster)?)?,
            usize::try_from(cluster).ok()?,
        )
    } else {
        (tables_end, usize::from(le16(head, 17)?) * 32)
    };
    let entries = source
        .read(directory, directory_len.min(DIRECTORY_BYTES))
        .unwrap_or_default();
    let serial: [u8; 4] = array(head, serial_at)?;
    let serial = u32::from_le_bytes(serial);
    Some(Superblock {
        kind: Kind::Vfat,
        uuid: (serial != 0).then(|| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        label: directory_label(&entries)
            .or_else(|| name(&array::<11>(head, label_at)?).filter(|name| name != "NO NAME")),
    })
}

/// The name in the root directory's volume entry.
fn directory_label(entries: &[u8]) -> Option<String> {
    const DELETED: u8 = 0xe5;
    const ATTRIBUTES_MASK: u8 = 0x3f;
    const LONG_NAME: u8 = 0x0f;
    const VOLUME: u8 = 0x08;
    const DIRECTORY: u8 = 0x10;

    for entry in entries.chunks_exact(32) {
        let [first]: [u8; 1] = array(entry, 0)?;
        let [attributes]: [u8; 1] = array(entry, 11)?;
        if first == 0 {
            return None;
        }
        if first != DELETED
            && attributes & ATTRIBUTES_MASK != LONG_NAME
            && attributes & (VOLUME | DIRECTORY) == VOLUME
        {
            return name(&array::<11>(entry, 0)?);
        }
    }
    None
}

fn name(raw: &[u8; 11]) -> Option<String> {
    let text = String::from_utf8_lossy(raw);
    let text = text.trim_end_matches(['\0', ' ']);
    (!text.is_empty()).then(|| text.to_owned())
}
