//! Which logical volumes to activate, and when.

use std::collections::BTreeSet;

use super::cmdline::{DeviceSpec, LvmParameters};
use crate::block::DeviceNumber;
use crate::block::dm::{CreateOptions, Table};
use crate::block::lvm::{Group, Groups, LogicalVolume, LvError, dm_name, dm_uuid};

/// The volume groups seen so far, and what has been done about them.
#[derive(Debug, Default)]
pub(crate) struct VolumeGroups {
    /// What the metadata says.
    pub groups: Groups,
    /// Logical volumes that are active, or that failed and were reported, as `VG/LV`.
    settled: BTreeSet<String>,
    /// Refusals that were reported.
    reported: BTreeSet<String>,
}

/// A logical volume whose time has come.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Name of its group.
    pub group: String,
    /// Its name.
    pub volume: String,
    /// Its name for device-mapper.
    pub dm_name: String,
    /// Its UUID for device-mapper.
    pub dm_uuid: String,
    /// Its table, or why there is none.
    pub table: Result<Table, LvError>,
    /// How to make it.
    pub options: CreateOptions,
}

impl Ready {
    /// `VG/LV`
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.group, self.volume)
    }
}

/// Which volumes somebody asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// `rd.lvm*`
    pub parameters: &'a LvmParameters,
    /// `root=` and `resume=`
    pub devices: &'a [DeviceSpec],
}

impl Wanted<'_> {
    /// Whether the boot depends on the volume.
    fn needs(self, group: &Group<'_>, volume: &LogicalVolume) -> bool {
        let (group, group_id) = (&group.metadata().name, &group.metadata().id);
        let path = format!("/dev/{group}/{}", volume.name);
        let name = dm_name(group, &volume.name);
        self.devices.iter().any(|spec| match spec {
            DeviceSpec::Path(named) if named.as_os_str() == path.as_str() => true,
            DeviceSpec::Id(id)
                if id
                    .strip_prefix("dm-uuid-")
                    .is_some_and(|uuid| uuid == dm_uuid(group_id, &volume.id)) =>
            {
                true
            }
            _ => spec.mapper_name() == Some(name.as_str()),
        })
    }

    /// Whether the volume is to be activated once its group is complete.
    fn welcomes(self, group: &str, volume: &LogicalVolume) -> bool {
        let LvmParameters { volumes, groups, .. } = self.parameters;
        if volumes.is_empty() && groups.is_empty() {
            return volume.is_activated_by_itself();
        }
        groups.iter().any(|name| name == group) || volumes.contains(&format!("{group}/{}", volume.name))
    }
}

impl VolumeGroups {
    /// Forgets a physical volume whose device went.
    pub(crate) fn remove(&mut self, device: DeviceNumber) {
        self.groups.remove(device);
    }

    /// Volumes that can be activated now and weren't before. Each is handed out once.
    ///
    /// Of a complete group that is every volume that is wanted. Of an incomplete one only what the boot depends on, and
    /// only when all of its own parts are there: the rest may still come.
    pub(crate) fn take_ready(&mut self, wanted: Wanted<'_>) -> Vec<Ready> {
        if wanted.parameters.disabled {
            return Vec::new();
        }
        let mut ready = Vec::new();
        for group in self.groups.groups() {
            if group.refusal().is_some() {
                continue;
            }
            for volume in &group.metadata().logical_volumes {
                let name = &group.metadata().name;
                let needed = wanted.needs(&group, volume) && group.has_parts_of(volume);
                let due = needed || (group.is_complete() && wanted.welcomes(name, volume));
                if volume.is_visible() && due && self.settled.insert(format!("{name}/{}", volume.name)) {
                    ready.push(describe(&group, volume));
                }
            }
        }
        ready
    }

    /// Groups that aren't touched, each once.
    pub(crate) fn take_refusals(&mut self) -> Vec<String> {
        let groups = self.groups.groups();
        let refusals = groups
            .iter()
            .filter_map(Group::refusal)
            .map(|refusal| refusal.to_string());
        refusals
            .filter(|text| self.reported.insert(text.clone()))
            .collect()
    }

    /// What keeps volumes from being active, for the person who misses one.
    pub(crate) fn explain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for group in self.groups.groups() {
            let name = &group.metadata().name;
            if let Some(refusal) = group.refusal() {
                lines.push(refusal.to_string());
            }
            for missing in group.missing() {
                let hint = missing
                    .device_hint
                    .map_or_else(String::new, |hint| format!(", which was {hint}"));
                lines.push(format!(
                    "Volume group {name} is incomplete: physical volume {} is missing{hint}.",
                    missing.id
                ));
            }
        }
        lines
    }
}

fn describe(group: &Group<'_>, volume: &LogicalVolume) -> Ready {
    let metadata = group.metadata();
    Ready {
        group: metadata.name.clone(),
        volume: volume.name.clone(),
        dm_name: dm_name(&metadata.name, &volume.name),
        dm_uuid: dm_uuid(&metadata.id, &volume.id),
        table: group.table(volume),
        options: CreateOptions {
            read_only: !volume.is_writable(),
            secure: false,
        },
    }
}
