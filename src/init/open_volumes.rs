//! What becomes of a device that appeared: a LUKS volume waits for its passphrase, a physical volume joins its group,
//! and what they bring is considered in turn.

use std::path::PathBuf;

use log::info;

use super::boot::Boot;
use super::cmdline::DeviceSpec;
use super::devices::BlockDevice;
use super::real_lvm;
use super::unlock::mapper_path;
use super::volumes::{Ready, Wanted};
use crate::block::DeviceNumber;
use crate::block::dm::{self, UdevFlags};
use crate::block::lvm;
use crate::block::probe::Kind;

impl Boot {
    /// Looks at a device that appeared.
    pub(super) fn consider(&mut self, number: DeviceNumber) {
        let Some(device) = self.devices.get(number).cloned() else {
            return;
        };
        self.look_for_sources();
        let Some(superblock) = &device.superblock else {
            return;
        };
        info!("{}: {}", device.display_name(), superblock.kind);
        match superblock.kind {
            Kind::Luks1 | Kind::Luks2 => self.luks_volume_appears(&device),
            Kind::Lvm2Member => self.physical_volume_appears(&device),
            _ => {}
        }
    }

    fn physical_volume_appears(&mut self, device: &BlockDevice) {
        let name = device.display_name();
        let read = device
            .open()
            .map_err(|error| error.to_string())
            .and_then(|file| lvm::read_physical_volume(&file).map_err(|error| error.to_string()));
        match read {
            Ok(Some(volume)) => {
                for warning in &volume.warnings {
                    self.warn(&format!("{name}: {warning}"));
                }
                self.groups.groups.add(device.number, volume);
                for refusal in self.groups.take_refusals() {
                    self.warn(&refusal);
                }
                self.activate_volumes(false);
            }
            Ok(None) => {}
            Err(error) => self.warn(&format!("{name}: LVM metadata can't be used: {error}")),
        }
    }

    /// Activates the logical volumes that are wanted and whose parts are there; when these are overdue, also what may do
    /// without some of them.
    pub(super) fn activate_volumes(&mut self, is_overdue: bool) {
        let devices: Vec<DeviceSpec> = self
            .cmdline
            .root
            .iter()
            .chain(&self.cmdline.resume)
            .cloned()
            .collect();
        let wanted = Wanted {
            parameters: &self.cmdline.lvm,
            devices: &devices,
            is_overdue,
        };
        let is_by_path = wanted.is_by_path();
        self.loader.wait_for(["dm_mod"]);
        let ready = self.groups.take_ready(wanted);
        let (for_lvm, own): (Vec<Ready>, Vec<Ready>) = ready.into_iter().partition(Ready::is_for_lvm);
        for ready in &own {
            self.activate_volume(ready);
        }
        if for_lvm.is_empty() {
            return;
        }
        if real_lvm::is_in_image() {
            self.activate_by_lvm(&for_lvm);
            return;
        }
        for ready in &for_lvm {
            // What the root doesn't need is activated by the system's own lvm later.
            if !ready.is_needed && is_by_path {
                info!("{} is left to the system's lvm", ready.full_name());
            } else {
                self.activate_volume(ready);
            }
        }
    }

    fn activate_volume(&mut self, ready: &Ready) {
        let full_name = ready.full_name();
        let made = ready
            .table
            .as_ref()
            .map_err(ToString::to_string)
            .and_then(|table| {
                self.device_mapper()
                    .and_then(|control| control.create(&ready.dm_name, &ready.dm_uuid, table, ready.options))
                    .map_err(|error| error.to_string())
            });
        match made {
            Ok(number) => {
                self.report.activated.push(full_name);
                let aliases = vec![
                    mapper_path(&ready.dm_name),
                    PathBuf::from("/dev").join(&ready.group).join(&ready.volume),
                ];
                let links = dm::link_mapper("/dev".as_ref(), &ready.dm_name, number).and_then(|()| {
                    dm::link_logical_volume("/dev".as_ref(), &ready.group, &ready.volume, number)
                });
                self.mapped_device_appears(number, aliases, ready.dm_uuid.clone(), links);
            }
            Err(error) => self.warn(&format!("logical volume {full_name} can't be activated: {error}")),
        }
    }

    pub(super) fn mapped_device_appears(
        &mut self,
        number: DeviceNumber,
        aliases: Vec<PathBuf>,
        dm_uuid: String,
        links: std::io::Result<()>,
    ) {
        let path = PathBuf::from(format!("/dev/dm-{}", number.minor));
        if let Err(error) = links {
            self.warn(&format!("the links of {} can't be made: {error}", path.display()));
        }
        // Without this line a udevd that starts later takes the device for one that isn't ready (10-dm.rules), and systemd
        // never sees it. Where udevd runs it learns of the device by its event, and keeps this file itself.
        let told = if self.is_beside_systemd() {
            Ok(())
        } else {
            dm::write_udev_entry("/run/udev/data".as_ref(), number, UdevFlags::Public)
        };
        if let Err(error) = told {
            self.warn(&format!("udev can't be told of {}: {error}", path.display()));
        }
        let device = BlockDevice {
            number,
            path,
            aliases,
            superblock: None,
            partition_uuid: None,
            partition_label: None,
            dm_uuid: Some(dm_uuid),
        };
        let name = device.display_name();
        match self.devices.insert(device) {
            Ok(()) => self.queue.push_back(number),
            Err(error) => self.warn(&format!("{name} can't be read: {error}")),
        }
    }
}
