//! The disk layouts that scenarios boot from.

use crate::disk::Bus;

/// What opens every volume.
pub(crate) const PASSPHRASE: &str = "correct horse";
/// Root's password where somebody is to log in.
pub(crate) const ROOT_PASSWORD: &str = "keel";
/// UUID of the root file system.
pub(crate) const ROOT_UUID: &str = "5f0b3c5e-7a10-4c5b-9d57-6b65656c0001";
/// UUID of the root's entry in the partition table, where the root lies on a partition.
pub(crate) const ROOT_PARTITION_UUID: &str = "5f0b3c5e-7a10-4c5b-9d57-6b65656c0021";
/// The subvolume that holds a root on Btrfs.
pub(crate) const SUBVOLUME: &str = "@";
/// UUID of the swap area.
pub(crate) const SWAP_UUID: &str = "5f0b3c5e-7a10-4c5b-9d57-6b65656c0002";
/// UUIDs of the LUKS volumes, and their mappings' names.
pub(crate) const VOLUMES: [(&str, &str); 2] = [
    ("5f0b3c5e-7a10-4c5b-9d57-6b65656c0011", "crypt1"),
    ("5f0b3c5e-7a10-4c5b-9d57-6b65656c0012", "crypt2"),
];

/// What the kernel and systemd of every machine are told, because others may keep the processors busy: an emulated timer that is
/// late is no broken one, and devices may take minutes to appear. Programs lie at the same addresses in every process: QEMU 7.2
/// translates code once for each address that it's found at, which takes a quarter of a boot otherwise.
pub(crate) const EMULATED: [&str; 3] = [
    "no_timer_check",
    "norandmaps",
    "systemd.default_device_timeout_sec=300",
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
    /// Two NVMe disks with a root that is striped over both: LUKS1 on one; the other has only the data of a LUKS2 volume
    /// whose header is on a USB stick. Keyfiles for both are on the stick, too.
    Stick,
    /// One NVMe disk: LVM with root and swap, nothing encrypted.
    PlainLvm,
    /// The same, and a second disk with the data of a LUKS2 volume that holds swap space. Its header and its keyfile are on a
    /// stick.
    Vault,
    /// One NVMe disk: XFS on a partition.
    BarePartition,
    /// One NVMe disk: LUKS2 with Btrfs in it, the root in a subvolume.
    Btrfs,
    /// Two NVMe disks with a LUKS2 volume each: LVM with a thin pool that is mirrored on both (RAID1), the root in it.
    Thin,
    /// Two NVMe disks, nothing encrypted: LVM with root and swap on the first, the root's cache on the second.
    Cached,
}

/// The file system that holds a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    /// A copy of an image.
    Ext4,
    /// Made and filled in the builder.
    Xfs,
    /// Likewise; the root is the subvolume [`SUBVOLUME`].
    Btrfs,
}

impl FileSystem {
    /// Its type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
        }
    }
}

impl Layout {
    /// All of them.
    pub(crate) const ALL: [Layout; 11] = [
        Layout::Main,
        Layout::Striped,
        Layout::LargeBlocks,
        Layout::LuksOnLvm,
        Layout::Stick,
        Layout::PlainLvm,
        Layout::Vault,
        Layout::BarePartition,
        Layout::Btrfs,
        Layout::Thin,
        Layout::Cached,
    ];
}

/// Label of the stick's file system.
pub(crate) const STICK: &str = "STICK";

impl Layout {
    /// Name for files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Layout::Main => "main",
            Layout::Striped => "striped",
            Layout::LargeBlocks => "large-blocks",
            Layout::LuksOnLvm => "luks-on-lvm",
            Layout::Stick => "stick",
            Layout::PlainLvm => "plain-lvm",
            Layout::Vault => "vault",
            Layout::BarePartition => "bare-partition",
            Layout::Btrfs => "btrfs",
            Layout::Thin => "thin",
            Layout::Cached => "cached",
        }
    }

    /// What the root is on.
    pub(crate) fn file_system(self) -> FileSystem {
        match self {
            Layout::BarePartition => FileSystem::Xfs,
            Layout::Btrfs => FileSystem::Btrfs,
            _ => FileSystem::Ext4,
        }
    }

    /// How many disks, without a stick.
    pub(crate) fn disks(self) -> usize {
        if matches!(
            self,
            Layout::Striped | Layout::Stick | Layout::Thin | Layout::Vault | Layout::Cached
        ) {
            2
        } else {
            1
        }
    }

    /// Whether a stick belongs to it.
    pub(crate) fn has_stick(self) -> bool {
        matches!(self, Layout::Stick | Layout::Vault)
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
            Layout::Main | Layout::Striped | Layout::LargeBlocks | Layout::Stick => "lvm-on-luks",
            Layout::LuksOnLvm => "luks-on-lvm",
            Layout::Thin => "thin-on-luks",
            Layout::PlainLvm | Layout::Vault => "lvm",
            Layout::Cached => "cached-lvm",
            Layout::BarePartition => "partition",
            Layout::Btrfs => "luks",
        }
    }

    /// `root=`, in another form for each of the layouts that share no boot menu.
    pub(crate) fn root(self) -> String {
        match self {
            Layout::Main
            | Layout::Striped
            | Layout::LargeBlocks
            | Layout::Stick
            | Layout::Thin
            | Layout::Vault
            | Layout::Cached => "/dev/vg/root".to_owned(),
            Layout::LuksOnLvm => "/dev/mapper/crypt1".to_owned(),
            Layout::PlainLvm => "/dev/disk/by-label/root".to_owned(),
            Layout::BarePartition => format!("PARTUUID={ROOT_PARTITION_UUID}"),
            Layout::Btrfs => format!("UUID={ROOT_UUID}"),
        }
    }

    /// `root=` and what belongs to it.
    pub(crate) fn root_parameters(self) -> Vec<String> {
        let mut parameters = vec![
            format!("root={}", self.root()),
            format!("rootfstype={}", self.file_system().name()),
        ];
        if self.file_system() == FileSystem::Btrfs {
            parameters.push(format!("rootflags=subvol={SUBVOLUME}"));
        }
        parameters
    }

    /// What the kernel is told. The volumes of every layout are named, those of another one don't appear: so one boot
    /// menu serves all layouts whose root has the same name.
    pub(crate) fn parameters(self) -> Vec<String> {
        let mut parameters = self.root_parameters();
        parameters.extend(
            VOLUMES
                .iter()
                .map(|(uuid, name)| format!("rd.luks.name={uuid}={name}")),
        );
        if self == Layout::Stick {
            let [_, (detached, _)] = VOLUMES;
            parameters.push(format!(
                "rd.luks.options={detached}=header=/root.hdr:LABEL={STICK},discard"
            ));
            parameters.push(format!("rd.luks.data={detached}=PARTLABEL=keel-2"));
        }
        parameters.extend(
            [
                "rd.luks.options=discard",
                "console=tty0",
                "console=ttyS0,115200",
                "quiet",
            ]
            .map(str::to_owned),
        );
        parameters.extend(EMULATED.map(str::to_owned));
        parameters
    }
}
