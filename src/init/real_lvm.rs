//! The real lvm, for volumes that keel-init doesn't activate itself: RAID, thin, cached, snapshots and their origins, VDO.
//! It is in images that were built for such a root (`keel initrd --lvm`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use log::info;

use super::boot::Boot;
use super::program::{last_lines, run};
use super::unlock::mapper_path;
use super::volumes::Ready;
use crate::block::DeviceNumber;
use crate::block::dm::{self, UdevFlags};

/// The program in the image.
const LVM: &str = "/usr/sbin/lvm";

/// Whether the image has it.
pub(super) fn is_in_image() -> bool {
    Path::new(LVM).exists()
}

/// A device of lvm's, as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MappedDevice {
    number: DeviceNumber,
    name: String,
    uuid: String,
}

impl Boot {
    /// Has lvm activate volumes, then takes in the devices that it made.
    pub(super) fn activate_by_lvm(&mut self, volumes: &[Ready]) {
        for module in volumes.iter().flat_map(|ready| &ready.modules) {
            self.loader.request_name(module);
        }
        self.loader.wait_idle();
        let names: Vec<String> = volumes.iter().map(Ready::full_name).collect();
        info!("lvm activates {}", names.join(", "));
        let failure = match run(command(&names), &mut |line: &str| info!("lvm: {line}")) {
            Ok((Some(0), _)) => None,
            Ok((_, output)) => Some(last_lines(&output)),
            Err(error) => Some(format!("{LVM} can't be run: {error}")),
        };
        let devices = in_sysfs(Path::new("/sys"));
        for device in &devices {
            self.note_device_of_lvm(device);
        }
        for ready in volumes {
            let full_name = ready.full_name();
            if let Some(device) = devices.iter().find(|device| device.uuid == ready.dm_uuid) {
                self.groups.settle(&full_name);
                self.report.activated.push(full_name);
                let aliases = vec![
                    mapper_path(&ready.dm_name),
                    PathBuf::from("/dev").join(&ready.group).join(&ready.volume),
                ];
                let links =
                    dm::link_logical_volume("/dev".as_ref(), &ready.group, &ready.volume, device.number);
                self.mapped_device_appears(device.number, aliases, device.uuid.clone(), links);
            } else {
                let why = failure.as_deref().unwrap_or("lvm says nothing of it");
                self.warn(&format!(
                    "logical volume {full_name} can't be activated by lvm: {why}"
                ));
            }
        }
    }

    /// Puts a link where lvm made a node, and tells udev: parts of other volumes are to be left alone.
    fn note_device_of_lvm(&mut self, device: &MappedDevice) {
        let flags = if self.groups.is_volume(&device.uuid) {
            UdevFlags::Public
        } else {
            UdevFlags::Hidden
        };
        let noted = dm::link_mapper("/dev".as_ref(), &device.name, device.number)
            .and_then(|()| dm::write_udev_entry("/run/udev/data".as_ref(), device.number, flags));
        if let Err(error) = noted {
            self.warn(&format!("udev can't be told of {}: {error}", device.name));
        }
    }
}

/// Activates volumes by name. Like keel-init itself it takes those that are marked to be skipped: they are asked for.
fn command(names: &[String]) -> Command {
    let mut command = Command::new(LVM);
    let _ = command
        .args(["lvchange", "--activate", "y", "--ignoreactivationskip", "--yes"])
        .args(names)
        .env_clear()
        .envs([
            ("PATH", "/usr/sbin:/usr/bin"),
            ("LC_ALL", "C"),
            // No udevd runs that would make the nodes, and that could be waited for.
            ("DM_DISABLE_UDEV", "1"),
            ("LVM_SUPPRESS_FD_WARNINGS", "1"),
        ]);
    command
}

/// All devices of device-mapper that belong to LVM.
fn in_sysfs(sysfs: &Path) -> Vec<MappedDevice> {
    let Ok(entries) = fs::read_dir(sysfs.join("class/block")) else {
        return Vec::new();
    };
    let mut devices: Vec<MappedDevice> = entries
        .flatten()
        .filter_map(|entry| {
            let text = |name: &str| {
                let text = fs::read_to_string(entry.path().join(name)).ok()?;
                Some(text.trim_end().to_owned())
            };
            let uuid = text("dm/uuid").filter(|uuid| uuid.starts_with("LVM-"))?;
            let numbers = text("dev")?;
            let (major, minor) = numbers.split_once(':')?;
            Some(MappedDevice {
                number: DeviceNumber {
                    major: major.parse().ok()?,
                    minor: minor.parse().ok()?,
                },
                name: text("dm/name")?,
                uuid,
            })
        })
        .collect();
    devices.sort_by_key(|device| device.number);
    devices
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn devices_of_lvm_are_told_from_others() {
        let sysfs = tempfile::tempdir().unwrap();
        for (name, uuid, dev) in [
            ("dm-0", "CRYPT-LUKS2-0123-crypt1\n", "254:0\n"),
            ("dm-2", "LVM-abc-tpool\n", "254:2\n"),
            ("dm-1", "LVM-abcdef\n", "254:1\n"),
            ("dm-3", "LVM-half", "254"),
        ] {
            let device = sysfs.path().join("class/block").join(name);
            fs::create_dir_all(device.join("dm")).unwrap();
            fs::write(device.join("dm/uuid"), uuid).unwrap();
            fs::write(device.join("dm/name"), format!("vg-{name}\n")).unwrap();
            fs::write(device.join("dev"), dev).unwrap();
        }
        fs::create_dir_all(sysfs.path().join("class/block/sda")).unwrap();
        let found = in_sysfs(sysfs.path());
        let names: Vec<&str> = found.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["vg-dm-1", "vg-dm-2"]);
    }
}
