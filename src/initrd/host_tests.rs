//! On directories that look like a machine's /sys and /proc.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

use super::*;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Component;

/// `../a` at `sys/x/y` is `sys/a`.
fn resolved(link: &str, target: &str) -> PathBuf {
    let mut path = PathBuf::from(link);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
    }
    path
}

/// Makes the machine that a text of qemu-tests/guest/sysfs.sh describes.
pub(crate) fn machine(text: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let at = |path: &str| place.path().join(path.trim_start_matches('/'));
    let mut links = Vec::new();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ').unwrap();
        let (path, content) = rest.split_once(' ').unwrap_or((rest, ""));
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        if kind == "f" {
            fs::write(at(path), content.replace("\\n", "\n") + "\n").unwrap();
        } else {
            links.push((path, content));
        }
    }
    for (path, target) in links {
        symlink(target, at(path)).unwrap();
        let found = resolved(path, target);
        // The directory of a device that has nothing else to tell.
        if !found
            .ancestors()
            .any(|above| at(&above.to_string_lossy()).is_symlink())
        {
            let _exists = fs::create_dir_all(at(&found.to_string_lossy()));
        }
    }
    place
}

/// `names by`, with an exclamation mark for what is a must.
fn lines(host: &Host) -> Vec<String> {
    let mark = |need: &Need| if need.is_must { "!" } else { "" };
    host.needs
        .iter()
        .map(|need| format!("{}{} {}", mark(need), need.names.join("|"), need.by))
        .collect()
}

const USB_STICK: &str = "\
l /sys/dev/block/8:2 ../../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sda/sda2
l /sys/class/block/sda2 ../../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sda/sda2
l /sys/dev/block/253:0 ../../devices/virtual/block/dm-0
l /sys/class/block/dm-0 ../../devices/virtual/block/dm-0
l /sys/dev/block/253:1 ../../devices/virtual/block/dm-1
l /sys/devices/virtual/block/dm-0/slaves/sda2 ../../../../pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sda/sda2
l /sys/devices/virtual/block/dm-1/slaves/dm-0 ../../dm-0
f /sys/devices/virtual/block/dm-0/dm/uuid CRYPT-LUKS2-0123-root
f /sys/devices/virtual/block/dm-0/dm/name root
f /sys/devices/virtual/block/dm-1/dm/uuid LVM-abc
l /sys/devices/pci0000:00/0000:00:14.0/driver ../../../bus/pci/drivers/xhci_hcd
f /sys/devices/pci0000:00/0000:00:14.0/modalias pci:v1bc0Csc03i30
l /sys/bus/pci/drivers/xhci_hcd/module ../../../../module/xhci_pci
l /sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/driver ../../../../../../bus/usb/drivers/usb-storage
f /sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/modalias usb:v1
l /sys/bus/usb/drivers/usb-storage/module ../../../../module/usb-storage
l /sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/driver ../../../../../../../../../bus/scsi/drivers/sd
l /sys/bus/scsi/drivers/sd/module ../../../../module/sd_mod
l /sys/devices/pci0000:00/0000:00:1f.0/driver ../../../bus/pci/drivers/pcieport
l /sys/class/input/input3 ../../devices/platform/i8042/serio0/input/input3
l /sys/class/input/input4 ../../devices/LNXSYSTM:00/input/input4
f /sys/devices/platform/i8042/serio0/input/input3/name AT Translated Set 2 keyboard
f /sys/devices/platform/i8042/serio0/input/input3/capabilities/key 402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe
f /sys/devices/LNXSYSTM:00/input/input4/name Power Button
f /sys/devices/LNXSYSTM:00/input/input4/capabilities/key 10000000000000 0
l /sys/devices/platform/i8042/serio0/driver ../../../../bus/serio/drivers/atkbd
f /sys/devices/platform/i8042/serio0/modalias serio:ty06pr00id00ex00
l /sys/bus/serio/drivers/atkbd/module ../../../../module/atkbd
l /sys/devices/platform/i8042/driver ../../../bus/platform/drivers/i8042
f /sys/devices/platform/i8042/modalias platform:i8042
f /sys/module/serpent_generic/initstate live
f /sys/module/xhci_pci/initstate live
f /sys/module/usb-storage/initstate live
f /sys/module/sd_mod/initstate live
f /sys/module/atkbd/initstate live
f /sys/module/pcieportdrv/parameters/x 1
l /sys/devices/pci0000:00/driver ../../bus/pci/drivers/pcieport
l /sys/bus/pci/drivers/pcieport/module ../../../../module/pcieportdrv
f /sys/devices/pci0000:00/modalias pci:bridge
f /sys/module/kernel/parameters/x 1
f /proc/swaps Filename Type Size Used Priority\\n/dev/zram0 partition 1 0 1\\n/dev/sda2 partition 1 0 1
f /proc/self/mountinfo 1 0 253:1 / / rw - ext4 /dev/mapper/vg-root rw";

#[test]
fn everything_on_the_way_to_the_root_and_the_keyboard_is_needed() {
    let place = machine(USB_STICK);
    let host = Machine(place.path()).look();
    assert_eq!(
        lines(&host),
        [
            "atkbd|serio:ty06pr00id00ex00 the keyboard AT Translated Set 2 keyboard",
            "!dm_crypt dm-0, a LUKS volume",
            "!dm_mod LVM",
            "!ext4|fs-ext4 the root file system",
            "pci:bridge the root's disk",
            "platform:i8042 the keyboard AT Translated Set 2 keyboard",
            "!sd_mod the root's disk",
            "!usb_storage|usb:v1 the root's disk",
            "!xhci_pci|pci:v1bc0Csc03i30 the root's disk",
        ]
    );
    assert_eq!(host.problems, [""; 0]);
    assert!(host.loaded.contains("serpent_generic") && !host.loaded.contains("pcieportdrv"));
    assert_eq!(host.notes.len(), 1, "{:?}", host.notes);
    assert!(
        host.notes[0].contains("dev/sda2 can't be read"),
        "{:?}",
        host.notes
    );
}

#[test]
fn the_cipher_of_a_header_is_needed() {
    let place = machine(USB_STICK);
    let header = place.path().join("dev/sda2");
    fs::create_dir(place.path().join("dev")).unwrap();
    File::create(&header).unwrap().set_len(20 << 20).unwrap();
    let mut cryptsetup = std::process::Command::new("cryptsetup")
        .args([
            "luksFormat",
            "--batch-mode",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
        ])
        .args([
            "--cipher",
            "aes-cbc-essiv:sha256",
            "--key-size",
            "256",
            "--key-file",
            "-",
        ])
        .arg(&header)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    cryptsetup.stdin.take().unwrap().write_all(b"passphrase").unwrap();
    assert!(cryptsetup.wait().unwrap().success());
    let host = Machine(place.path()).look();
    let ciphers: Vec<String> = lines(&host)
        .into_iter()
        .filter(|line| line.contains("crypto-"))
        .collect();
    let by = "sda2, encrypted with aes-cbc-essiv:sha256";
    let expected = ["aes", "cbc", "essiv", "sha256"].map(|word| format!("!crypto-{word} {by}"));
    assert_eq!(ciphers, expected);
    assert_eq!(host.notes, [""; 0]);
}

#[test]
fn what_keel_init_cannot_bring_up_is_a_problem() {
    for (from, to, said) in [
        (
            "CRYPT-LUKS2-0123-root",
            "mpath-0123",
            "dm-0 (device-mapper, mpath-0123)",
        ),
        ("LVM-abc", "CRYPT-PLAIN-x", "dm-1 (device-mapper, CRYPT-PLAIN-x)"),
        (
            "253:1 / / rw - ext4 /dev/mapper/vg-root rw",
            "0:30 / / rw - overlay overlay rw",
            "lies on no block device",
        ),
        ("253:1 / / rw", "253:1 / /mnt rw", "names no root"),
    ] {
        let text = USB_STICK.replace(from, to);
        assert_ne!(text, USB_STICK);
        let problems = Machine(machine(&text).path()).look().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(said), "{problems:?}");
    }
    assert_eq!(Machine(Path::new("/nonexistent")).look().problems.len(), 1);
}

#[test]
fn a_root_without_a_number_is_found_by_its_name() {
    let btrfs = USB_STICK.replace(
        "253:1 / / rw - ext4 /dev/mapper/vg-root",
        "0:30 / / rw - btrfs /dev/mapper/root",
    );
    let host = Machine(machine(&btrfs).path()).look();
    let lines = lines(&host);
    assert!(
        lines.contains(&"!btrfs|fs-btrfs the root file system".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"!dm_crypt dm-0, a LUKS volume".to_owned()),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.contains("LVM")), "{lines:?}");
}

#[test]
fn a_disk_with_several_controllers_needs_their_drivers() {
    let text = "\
l /sys/dev/block/259:1 ../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p1
l /sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0 ../../../pci0000:00/0000:00:04.0/nvme/nvme0
f /sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p1/partition 1
f /sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0/model x
f /sys/devices/pci0000:00/0000:00:04.0/modalias pci:nvme
f /sys/module/nvme/initstate live
l /sys/devices/pci0000:00/0000:00:04.0/driver ../../../bus/pci/drivers/nvme
l /sys/bus/pci/drivers/nvme/module ../../../../module/nvme
f /proc/self/mountinfo 1 0 259:1 / / rw - ext4 /dev/nvme0n1p1 rw";
    let host = Machine(machine(text).path()).look();
    assert!(
        lines(&host).contains(&"!nvme|pci:nvme the root's disk".to_owned()),
        "{host:?}"
    );
}

#[test]
fn circles_end() {
    let text = USB_STICK.replace("slaves/sda2 ../../../../pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sda/sda2", "slaves/dm-1 ../../dm-1");
    assert_ne!(text, USB_STICK);
    assert!(!Machine(machine(&text).path()).look().needs.is_empty());
}

#[test]
fn keys_of_keyboards() {
    assert!(is_keyboard(
        "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n"
    ));
    assert!(!is_keyboard("10000000000000 0\n"));
    assert!(!is_keyboard("") && !is_keyboard("xyz") && !is_keyboard("fffffffffffffffff"));
}

/// The machine of the suite's main disk: `qemu-tests/guest/sysfs.sh` in it, on Linux 6.12.107+deb13-amd64.
pub(crate) const NVME_LUKS_LVM: &str = include_str!("../../tests/fixtures/host/nvme-luks-lvm.txt");

#[test]
fn a_virtual_machine_of_the_suite() {
    let host = Machine(machine(NVME_LUKS_LVM).path()).look();
    let musts: Vec<String> = lines(&host)
        .into_iter()
        .filter(|line| line.starts_with('!'))
        .collect();
    assert_eq!(
        musts,
        [
            "!dm_crypt dm-0, a LUKS volume",
            "!dm_mod LVM",
            "!ext4|fs-ext4 the root file system",
            "!nvme|pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02 the root's disk",
        ]
    );
    assert!(
        lines(&host)
            .iter()
            .any(|line| line.ends_with("the keyboard AT Translated Set 2 keyboard"))
    );
    assert_eq!(host.problems, [""; 0]);
    assert!(host.loaded.contains("aesni_intel"));
}
