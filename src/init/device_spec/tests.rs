#![allow(clippy::unwrap_used)]
use std::fs::File;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::block::DeviceNumber;
use crate::block::probe::probe;
use crate::init::devices::BlockDevice;

#[test]
fn devices_are_named_in_every_usual_way() {
    let table = [
        ("/dev/vg/root", DeviceSpec::Path("/dev/vg/root".into())),
        ("UUID=ab", DeviceSpec::Uuid("ab".into())),
        ("/dev/disk/by-uuid/ab", DeviceSpec::Uuid("ab".into())),
        ("LABEL=my root", DeviceSpec::Label("my root".into())),
        ("PARTUUID=1-2", DeviceSpec::PartUuid("1-2".into())),
        ("/dev/disk/by-partuuid/1-2", DeviceSpec::PartUuid("1-2".into())),
        ("/dev/disk/by-partlabel/x", DeviceSpec::PartLabel("x".into())),
        (
            r"/dev/disk/by-label/my\x20r\xc3\xb6\q",
            DeviceSpec::Label(r"my rö\q".into()),
        ),
        (r"/dev/disk/by-label/a\x2fb", DeviceSpec::Label("a/b".into())),
        ("UUID=\"ab\"", DeviceSpec::Uuid("ab".into())),
        ("LABEL='a b'", DeviceSpec::Label("a b".into())),
        ("//dev/disk//by-label/a", DeviceSpec::Label("a".into())),
        (
            "/dev//mapper/vg-root",
            DeviceSpec::Path("/dev/mapper/vg-root".into()),
        ),
        (
            "/dev/disk/by-id/dm-name-vg-root",
            DeviceSpec::Id("dm-name-vg-root".into()),
        ),
    ];
    for (text, spec) in table {
        assert_eq!(DeviceSpec::parse(text), Ok(spec), "{text}");
    }
    for text in [
        "",
        "/dev",
        "/",
        "UUID=",
        "LABEL=\"\"",
        "nfs",
        "gpt-auto",
        "/etc/passwd",
        "/dev/../etc/passwd",
    ] {
        assert_eq!(DeviceSpec::parse(text), Err(Refusal::NoDevice), "{text}");
    }
}

#[test]
fn links_that_only_udev_makes_are_refused_with_what_to_write_instead() {
    for (text, directory) in [
        ("/dev/disk/by-path/pci-0000:00:04.0-nvme-1-part2", "by-path"),
        ("/dev/disk/by-id/nvme-eui.0025385b71b0a1f2-part2", "by-id"),
        ("/dev/disk/by-diskseq/1-part2", "by-diskseq"),
    ] {
        let refusal = DeviceSpec::parse(text).unwrap_err();
        assert_eq!(refusal, Refusal::NeedsUdev(format!("/dev/disk/{directory}")));
        assert!(refusal.to_string().contains("PARTUUID="));
    }
    assert_eq!(
        DeviceSpec::parse("PARTUUID=1-2/PARTNROFF=1"),
        Err(Refusal::PartitionOffset)
    );
}

fn device(path: &str) -> BlockDevice {
    BlockDevice {
        number: DeviceNumber { major: 253, minor: 0 },
        path: path.into(),
        aliases: Vec::new(),
        superblock: None,
        partition_uuid: None,
        partition_label: None,
        dm_uuid: None,
    }
}

fn answers(device: &BlockDevice, text: &str) -> bool {
    device.answers_to(&DeviceSpec::parse(text).unwrap())
}

#[test]
fn mapped_devices_answer_to_their_ids() {
    let mut mapped = device("/dev/dm-0");
    mapped.aliases = vec!["/dev/mapper/vg-root".into(), "/dev/vg/root".into()];
    mapped.dm_uuid = Some("LVM-abc".into());
    for text in [
        "/dev/dm-0",
        "/dev/vg/root",
        "/dev/mapper/vg-root",
        "/dev/disk/by-id/dm-name-vg-root",
        "/dev/disk/by-id/dm-uuid-LVM-abc",
    ] {
        assert!(answers(&mapped, text), "{text}");
    }
    for text in [
        "/dev/disk/by-id/dm-name-root",
        "/dev/disk/by-id/dm-uuid-LVM-ab",
        "/dev/disk/by-id/lvm-pv-uuid-abc",
    ] {
        assert!(!answers(&mapped, text), "{text}");
    }
}

#[test]
fn partitions_answer_in_either_case_and_to_escaped_labels() {
    let mut partition = device("/dev/nvme0n1p2");
    partition.partition_uuid = Some("5f0b3c5e-7a10-4c5b-9d57-6b65656c0001".into());
    partition.partition_label = Some("my root".into());
    for text in [
        "PARTUUID=5F0B3C5E-7A10-4C5B-9D57-6B65656C0001",
        "PARTLABEL=my root",
        r"PARTLABEL=my\x20root",
        r"/dev/disk/by-partlabel/my\x20root",
    ] {
        assert!(answers(&partition, text), "{text}");
    }
    assert!(!answers(&partition, "LABEL=my root"));
}

/// `blkid -p -o udev`: what udev makes its links of.
fn udev_property(path: &Path, key: &str) -> String {
    let output = Command::new("/usr/sbin/blkid")
        .args(["-p", "-o", "udev"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value
        .unwrap_or_else(|| panic!("{key} isn't in {text}"))
        .to_owned()
}

#[test]
fn names_that_udev_would_link_mean_the_device() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    for label in [
        "root", "my root", "a/b", r"a\b", r"x\x20y", "größe", "q'\"$;#", "a,b=c:d",
    ] {
        File::create(&path).unwrap().set_len(4 << 20).unwrap();
        let status = Command::new("/usr/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", label])
            .arg(&path)
            .status();
        assert!(status.unwrap().success());
        let mut device = device("/dev/sda1");
        device.superblock = probe(&File::open(&path).unwrap()).unwrap();
        for (directory, key) in [("by-label", "ID_FS_LABEL_ENC"), ("by-uuid", "ID_FS_UUID_ENC")] {
            let link = format!("/dev/disk/{directory}/{}", udev_property(&path, key));
            assert!(answers(&device, &link), "{link}");
        }
        assert!(answers(&device, &format!("LABEL={label}")), "{label}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_device_or_refused(text in "(/dev/disk/by-[a-z]*/)?.{0,40}") {
        if let Ok(spec) = DeviceSpec::parse(&text) {
            prop_assert!(!spec.to_string().is_empty());
        }
    }
}
