//! What becomes of a device that appeared: a LUKS volume waits for its passphrase, a physical volume joins its group,
//! and what they bring is considered in turn.

use std::path::PathBuf;

use log::info;
use zeroize::Zeroize;

use super::boot::Boot;
use super::cmdline::DeviceSpec;
use super::devices::BlockDevice;
use super::report::Unlocked as UnlockedReport;
use super::unlock::{Attempt, Volume, default_name, mapper_path};
use super::volumes::Wanted;
use crate::block::dm::{self, Control, Table, Target, UdevFlags};
use crate::block::luks::{self, CryptOptions, Header, Unlocked};
use crate::block::lvm;
use crate::block::probe::Kind;
use crate::block::{DeviceNumber, ReadAt};
use crate::sys::keyring;

impl Boot {
    /// Looks at a device that appeared.
    pub(super) fn consider(&mut self, number: DeviceNumber) {
        let Some(device) = self.devices.get(number).cloned() else {
            return;
        };
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

    fn luks_volume_appears(&mut self, device: &BlockDevice) {
        let path = device.path.display().to_string();
        let read = || -> Result<(Header, Vec<luks::Warning>), String> {
            let file = device.open().map_err(|error| error.to_string())?;
            let (header, warnings) = Header::read(&file).map_err(|error| error.to_string())?;
            // Asking for a passphrase that can't help would be worse than saying why.
            header.check_keyslots(&file).map_err(|error| error.to_string())?;
            Ok((header, warnings))
        };
        let (header, warnings) = match read() {
            Ok(read) => read,
            Err(error) => return self.warn(&format!("{path} can't be unlocked: {error}")),
        };
        let Some(name) = self.cmdline.luks_name(header.uuid()) else {
            info!(
                "{path}: LUKS volume {} isn't among those that rd.luks asks for",
                header.uuid()
            );
            return;
        };
        let name = name.map_or_else(|| default_name(header.uuid()), ToOwned::to_owned);
        for warning in warnings {
            self.warn(&format!("{path}: {warning}"));
        }
        for token in header.tokens() {
            info!(
                "{path}: has a {} token, which isn't used; the passphrase opens it",
                token.kind
            );
        }
        self.keyring.found(Volume {
            name,
            device: device.number,
            path: device.path.clone(),
            header,
        });
    }

    /// Deals with the result of a passphrase on a volume: opens it, or says what is wrong with it.
    pub(super) fn take_attempt(&mut self, attempt: Attempt) {
        let Some(volume) = self.keyring.volumes.get(&attempt.device) else {
            return;
        };
        let (name, path) = (volume.name.clone(), volume.path.display().to_string());
        let unlocked = match attempt.result {
            Ok(unlocked) => unlocked,
            // Said once for all volumes, when the trial is over.
            Err(error) if error.is_wrong_passphrase() => return,
            Err(error) => return self.say(&format!("{path}: {error}")),
        };
        let uuid = volume.header.uuid().to_owned();
        let (options, unknown) = CryptOptions::parse(self.cmdline.luks_options(&uuid));
        // The kernel would ask modprobe for these, which an initrd doesn't have.
        for word in volume.header.cipher().split(|c: char| !c.is_ascii_alphanumeric()) {
            self.loader.request_alias(&format!("crypto-{word}"));
        }
        // dm_crypt was asked for at the start; a fast disk and a cheap keyslot can be faster.
        self.loader.wait_idle();
        let opened = open_crypt(volume, &unlocked, options);
        let _ = self.keyring.volumes.remove(&attempt.device);
        if !unknown.is_empty() {
            self.warn(&format!(
                "{path}: options {} of rd.luks.options aren't known and ignored",
                unknown.join(", ")
            ));
        }
        match opened {
            Ok(number) => {
                self.report.reach("unlocked");
                self.report.unlocked.push(UnlockedReport {
                    name: name.clone(),
                    device: path,
                    uuid,
                    keyslot: unlocked.keyslot,
                    duration_usec: u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX),
                });
                let link = mapper_path(&name);
                self.mapped_device_appears(
                    number,
                    vec![link],
                    dm::link_mapper("/dev".as_ref(), &name, number),
                );
            }
            Err(error) => self.warn(&format!(
                "{path} was unlocked, but its mapping {name} failed: {error}"
            )),
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
                self.activate_volumes();
            }
            Ok(None) => {}
            Err(error) => self.warn(&format!("{name}: LVM metadata can't be used: {error}")),
        }
    }

    /// Activates the logical volumes that are wanted and whose parts are there.
    fn activate_volumes(&mut self) {
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
        };
        self.loader.wait_idle();
        for ready in self.groups.take_ready(wanted) {
            let full_name = ready.full_name();
            let made = ready
                .table
                .as_ref()
                .map_err(ToString::to_string)
                .and_then(|table| {
                    Control::open()
                        .and_then(|control| {
                            control.create(&ready.dm_name, &ready.dm_uuid, table, ready.options)
                        })
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
                    self.mapped_device_appears(number, aliases, links);
                }
                Err(error) => self.warn(&format!("logical volume {full_name} can't be activated: {error}")),
            }
        }
    }

    fn mapped_device_appears(
        &mut self,
        number: DeviceNumber,
        aliases: Vec<PathBuf>,
        links: std::io::Result<()>,
    ) {
        let path = PathBuf::from(format!("/dev/dm-{}", number.minor));
        if let Err(error) = links {
            self.warn(&format!("the links of {} can't be made: {error}", path.display()));
        }
        // Without this line udevd takes the device for one that isn't ready (10-dm.rules), and systemd never sees it.
        if let Err(error) = dm::write_udev_entry("/run/udev/data".as_ref(), number, UdevFlags::Public) {
            self.warn(&format!("udev can't be told of {}: {error}", path.display()));
        }
        let device = BlockDevice {
            number,
            path,
            aliases,
            superblock: None,
            partition_uuid: None,
            partition_label: None,
        };
        let name = device.display_name();
        match self.devices.insert(device) {
            Ok(()) => self.queue.push_back(number),
            Err(error) => self.warn(&format!("{name} can't be read: {error}")),
        }
    }
}

/// Loads the dm-crypt table of an unlocked volume. The volume key goes through the kernel's keyring of this thread, and
/// leaves it once the table is loaded.
fn open_crypt(volume: &Volume, unlocked: &Unlocked, options: CryptOptions) -> Result<DeviceNumber, String> {
    let header = &volume.header;
    let size = super::devices::open(&volume.path)
        .and_then(|file| file.size())
        .map_err(|error| error.to_string())?;
    let sectors = header.segment_sectors(size).map_err(|error| error.to_string())?;
    let guard = header
        .key_description()
        .map(|description| keyring::add_logon_key(&description, unlocked.key.as_bytes()))
        .transpose()
        .map_err(|error| error.to_string())?;
    let mut parameters = header.dm_parameters(unlocked, volume.device, options);
    let mut table = Table::from(vec![Target {
        start: 0,
        length: sectors,
        kind: "crypt".to_owned(),
        parameters: std::mem::take(&mut *parameters),
    }]);
    let create = dm::CreateOptions {
        read_only: options.read_only,
        secure: true,
    };
    let number = Control::open()
        .and_then(|control| control.create(&volume.name, &header.dm_uuid(&volume.name), &table, create))
        .map_err(|error| error.to_string());
    drop(guard);
    // LUKS1's table holds the key itself.
    for target in &mut table.targets {
        target.parameters.zeroize();
    }
    number
}
