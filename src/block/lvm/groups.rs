//! What the metadata of several devices says together.

use std::collections::BTreeMap;

use super::metadata::{LogicalVolume, SegmentKind, VolumeGroup};
use super::physical::PhysicalVolumeOnDisk;
use super::table::{self, LvError};
use crate::block::DeviceNumber;
use crate::block::dm::Table;

/// All physical volumes seen so far, and the groups that they form.
#[derive(Debug, Default)]
pub struct Groups {
    volumes: BTreeMap<DeviceNumber, PhysicalVolumeOnDisk>,
}

/// A physical volume that hasn't appeared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// UUID, 32 characters without dashes.
    pub id: String,
    /// The device that it was on when the metadata was written.
    pub device_hint: Option<String>,
}

/// Why a whole group isn't touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `vgexport`
    #[error("volume group {0} is exported; `vgimport {0}` makes it usable here")]
    Exported(String),
    /// Another machine's.
    #[error(
        "volume group {group} belongs to the machine with system ID {system_id:?}; `vgchange --systemid` changes that"
    )]
    Foreign {
        /// The group.
        group: String,
        /// Its owner.
        system_id: String,
    },
    /// Locks that nobody could take.
    #[error("volume group {group} needs locks of type {lock_type}, which an initrd can't take")]
    Locked {
        /// The group.
        group: String,
        /// `sanlock`, `dlm`.
        lock_type: String,
    },
    /// Clustered.
    #[error("volume group {0} is clustered, which an initrd can't activate")]
    Clustered(String),
    /// One physical volume, two devices.
    #[error(
        "physical volume {id} of volume group {group} is on two devices ({first} and {second}); detach the copy, or give it another UUID with `vgimportclone`"
    )]
    Duplicate {
        /// The group.
        group: String,
        /// UUID of the physical volume.
        id: String,
        /// A device.
        first: DeviceNumber,
        /// Another one.
        second: DeviceNumber,
    },
    /// One name, two groups.
    #[error("two volume groups are named {0}; `vgrename` by UUID tells them apart")]
    SameName(String),
}

impl Groups {
    /// Takes in what a device says, instead of what it said before.
    pub fn add(&mut self, device: DeviceNumber, volume: PhysicalVolumeOnDisk) {
        let _ = self.volumes.insert(device, volume);
    }

    /// Forgets a device.
    pub fn remove(&mut self, device: DeviceNumber) {
        let _ = self.volumes.remove(&device);
    }

    /// The groups, by UUID: for each the newest metadata on any device.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut newest: BTreeMap<&str, &VolumeGroup> = BTreeMap::new();
        for group in self
            .volumes
            .values()
            .filter_map(|volume| volume.metadata.as_ref())
        {
            let known = newest.entry(&group.id).or_insert(group);
            if known.seqno < group.seqno {
                *known = group;
            }
        }
        let names: Vec<&str> = newest.values().map(|group| group.name.as_str()).collect();
        newest
            .values()
            .map(|group| Group {
                metadata: group,
                devices: self.place(group),
                duplicate: self.duplicate(group),
                name_is_taken: names.iter().filter(|name| **name == group.name).count() > 1,
            })
            .collect()
    }

    /// Two devices with one UUID: a copied disk. Which one is current can't be known.
    fn duplicate(&self, group: &VolumeGroup) -> Option<Refusal> {
        group.physical_volumes.values().find_map(|record| {
            let mut having = self.volumes.iter().filter(|(_, volume)| volume.id == record.id);
            let ((first, _), (second, _)) = (having.next()?, having.next()?);
            Some(Refusal::Duplicate {
                group: group.name.clone(),
                id: record.id.clone(),
                first: *first,
                second: *second,
            })
        })
    }

    /// The devices of a group's physical volumes, by their name in its text. A volume is known by its UUID, so that
    /// one without metadata of its own finds its place.
    fn place<'a>(&self, group: &'a VolumeGroup) -> BTreeMap<&'a str, (DeviceNumber, u64)> {
        let mut devices = BTreeMap::new();
        for (key, record) in &group.physical_volumes {
            let found = self.volumes.iter().find(|(_, volume)| volume.id == record.id);
            if let Some((device, volume)) = found {
                let _ = devices.insert(key.as_str(), (*device, volume.size / 512));
            }
        }
        devices
    }
}

/// A volume group with the devices that have appeared.
#[derive(Debug)]
pub struct Group<'a> {
    metadata: &'a VolumeGroup,
    devices: BTreeMap<&'a str, (DeviceNumber, u64)>,
    name_is_taken: bool,
    duplicate: Option<Refusal>,
}

impl<'a> Group<'a> {
    /// What the metadata says.
    pub fn metadata(&self) -> &'a VolumeGroup {
        self.metadata
    }

    /// The devices with its physical volumes, as far as they have appeared.
    pub fn devices(&self) -> impl Iterator<Item = DeviceNumber> {
        self.devices.values().map(|(device, _)| *device)
    }

    /// Physical volumes that haven't appeared.
    pub fn missing(&self) -> Vec<Missing> {
        self.metadata
            .physical_volumes
            .iter()
            .filter(|(key, _)| !self.devices.contains_key(key.as_str()))
            .map(|(_, record)| Missing {
                id: record.id.clone(),
                device_hint: record.device_hint.clone(),
            })
            .collect()
    }

    /// Whether every physical volume has appeared.
    pub fn is_complete(&self) -> bool {
        self.devices.len() == self.metadata.physical_volumes.len()
    }

    /// Why the group isn't touched, if so.
    pub fn refusal(&self) -> Option<Refusal> {
        let name = || self.metadata.name.clone();
        let has = |flag: &str| self.metadata.status.iter().any(|own| own == flag);
        if has("EXPORTED") {
            return Some(Refusal::Exported(name()));
        }
        if has("CLUSTERED") {
            return Some(Refusal::Clustered(name()));
        }
        if let Some(lock_type) = &self.metadata.lock_type {
            return Some(Refusal::Locked {
                group: name(),
                lock_type: lock_type.clone(),
            });
        }
        if let Some(system_id) = &self.metadata.system_id {
            return Some(Refusal::Foreign {
                group: name(),
                system_id: system_id.clone(),
            });
        }
        if let Some(duplicate) = &self.duplicate {
            return Some(duplicate.clone());
        }
        self.name_is_taken.then(|| Refusal::SameName(name()))
    }

    /// Whether every physical volume that a logical volume needs has appeared. What lies under a volume that keel leaves
    /// to lvm isn't known: it needs the whole group.
    pub fn has_parts_of(&self, volume: &LogicalVolume) -> bool {
        if volume.part_of.is_some() {
            return self.is_complete();
        }
        volume.segments.iter().all(|segment| match &segment.kind {
            SegmentKind::Striped { stripes, .. } => stripes
                .iter()
                .all(|stripe| self.devices.contains_key(stripe.physical_volume.as_str())),
            SegmentKind::Error | SegmentKind::Zero => true,
            SegmentKind::Other(_) => self.is_complete(),
        })
    }

    /// The device-mapper table of a logical volume.
    pub fn table(&self, volume: &LogicalVolume) -> Result<Table, LvError> {
        table::build(self.metadata, volume, &self.devices)
    }
}
