//! Superblock probes: what a block device holds, told by signatures as `blkid` tells it.
//!
//! Containers come before file systems, and RAID members before all: a mirror's member shows the superblock of what
//! is inside the mirror, and unlocking or mounting one half of it alone would make the halves differ.

use std::fmt;
use std::io;

use super::ReadAt;

pub(crate) mod bytes;
mod container;
mod fat;
mod filesystem;

/// Everything but the superblocks at the end of a device lies in here (btrfs: 64 KiB + 4 KiB).
const HEAD_BYTES: u64 = 0x11000;

/// What was found on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The format.
    pub kind: Kind,
    /// As `blkid` prints it (for a partition table: the disk's identifier, `PTUUID`).
    pub uuid: Option<String>,
    /// As `blkid` prints it.
    pub label: Option<String>,
}

/// A format that [`probe`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// LUKS version 1.
    Luks1,
    /// LUKS version 2; also when only the second copy of its header is left.
    Luks2,
    /// LVM2 physical volume.
    Lvm2Member,
    /// Member of a Linux software RAID array.
    MdRaidMember,
    /// ext2.
    Ext2,
    /// ext3.
    Ext3,
    /// ext4.
    Ext4,
    /// An external journal of ext3 or ext4.
    ExtJournal,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// FAT12, FAT16 or FAT32.
    Vfat,
    /// Swap space.
    Swap,
    /// Swap space that holds a hibernation image.
    SwapSuspend,
    /// EROFS.
    Erofs,
    /// SquashFS.
    Squashfs,
    /// ISO 9660.
    Iso9660,
    /// GUID partition table.
    Gpt,
}

impl Kind {
    /// The name that `blkid` uses (`TYPE`, for a partition table `PTTYPE`), the kernel too when it is a file system.
    pub fn name(self) -> &'static str {
        match self {
            Self::Luks1 | Self::Luks2 => "crypto_LUKS",
            Self::Lvm2Member => "LVM2_member",
            Self::MdRaidMember => "linux_raid_member",
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::ExtJournal => "jbd",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::F2fs => "f2fs",
            Self::Vfat => "vfat",
            Self::Swap => "swap",
            Self::SwapSuspend => "swsuspend",
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::Iso9660 => "iso9660",
            Self::Gpt => "gpt",
        }
    }

    /// Whether it can be mounted.
    pub fn is_file_system(self) -> bool {
        matches!(
            self,
            Self::Ext2
                | Self::Ext3
                | Self::Ext4
                | Self::Xfs
                | Self::Btrfs
                | Self::F2fs
                | Self::Vfat
                | Self::Erofs
                | Self::Squashfs
                | Self::Iso9660
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The start of a device, read once, and the way to the rest.
struct Source<'a> {
    device: &'a dyn ReadAt,
    size: u64,
    head: Vec<u8>,
}

impl Source<'_> {
    /// Reads `len` bytes at `offset`; `None` when they are outside the device or can't be read. A drive whose last
    /// sectors are unreadable must still be recognised by its first ones.
    fn read(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        if offset.checked_add(len as u64)? > self.size {
            return None;
        }
        let mut buf = vec![0; len];
        self.device.read_exact_at(offset, &mut buf).ok()?;
        Some(buf)
    }
}

/// Looks for a known superblock. Reads at most some 200 KiB, whatever the size of the device; an empty or tiny device
/// is `Ok(None)`.
///
/// # Errors
/// When the start of the device can't be read.
pub fn probe(dev: &dyn ReadAt) -> io::Result<Option<Superblock>> {
    let source = open(dev)?;
    Ok(container::luks_or_raid(&source)
        .or_else(|| not_luks(&source))
        .or_else(|| container::luks2_secondary(&source)))
}

/// What else than LUKS is on the device. A damaged LUKS2 header must not be recovered from its second copy when the
/// device was given another use since.
pub(crate) fn probe_not_luks(dev: &dyn ReadAt) -> io::Result<Option<Superblock>> {
    let source = open(dev)?;
    Ok(container::mdraid(&source).or_else(|| not_luks(&source)))
}

fn open(dev: &dyn ReadAt) -> io::Result<Source<'_>> {
    let size = dev.size()?;
    let mut head = vec![0; usize::try_from(size.min(HEAD_BYTES)).unwrap_or(0)];
    dev.read_exact_at(0, &mut head)?;
    Ok(Source {
        device: dev,
        size,
        head,
    })
}

fn not_luks(source: &Source<'_>) -> Option<Superblock> {
    let head = source.head.as_slice();
    container::lvm2(head)
        .or_else(|| container::swap(head))
        .or_else(|| filesystem::xfs(head))
        .or_else(|| filesystem::ext(head))
        .or_else(|| filesystem::btrfs(head))
        .or_else(|| filesystem::f2fs(head))
        .or_else(|| filesystem::erofs(head))
        .or_else(|| filesystem::squashfs(head))
        .or_else(|| filesystem::iso9660(head))
        .or_else(|| fat::vfat(source))
        .or_else(|| container::gpt(head))
}

#[cfg(test)]
mod tests;
