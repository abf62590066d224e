//! LUKS volumes from the device that appears to the mapping: headers, keyfiles, results of what was tried.

use std::path::{Path, PathBuf};
use std::time::Instant;

use log::info;
use zeroize::{Zeroize, Zeroizing};

use super::boot::Boot;
use super::cmdline::{DeviceSpec, Source};
use super::devices::{self, BlockDevice};
use super::mappings::mapping_over;
use super::report::Unlocked as UnlockedReport;
use super::sources::{self, Sources};
use super::unlock::{Lapse, Volume, default_name, mapper_path};
use super::unlock_trial::{Attempt, Origin};
use crate::block::dm::{self, Control, Table, Target};
use crate::block::luks::{self, Header, Unlocked};
use crate::block::{DeviceNumber, ReadAt};
use crate::sys::keyring;

/// A volume whose header lies elsewhere than its data, until both are there.
#[derive(Clone, Debug)]
pub(super) struct Detached {
    /// UUID that the header must have, in lower case.
    pub uuid: String,
    /// Where the header lies.
    pub header: Source,
    /// The device that holds the data.
    pub data: DeviceSpec,
}

impl Boot {
    /// Takes in the detached headers that the command line names.
    pub(super) fn expect_detached_headers(&mut self) {
        for (uuid, header) in self.cmdline.luks.detached() {
            let Some(data) = self.cmdline.luks.data_of(&uuid).cloned() else {
                self.warn(&format!(
                    "rd.luks.options= gives volume {uuid} the header {header}, but no rd.luks.data={uuid}=DEVICE says where \
                     its data is"
                ));
                continue;
            };
            self.detached.push(Detached { uuid, header, data });
        }
    }

    /// Looks whether what keyfiles and detached headers lie on has appeared.
    pub(super) fn look_for_sources(&mut self) {
        for volume in std::mem::take(&mut self.detached) {
            if !self.detached_volume_appears(&volume) {
                self.detached.push(volume);
            }
        }
        let sources = Sources {
            devices: &self.devices,
            loader: &self.loader,
        };
        let mut read = Vec::new();
        for volume in self.keyring.volumes.values_mut() {
            let Some(source) = &volume.key else { continue };
            if let Some(key) = sources.key(source, &volume.options) {
                read.push((volume.device, volume.name.clone(), source.clone(), key));
                volume.key = None;
                volume.key_deadline = None;
            }
        }
        for (device, name, source, key) in read {
            match key {
                Ok(secret) => self.keyring.give(device, secret),
                Err(error) => self.warn(&format!("the keyfile {source} for {name} can't be used: {error}")),
            }
        }
    }

    /// Whether that is settled, for better or worse.
    fn detached_volume_appears(&mut self, volume: &Detached) -> bool {
        let sources = Sources {
            devices: &self.devices,
            loader: &self.loader,
        };
        let Some(data) = sources.find(&volume.data).cloned() else {
            return false;
        };
        let read = match sources.header(&volume.header, &volume.uuid) {
            None => return false,
            Some(Err(error)) => Err(error),
            Some(Ok(path)) => read_header(&path).and_then(|(header, warnings)| {
                if header.uuid().eq_ignore_ascii_case(&volume.uuid) {
                    Ok((path, header, warnings))
                } else {
                    Err(format!("it is that of volume {}", header.uuid()))
                }
            }),
        };
        match read {
            Ok((path, header, warnings)) => self.volume_found(&data, path, header, warnings),
            Err(error) => self.warn(&format!(
                "the header {} for volume {} can't be used: {error}",
                volume.header, volume.uuid
            )),
        }
        true
    }

    /// Looks at a device with a LUKS header.
    pub(super) fn luks_volume_appears(&mut self, device: &BlockDevice) {
        let path = device.path.display().to_string();
        if let Some(mapping) = mapping_over(device.number) {
            info!("{path}: open already, as {mapping}");
            return;
        }
        let (header, warnings) = match read_header(&device.path) {
            Ok(read) => read,
            Err(error) => return self.warn(&format!("{path} can't be unlocked: {error}")),
        };
        let uuid = header.uuid().to_owned();
        if self.cmdline.luks_name(&uuid).is_none() {
            info!("{path}: LUKS volume {uuid} isn't among those that rd.luks asks for");
            return;
        }
        let elsewhere = self.cmdline.luks.options_of(&uuid).0.header.is_some();
        match self.cmdline.luks.data_of(&uuid).cloned() {
            // What header= names is looked for already.
            _ if elsewhere => info!("{path}: another header is given for volume {uuid}"),
            Some(data) => {
                let here = Source::Device(DeviceSpec::Path(device.path.clone()));
                self.detached.push(Detached {
                    uuid,
                    header: here,
                    data,
                });
                self.look_for_sources();
            }
            None if header.is_detached() => self.warn(&format!(
                "{path} holds the detached header of volume {uuid}: add rd.luks.data={uuid}=DEVICE, which says where its \
                 data is"
            )),
            None => self.volume_found(device, device.path.clone(), header, warnings),
        }
    }

    /// A locked volume is complete: its keyfile is looked for, and its passphrase is asked for.
    fn volume_found(
        &mut self,
        device: &BlockDevice,
        header_path: PathBuf,
        header: Header,
        warnings: Vec<luks::Warning>,
    ) {
        let path = device.path.display().to_string();
        let uuid = header.uuid().to_owned();
        let Some(name) = self.cmdline.luks_name(&uuid) else {
            return;
        };
        let name = name.map_or_else(|| default_name(&uuid), ToOwned::to_owned);
        for warning in warnings {
            self.warn(&format!("{}: {warning}", header_path.display()));
        }
        let (mut options, complaints) = self.cmdline.luks.options_of(&uuid);
        for complaint in complaints {
            self.warn(&format!("{path}: rd.luks.options: {complaint}"));
        }
        if let Some(slot) = options.key_slot
            && !header.keyslots().iter().any(|keyslot| keyslot.id == slot)
        {
            self.warn(&format!(
                "{path}: there is no keyslot {slot}, as key-slot= asks for; all are tried"
            ));
            options.key_slot = None;
        }
        if options.try_empty {
            self.keyring.give(device.number, Zeroizing::new(Vec::new()));
        }
        let key = self.cmdline.luks.key_of(&uuid).cloned();
        let mut volume = Volume {
            name,
            device: device.number,
            path: device.path.clone(),
            header_path,
            header,
            options,
            key: None,
            key_deadline: None,
            deadline: None,
            misses: 0,
        };
        if let Some(key) = key.or_else(|| sources::named_key(&volume.name)) {
            volume.wait_for_key(key);
        }
        let ciphers = ciphers(&volume.header);
        let _indices = self.loader.hurry(ciphers.iter().map(String::as_str));
        self.keyring.found(volume);
        self.look_for_sources();
    }

    /// Says what waited too long.
    pub(super) fn take_lapses(&mut self) {
        for lapse in self.keyring.lapses(Instant::now()) {
            match lapse {
                Lapse::KeyfileMissing(volume, source) => self.say(&format!(
                    "The keyfile {source} for {volume} hasn't appeared. It is still used when it does; the passphrase opens the \
                     volume, too."
                )),
                Lapse::GivenUp(volume, why) => {
                    self.warn(&format!("{volume} stays locked: {why}"));
                }
            }
        }
    }

    /// Deals with the result of secrets on a volume: opens it, or says what is wrong with it.
    pub(super) fn take_attempt(&mut self, attempt: Attempt) {
        let Some(volume) = self.keyring.volumes.get(&attempt.device) else {
            return;
        };
        let (name, path) = (volume.name.clone(), volume.path.display().to_string());
        let unlocked = match attempt.result {
            Ok(unlocked) => unlocked,
            Err(error) if error.is_wrong_passphrase() => {
                if attempt.origin == Origin::Given && !volume.options.try_empty {
                    self.say(&format!("The keyfile for {name} ({path}) doesn't open it."));
                }
                // A wrong passphrase is said once for all volumes, when the trial is over.
                return;
            }
            Err(error) => return self.say(&format!("{path}: {error}")),
        };
        let ciphers = ciphers(&volume.header);
        // These were asked for before; a fast disk and a cheap keyslot can be faster.
        self.loader
            .wait_for(ciphers.iter().map(String::as_str).chain(["dm_mod", "dm_crypt"]));
        let opened = self
            .device_mapper()
            .map_err(|error| error.to_string())
            .and_then(|control| open_crypt(&control, volume, &unlocked));
        let Some(volume) = self.keyring.volumes.remove(&attempt.device) else {
            return;
        };
        match opened {
            Ok(number) => {
                sources::forget_header(&volume.header_path);
                self.report.reach("unlocked");
                self.report.unlocked.push(UnlockedReport {
                    name: name.clone(),
                    device: volume.header_path.display().to_string(),
                    uuid: volume.header.uuid().to_owned(),
                    keyslot: unlocked.keyslot,
                    by: match attempt.origin {
                        Origin::Typed | Origin::Proven => "passphrase".to_owned(),
                        Origin::Given => "keyfile".to_owned(),
                    },
                    duration_usec: u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX),
                });
                let link = mapper_path(&name);
                self.mapped_device_appears(
                    number,
                    vec![link],
                    volume.header.dm_uuid(&name),
                    dm::link_mapper("/dev".as_ref(), &name, number),
                );
            }
            Err(error) => self.warn(&format!(
                "{path} was unlocked, but its mapping {name} failed: {error}"
            )),
        }
    }
}

/// Aliases of the modules with the parts of a volume's cipher. The kernel would ask modprobe for them, which an initrd
/// doesn't have.
fn ciphers(header: &Header) -> Vec<String> {
    let words = header.cipher().split(|c: char| !c.is_ascii_alphanumeric());
    words.map(|word| format!("crypto-{word}")).collect()
}

/// Reads a header that a passphrase can open: asking for one that can't help would be worse than saying why.
fn read_header(path: &Path) -> Result<(Header, Vec<luks::Warning>), String> {
    let file = devices::open(path).map_err(|error| error.to_string())?;
    let (header, warnings) = Header::read(&file).map_err(|error| error.to_string())?;
    header.check_keyslots(&file).map_err(|error| error.to_string())?;
    Ok((header, warnings))
}

/// Loads the dm-crypt table of an unlocked volume. The volume key goes through the kernel's keyring of this thread, and
/// leaves it once the table is loaded.
fn open_crypt(control: &Control, volume: &Volume, unlocked: &Unlocked) -> Result<DeviceNumber, String> {
    let (header, options) = (&volume.header, volume.options.crypt);
    let size = devices::open(&volume.path)
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
    let number = control
        .create(&volume.name, &header.dm_uuid(&volume.name), &table, create)
        .map_err(|error| error.to_string());
    drop(guard);
    // LUKS1's table holds the key itself.
    for target in &mut table.targets {
        target.parameters.zeroize();
    }
    number
}
