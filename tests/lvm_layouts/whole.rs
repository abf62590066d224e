//! Layouts that keel activates in full.

use super::{Lab, of_keel};

/// A layout: name, block sizes of the disks, steps.
type Layout = (&'static str, &'static [u32], &'static [&'static str]);

const LAYOUTS: &[Layout] = &[
    (
        "one linear volume",
        &[512],
        &["vgcreate vg @0", "lvcreate -L 8m -n root vg"],
    ),
    (
        "blocks of 4096 bytes",
        &[4096],
        &["vgcreate vg @0", "lvcreate -L 8m -n root vg"],
    ),
    (
        "the newest volume lies first",
        &[512],
        &[
            "vgcreate vg @0",
            "lvcreate -L 8m -n old vg",
            "lvcreate -L 8m -n root vg",
            "lvremove vg/old",
            "lvcreate -L 4m -n new vg",
        ],
    ),
    (
        "three physical volumes, a volume over all",
        &[512, 512, 512],
        &["vgcreate vg @0 @1 @2", "lvcreate -l 100%VG -n root vg"],
    ),
    (
        "two stripes",
        &[512, 512],
        &["vgcreate vg @0 @1", "lvcreate -L 8m -i 2 -I 64k -n root vg"],
    ),
    (
        "three stripes of 4 KiB",
        &[512, 512, 512],
        &[
            "vgcreate -s 1m vg @0 @1 @2",
            "lvcreate -L 9m -i 3 -I 4k -n root vg",
        ],
    ),
    (
        "stripes as large as an extent",
        &[512, 512],
        &["vgcreate -s 1m vg @0 @1", "lvcreate -L 8m -i 2 -I 1m -n root vg"],
    ),
    (
        "stripes in the order that was asked for",
        &[512, 512],
        &["vgcreate vg @0 @1", "lvcreate -L 8m -i 2 -n root vg @1 @0"],
    ),
    (
        "two stripes on one physical volume's far and near extents",
        &[512, 512],
        &[
            "vgcreate -s 1m vg @0 @1",
            "lvcreate -l 4 -n root vg @0:100-101 @0:3-4",
            "lvcreate -l 6 -i 2 -n other vg @0:40-44 @1:7-11",
        ],
    ),
    (
        "a striped segment, a linear one, a striped one",
        &[512, 512, 512],
        &[
            "vgcreate -s 1m vg @0 @1 @2",
            "lvcreate -L 8m -i 2 -I 16k -n root vg @0 @1",
            "lvextend -L 11m -i 1 vg/root @2",
            "lvextend -L 20m -i 3 -I 8k vg/root",
        ],
    ),
    (
        "segments that lvm joins, and ones that it can't",
        &[512, 512],
        &[
            "vgcreate -s 1m vg @0 @1",
            "lvcreate -L 2m -n root vg @0",
            "lvextend -L 5m vg/root @0",
            "lvcreate -L 1m -n gap vg @0",
            "lvextend -L 7m vg/root @0",
            "lvextend -L 9m vg/root @1",
            "lvremove vg/gap",
            "lvextend -L 10m vg/root @0",
        ],
    ),
    (
        "a volume that became smaller",
        &[512, 512],
        &[
            "vgcreate -s 1m vg @0 @1",
            "lvcreate -L 8m -i 2 -n root vg",
            "lvreduce -L 4m vg/root",
        ],
    ),
    (
        "extents of 4 KiB",
        &[512],
        &["vgcreate -s 4k vg @0", "lvcreate -L 12k -n root vg"],
    ),
    (
        "extents of 384 KiB",
        &[512],
        &["vgcreate -s 384k vg @0", "lvcreate -l 7 -n root vg"],
    ),
    (
        "extents of 64 MiB",
        &[512, 512],
        &["vgcreate -s 64m vg @0 @1", "lvcreate -l 5 -n root vg"],
    ),
    (
        "extents that became smaller",
        &[512, 512],
        &[
            "vgcreate -s 8m vg @0 @1",
            "lvcreate -l 3 -n root vg",
            "vgchange -s 1m vg",
            "lvextend -l 30 vg/root",
        ],
    ),
    (
        "names with dashes, dots, underscores and plus signs",
        &[512],
        &[
            "vgcreate a-b--c.d_e+f @0",
            "lvcreate -L 4m -n root-1--x a-b--c.d_e+f",
            "lvcreate -L 4m -n _.+ a-b--c.d_e+f",
            "lvcreate -L 4m -n 0 a-b--c.d_e+f",
        ],
    ),
    (
        "names as long as device-mapper bears",
        &[512],
        &[
            "vgcreate vgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvg @0",
            "lvcreate -L 4m -n lvlvlvlvlvlvlvlvlvlvlvlvlvlvlvlvlvlvlvlvlvlvlv vgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvgvg",
        ],
    ),
    (
        "two groups with volumes of the same name",
        &[512, 512, 512],
        &[
            "vgcreate one @0 @2",
            "vgcreate two @1",
            "lvcreate -L 8m -i 2 -n root one",
            "lvcreate -L 12m -n root two",
        ],
    ),
    (
        "two groups whose devices would have one name but for the dashes",
        &[512, 512],
        &[
            "vgcreate a-b @0",
            "vgcreate a @1",
            "lvcreate -L 4m -n c a-b",
            "lvcreate -L 4m -n b-c a",
        ],
    ),
    (
        "two metadata areas on each disk",
        &[512, 512],
        &[
            "pvcreate --pvmetadatacopies 2 @0 @1",
            "vgcreate vg @0 @1",
            "lvcreate -L 8m -n root vg",
        ],
    ),
    (
        "metadata on one of three disks",
        &[512, 512, 512],
        &[
            "pvcreate --pvmetadatacopies 0 @0 @1",
            "pvcreate @2",
            "vgcreate vg @0 @1 @2",
            "lvcreate -L 9m -i 3 -n root vg",
        ],
    ),
    (
        "ignored metadata areas",
        &[512, 512, 512],
        &[
            "pvcreate --metadataignore y @0 @1",
            "pvcreate @2",
            "vgcreate vg @0 @1 @2",
            "lvcreate -L 9m -i 3 -n root vg",
        ],
    ),
    (
        "an area that became ignored holds an old text",
        &[512, 512],
        &[
            "vgcreate vg @0 @1",
            "lvcreate -L 8m -n root vg",
            "pvchange --metadataignore y @0",
            "lvextend -L 16m vg/root",
        ],
    ),
    (
        "lvm chooses the areas",
        &[512, 512, 512],
        &[
            "vgcreate --vgmetadatacopies 1 vg @0 @1 @2",
            "lvcreate -L 9m -i 3 -n root vg",
        ],
    ),
    (
        "a large metadata area",
        &[512],
        &[
            "pvcreate --metadatasize 16m @0",
            "vgcreate vg @0",
            "lvcreate -L 8m -n root vg",
        ],
    ),
    (
        "extents that begin at 4 MiB and 3.5 KiB",
        &[512],
        &[
            "pvcreate --dataalignment 4m --dataalignmentoffset 3584b @0",
            "vgcreate vg @0",
            "lvcreate -L 8m -n root vg",
        ],
    ),
    (
        "an area for a boot loader",
        &[512],
        &[
            "pvcreate --bootloaderareasize 2m @0",
            "vgcreate vg @0",
            "lvcreate -L 8m -n root vg",
        ],
    ),
    (
        "a label in the fourth sector",
        &[512],
        &[
            "pvcreate --labelsector 3 @0",
            "vgcreate vg @0",
            "lvcreate -L 8m -n root vg",
        ],
    ),
    (
        "a physical volume smaller than its disk",
        &[512, 512],
        &[
            "pvcreate --setphysicalvolumesize 64m @0",
            "pvcreate @1",
            "vgcreate vg @0 @1",
            "lvcreate -l 100%VG -n root vg",
        ],
    ),
    (
        "a physical volume that grew",
        &[512],
        &[
            "pvcreate --setphysicalvolumesize 64m @0",
            "vgcreate vg @0",
            "pvresize @0",
            "lvcreate -l 100%VG -n root vg",
        ],
    ),
    (
        "tags on everything",
        &[512],
        &[
            "vgcreate --addtag group.x+y-z/=!:#& vg @0",
            "lvcreate --addtag a_b --addtag @c -L 8m -n root vg",
            "pvchange --addtag disk @0",
        ],
    ),
    (
        "allocation policies, and a disk that takes no more",
        &[512, 512],
        &[
            "vgcreate --alloc cling vg @0 @1",
            "lvcreate --alloc contiguous -L 8m -n root vg",
            "lvcreate --alloc anywhere -L 8m -i 2 -n other vg",
            "pvchange -xn @1",
            "lvcreate -L 8m -n third vg",
        ],
    ),
    (
        "a read-only volume, and one with a read-ahead",
        &[512],
        &[
            "vgcreate vg @0",
            "lvcreate -L 4m -pr -n readonly vg",
            "lvcreate -L 4m -r 128 -n ahead vg",
        ],
    ),
    (
        "volumes that aren't activated by themselves",
        &[512],
        &[
            "vgcreate vg @0",
            "lvcreate -L 4m -ky -n skipped vg",
            "lvcreate -L 4m --setautoactivation n -n later vg",
            "lvcreate -L 4m -n root vg",
        ],
    ),
    (
        "a group that isn't activated by itself",
        &[512, 512],
        &[
            "vgcreate --setautoactivation n later @0",
            "lvcreate -L 4m -n root later",
            "vgcreate vg @1",
            "lvcreate -L 4m -n root vg",
        ],
    ),
    (
        "segments of errors and of zeros",
        &[512],
        &[
            "vgcreate vg @0",
            "lvcreate --type error -l 2 -n broken vg",
            "lvcreate --type zero -l 3 -n empty vg",
            "lvcreate -L 4m -n root vg",
        ],
    ),
    (
        "everything renamed and with new UUIDs",
        &[512, 512],
        &[
            "vgcreate vg @0 @1",
            "lvcreate -L 8m -i 2 -n root vg",
            "lvrename vg root other-root",
            "vgrename vg new-vg",
            "pvchange -u @0",
            "vgchange -u new-vg",
        ],
    ),
    (
        "a group split in two",
        &[512, 512],
        &[
            "vgcreate vg @0 @1",
            "lvcreate -L 8m -n root vg @0",
            "lvcreate -L 8m -n home vg @1",
            "vgsplit vg other @1",
        ],
    ),
    (
        "two groups merged",
        &[512, 512],
        &[
            "vgcreate vg @0",
            "vgcreate other @1",
            "lvcreate -L 8m -n root vg",
            "lvcreate -L 8m -n home other",
            "vgmerge vg other",
            "lvcreate -L 8m -i 2 -n both vg",
        ],
    ),
    (
        "a disk that joined, and one that left",
        &[512, 512, 512],
        &[
            "vgcreate vg @0 @1",
            "lvcreate -L 8m -n root vg @1",
            "vgreduce vg @0",
            "vgextend vg @2",
            "lvextend -L 300m vg/root",
        ],
    ),
    (
        "exported and imported again",
        &[512],
        &[
            "vgcreate vg @0",
            "lvcreate -L 8m -n root vg",
            "vgexport vg",
            "vgimport vg",
        ],
    ),
    (
        "a disk with older metadata, which has been away",
        &[512, 512],
        &[
            "vgcreate vg @0 @1",
            "lvcreate -L 8m -n root vg @0",
            "keep 1",
            "lvextend -L 16m vg/root @0",
            "lvcreate -L 8m -n new vg @0",
            "put 1",
        ],
    ),
    (
        "a cloned disk that got its own UUIDs",
        &[512, 512],
        &[
            "vgcreate vg @0",
            "lvcreate -L 8m -n root vg",
            "copy 0 1",
            "hide 0",
            "vgimportclone -n clone @1",
            "hide",
        ],
    ),
    (
        "a metadata profile",
        &[512],
        &[
            "vgcreate --metadataprofile thin-performance vg @0",
            "lvcreate -L 8m -n root vg",
        ],
    ),
];

#[test]
fn the_tables_are_those_that_lvm_loads() {
    assert!(LAYOUTS.len() >= 30);
    let wrong: Vec<String> = LAYOUTS
        .iter()
        .filter_map(|layout| difference(layout).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What differs between keel's and lvm's view of a layout.
fn difference((name, blocks, steps): &Layout) -> Result<(), String> {
    let mut lab = Lab::new(blocks);
    for step in *steps {
        lab.step(step);
    }
    judge(name, &lab)
}

/// Both load the same, and something.
fn judge(name: &str, lab: &Lab) -> Result<(), String> {
    let (keel, refused) = of_keel(&lab.groups());
    let lvm = lab.loaded_by_lvm();
    if keel == lvm && !lvm.is_empty() && refused.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{name}:\nkeel {keel:#?}\nlvm {lvm:#?}\nrefused: {refused:#?}"
        ))
    }
}

#[test]
fn ten_volumes_of_several_segments() {
    let mut lab = Lab::new(&[512, 512]);
    lab.step("vgcreate -s 256k vg @0 @1");
    for index in 0..10 {
        lab.step(&format!("lvcreate -l 2 -n volume{index} vg @{}", index % 2));
    }
    for index in 0..10 {
        lab.step(&format!("lvextend -l 4 vg/volume{index} @{}", index % 2));
    }
    judge("ten volumes", &lab).unwrap();
}

#[test]
fn a_volume_of_sixteen_segments() {
    let mut lab = Lab::new(&[512, 512]);
    lab.step("vgcreate -s 256k vg @0 @1");
    lab.step("lvcreate -l 1 -n root vg @0:0");
    for segment in 1..16_usize {
        let (disk, extent) = (segment % 2, 500 - segment * 7);
        lab.step(&format!("lvextend -l {} vg/root @{disk}:{extent}", segment + 1));
    }
    judge("sixteen segments", &lab).unwrap();
    let groups = lab.groups();
    assert_eq!(
        groups.groups()[0].metadata().logical_volumes[0].segments.len(),
        16
    );
}

#[test]
fn a_small_metadata_area_whose_ring_has_wrapped() {
    let mut lab = Lab::new(&[512]);
    lab.step("pvcreate --dataalignment 128k --metadatasize 60k @0");
    lab.step("vgcreate vg @0");
    lab.step("lvcreate -L 4m -n root vg");
    let tags: Vec<String> = ["a", "b", "c", "d", "e", "f"]
        .map(|letter| letter.repeat(1000))
        .to_vec();
    // Each change moves the text on by its length, 1 KiB or 7 KiB: past the end of 60 KiB after 15 changes.
    for round in 0..20 {
        let change = if round % 2 == 0 { "--addtag" } else { "--deltag" };
        let changes: Vec<String> = tags.iter().map(|tag| format!("{change} {tag}")).collect();
        lab.step(&format!("lvchange {} vg/root", changes.join(" ")));
        if round >= 12 {
            judge("the ring", &lab).unwrap();
        }
    }
}
