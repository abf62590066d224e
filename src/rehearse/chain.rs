//! The way that early boot would take, on devices that are only read: what appears is looked at, LUKS volumes are opened,
//! complete volume groups give their volumes, until nothing new appears.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zeroize::Zeroizing;

use super::detached::Detached;
use super::device::{Decrypted, Device, Mapped};
use super::report::{
    DeviceReport, GroupReport, KeyslotReport, LuksReport, OpenedBy, Report, TableReport, VolumeReport,
};
use crate::block::dm::{Table, Target};
use crate::block::luks::{Header, Kdf, Unlocked};
use crate::block::probe::{Kind, probe};
use crate::block::{DeviceNumber, lvm};
use crate::init::cmdline::{CommandLine, DeviceSpec, Source};
use crate::init::{BlockDevice, Ready, VolumeGroups, Wanted, default_name, mapper_path};

/// A disk or a partition to begin with.
pub(super) struct Disk {
    /// As the kernel knows it.
    pub block: BlockDevice,
    /// Its content.
    pub device: Device,
}

/// What opens volumes.
pub(super) struct Secrets<'a> {
    /// Passphrases, in the order in which they're tried.
    pub passphrases: &'a [Zeroizing<Vec<u8>>],
    /// The content of a volume that is open on this machine, by its device-mapper UUID; one that ends with a dash is the
    /// beginning of it.
    pub mapped: &'a dyn Fn(&str) -> Option<Device>,
    /// Keys that were found before, by the UUIDs of the volumes: a key derivation takes long.
    pub known: &'a mut BTreeMap<String, Rc<Unlocked>>,
}

/// What has been seen.
pub(super) struct Chain<'a> {
    pub(super) cmdline: &'a CommandLine,
    pub(super) secrets: Secrets<'a>,
    /// Volumes with their headers apart that aren't settled.
    pub(super) detached: Vec<Detached>,
    /// File systems that headers were read from, each with what for.
    pub(super) read_from: Vec<(Kind, String)>,
    /// Everything that appeared, and what it lies on.
    nodes: BTreeMap<DeviceNumber, Node>,
    queue: VecDeque<DeviceNumber>,
    groups: VolumeGroups,
    /// The number of the next device that device-mapper would make.
    next: DeviceNumber,
    /// What is said.
    pub report: Report,
}

struct Node {
    block: BlockDevice,
    device: Device,
    /// The devices that it's made of.
    below: Vec<DeviceNumber>,
    dm_uuid: Option<String>,
}

/// Where the encrypted data of a LUKS volume lies.
pub(super) struct Place {
    /// The device's number.
    pub number: DeviceNumber,
    /// What the device is called.
    pub name: String,
    /// Its content.
    pub device: Device,
}

/// A device that was found.
pub(super) struct Found {
    /// As it's called.
    pub block: BlockDevice,
    /// Its content.
    pub device: Device,
    /// Its UUID for device-mapper, when it's one of its devices.
    pub dm_uuid: Option<String>,
}

impl<'a> Chain<'a> {
    /// Looks at everything on `disks`. `first` is the number that device-mapper gives to its first device.
    pub(super) fn walk(
        cmdline: &'a CommandLine,
        disks: Vec<Disk>,
        secrets: Secrets<'a>,
        first: DeviceNumber,
    ) -> Self {
        let detached = cmdline.luks.detached().into_iter();
        let mut chain = Chain {
            cmdline,
            secrets,
            detached: detached
                .filter(|(uuid, _)| cmdline.luks_name(uuid).is_some())
                .map(|(uuid, header)| Detached { uuid, header })
                .collect(),
            read_from: Vec::new(),
            nodes: BTreeMap::new(),
            queue: VecDeque::new(),
            groups: VolumeGroups::default(),
            next: first,
            report: Report::default(),
        };
        for Disk { block, device } in disks {
            chain.appear(block, device, Vec::new(), None);
        }
        loop {
            while let Some(number) = chain.queue.pop_front() {
                chain.consider(number);
            }
            if !chain.detached_volume_is_settled() {
                break;
            }
        }
        chain.describe_groups();
        chain
    }

    /// The device that a parameter means.
    pub(super) fn find(&self, spec: &DeviceSpec) -> Option<Found> {
        let node = self.nodes.values().find(|node| node.block.answers_to(spec))?;
        Some(node.found())
    }

    /// All devices with a file system.
    pub(super) fn file_systems(&self) -> Vec<Found> {
        let with = self.nodes.values().filter(|node| {
            let superblock = node.block.superblock.as_ref();
            superblock.is_some_and(|found| found.kind.is_file_system())
        });
        with.map(Node::found).collect()
    }

    /// The logical volume, of those that lvm activates, that a device is or lies on: as `VG/LV`.
    pub(super) fn root_by_lvm(&self, found: &Found) -> Option<String> {
        let mut waiting = vec![found.block.number];
        while let Some(number) = waiting.pop() {
            let node = self.nodes.get(&number)?;
            let by_lvm = self.report.volumes.iter().find(|volume| {
                let path = Path::new("/dev").join(&volume.name);
                volume.is_by_lvm && node.block.aliases.contains(&path)
            });
            if let Some(volume) = by_lvm {
                return Some(volume.name.clone());
            }
            waiting.extend(&node.below);
        }
        None
    }

    /// The devices that a device lies on in the end.
    pub(super) fn foundations(&self, number: DeviceNumber) -> Vec<DeviceNumber> {
        let Some(node) = self.nodes.get(&number) else {
            return Vec::new();
        };
        if node.below.is_empty() {
            return vec![number];
        }
        let mut all: Vec<DeviceNumber> = node
            .below
            .iter()
            .flat_map(|below| self.foundations(*below))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn appear(
        &mut self,
        mut block: BlockDevice,
        device: Device,
        below: Vec<DeviceNumber>,
        dm_uuid: Option<String>,
    ) {
        let name = block.display_name();
        match probe(&*device) {
            Ok(superblock) => block.superblock = superblock,
            Err(error) => self
                .report
                .warnings
                .push(format!("{name} can't be read: {error}")),
        }
        let superblock = block.superblock.as_ref();
        self.report.devices.push(DeviceReport {
            name,
            bytes: device.size().unwrap_or(0),
            content: superblock.map(|found| found.kind.name().to_owned()),
            uuid: superblock.and_then(|found| found.uuid.clone()),
            label: superblock.and_then(|found| found.label.clone()),
        });
        let number = block.number;
        let node = Node {
            block,
            device,
            below,
            dm_uuid,
        };
        let _old = self.nodes.insert(number, node);
        self.queue.push_back(number);
    }

    fn consider(&mut self, number: DeviceNumber) {
        let Some(node) = self.nodes.get(&number) else {
            return;
        };
        let (device, name) = (node.device.clone(), node.block.display_name());
        let path = node.block.path.clone();
        match node.block.superblock.as_ref().map(|found| found.kind) {
            Some(Kind::Luks1 | Kind::Luks2) => self.luks(number, &device, (name, path)),
            Some(Kind::Lvm2Member) => self.physical_volume(number, &device, &name),
            _ => {}
        }
    }

    fn luks(&mut self, number: DeviceNumber, device: &Device, (name, path): (String, PathBuf)) {
        let mut report = LuksReport {
            device: name,
            ..LuksReport::default()
        };
        let read = Header::read(&**device)
            .map_err(|error| error.to_string())
            .and_then(|(header, warnings)| {
                header
                    .check_keyslots(&**device)
                    .map_err(|error| error.to_string())?;
                Ok((header, warnings))
            });
        let header = match read {
            Ok((header, warnings)) => {
                report.warnings = warnings.iter().map(ToString::to_string).collect();
                header
            }
            Err(error) => {
                report.problem = Some(error);
                self.report.luks.push(report);
                return;
            }
        };
        let uuid = header.uuid().to_owned();
        if self.cmdline.luks_name(&uuid).is_some() {
            // As early boot does: what header= names is looked for already.
            let elsewhere = self.cmdline.luks.options_of(&uuid).0.header.is_some();
            match self.cmdline.luks.data_of(&uuid) {
                _ if elsewhere => return,
                Some(_) => {
                    let header = Source::Device(DeviceSpec::Path(path));
                    return self.detached.push(Detached { uuid, header });
                }
                None if header.is_detached() => {
                    describe(&header, &mut report);
                    report.problem = Some(format!(
                        "it's a header without data: rd.luks.data={uuid}=DEVICE has to say where that is"
                    ));
                    return self.report.luks.push(report);
                }
                None => {}
            }
        }
        let data = Place {
            number,
            name: report.device.clone(),
            device: device.clone(),
        };
        self.luks_found(&header, device, &data, report);
    }

    /// Opens a volume if it's asked for. `keys` holds its header.
    pub(super) fn luks_found(
        &mut self,
        header: &Header,
        keys: &Device,
        data: &Place,
        mut report: LuksReport,
    ) {
        describe(header, &mut report);
        let Some(mapping) = self.cmdline.luks_name(header.uuid()) else {
            report.problem = Some("rd.luks doesn't ask for it: the boot leaves it locked".to_owned());
            report.is_asked_for = false;
            self.report.luks.push(report);
            return;
        };
        let mapping = mapping.map_or_else(|| default_name(header.uuid()), ToOwned::to_owned);
        report.name = Some(mapping.clone());
        let uuid = header.dm_uuid(&mapping);
        if let Some(opened) = self.open(header, keys, &data.device, &mut report) {
            if let Some(unlocked) = &opened.unlocked {
                self.crypt_table(header, unlocked, data.number, &mapping);
            }
            self.mapping_appears(opened.content, &mapping, data.number, uuid);
        }
        self.report.luks.push(report);
    }

    /// The content of an opened volume.
    pub(super) fn mapping_appears(&mut self, content: Device, name: &str, data: DeviceNumber, uuid: String) {
        let made = self.take_number();
        let block = mapped_block(made, vec![mapper_path(name)], &uuid);
        self.appear(block, content, vec![data], Some(uuid));
    }

    /// Opens a volume: by a passphrase, or by what is open on this machine.
    fn open(
        &mut self,
        header: &Header,
        keys: &Device,
        data: &Device,
        report: &mut LuksReport,
    ) -> Option<Opened> {
        let mut why = None;
        let known = self.secrets.known.get(header.uuid()).cloned();
        let unlocked = known.or_else(|| {
            for passphrase in self.secrets.passphrases {
                match header.unlock(&**keys, passphrase) {
                    Ok(unlocked) => return Some(Rc::new(unlocked)),
                    Err(error) => why = Some(error.to_string()),
                }
            }
            None
        });
        if let Some(unlocked) = unlocked {
            let _old = self
                .secrets
                .known
                .insert(header.uuid().to_owned(), unlocked.clone());
            report.keyslot_opened = Some(unlocked.keyslot);
            report.opened_by = Some(OpenedBy::Passphrase);
            if let Err(error) = header.segment_reader(&**data, &unlocked.key) {
                report.problem = Some(format!("its data can't be looked at: {error}"));
                return None;
            }
            return Some(Opened {
                content: Rc::new(Decrypted {
                    device: data.clone(),
                    header: header.clone(),
                    unlocked: unlocked.clone(),
                }),
                unlocked: Some(unlocked),
            });
        }
        if let Some(content) = (self.secrets.mapped)(&header.dm_uuid("")) {
            report.opened_by = Some(OpenedBy::Mapping);
            // A passphrase that was given and doesn't fit is a fault all the same.
            report.problem = why;
            return Some(Opened {
                content,
                unlocked: None,
            });
        }
        report.problem = Some(why.unwrap_or_else(|| {
            "it's locked, and no passphrase was given (--ask, --passphrase-file, --key-file)".to_owned()
        }));
        None
    }

    fn crypt_table(&mut self, header: &Header, unlocked: &Unlocked, device: DeviceNumber, name: &str) {
        let (options, _complaints) = self.cmdline.luks.options_of(header.uuid());
        let size = self.nodes.get(&device).and_then(|node| node.device.size().ok());
        let sectors = match header.segment_sectors(size.unwrap_or(0)) {
            Ok(sectors) => sectors,
            Err(error) => return self.report.warnings.push(format!("{name}: {error}")),
        };
        let parameters = header.dm_parameters(unlocked, device, options.crypt);
        // The key of LUKS1 is in the table: dmsetup shows zeros for it.
        let parameters = match (
            header.key_description(),
            parameters.splitn(3, ' ').collect::<Vec<_>>().as_slice(),
        ) {
            (None, [cipher, key, rest]) => format!("{cipher} {} {rest}", "0".repeat(key.len())),
            _ => parameters.to_string(),
        };
        let table = Table::from(vec![Target {
            start: 0,
            length: sectors,
            kind: "crypt".to_owned(),
            parameters,
        }]);
        self.note_table(name, &header.dm_uuid(name), &table);
    }

    fn note_table(&mut self, name: &str, uuid: &str, table: &Table) {
        self.report.tables.push(TableReport {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            table: table.targets.iter().map(ToString::to_string).collect(),
        });
    }

    fn physical_volume(&mut self, number: DeviceNumber, device: &Device, name: &str) {
        match lvm::read_physical_volume(&**device) {
            Ok(Some(volume)) => {
                let warnings = volume.warnings.iter().map(|warning| format!("{name}: {warning}"));
                self.report.warnings.extend(warnings);
                self.groups.groups.add(number, volume);
                self.activate();
            }
            Ok(None) => {}
            Err(error) => self
                .report
                .problems
                .push(format!("{name}: LVM metadata can't be used: {error}")),
        }
    }

    fn activate(&mut self) {
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
            is_overdue: false,
        };
        for ready in self.groups.take_ready(wanted) {
            let full_name = ready.full_name();
            let mut report = VolumeReport {
                name: full_name,
                problem: None,
                is_by_lvm: false,
                modules: Vec::new(),
            };
            if ready.is_for_lvm() {
                self.activated_by_lvm(&ready, &mut report);
                self.report.volumes.push(report);
                continue;
            }
            // Targets that can't be followed here are loaded by early boot all the same.
            if let Ok(table) = &ready.table {
                self.note_table(&ready.dm_name, &ready.dm_uuid, table);
            }
            let mapped = ready
                .table
                .as_ref()
                .map_err(ToString::to_string)
                .and_then(|table| {
                    let devices = |number| self.nodes.get(&number).map(|node| node.device.clone());
                    Mapped::new(table, &devices).map_err(|error| error.to_string())
                });
            match (mapped, &ready.table) {
                (Ok(mapped), Ok(table)) => {
                    let number = self.take_number();
                    let aliases = vec![
                        mapper_path(&ready.dm_name),
                        PathBuf::from("/dev").join(&ready.group).join(&ready.volume),
                    ];
                    let below = numbers_of(table);
                    let block = mapped_block(number, aliases, &ready.dm_uuid);
                    self.appear(block, Rc::new(mapped), below, Some(ready.dm_uuid.clone()));
                }
                (Err(error), _) => report.problem = Some(error),
                (Ok(_), Err(error)) => report.problem = Some(error.to_string()),
            }
            self.report.volumes.push(report);
        }
    }

    /// A volume that the initrd leaves to lvm: what lvm made of it on this machine is looked at.
    fn activated_by_lvm(&mut self, ready: &Ready, report: &mut VolumeReport) {
        let Some(content) = (self.secrets.mapped)(&ready.dm_uuid) else {
            report.problem = Some(format!(
                "only lvm can activate it, and it isn't active here: {}",
                ready
                    .table
                    .as_ref()
                    .err()
                    .map_or_else(String::new, ToString::to_string)
            ));
            return;
        };
        report.is_by_lvm = true;
        report.modules.clone_from(&ready.modules);
        let number = self.take_number();
        let aliases = vec![
            mapper_path(&ready.dm_name),
            PathBuf::from("/dev").join(&ready.group).join(&ready.volume),
        ];
        let block = mapped_block(number, aliases, &ready.dm_uuid);
        self.appear(block, content, ready.below.clone(), Some(ready.dm_uuid.clone()));
    }

    fn describe_groups(&mut self) {
        for group in self.groups.groups.groups() {
            let metadata = group.metadata();
            self.report.groups.push(GroupReport {
                name: metadata.name.clone(),
                physical_volumes: metadata.physical_volumes.len(),
                missing: group.missing().into_iter().map(|missing| missing.id).collect(),
                refusal: group.refusal().map(|refusal| refusal.to_string()),
            });
        }
    }

    fn take_number(&mut self) -> DeviceNumber {
        let number = self.next;
        self.next.minor += 1;
        number
    }
}

impl Node {
    fn found(&self) -> Found {
        Found {
            block: self.block.clone(),
            device: self.device.clone(),
            dm_uuid: self.dm_uuid.clone(),
        }
    }
}

/// An opened volume.
struct Opened {
    content: Device,
    unlocked: Option<Rc<Unlocked>>,
}

fn mapped_block(number: DeviceNumber, aliases: Vec<PathBuf>, dm_uuid: &str) -> BlockDevice {
    BlockDevice {
        number,
        path: Path::new("/dev").join(format!("dm-{}", number.minor)),
        aliases,
        superblock: None,
        partition_uuid: None,
        partition_label: None,
        dm_uuid: Some(dm_uuid.to_owned()),
    }
}

/// The devices that a table names.
fn numbers_of(table: &Table) -> Vec<DeviceNumber> {
    let words = table
        .targets
        .iter()
        .flat_map(|target| target.parameters.split(' '));
    let mut numbers: Vec<DeviceNumber> = words.filter_map(super::device::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn describe(header: &Header, report: &mut LuksReport) {
    report.uuid = Some(header.uuid().to_owned());
    report.cipher = Some(header.cipher().to_owned());
    report.is_asked_for = true;
    report.tokens = header.tokens().into_iter().map(|token| token.kind).collect();
    report.keyslots = header
        .keyslots()
        .into_iter()
        .map(|keyslot| KeyslotReport {
            keyslot: keyslot.id,
            memory_kib: keyslot.kdf.as_ref().map_or(0, Kdf::memory_kib),
            kdf: keyslot
                .kdf
                .map_or_else(|| "none".to_owned(), |kdf| kdf.to_string()),
        })
        .collect();
}
