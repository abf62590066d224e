//! The running machine: its disks, what is open on it, and what its root lies on.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

use super::DM_MAJOR;
use super::chain::Disk;
use super::device::Device;
use crate::block::DeviceNumber;
use crate::init::{BlockDevice, in_sysfs};

/// All block devices but those of device-mapper, as early boot would find them. What can't be opened isn't there.
pub(super) fn disks() -> Vec<Disk> {
    let mut disks = Vec::new();
    for event in in_sysfs(Path::new("/sys")) {
        let Some(block) = BlockDevice::announced(&event, Path::new("/sys")) else {
            continue;
        };
        if let Some(device) = open(&block.path) {
            disks.push(Disk { block, device });
        }
    }
    disks
}

fn open(path: &Path) -> Option<Device> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path);
    match file {
        Ok(file) => Some(Rc::new(file)),
        Err(error) => {
            log::info!("{}: {error}", path.display());
            None
        }
    }
}

/// The device of device-mapper with this UUID; one that ends with a dash is the beginning of it.
pub(super) fn mapped(uuid: &str) -> Option<Device> {
    let devices = fs::read_dir("/sys/class/block").ok()?.flatten();
    for device in devices {
        let own = fs::read_to_string(device.path().join("dm/uuid")).unwrap_or_default();
        let own = own.trim_end();
        if own == uuid || (uuid.ends_with('-') && own.starts_with(uuid)) {
            return open(&Path::new("/dev").join(device.file_name()));
        }
    }
    None
}

/// The major number of device-mapper's devices.
pub(super) fn dm_major() -> u32 {
    let devices = fs::read_to_string("/proc/devices").unwrap_or_default();
    devices
        .lines()
        .find_map(|line| line.trim().strip_suffix(" device-mapper")?.parse().ok())
        .unwrap_or(DM_MAJOR)
}

/// Fails unless the root that was found is the one that is mounted: else the next boot starts somewhere else.
pub(super) fn must_be_mounted_root(number: DeviceNumber, dm_uuid: Option<&str>) -> Result<(), String> {
    let mounted = fs::metadata("/").map_err(|error| format!("/: {error}"))?.dev();
    let (major, minor) = (libc::major(mounted), libc::minor(mounted));
    if major == 0 {
        // Btrfs and the like have numbers of their own.
        return Ok(());
    }
    let own = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/dm/uuid")).ok();
    let is_same = match (dm_uuid, own.as_deref().map(str::trim)) {
        (Some(found), Some(own)) => found == own || (found.starts_with("CRYPT-") && same_volume(found, own)),
        (None, None) => number == DeviceNumber { major, minor },
        _ => false,
    };
    if is_same {
        return Ok(());
    }
    Err(
        "the root that the kernel's parameters name isn't the one that is mounted; is root= right?"
            .to_owned(),
    )
}

/// Whether two UUIDs of mappings are of one LUKS volume: only the mapping's name differs.
fn same_volume(one: &str, other: &str) -> bool {
    let volume = |uuid: &str| uuid.splitn(4, '-').take(3).map(str::to_owned).collect::<Vec<_>>();
    volume(one) == volume(other)
}
