//! Mappings that somebody else has made: beside systemd, its own cryptsetup may have opened a volume before us.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use log::info;

use super::boot::Boot;
use super::devices::BlockDevice;
use super::uevent::Uevent;
use super::unlock::mapper_path;
use crate::block::DeviceNumber;

/// What sysfs says of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    name: String,
    uuid: String,
    suspended: bool,
    /// Devices that it lies on.
    below: Vec<DeviceNumber>,
}

impl Boot {
    /// Takes in a mapping that we haven't made. What it was locked by needs no passphrase any more.
    pub(super) fn mapping_of_another_appears(&mut self, event: &Uevent) {
        let Some(number) = event.number else { return };
        if self.devices.get(number).is_some() {
            return;
        }
        // A mapping without a table says so when it gets one.
        let Ok(Some(mapping)) = Mapping::read(Path::new("/sys"), number) else {
            return;
        };
        if mapping.suspended {
            return;
        }
        info!("mapping {} was made by another program", mapping.name);
        if mapping.is_crypt() {
            mapping
                .below
                .iter()
                .for_each(|volume| self.keyring.forget(*volume));
        }
        let device = BlockDevice {
            number,
            path: PathBuf::from(format!("/dev/dm-{}", number.minor)),
            aliases: mapping.aliases(),
            superblock: None,
            partition_uuid: None,
            partition_label: None,
            dm_uuid: Some(mapping.uuid),
        };
        match self.devices.insert(device) {
            Ok(()) => self.queue.push_back(number),
            Err(error) => self.warn(&format!("{} can't be read: {error}", mapping.name)),
        }
    }
}

/// The name of the open LUKS volume whose locked device is `number`.
pub(super) fn mapping_over(number: DeviceNumber) -> Option<String> {
    mapping_over_in(Path::new("/sys"), number)
}

fn mapping_over_in(sysfs: &Path, number: DeviceNumber) -> Option<String> {
    let holders = fs::read_dir(sysfs.join(format!("dev/block/{number}/holders"))).ok()?;
    holders
        .flatten()
        .filter_map(|holder| read_number(&holder.path()).ok()?)
        .filter_map(|holder| Mapping::read(sysfs, holder).ok()?)
        .find(Mapping::is_crypt)
        .map(|mapping| mapping.name)
}

impl Mapping {
    /// `None` when the device is no mapping.
    fn read(sysfs: &Path, number: DeviceNumber) -> io::Result<Option<Mapping>> {
        let directory = sysfs.join(format!("dev/block/{number}"));
        let read = |name: &str| fs::read_to_string(directory.join("dm").join(name));
        let name = match read("name") {
            Ok(name) => name.trim_end().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let below = fs::read_dir(directory.join("slaves"))?
            .flatten()
            .filter_map(|slave| read_number(&slave.path()).ok()?)
            .collect();
        Ok(Some(Mapping {
            name,
            uuid: read("uuid")?.trim_end().to_owned(),
            suspended: read("suspended")?.trim_end() != "0",
            below,
        }))
    }

    /// Whether it is an open LUKS volume (cryptsetup, lib/utils_devpath.c: `CRYPT-LUKS2-UUID-NAME`).
    fn is_crypt(&self) -> bool {
        self.uuid.starts_with("CRYPT-LUKS")
    }

    /// The names that udev's rules give it: `/dev/mapper/NAME`, and `/dev/VG/LV` for a logical volume.
    fn aliases(&self) -> Vec<PathBuf> {
        let mut aliases = vec![mapper_path(&self.name)];
        if self.uuid.starts_with("LVM-") {
            aliases.extend(
                split_name(&self.name).map(|(group, volume)| Path::new("/dev").join(group).join(volume)),
            );
        }
        aliases
    }
}

/// Group and volume of a logical volume's mapping: they stand with a hyphen between them, and each of their own is doubled
/// (lvm(8), "VALID NAMES"). `None` for parts of volumes, whose names have one more.
fn split_name(name: &str) -> Option<(String, String)> {
    let parts = name.replace("--", "\0");
    let mut parts = parts.split('-').map(|part| part.replace('\0', "-"));
    let pair = parts.next().zip(parts.next());
    let whole = pair.filter(|(group, volume)| !group.is_empty() && !volume.is_empty());
    if parts.next().is_some() { None } else { whole }
}

/// The number of a block device that a directory of sysfs describes.
fn read_number(directory: &Path) -> io::Result<Option<DeviceNumber>> {
    let text = fs::read_to_string(directory.join("dev"))?;
    let numbers = text.trim_end().split_once(':').and_then(|(major, minor)| {
        Some(DeviceNumber {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    });
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn number(major: u32, minor: u32) -> DeviceNumber {
        DeviceNumber { major, minor }
    }

    /// `/sys/dev/block` of a disk 8:1 with an open LUKS volume 254:0 over it.
    fn sysfs() -> tempfile::TempDir {
        let sysfs = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = sysfs.path().join("dev/block").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("8:1/dev", "8:1\n");
        put("8:1/holders/dm-0/dev", "254:0\n");
        put("254:0/dm/name", "crypt1\n");
        put(
            "254:0/dm/uuid",
            "CRYPT-LUKS2-5f0b3c5e7a104c5b9d576b65656c0011-crypt1\n",
        );
        put("254:0/dm/suspended", "0\n");
        put("254:0/slaves/sda1/dev", "8:1\n");
        sysfs
    }

    #[test]
    fn an_open_volume_is_known_by_what_holds_its_device() {
        let sysfs = sysfs();
        assert_eq!(
            mapping_over_in(sysfs.path(), number(8, 1)).as_deref(),
            Some("crypt1")
        );
        assert_eq!(mapping_over_in(sysfs.path(), number(254, 0)), None);
        assert_eq!(mapping_over_in(sysfs.path(), number(8, 2)), None);
    }

    #[test]
    fn a_mapping_says_what_it_lies_on() {
        let sysfs = sysfs();
        let mapping = Mapping::read(sysfs.path(), number(254, 0)).unwrap().unwrap();
        assert_eq!(mapping.below, [number(8, 1)]);
        assert_eq!(mapping.aliases(), [PathBuf::from("/dev/mapper/crypt1")]);
        assert!(mapping.is_crypt() && !mapping.suspended);
        assert_eq!(Mapping::read(sysfs.path(), number(8, 1)).unwrap(), None);
    }

    #[test]
    fn names_of_logical_volumes_are_split_as_lvm_joins_them() {
        let table = [
            ("vg-root", Some(("vg", "root"))),
            ("my--vg-a--b", Some(("my-vg", "a-b"))),
            ("vg-root-real", None),
            ("vg", None),
            ("-root", None),
            ("", None),
        ];
        for (name, expected) in table {
            let expected = expected.map(|(group, volume)| (group.to_owned(), volume.to_owned()));
            assert_eq!(split_name(name), expected, "{name}");
        }
    }
}
