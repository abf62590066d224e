//! The block devices that have appeared, and what is on them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::cmdline::DeviceSpec;
use super::device_spec::means;
use super::uevent::Uevent;
use crate::block::DeviceNumber;
use crate::block::partition::{self, Identity};
use crate::block::probe::{Kind, Superblock, probe};

/// A block device.
#[derive(Clone, Debug)]
pub(crate) struct BlockDevice {
    /// Its number.
    pub number: DeviceNumber,
    /// Its node, such as `/dev/nvme0n1p2`.
    pub path: PathBuf,
    /// Other names of it: `/dev/mapper/NAME`, `/dev/VG/LV`.
    pub aliases: Vec<PathBuf>,
    /// What is on it, when that is known.
    pub superblock: Option<Superblock>,
    /// UUID of the partition table's entry.
    pub partition_uuid: Option<String>,
    /// Label of the partition table's entry.
    pub partition_label: Option<String>,
    /// UUID that device-mapper knows it by.
    pub dm_uuid: Option<String>,
}

impl BlockDevice {
    /// The device that an event announces, not looked at yet. `None` when it isn't one to look at.
    pub(crate) fn announced(event: &Uevent, sysfs: &Path) -> Option<BlockDevice> {
        let name = event.name.as_deref().filter(|name| !is_uninteresting(name))?;
        let mut device = BlockDevice {
            number: event.number?,
            path: Path::new("/dev").join(name),
            aliases: Vec::new(),
            superblock: None,
            partition_uuid: event.partition_uuid.clone(),
            partition_label: event.partition_label.clone(),
            dm_uuid: None,
        };
        // Kernels before 6.13 don't say it.
        if device.partition_uuid.is_none()
            && let Some(identity) = partition_identity(&sysfs.join("class/block").join(name))
        {
            device.partition_uuid = Some(identity.uuid);
            device.partition_label = device.partition_label.or(identity.label);
        }
        Some(device)
    }

    /// Opens the device for reading, without waiting for a medium.
    pub(super) fn open(&self) -> io::Result<File> {
        open(&self.path)
    }

    /// The shortest name that people know the device by.
    pub(crate) fn display_name(&self) -> String {
        self.aliases.last().unwrap_or(&self.path).display().to_string()
    }

    /// Whether a parameter of the command line means it.
    pub(crate) fn answers_to(&self, spec: &DeviceSpec) -> bool {
        let superblock = self.superblock.as_ref();
        match spec {
            DeviceSpec::Path(path) => self.path == *path || self.aliases.contains(path),
            DeviceSpec::Uuid(uuid) => superblock
                .and_then(|found| found.uuid.as_deref())
                .is_some_and(|own| own.eq_ignore_ascii_case(uuid)),
            DeviceSpec::Label(label) => superblock
                .and_then(|found| found.label.as_deref())
                .is_some_and(|own| means(label, own)),
            DeviceSpec::PartUuid(uuid) => self
                .partition_uuid
                .as_deref()
                .is_some_and(|own| own.eq_ignore_ascii_case(uuid)),
            DeviceSpec::PartLabel(label) => self
                .partition_label
                .as_deref()
                .is_some_and(|own| means(label, own)),
            DeviceSpec::Id(id) => self.ids().any(|own| own == *id),
        }
    }

    /// Names below `/dev/disk/by-id`, as far as they need no program of udev.
    fn ids(&self) -> impl Iterator<Item = String> {
        let names = self.aliases.iter().filter_map(|alias| {
            let name = alias.strip_prefix("/dev/mapper").ok()?;
            Some(format!("dm-name-{}", name.display()))
        });
        let dm_uuid = self.dm_uuid.iter().map(|uuid| format!("dm-uuid-{uuid}"));
        let volume = self
            .superblock
            .iter()
            .filter(|found| found.kind == Kind::Lvm2Member)
            .filter_map(|found| Some(format!("lvm-pv-uuid-{}", found.uuid.as_ref()?)));
        names.chain(dm_uuid).chain(volume)
    }
}

/// What the partition table says of the partition with this directory of sysfs. `None` for what is no partition, and
/// when the table can't be read.
fn partition_identity(directory: &Path) -> Option<Identity> {
    let number = fs::read_to_string(directory.join("partition")).ok()?;
    let real = fs::canonicalize(directory).ok()?;
    let disk = Path::new("/dev").join(real.parent()?.file_name()?);
    partition::identity(&open(&disk).ok()?, number.trim().parse().ok()?).ok()?
}

/// Opens a block device for reading; a drive without a medium answers at once.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
}

/// All block devices, by number.
#[derive(Debug, Default)]
pub(super) struct Devices(BTreeMap<DeviceNumber, BlockDevice>);

impl Devices {
    /// Takes in the device of an event: probes it. `None` when it isn't one to look at. A device that can't be read is
    /// kept without a superblock, with the reason as the error.
    pub(super) fn appear(&mut self, event: &Uevent) -> Option<(DeviceNumber, io::Result<()>)> {
        let device = BlockDevice::announced(event, Path::new("/sys"))?;
        let number = device.number;
        Some((number, self.insert(device)))
    }

    /// Probes a device and keeps it.
    pub(super) fn insert(&mut self, mut device: BlockDevice) -> io::Result<()> {
        let probed = device.open().and_then(|file| probe(&file));
        let result = match probed {
            Ok(superblock) => {
                device.superblock = superblock;
                Ok(())
            }
            Err(error) => Err(error),
        };
        let _ = self.0.insert(device.number, device);
        result
    }

    /// Forgets a device that went.
    pub(super) fn remove(&mut self, number: DeviceNumber) -> Option<BlockDevice> {
        self.0.remove(&number)
    }

    /// The device with this number.
    pub(super) fn get(&self, number: DeviceNumber) -> Option<&BlockDevice> {
        self.0.get(&number)
    }

    /// The device that a parameter of the command line means.
    pub(super) fn find(&self, spec: &DeviceSpec) -> Option<&BlockDevice> {
        self.0.values().find(|device| device.answers_to(spec))
    }

    /// One line a device, for the person who has to see why the root isn't there.
    pub(super) fn describe(&self) -> Vec<String> {
        self.0
            .values()
            .map(|device| {
                let content = device.superblock.as_ref().map_or_else(
                    || "nothing known".to_owned(),
                    |found| {
                        let uuid = found.uuid.as_deref().unwrap_or("no UUID");
                        format!("{}, {uuid}", found.kind)
                    },
                );
                format!("{}: {content}", device.display_name())
            })
            .collect()
    }

    /// Whether any device is there.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Devices that never hold a root and may be slow to answer, and dm devices, which are looked at when they're made.
pub(crate) fn is_uninteresting(name: &str) -> bool {
    ["ram", "loop", "zram", "fd", "sr", "dm-", "nbd"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Every block device that sysfs knows now, as the events that announced them. For the start, and after lost events.
pub(crate) fn in_sysfs(sysfs: &Path) -> Vec<Uevent> {
    let Ok(entries) = fs::read_dir(sysfs.join("class/block")) else {
        return Vec::new();
    };
    let mut events: Vec<Uevent> = entries
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("uevent")).ok()?;
            Some(Uevent::from_sysfs(
                &text,
                &entry.path().to_string_lossy(),
                "block",
            ))
        })
        .collect();
    events.sort_by_key(|event| event.number);
    events
}
