//! The disk layouts that scenarios boot from.

use crate::disk::Bus;

/// What opens every volume.
pub(crate) const PASSPHRASE: &str = "correct horse";
/// Root's password where somebody is to log in.
pub(crate) const ROOT_PASSWORD: &str = "keel";
/// UUID of the root file system.
pub(crate) const ROOT_UUID: &str = "5f0b3c5e-7a10-4c5b-9d57-6b65656c0001";
/// UUID of the swap area.
pub(crate) const SWAP_UUID: &str = "5f0b3c5e-7a10-4c5b-9d57-6b65656c0002";
/// UUIDs of the LUKS volumes, and their mappings' names.
pub(crate) const VOLUMES: [(&str, &str); 2] = [
    ("5f0b3c5e-7a10-4c5b-9d57-6b65656c0011", "crypt1"),
    ("5f0b3c5e-7a10-4c5b-9d57-6b65656c0012", "crypt2"),
];

/// How the disks of a machine are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layout {
    /// One NVMe disk: ESP, LUKS2, LVM with root and swap in it.
    Main,
    /// Two NVMe disks with a LUKS2 volume each, and a root that is striped over both.
    Striped,
    /// As the main one, on a disk with blocks of 4096 bytes.
    LargeBlocks,
    /// One NVMe disk: LVM, the root's LUKS2 volume in a logical volume.
    LuksOnLvm,
    /// One NVMe disk: ESP, LUKS2, LVM with a thin pool, the root in it.
    Thin,
}

impl Layout {
    /// Name for files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Layout::Main => "main",
            Layout::Striped => "striped",
            Layout::LargeBlocks => "large-blocks",
            Layout::LuksOnLvm => "luks-on-lvm",
            Layout::Thin => "thin",
        }
    }

    /// How many disks.
    pub(crate) fn disks(self) -> usize {
        if self == Layout::Striped { 2 } else { 1 }
    }

    /// Bytes of a logical block.
    pub(crate) fn block_bytes(self) -> u32 {
        if self == Layout::LargeBlocks { 4096 } else { 512 }
    }

    /// How its disks are attached.
    pub(crate) fn bus(self) -> Bus {
        Bus::Nvme {
            block_bytes: self.block_bytes(),
        }
    }

    /// The script's word for what is in what.
    pub(crate) fn order(self) -> &'static str {
        match self {
            Layout::LuksOnLvm => "luks-on-lvm",
            Layout::Thin => "thin-on-luks",
            Layout::Main | Layout::Striped | Layout::LargeBlocks => "lvm-on-luks",
        }
    }

    /// `root=`
    pub(crate) fn root(self) -> &'static str {
        if self == Layout::LuksOnLvm {
            "/dev/mapper/crypt1"
        } else {
            "/dev/vg/root"
        }
    }

    /// What the kernel is told. The volumes of every layout are named, those of another one don't appear: so one boot
    /// menu serves all layouts whose root has the same name.
    pub(crate) fn parameters(self) -> Vec<String> {
        let mut parameters = vec![format!("root={}", self.root()), "rootfstype=ext4".to_owned()];
        parameters.extend(
            VOLUMES
                .iter()
                .map(|(uuid, name)| format!("rd.luks.name={uuid}={name}")),
        );
        parameters.extend(
            [
                "rd.luks.options=discard",
                "console=tty0",
                "console=ttyS0,115200",
                "quiet",
            ]
            .map(str::to_owned),
        );
        parameters
    }
}
