//! Which logical volumes to activate, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::cmdline::{DeviceSpec, LvmParameters};
use crate::block::DeviceNumber;
use crate::block::dm::{CreateOptions, Table};
use crate::block::lvm::{Group, Groups, LogicalVolume, LvError, SegmentKind, VolumeGroup, dm_name, dm_uuid};

/// The volume groups seen so far, and what has been done about them.
#[derive(Debug, Default)]
pub(crate) struct VolumeGroups {
    /// What the metadata says.
    pub groups: Groups,
    /// Logical volumes that are active, or that failed with all of their parts there and were reported, as `VG/LV`.
    settled: BTreeSet<String>,
    /// Logical volumes that were tried without some of their parts, with the devices that were there.
    tried_without: BTreeMap<String, Vec<DeviceNumber>>,
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
    /// Whether the boot depends on it.
    pub is_needed: bool,
    /// Kernel modules of the segment types of its group that only lvm activates.
    pub modules: Vec<&'static str>,
    /// The devices with the physical volumes of its group.
    pub below: Vec<DeviceNumber>,
}

impl Ready {
    /// `VG/LV`
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.group, self.volume)
    }

    /// Whether lvm can activate what keel-init can't.
    pub(crate) fn is_for_lvm(&self) -> bool {
        matches!(
            self.table,
            Err(LvError::Unsupported { .. } | LvError::PartOf { .. })
        )
    }
}

/// Which volumes somebody asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// `rd.lvm*`
    pub parameters: &'a LvmParameters,
    /// `root=` and `resume=`
    pub devices: &'a [DeviceSpec],
    /// Whether what is missing has been waited for long enough: lvm may then start a RAID volume with a leg less.
    pub is_overdue: bool,
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

    /// Whether every device that is asked for is a volume or a path by name: then no other one can be it.
    pub(crate) fn is_by_path(self) -> bool {
        let mut devices = self.devices.iter();
        devices.all(|spec| matches!(spec, DeviceSpec::Path(_) | DeviceSpec::Id(_)))
    }

    /// Whether the volume is to be activated once its group is complete.
    fn welcomes(self, metadata: &VolumeGroup, volume: &LogicalVolume) -> bool {
        let LvmParameters { volumes, groups, .. } = self.parameters;
        if volumes.is_empty() && groups.is_empty() {
            return metadata.is_activated_by_itself() && volume.is_activated_by_itself();
        }
        let group = &metadata.name;
        groups.contains(group) || volumes.contains(&format!("{group}/{}", volume.name))
    }
}

impl VolumeGroups {
    /// Forgets a physical volume whose device went.
    pub(crate) fn remove(&mut self, device: DeviceNumber) {
        self.groups.remove(device);
    }

    /// Notes that a volume is active.
    pub(crate) fn settle(&mut self, full_name: &str) {
        let _ = self.settled.insert(full_name.to_owned());
    }

    /// Volumes that can be activated now and weren't before. Each is handed out once.
    ///
    /// Of a complete group that is every volume that is wanted. Of an incomplete one only what the boot depends on, and
    /// only when all of its own parts are there: the rest may still come. What is overdue and lvm's is handed out without
    /// them, and once more whenever another set of them is there. Pools are parts of what lies in them.
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
                let full_name = format!("{name}/{}", volume.name);
                let is_own = volume.is_visible() && !volume.is_pool();
                if !is_own || self.settled.contains(&full_name) {
                    continue;
                }
                let is_needed = wanted.needs(&group, volume);
                let described = || Ready {
                    is_needed,
                    ..describe(&group, volume)
                };
                if (is_needed && group.has_parts_of(volume))
                    || (group.is_complete() && wanted.welcomes(group.metadata(), volume))
                {
                    ready.push(described());
                    let _ = self.settled.insert(full_name);
                } else if is_needed && wanted.is_overdue {
                    let described = described();
                    let is_news = self.tried_without.get(&full_name) != Some(&described.below);
                    if is_news && described.is_for_lvm() {
                        let _ = self.tried_without.insert(full_name, described.below.clone());
                        ready.push(described);
                    }
                }
            }
        }
        ready
    }

    /// Whether a device-mapper UUID is that of a volume of its own, rather than of a part of one.
    pub(crate) fn is_volume(&self, uuid: &str) -> bool {
        self.groups.groups().iter().any(|group| {
            let metadata = group.metadata();
            let mut volumes = metadata.logical_volumes.iter();
            volumes.any(|volume| {
                volume.is_visible() && !volume.is_pool() && dm_uuid(&metadata.id, &volume.id) == uuid
            })
        })
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
    pub(crate) fn explain(&self, has_lvm: bool) -> Vec<String> {
        let mut lines = Vec::new();
        for group in self.groups.groups() {
            let name = &group.metadata().name;
            if let Some(refusal) = group.refusal() {
                lines.push(refusal.to_string());
            } else if !has_lvm {
                lines.extend(left_to_lvm(&group));
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

/// Why volumes of a group stay inactive without lvm.
fn left_to_lvm(group: &Group<'_>) -> Vec<String> {
    let volumes = group.metadata().logical_volumes.iter();
    volumes
        .filter(|volume| volume.is_visible() && !volume.is_pool())
        .map(|volume| describe(group, volume))
        .filter(Ready::is_for_lvm)
        .filter_map(|ready| Some(ready.table.err()?.to_string()))
        .collect()
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
        is_needed: false,
        modules: modules(group),
        below: group.devices().collect(),
    }
}

/// The modules of a group's segment types. lvm would have modprobe(8) load them, which an initrd doesn't have.
fn modules(group: &Group<'_>) -> Vec<&'static str> {
    let volumes = &group.metadata().logical_volumes;
    let kinds: BTreeSet<&str> = volumes
        .iter()
        .flat_map(|volume| &volume.segments)
        .filter_map(|segment| match &segment.kind {
            SegmentKind::Other(kind) => Some(kind.as_str()),
            SegmentKind::Striped { .. } | SegmentKind::Error | SegmentKind::Zero => None,
        })
        .collect();
    let modules: BTreeSet<&str> = kinds.into_iter().flat_map(modules_of).copied().collect();
    modules.into_iter().collect()
}

fn modules_of(kind: &str) -> &'static [&'static str] {
    match kind.split('+').next().unwrap_or_default() {
        "thin" | "thin-pool" => &["dm_thin_pool"],
        "cache" | "cache-pool" => &["dm_cache", "dm_cache_smq"],
        "writecache" => &["dm_writecache"],
        "snapshot" => &["dm_snapshot"],
        "mirror" => &["dm_mirror"],
        "integrity" => &["dm_integrity"],
        "vdo" | "vdo-pool" => &["dm_vdo"],
        kind if kind.starts_with("raid") => &["dm_raid", "raid0", "raid1", "raid10", "raid456"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::block::lvm::tests::Lab;

    /// What is handed out of a group of two disks, one after the other: `second` is also asked for when overdue.
    fn taken(layout: &[&str], is_overdue: bool) -> [Vec<String>; 3] {
        let lab = Lab::new(&[512; 2]);
        for line in layout {
            let _ = lab.lvm(line);
        }
        let parameters = LvmParameters::default();
        let devices = [DeviceSpec::Path("/dev/vg/root".into())];
        let wanted = |is_overdue| Wanted {
            parameters: &parameters,
            devices: &devices,
            is_overdue,
        };
        let mut groups = VolumeGroups::default();
        let names = |ready: Vec<Ready>| ready.iter().map(Ready::full_name).collect();
        groups.groups.add(Lab::number(0), lab.read(0));
        let first = names(groups.take_ready(wanted(is_overdue)));
        let again = names(groups.take_ready(wanted(is_overdue)));
        groups.groups.add(Lab::number(1), lab.read(1));
        [first, again, names(groups.take_ready(wanted(false)))]
    }

    #[test]
    fn a_volume_that_is_overdue_still_comes_when_its_disk_does() {
        let striped = [
            "pvcreate @0 @1",
            "vgcreate vg @0 @1",
            "lvcreate --stripes 2 --size 16m --name root vg",
        ];
        let raid = [
            "pvcreate @0 @1",
            "vgcreate vg @0 @1",
            "lvcreate --type raid0 --stripes 2 --size 16m --name root vg",
        ];
        let (none, root) = (Vec::<String>::new(), vec!["vg/root".to_owned()]);
        for is_overdue in [false, true] {
            assert_eq!(
                taken(&striped, is_overdue),
                [none.clone(), none.clone(), root.clone()]
            );
        }
        assert_eq!(taken(&raid, false), [none.clone(), none.clone(), root.clone()]);
        assert_eq!(taken(&raid, true), [root.clone(), none, root]);
    }
}
