//! Layouts made by the real lvm on loop devices, without device-mapper.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::block::{DeviceNumber, ReadAt};

const CONFIG: &str = "backup{backup=0 archive=0} global{event_activation=0} activation{udev_sync=0 udev_rules=0} \
                      devices{use_devicesfile=0}";

/// Image files attached to loop devices, detached when dropped.
pub(crate) struct Lab {
    directory: tempfile::TempDir,
    loops: Vec<String>,
}

impl Lab {
    /// `sectors` says which sector size each disk has. Every disk has 64 MiB.
    pub(crate) fn new(sectors: &[u32]) -> Lab {
        let directory = tempfile::tempdir().unwrap();
        let mut lab = Lab {
            directory,
            loops: Vec::new(),
        };
        for (index, sector) in sectors.iter().enumerate() {
            let image = lab.image(index);
            File::create(&image).unwrap().set_len(64 << 20).unwrap();
            let sector = sector.to_string();
            let device = run(
                "losetup",
                &["-f", "--show", "-b", &sector, image.to_str().unwrap()],
            );
            lab.loops.push(device.trim().to_owned());
        }
        lab
    }

    fn image(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("disk{index}"))
    }

    /// Runs an lvm command; `@0` stands for the first disk. Only this lab's disks are seen.
    pub(crate) fn lvm(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let command = words.next().unwrap();
        let mut arguments: Vec<String> = words
            .map(|word| match word.strip_prefix('@') {
                Some(index) => self.loops[index.parse::<usize>().unwrap()].clone(),
                None => word.to_owned(),
            })
            .collect();
        let only = self
            .loops
            .iter()
            .fold(String::new(), |only, path| only + &format!("\"a|^{path}$|\","));
        arguments.push("--config".to_owned());
        arguments.push(format!(
            "{CONFIG} devices{{filter=[{only}\"r|.*|\"] scan=\"/dev\"}}"
        ));
        if ["lvcreate", "lvremove", "lvextend", "lvchange"].contains(&command) {
            arguments.extend(["--driverloaded", "n", "--yes"].map(str::to_owned));
        }
        if command == "lvcreate" {
            arguments.extend(["-an", "-Zn", "-Wn"].map(str::to_owned));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(command, &arguments)
    }

    pub(crate) fn number(index: usize) -> DeviceNumber {
        DeviceNumber {
            major: 7,
            minor: u32::try_from(index).unwrap(),
        }
    }

    pub(crate) fn read(&self, index: usize) -> PhysicalVolumeOnDisk {
        run("sync", &["-f", self.image(index).to_str().unwrap()]);
        let device = File::open(&self.loops[index]).unwrap();
        read_physical_volume(&device).unwrap().unwrap()
    }

    fn groups(&self) -> Groups {
        let mut groups = Groups::default();
        for index in 0..self.loops.len() {
            groups.add(Self::number(index), self.read(index));
        }
        groups
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for device in &self.loops {
            let _ = Command::new("losetup").args(["-d", device]).status();
        }
    }
}

fn run(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn table(groups: &Groups, volume: &str) -> Result<String, LvError> {
    let found = groups.groups();
    let group = &found[0];
    let volume = group
        .metadata()
        .logical_volumes
        .iter()
        .find(|one| one.name == volume)
        .unwrap();
    group.table(volume).map(|table| table.to_string())
}

/// Every segment as lvm itself reports it: `start length devices(extent) stripes stripesize`, all in sectors, turned into
/// the table that the documentation of the kernel's targets asks for.
fn table_by_lvs(lab: &Lab, volume: &str) -> String {
    let report = lab.lvm(&format!(
        "lvs --noheadings --units s --nosuffix --segments --separator ; -o seg_start,seg_size,stripes,stripe_size,devices vg/{volume}"
    ));
    let starts: Vec<u64> = (0..lab.loops.len())
        .map(|index| {
            lab.lvm(&format!(
                "pvs --noheadings --units s --nosuffix -o pe_start @{index}"
            ))
            .trim()
            .parse()
            .unwrap()
        })
        .collect();
    let extent: u64 = lab
        .lvm("vgs --noheadings --units s --nosuffix -o vg_extent_size vg")
        .trim()
        .parse()
        .unwrap();
    let mut lines = Vec::new();
    for line in report.lines() {
        let fields: Vec<&str> = line.trim().split(';').collect();
        let places: Vec<String> = fields[4]
            .split(',')
            .map(|place| {
                let (device, start) = place.trim_end_matches(')').split_once('(').unwrap();
                let index = lab.loops.iter().position(|path| path == device).unwrap();
                format!(
                    "7:{index} {}",
                    starts[index] + start.parse::<u64>().unwrap() * extent
                )
            })
            .collect();
        let kind = if fields[2] == "1" {
            "linear".to_owned()
        } else {
            format!("striped {} {}", fields[2], fields[3])
        };
        lines.push(format!("{} {} {kind} {}", fields[0], fields[1], places.join(" ")));
    }
    lines.join("\n")
}

#[test]
fn layouts_of_lvm_give_the_tables_that_lvm_reports() {
    let lab = Lab::new(&[512, 512, 512]);
    for index in 0..3 {
        lab.lvm(&format!("pvcreate -q @{index}"));
    }
    lab.lvm("vgcreate -q -s 1m vg @0 @1 @2");
    lab.lvm("lvcreate -q -L 8m -n linear vg");
    lab.lvm("lvcreate -q -L 8m -i 2 -I 64k -n two vg");
    lab.lvm("lvcreate -q -L 9m -i 3 -I 16k -n three vg");
    lab.lvm("lvcreate -q -L 4m -n with-dash.dot_under vg @1");
    // Alternate extensions make many segments.
    for size in 2..6 {
        let name = if size == 2 {
            "lvcreate -q -n many"
        } else {
            "lvextend -q"
        };
        let target = if size == 2 { "vg" } else { "vg/many" };
        lab.lvm(&format!("{name} -L {size}m {target} @{}", size % 3));
        lab.lvm(&format!("lvcreate -q -L 1m -n gap{size} vg @{}", size % 3));
    }
    let groups = lab.groups();
    for volume in ["linear", "two", "three", "with-dash.dot_under", "many"] {
        assert_eq!(
            table(&groups, volume).unwrap(),
            table_by_lvs(&lab, volume),
            "{volume}"
        );
    }
    let found = groups.groups();
    assert!(found[0].is_complete());
    assert_eq!(found[0].refusal(), None);
    let many = found[0]
        .metadata()
        .logical_volumes
        .iter()
        .find(|one| one.name == "many")
        .unwrap();
    assert!(many.segments.len() >= 3);
}

#[test]
fn disks_with_4096_byte_sectors_are_read() {
    let lab = Lab::new(&[4096]);
    lab.lvm("pvcreate -q @0");
    lab.lvm("vgcreate -q vg @0");
    lab.lvm("lvcreate -q -L 8m -n root vg");
    assert_eq!(table(&lab.groups(), "root").unwrap(), table_by_lvs(&lab, "root"));
}

#[test]
fn a_missing_physical_volume_is_named_and_the_rest_works() {
    let lab = Lab::new(&[512, 512]);
    lab.lvm("pvcreate -q @0 @1");
    lab.lvm("vgcreate -q vg @0 @1");
    lab.lvm("lvcreate -q -L 8m -n here vg @0");
    lab.lvm("lvcreate -q -L 8m -n there vg @1");
    let mut groups = lab.groups();
    groups.remove(Lab::number(1));
    let found = groups.groups();
    assert!(!found[0].is_complete());
    assert_eq!(
        found[0].missing()[0].device_hint.as_deref(),
        Some(lab.loops[1].as_str())
    );
    let volume = |name: &str| {
        found[0]
            .metadata()
            .logical_volumes
            .iter()
            .find(|one| one.name == name)
            .unwrap()
    };
    assert!(found[0].has_parts_of(volume("here")) && !found[0].has_parts_of(volume("there")));
    assert!(found[0].table(volume("here")).is_ok());
    let error = found[0].table(volume("there")).unwrap_err().to_string();
    assert!(error.contains(&lab.loops[1]), "{error}");
}

#[test]
fn physical_volumes_without_metadata_find_their_place() {
    let lab = Lab::new(&[512, 512, 512]);
    lab.lvm("pvcreate -q --pvmetadatacopies 2 @0");
    lab.lvm("pvcreate -q --pvmetadatacopies 0 @1");
    lab.lvm("pvcreate -q --metadataignore y @2");
    lab.lvm("vgcreate -q vg @0 @1 @2");
    lab.lvm("lvcreate -q -L 9m -i 3 -n root vg");
    assert_eq!(lab.read(1).metadata, None);
    assert_eq!(lab.read(2).metadata, None);
    assert_eq!(table(&lab.groups(), "root").unwrap(), table_by_lvs(&lab, "root"));
}

#[test]
fn the_ring_buffer_wraps_around() {
    let lab = Lab::new(&[512]);
    lab.lvm("pvcreate -q --dataalignment 128k --metadatasize 60k @0");
    lab.lvm("vgcreate -q vg @0");
    lab.lvm("lvcreate -q -L 4m -n root vg");
    let mut wrapped = 0;
    // Each change moves the text on by its length; the area is small.
    for round in 0..110 {
        let change = if round % 2 == 0 { "--addtag" } else { "--deltag" };
        lab.lvm(&format!("lvchange -q {change} {} vg/root", "t".repeat(900)));
        let disk = std::fs::read(lab.image(0)).unwrap();
        let label = label::read(&disk).unwrap().unwrap();
        let area = label.metadata_areas[0];
        let at = usize::try_from(area.offset).unwrap();
        let field = |from: usize| label::number(&disk[at..], from).unwrap();
        wrapped += usize::from(field(40) + field(48) > field(32));
        assert!(area::read_text(&disk, area).unwrap().is_some());
    }
    assert!(wrapped > 0, "the buffer must have wrapped at least once");
    assert_eq!(table(&lab.groups(), "root").unwrap(), table_by_lvs(&lab, "root"));
}

#[test]
fn groups_that_belong_elsewhere_are_refused_by_name() {
    let lab = Lab::new(&[512]);
    lab.lvm("pvcreate -q @0");
    lab.lvm("vgcreate -q vg @0");
    lab.lvm("vgexport -q vg");
    assert_eq!(
        lab.groups().groups()[0].refusal(),
        Some(Refusal::Exported("vg".to_owned()))
    );
}

#[test]
fn flags_of_volumes_are_read() {
    let lab = Lab::new(&[512]);
    lab.lvm("pvcreate -q @0");
    lab.lvm("vgcreate -q vg @0");
    lab.lvm("lvcreate -q -L 4m -ky -n skipped vg");
    lab.lvm("lvcreate -q -L 4m -pr -n readonly vg");
    lab.lvm("lvcreate -q -L 4m --setautoactivation n -n later vg");
    let groups = lab.groups();
    let found = groups.groups();
    let volume = |name: &str| {
        found[0]
            .metadata()
            .logical_volumes
            .iter()
            .find(|one| one.name == name)
            .unwrap()
    };
    assert!(!volume("skipped").is_activated_by_itself());
    assert!(!volume("later").is_activated_by_itself());
    assert!(volume("readonly").is_activated_by_itself() && !volume("readonly").is_writable());
    assert!(volume("skipped").is_writable() && volume("skipped").is_visible());
}

#[test]
fn of_two_copies_the_newer_one_counts() {
    let lab = Lab::new(&[512, 512]);
    lab.lvm("pvcreate -q @0 @1");
    lab.lvm("vgcreate -q vg @0 @1");
    let old = std::fs::read(lab.image(1)).unwrap();
    lab.lvm("lvcreate -q -L 8m -n root vg @0");
    let mut groups = Groups::default();
    groups.add(Lab::number(1), read_physical_volume(&old).unwrap().unwrap());
    groups.add(Lab::number(0), lab.read(0));
    assert_eq!(table(&groups, "root").unwrap(), table_by_lvs(&lab, "root"));
}

#[test]
fn damage_is_named_and_another_area_serves() {
    let lab = Lab::new(&[512]);
    lab.lvm("pvcreate -q --pvmetadatacopies 2 @0");
    lab.lvm("vgcreate -q vg @0");
    run("sync", &[]);
    let whole = std::fs::read(lab.image(0)).unwrap();
    let label = label::read(&whole).unwrap().unwrap();
    assert_eq!(label.metadata_areas.len(), 2);
    let flip = |at: u64| {
        let mut disk = whole.clone();
        disk[usize::try_from(at).unwrap()] ^= 1;
        disk
    };
    let first = label.metadata_areas[0].offset;
    let read = read_physical_volume(&flip(first + 512 + 20)).unwrap().unwrap();
    assert!(read.metadata.is_some());
    assert!(read.warnings[0].contains("wrong checksum"), "{:?}", read.warnings);
    let mut both = flip(first + 40);
    both[usize::try_from(label.metadata_areas[1].offset + 40).unwrap()] ^= 1;
    assert!(
        read_physical_volume(&both)
            .unwrap_err()
            .to_string()
            .contains("no metadata area can be used")
    );
    let error = read_physical_volume(&flip(512 + 40)).unwrap_err();
    assert!(error.to_string().contains("wrong checksum"), "{error}");
}

/// Written by hand to the documented grammar: without device-mapper lvm makes none of these.
fn group_with(kind: &str) -> VolumeGroup {
    let text = format!(
        "vg {{ id = \"aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg\" seqno = 1 format = \"lvm2\" status = [\"READ\"] flags = []\n\
         extent_size = 8192 physical_volumes {{ pv0 {{ id = \"hhhhhh-bbbb-cccc-dddd-eeee-ffff-gggggg\" device = \"/dev/x\"\n\
         pe_start = 2048 pe_count = 10 }} }} logical_volumes {{ root {{ id = \"iiiiii-bbbb-cccc-dddd-eeee-ffff-gggggg\"\n\
         status = [\"READ\", \"WRITE\", \"VISIBLE\"] segment_count = 1 segment1 {{ start_extent = 0 extent_count = 2\n\
         type = \"{kind}\" }} }} }} }}"
    );
    VolumeGroup::parse(text.as_bytes()).unwrap()
}

#[test]
fn other_segment_types_are_refused_by_volume_and_type() {
    for kind in [
        "raid1",
        "thin",
        "thin-pool",
        "cache",
        "snapshot",
        "mirror",
        "vdo",
        "striped+NEW",
    ] {
        let group = group_with(kind);
        let mut groups = Groups::default();
        let volume = PhysicalVolumeOnDisk {
            id: "hhhhhhbbbbccccddddeeeeffffgggggg".to_owned(),
            size: 1 << 30,
            metadata: Some(group),
            warnings: Vec::new(),
        };
        groups.add(Lab::number(0), volume);
        let error = table(&groups, "root").unwrap_err();
        assert_eq!(
            error,
            LvError::Unsupported {
                volume: "vg/root".to_owned(),
                kind: kind.to_owned()
            }
        );
    }
}

/// As `lvcreate -s` writes it; written by hand, since without device-mapper lvm makes no snapshot.
const SNAPSHOT: &str = r#"vg { id = "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg" seqno = 1 status = ["READ"] flags = [] extent_size = 8192
    physical_volumes { pv0 { id = "hhhhhh-bbbb-cccc-dddd-eeee-ffff-gggggg" device = "/dev/x" pe_start = 2048 pe_count = 10 } }
    logical_volumes {
    root { id = "iiiiii-bbbb-cccc-dddd-eeee-ffff-gggggg" status = ["READ", "WRITE", "VISIBLE"] flags = [] segment_count = 1
      segment1 { start_extent = 0 extent_count = 2 type = "striped" stripe_count = 1 stripes = ["pv0", 0] } }
    snap { id = "jjjjjj-bbbb-cccc-dddd-eeee-ffff-gggggg" status = ["READ", "WRITE", "VISIBLE"] flags = [] segment_count = 1
      segment1 { start_extent = 0 extent_count = 1 type = "striped" stripe_count = 1 stripes = ["pv0", 2] } }
    moved { id = "llllll-bbbb-cccc-dddd-eeee-ffff-gggggg" status = ["READ", "WRITE", "VISIBLE", "LOCKED"] flags = [] segment_count = 1
      segment1 { start_extent = 0 extent_count = 1 type = "striped" stripe_count = 1 stripes = ["pv0", 3] } }
    snapshot0 { id = "kkkkkk-bbbb-cccc-dddd-eeee-ffff-gggggg" status = ["READ", "WRITE", "VISIBLE"] flags = [] segment_count = 1
      segment1 { start_extent = 0 extent_count = 2 type = "snapshot" chunk_size = 8 origin = "root" cow_store = "snap" } } } }"#;

fn hand_written(text: &str) -> PhysicalVolumeOnDisk {
    PhysicalVolumeOnDisk {
        id: "hhhhhhbbbbccccddddeeeeffffgggggg".to_owned(),
        size: 1 << 30,
        metadata: Some(VolumeGroup::parse(text.as_bytes()).unwrap()),
        warnings: Vec::new(),
    }
}

#[test]
fn the_origin_of_a_snapshot_is_not_activated_past_it() {
    let mut groups = Groups::default();
    groups.add(Lab::number(0), hand_written(SNAPSHOT));
    for volume in ["root", "snap"] {
        let error = table(&groups, volume).unwrap_err();
        assert_eq!(
            error,
            LvError::PartOf {
                volume: format!("vg/{volume}"),
                kind: "snapshot".to_owned()
            }
        );
    }
    assert!(matches!(table(&groups, "moved"), Err(LvError::Status { status, .. }) if status == "LOCKED"));
}

#[test]
fn a_copied_disk_beside_the_original_is_refused() {
    let mut groups = Groups::default();
    groups.add(Lab::number(0), hand_written(SNAPSHOT));
    groups.add(Lab::number(1), hand_written(SNAPSHOT));
    assert!(matches!(
        groups.groups()[0].refusal(),
        Some(Refusal::Duplicate { .. })
    ));
    groups.remove(Lab::number(1));
    assert_eq!(groups.groups()[0].refusal(), None);
}

#[test]
fn names_of_devices_double_their_dashes() {
    assert_eq!(dm_name("my-vg", "a--b"), "my--vg-a----b");
    assert_eq!(dm_uuid("v", "l"), "LVM-vl");
}

/// The first MiB of a real physical volume.
fn real_disk() -> Vec<u8> {
    use std::sync::OnceLock;
    static DISK: OnceLock<Vec<u8>> = OnceLock::new();
    DISK.get_or_init(|| {
        let lab = Lab::new(&[512]);
        lab.lvm("pvcreate -q @0");
        lab.lvm("vgcreate -q vg @0");
        lab.lvm("lvcreate -q -L 4m -n root vg");
        run("sync", &[]);
        let mut disk = std::fs::read(lab.image(0)).unwrap();
        disk.truncate(2 << 20);
        disk
    })
    .clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_disks_are_refused_or_read(at in 0_usize..8192, byte: u8, cut in 0_usize..(2 << 20)) {
        let mut disk = real_disk();
        disk[at] = byte;
        let _ = read_physical_volume(&disk);
        disk.truncate(cut);
        let _ = read_physical_volume(&disk);
        prop_assert!(disk.size().unwrap() == cut as u64);
    }

    #[test]
    fn damaged_texts_are_refused_or_give_sound_tables(at in 0_usize..2000, byte: u8) {
        let disk = real_disk();
        let label = label::read(&disk).unwrap().unwrap();
        let mut text = area::read_text(&disk, label.metadata_areas[0]).unwrap().unwrap();
        let length = text.len();
        text[at % length] = byte;
        if let Ok(group) = VolumeGroup::parse(&text) {
            let mut groups = Groups::default();
            groups.add(Lab::number(0), PhysicalVolumeOnDisk {
                id: label.id.clone(), size: 2 << 20, metadata: Some(group), warnings: Vec::new(),
            });
            for group in groups.groups() {
                for volume in &group.metadata().logical_volumes {
                    let _ = group.table(volume);
                }
            }
        }
    }
}
