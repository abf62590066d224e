//! Block devices of a machine: what they lie on, and names of theirs that stay.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::machine::Luks;
use crate::block::probe::{Superblock, probe};

/// Deeper than any chain of mappings.
const DEPTH_MAX: usize = 16;

/// The block devices of a machine.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Its `/sys`, without links in the way.
    sysfs: PathBuf,
    /// Its `/dev`.
    dev: PathBuf,
}

/// A block device: its directory below `/sys/devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block(PathBuf);

/// What a block device is.
enum Kind {
    /// A logical volume of a group.
    Logical { group: String, volume: String },
    /// An unlocked volume; the UUID of its header.
    Unlocked { name: String, uuid: String },
    /// Another mapping.
    Mapped { name: String },
    /// A disk or a partition.
    Plain { name: String },
}

impl Blocks {
    pub(super) fn new(machine: &Path) -> Option<Self> {
        Some(Self {
            sysfs: fs::canonicalize(machine.join("sys")).ok()?,
            dev: machine.join("dev"),
        })
    }

    /// The device `MAJOR:MINOR`.
    pub(super) fn by_number(&self, number: &str) -> Option<Block> {
        let link = self.sysfs.join("dev/block").join(number);
        fs::canonicalize(link).ok().map(Block)
    }

    /// The device that the kernel or device-mapper calls so: `/dev/dm-1`, `/dev/mapper/vg-root`, `/dev/nvme0n1p2`.
    pub(super) fn by_path(&self, path: &str) -> Option<Block> {
        let name = path.strip_prefix("/dev/")?;
        let class = self.sysfs.join("class/block");
        let Some(mapped) = name.strip_prefix("mapper/") else {
            return fs::canonicalize(class.join(name)).ok().map(Block);
        };
        let mut all = fs::read_dir(class).ok()?.flatten().map(|entry| entry.path());
        let found = all.find(|path| read(&path.join("dm/name")).as_deref() == Some(mapped))?;
        fs::canonicalize(found).ok().map(Block)
    }

    fn kind(block: &Block) -> Kind {
        let kernel = block
            .0
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (Some(name), Some(uuid)) = (read(&block.0.join("dm/name")), read(&block.0.join("dm/uuid")))
        else {
            return Kind::Plain { name: kernel };
        };
        if uuid.starts_with("LVM-")
            && let Some((group, volume)) = group_and_volume(&name)
        {
            return Kind::Logical { group, volume };
        }
        match luks_uuid(&uuid) {
            Some(uuid) => Kind::Unlocked { name, uuid },
            None => Kind::Mapped { name },
        }
    }

    /// What the device holds, as far as it can be read.
    pub(super) fn superblock(&self, block: &Block) -> Option<Superblock> {
        let file = File::open(self.dev.join(block.0.file_name()?)).ok()?;
        probe(&file).ok()?
    }

    /// A name that stays: of a logical volume or an unlocked one its own, else by the UUID of what it holds. Without a
    /// UUID there's only the kernel's name, and a note.
    pub(super) fn stable_name(&self, block: &Block, notes: &mut Vec<String>) -> String {
        match Self::kind(block) {
            Kind::Logical { group, volume } => format!("/dev/{group}/{volume}"),
            Kind::Unlocked { name, .. } | Kind::Mapped { name } => format!("/dev/mapper/{name}"),
            Kind::Plain { name } => {
                if let Some(uuid) = self.superblock(block).and_then(|found| found.uuid) {
                    format!("/dev/disk/by-uuid/{uuid}")
                } else {
                    notes.push(format!(
                        "/dev/{name} has no UUID that could be read: its name may change from boot to boot."
                    ));
                    format!("/dev/{name}")
                }
            }
        }
    }

    /// The unlocked volumes that the device is or lies on, the lowest first.
    pub(super) fn luks_below(&self, block: &Block, found: &mut Vec<Luks>, notes: &mut Vec<String>) {
        self.descend(block, found, notes, 0);
    }

    fn descend(&self, block: &Block, found: &mut Vec<Luks>, notes: &mut Vec<String>, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        let slaves: Vec<Block> = fs::read_dir(block.0.join("slaves"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::canonicalize(entry.path()).ok().map(Block))
            .collect();
        for slave in &slaves {
            self.descend(slave, found, notes, depth + 1);
        }
        let Kind::Unlocked { name, uuid } = Self::kind(block) else {
            return;
        };
        if found.iter().any(|known| known.name == name) {
            return;
        }
        let holds_header = |slave: &Block| {
            self.superblock(slave)
                .is_none_or(|superblock| superblock.uuid.as_deref() == Some(&uuid))
        };
        if !slaves.iter().all(holds_header) {
            notes.push(format!(
                "the header of {name} doesn't lie on its device: name it by `header`, and the device by another name."
            ));
        }
        // dm-crypt passes discards on only when it was told to, so there are none otherwise.
        let discards = read(&block.0.join("queue/discard_max_bytes"));
        found.push(Luks {
            device: format!("/dev/disk/by-uuid/{uuid}"),
            allow_discards: discards.is_some_and(|bytes| bytes != "0"),
            name,
        });
    }
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// `CRYPT-LUKS2-<32 digits>-<name>` (cryptsetup, lib/libdevmapper.c, `dm_prepare_uuid`).
fn luks_uuid(uuid: &str) -> Option<String> {
    let rest = uuid.strip_prefix("CRYPT-LUKS")?;
    let digits = rest.split('-').nth(1)?;
    let is_uuid = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let part = |range: std::ops::Range<usize>| digits.get(range);
    let parts = [
        part(0..8)?,
        part(8..12)?,
        part(12..16)?,
        part(16..20)?,
        part(20..32)?,
    ];
    is_uuid.then(|| parts.join("-"))
}

/// `vg--a-root` is the volume `root` of the group `vg-a` (lvm(8), "VALID NAMES").
fn group_and_volume(name: &str) -> Option<(String, String)> {
    let bytes = name.as_bytes();
    let is_dash = |at: usize| bytes.get(at) == Some(&b'-');
    let mut at = 0;
    while at < bytes.len() {
        match (is_dash(at), is_dash(at + 1)) {
            (true, true) => at += 2,
            (true, false) => {
                let (group, volume) = (name.get(..at)?, name.get(at + 1..)?);
                return Some((group.replace("--", "-"), volume.replace("--", "-")));
            }
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_device_mapper_are_taken_apart() {
        let names = |text| group_and_volume(text).map(|(group, volume)| format!("{group}/{volume}"));
        assert_eq!(names("vg-root").as_deref(), Some("vg/root"));
        assert_eq!(names("my--vg-a--b").as_deref(), Some("my-vg/a-b"));
        assert_eq!(names("plain"), None);
        assert_eq!(names("only--one"), None);
        let uuid = luks_uuid("CRYPT-LUKS2-5f0b3c5e7a104c5b9d576b65656c0011-crypt1");
        assert_eq!(uuid.as_deref(), Some("5f0b3c5e-7a10-4c5b-9d57-6b65656c0011"));
        for other in ["CRYPT-PLAIN-x", "CRYPT-LUKS2-short-x", "CRYPT-LUKS2-ä", "LVM-x"] {
            assert_eq!(luks_uuid(other), None, "{other}");
        }
    }
}
