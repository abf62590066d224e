//! What is not a file system: LUKS, LVM2 physical volumes, RAID members, swap, partition tables.

use super::bytes::{array, be16, be64, has, le16, le32, le64, text, uuid, uuid_at};
use super::{Kind, Source, Superblock};

const LUKS_MAGIC: &[u8] = b"LUKS\xba\xbe";
const LUKS2_SECONDARY_MAGIC: &[u8] = b"SKUL\xba\xbe";
/// In-kernel hibernation, both versions; uswsusp; hibernation with a user space image; TuxOnIce.
const SUSPENDED: [&[u8]; 5] = [
    b"S1SUSPEND",
    b"S2SUSPEND",
    b"ULSUSPEND",
    b"LINHIB0001",
    b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c",
];
const MD_MAGIC: u32 = 0xa92b_4efc;

pub(super) fn luks_or_raid(source: &Source<'_>) -> Option<Superblock> {
    mdraid(source).or_else(|| luks(&source.head))
}

/// LUKS1 (on-disk format specification 1.2, section "PHDR") and LUKS2 (specification 1.1, section 2.1).
fn luks(head: &[u8]) -> Option<Superblock> {
    if !has(head, 0, LUKS_MAGIC) {
        return None;
    }
    let uuid = text(head, 0xa8, 40);
    match be16(head, 6)? {
        1 => Some(Superblock {
            kind: Kind::Luks1,
            uuid,
            label: None,
        }),
        2 => Some(Superblock {
            kind: Kind::Luks2,
            uuid,
            label: text(head, 24, 48),
        }),
        _ => None,
    }
}

/// A LUKS2 header whose first copy is gone: the second one lies at one of nine offsets, which it states itself.
pub(super) fn luks2_secondary(source: &Source<'_>) -> Option<Superblock> {
    (14..=22).map(|shift| 1_u64 << shift).find_map(|offset| {
        let header = source.read(offset, 512)?;
        if !has(&header, 0, LUKS2_SECONDARY_MAGIC) || be16(&header, 6)? != 2 || be64(&header, 256)? != offset
        {
            return None;
        }
        Some(Superblock {
            kind: Kind::Luks2,
            uuid: text(&header, 0xa8, 40),
            label: text(&header, 24, 48),
        })
    })
}

/// LVM2: a label in one of the first four sectors, followed by the physical volume's identifier.
pub(super) fn lvm2(head: &[u8]) -> Option<Superblock> {
    (0..4_usize).find_map(|sector| {
        let label = head.get(sector * 512..sector * 512 + 512)?;
        if !has(label, 0, b"LABELONE") || !has(label, 24, b"LVM2 001") || le64(label, 8)? != sector as u64 {
            return None;
        }
        let header = usize::try_from(le32(label, 20)?).ok()?;
        let raw = text(label, header, 32)?;
        Some(Superblock {
            kind: Kind::Lvm2Member,
            uuid: lvm_uuid(&raw),
            label: None,
        })
    })
}

/// LVM prints its identifiers in groups of 6-4-4-4-4-4-6 characters.
fn lvm_uuid(raw: &str) -> Option<String> {
    if raw.len() != 32 || !raw.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let mut out = String::with_capacity(38);
    for (i, c) in raw.chars().enumerate() {
        if matches!(i, 6 | 10 | 14 | 18 | 22 | 26) {
            out.push('-');
        }
        out.push(c);
    }
    Some(out)
}

/// Linux software RAID: version 1 at the start (1.1), at 4 KiB (1.2) or near the end (1.0); 0.90 near the end.
pub(super) fn mdraid(source: &Source<'_>) -> Option<Superblock> {
    let near_end = (source.size & !0xfff).checked_sub(0x2000);
    [Some(0), Some(0x1000), near_end]
        .into_iter()
        .flatten()
        .find_map(|offset| {
            let block = source.read(offset, 0x1000)?;
            mdraid1(&block, offset)
        })
        .or_else(|| {
            let offset = (source.size & !0xffff).checked_sub(0x1_0000)?;
            let block = source.read(offset, 0x1000)?;
            mdraid0(&block)
        })
}

fn mdraid1(block: &[u8], offset: u64) -> Option<Superblock> {
    // The superblock states where it lies (in sectors), which tells it from a copy inside a member's data.
    if le32(block, 0)? != MD_MAGIC || le32(block, 4)? != 1 || le64(block, 144)? != offset / 512 {
        return None;
    }
    Some(Superblock {
        kind: Kind::MdRaidMember,
        uuid: uuid_at(block, 16),
        label: text(block, 32, 32),
    })
}

fn mdraid0(block: &[u8]) -> Option<Superblock> {
    let number = |offset| {
        let raw: [u8; 4] = array(block, offset)?;
        Some(if has(block, 0, &MD_MAGIC.to_be_bytes()) {
            raw
        } else {
            u32::from_le_bytes(raw).to_be_bytes()
        })
    };
    if u32::from_be_bytes(number(0)?) != MD_MAGIC || u32::from_be_bytes(number(4)?) != 0 {
        return None;
    }
    // The four words of the identifier are printed as numbers, whatever the order of their bytes.
    let mut raw = [0; 16];
    for (word, offset) in raw.chunks_exact_mut(4).zip([20, 52, 56, 60]) {
        word.copy_from_slice(&number(offset)?);
    }
    Some(Superblock {
        kind: Kind::MdRaidMember,
        uuid: uuid(raw),
        label: None,
    })
}

/// Swap space: the signature ends the first page, whose size is the machine's that made it.
pub(super) fn swap(head: &[u8]) -> Option<Superblock> {
    [0x1000_usize, 0x2000, 0x4000, 0x8000, 0x1_0000]
        .into_iter()
        .find_map(|page| {
            let signature: [u8; 10] = array(head, page - 10)?;
            let kind = match &signature {
                b"SWAP-SPACE" | b"SWAPSPACE2" => Kind::Swap,
                // Some writers leave what was there in the tenth byte.
                other if SUSPENDED.iter().any(|magic| other.starts_with(magic)) => Kind::SwapSuspend,
                _ => return None,
            };
            let named = &signature != b"SWAP-SPACE" && matches!(le32(head, 0x400)?, 1 | 0x0100_0000);
            Some(Superblock {
                kind,
                uuid: named.then(|| uuid_at(head, 0x40c)).flatten(),
                label: named.then(|| text(head, 0x41c, 16)).flatten(),
            })
        })
}

/// GUID partition table (UEFI specification, section 5.3.2), behind a protective MBR.
pub(super) fn gpt(head: &[u8]) -> Option<Superblock> {
    if le16(head, 510)? != 0xaa55 {
        return None;
    }
    [512_usize, 4096].into_iter().find_map(|sector| {
        let header = head.get(sector..)?;
        if !has(header, 0, b"EFI PART") || le64(header, 24)? != 1 || !(92..=4096).contains(&le32(header, 12)?)
        {
            return None;
        }
        // The first three groups of a GUID are little endian.
        let mut raw: [u8; 16] = array(header, 56)?;
        let (groups, _) = raw.split_at_mut(8);
        let (first, rest) = groups.split_at_mut(4);
        let (second, third) = rest.split_at_mut(2);
        first.reverse();
        second.reverse();
        third.reverse();
        Some(Superblock {
            kind: Kind::Gpt,
            uuid: uuid(raw),
            label: None,
        })
    })
}
