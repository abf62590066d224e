//! Layouts of which keel leaves something alone, and says what and why.

use super::{Lab, of_keel};

/// What keel leaves alone; lvm loads nothing else than keel does, as far as both go by the metadata alone.
fn refusals(lab: &Lab) -> Vec<String> {
    let (keel, refused) = of_keel(&lab.groups());
    let lvm = lab.loaded_by_lvm();
    assert_eq!(keel, lvm, "{refused:?}");
    refused
}

fn lab(disks: usize, steps: &[&str]) -> Lab {
    let mut lab = Lab::new(&[512, 512, 512][..disks]);
    for step in steps {
        lab.step(step);
    }
    lab
}

#[track_caller]
fn assert_says(refused: &[String], parts: &[&str]) {
    assert_eq!(refused.len(), 1, "{refused:?}");
    for part in parts {
        assert!(refused[0].contains(part), "{refused:?} doesn't say {part}");
    }
}

#[test]
fn an_exported_group_beside_another_one() {
    let lab = lab(
        2,
        &[
            "vgcreate gone @0",
            "lvcreate -L 8m -n root gone",
            "vgexport gone",
            "vgcreate vg @1",
            "lvcreate -L 8m -n root vg",
        ],
    );
    assert_says(&refusals(&lab), &["gone", "exported", "vgimport"]);
}

#[test]
fn a_group_of_another_machine() {
    let lab = lab(
        2,
        &[
            "vgcreate theirs @0",
            "lvcreate -L 8m -n root theirs",
            "vgchange --systemid elsewhere theirs",
            "vgcreate vg @1",
            "lvcreate -L 8m -n root vg",
        ],
    );
    assert_says(&refusals(&lab), &["theirs", "elsewhere", "system ID"]);
}

#[test]
fn a_missing_disk_hinders_the_volumes_on_it_only() {
    let mut lab = lab(
        3,
        &[
            "vgcreate vg @0 @1",
            "vgcreate other @2",
            "lvcreate -L 8m -n here vg @0",
            "lvcreate -L 8m -n there vg @1",
            "lvcreate -L 8m -i 2 -n both vg",
            "lvcreate -L 8m -n root other",
        ],
    );
    lab.step("hide 1");
    let refused = refusals(&lab);
    assert_eq!(refused.len(), 2, "{refused:?}");
    for (refused, volume) in refused.iter().zip(["vg/both", "vg/there"]) {
        assert!(
            refused.contains(volume) && refused.contains("hasn't appeared"),
            "{refused}"
        );
    }
    // Only the group without its disk waits.
    let groups = lab.groups();
    for group in groups.groups() {
        assert_eq!(group.is_complete(), group.metadata().name == "other");
    }
    lab.step("hide 2");
    assert_eq!(refusals(&lab), [] as [String; 0]);
}

#[test]
fn a_disk_that_was_given_up_as_missing_stays_so_when_it_comes_back() {
    let lab = lab(
        2,
        &[
            "vgcreate vg @0 @1",
            "lvcreate -L 8m -n here vg @0",
            "lvcreate -L 8m -n there vg @1",
            "lvcreate -L 8m -n needless vg @0",
            "hide 1",
            "lvremove vg/needless",
            "hide",
        ],
    );
    assert_says(
        &refusals(&lab),
        &["vg/there", "missing", "vgextend --restoremissing"],
    );
}

#[test]
fn two_groups_of_one_name() {
    let mut lab = lab(2, &["hide 1", "vgcreate vg @0", "lvcreate -L 8m -n root vg"]);
    for step in ["hide 0", "vgcreate vg @1", "lvcreate -L 8m -n root vg", "hide"] {
        lab.step(step);
    }
    let (keel, refused) = of_keel(&lab.groups());
    assert_eq!(keel, []);
    assert_eq!(refused.len(), 2);
    assert!(
        refused
            .iter()
            .all(|line| line.contains("two volume groups are named vg")),
        "{refused:?}"
    );
}

#[test]
fn a_copied_disk_beside_its_original() {
    let lab = lab(2, &["vgcreate vg @0", "lvcreate -L 8m -n root vg", "copy 0 1"]);
    let (keel, refused) = of_keel(&lab.groups());
    assert_eq!(keel, []);
    assert_says(&refused, &["vg", "on two devices", "vgimportclone"]);
}

#[test]
fn a_raid0_volume_beside_a_linear_one() {
    let lab = lab(
        2,
        &[
            "vgcreate vg @0 @1",
            "lvcreate -L 8m -n root vg",
            "lvcreate --type raid0 -i 2 -L 8m -n fast vg",
        ],
    );
    let (keel, refused) = of_keel(&lab.groups());
    assert_eq!(keel.len(), 1);
    assert!(lab.loaded_by_lvm().contains(&keel[0]));
    assert_says(&refused, &["vg/fast", "raid0"]);
}
