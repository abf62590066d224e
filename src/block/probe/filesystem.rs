//! File systems whose superblock lies at a fixed place.

use super::bytes::{array, has, le16, le32, text, uuid_at};
use super::{Kind, Superblock};

/// ext2, ext3 and ext4 differ by the features that they use (Linux, `fs/ext4/ext4.h`).
pub(super) fn ext(head: &[u8]) -> Option<Superblock> {
    const HAS_JOURNAL: u32 = 0x4;
    const JOURNAL_DEVICE: u32 = 0x8;
    // What ext3 (and for the first and the last, ext2) knows; anything else needs ext4.
    const EXT2_INCOMPAT: u32 = 0x2 | 0x10;
    const EXT3_INCOMPAT: u32 = EXT2_INCOMPAT | 0x4;
    const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;

    let block = head.get(0x400..0x800)?;
    if le16(block, 0x38)? != 0xef53 {
        return None;
    }
    let (compat, incompat, ro_compat) = (le32(block, 0x5c)?, le32(block, 0x60)?, le32(block, 0x64)?);
    let kind = if incompat & JOURNAL_DEVICE != 0 {
        Kind::ExtJournal
    } else if incompat & !EXT3_INCOMPAT != 0 || ro_compat & !EXT3_RO_COMPAT != 0 {
        Kind::Ext4
    } else if compat & HAS_JOURNAL != 0 {
        Kind::Ext3
    } else if incompat & !EXT2_INCOMPAT == 0 {
        Kind::Ext2
    } else {
        return None;
    };
    Some(Superblock {
        kind,
        uuid: uuid_at(block, 0x68),
        label: text(block, 0x78, 16),
    })
}

pub(super) fn xfs(head: &[u8]) -> Option<Superblock> {
    let block_size = u32::from_be_bytes(array(head, 4)?);
    if !has(head, 0, b"XFSB") || !block_size.is_power_of_two() || !(512..=65536).contains(&block_size) {
        return None;
    }
    Some(Superblock {
        kind: Kind::Xfs,
        uuid: uuid_at(head, 32),
        label: text(head, 108, 12),
    })
}

pub(super) fn btrfs(head: &[u8]) -> Option<Superblock> {
    let block = head.get(0x1_0000..)?;
    if !has(block, 0x40, b"_BHRfS_M") {
        return None;
    }
    Some(Superblock {
        kind: Kind::Btrfs,
        uuid: uuid_at(block, 0x20),
        label: text(block, 0x12b, 256),
    })
}

pub(super) fn f2fs(head: &[u8]) -> Option<Superblock> {
    let block = head.get(0x400..0xc00)?;
    if le32(block, 0)? != 0xf2f5_2010 {
        return None;
    }
    let units: Vec<u16> = block
        .get(0x7c..0x7c + 1024)?
        .chunks_exact(2)
        .filter_map(|pair| le16(pair, 0))
        .take_while(|&unit| unit != 0)
        .collect();
    let label = String::from_utf16_lossy(&units);
    let label = label.trim_end();
    Some(Superblock {
        kind: Kind::F2fs,
        uuid: uuid_at(block, 0x6c),
        label: (!label.is_empty()).then(|| label.to_owned()),
    })
}

pub(super) fn erofs(head: &[u8]) -> Option<Superblock> {
    let block = head.get(0x400..0x480)?;
    if le32(block, 0)? != 0xe0f5_e1e2 {
        return None;
    }
    Some(Superblock {
        kind: Kind::Erofs,
        uuid: uuid_at(block, 48),
        label: text(block, 64, 16),
    })
}

/// SquashFS version 4; it carries neither identifier nor name.
pub(super) fn squashfs(head: &[u8]) -> Option<Superblock> {
    if !has(head, 0, b"hsqs") || le16(head, 28)? != 4 {
        return None;
    }
    Some(Superblock {
        kind: Kind::Squashfs,
        uuid: None,
        label: None,
    })
}

/// ISO 9660 (ECMA-119, section 8.4). As `blkid` does, the time of the last change serves as the identifier, else the
/// time of creation. Joliet's second name is not looked at.
pub(super) fn iso9660(head: &[u8]) -> Option<Superblock> {
    let descriptor = head.get(0x8000..0x8800)?;
    if !has(descriptor, 0, b"\x01CD001") {
        return None;
    }
    let uuid = [830, 813].into_iter().find_map(|offset| {
        let stamp: [u8; 16] = array(descriptor, offset)?;
        if !stamp.iter().all(u8::is_ascii_digit) || stamp.iter().all(|&digit| digit == b'0') {
            return None;
        }
        let digits = std::str::from_utf8(&stamp).ok()?;
        let part = |range: std::ops::Range<usize>| digits.get(range);
        Some(format!(
            "{}-{}-{}-{}-{}-{}-{}",
            part(0..4)?,
            part(4..6)?,
            part(6..8)?,
            part(8..10)?,
            part(10..12)?,
            part(12..14)?,
            part(14..16)?
        ))
    });
    Some(Superblock {
        kind: Kind::Iso9660,
        uuid,
        label: text(descriptor, 40, 32),
    })
}
