//! What stands around a device: links below /dev, and what udev has to know.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::name::mangle;
use crate::block::DeviceNumber;

/// What udev's rules are to do with a device that was made while no udevd ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdevFlags {
    /// A device like any other.
    #[default]
    Public,
    /// A part of another device: no links, no scans.
    Hidden,
}

/// Makes `DEV/mapper/NAME -> ../dm-N`.
pub fn link_mapper(dev: &Path, name: &str, number: DeviceNumber) -> io::Result<()> {
    let directory = dev.join("mapper");
    fs::create_dir_all(&directory)?;
    link(&directory.join(mangle(name)), number)
}

/// Makes `DEV/VG/LV -> ../dm-N`.
pub fn link_logical_volume(dev: &Path, group: &str, volume: &str, number: DeviceNumber) -> io::Result<()> {
    let directory = dev.join(group);
    fs::create_dir_all(&directory)?;
    link(&directory.join(volume), number)
}

fn link(path: &Path, number: DeviceNumber) -> io::Result<()> {
    let target = PathBuf::from(format!("../dm-{}", number.minor));
    match symlink(&target, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if fs::read_link(path).ok().as_deref() == Some(&target) {
                return Ok(());
            }
            fs::remove_file(path)?;
            symlink(&target, path)
        }
        result => result,
    }
}

/// The entry of udev's database for a device. Without it the rules take a device that they didn't see being made for
/// one that isn't ready (lvm2, udev/10-dm.rules.in, `DM_UDEV_PRIMARY_SOURCE_FLAG`).
pub fn udev_entry(flags: UdevFlags) -> &'static str {
    match flags {
        UdevFlags::Public => "E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n",
        UdevFlags::Hidden => {
            "E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\nE:DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG=1\n\
             E:DM_UDEV_DISABLE_DISK_RULES_FLAG=1\nE:DM_UDEV_DISABLE_OTHER_RULES_FLAG=1\n"
        }
    }
}

/// Writes the entry at `DATABASE/bMAJOR:MINOR`; the database of a running system is `/run/udev/data`.
pub fn write_udev_entry(database: &Path, number: DeviceNumber, flags: UdevFlags) -> io::Result<()> {
    fs::create_dir_all(database)?;
    let path = database.join(format!("b{number}"));
    fs::write(&path, udev_entry(flags))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_are_made_once_and_follow_the_device() {
        let dev = tempfile::tempdir().unwrap();
        let number = |minor| DeviceNumber { major: 254, minor };
        for minor in [3, 3, 4] {
            link_mapper(dev.path(), "vg-a b", number(minor)).unwrap();
            link_logical_volume(dev.path(), "vg", "root", number(minor)).unwrap();
        }
        assert_eq!(
            fs::read_link(dev.path().join("mapper/vg-a\\x20b")).unwrap(),
            Path::new("../dm-4")
        );
        assert_eq!(
            fs::read_link(dev.path().join("vg/root")).unwrap(),
            Path::new("../dm-4")
        );
    }

    #[test]
    fn udev_is_told_that_the_device_is_ready() {
        let database = tempfile::tempdir().unwrap();
        write_udev_entry(
            database.path(),
            DeviceNumber { major: 254, minor: 1 },
            UdevFlags::Public,
        )
        .unwrap();
        let text = fs::read_to_string(database.path().join("b254:1")).unwrap();
        assert_eq!(text, "E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n");
    }
}
