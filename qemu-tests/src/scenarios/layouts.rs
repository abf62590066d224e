//! Other disk layouts. systemd isn't started here: what it sees doesn't depend on the layout.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::bench::{Bench, SHELL_AS_INIT, TO_OFF, TO_SHELL, same, says};
use super::boot::same_tables;
use crate::guest::Shell;
use crate::layout::{Layout, STICK, VOLUMES};
use crate::machine::Machine;
use crate::texts;

/// Two disks, one passphrase, a striped root; then one disk is missing.
pub(super) fn striped(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Striped)?;
    let machine = bench.through_menu(&disks, "console");
    boots(
        bench,
        Layout::Striped,
        machine,
        "one passphrase opens both disks, and the striped root boots",
        2,
    )?;

    let (first, _) = disks.split_at(1);
    let mut machine = bench
        .without_menu(Layout::Striped, first, "missing-disk")?
        .with(SHELL_AS_INIT)
        .boot()?;
    machine.unlock()?;
    let said = machine.console.expect(texts::WHAT_NOW, TO_SHELL)?.before;
    bench.check("a missing disk is named, with what waits for it", || {
        says(&said, texts::ROOT_ABSENT)?;
        says(&said, "vg")?;
        says(&said, "missing")
    });
    machine.cut_power();
    Ok(())
}

/// A disk with large blocks.
pub(super) fn large_blocks(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::LargeBlocks)?;
    let machine = bench.through_menu(&disks, "console");
    boots(
        bench,
        Layout::LargeBlocks,
        machine,
        "a disk with blocks of 4096 bytes boots",
        1,
    )
}

/// LUKS in a logical volume.
pub(super) fn luks_on_lvm(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::LuksOnLvm)?;
    let machine = bench.without_menu(Layout::LuksOnLvm, &disks, "console")?;
    boots(
        bench,
        Layout::LuksOnLvm,
        machine,
        "a LUKS volume in a logical volume boots",
        1,
    )
}

/// A LUKS1 volume, and one whose header is on a stick.
pub(super) fn stick(bench: &mut Bench<'_>) -> Result<()> {
    let initrd = initrd_with(bench, &["usb_storage", "vfat"])?;
    let disks = bench.disks_with_initrd(Layout::Stick, &initrd)?;
    let stick = bench.made.disks(Layout::Stick)?.stick();
    let parameters = [&Layout::Stick.parameters().join(" "), SHELL_AS_INIT].join(" ");
    let mut machine = bench.through_menu(&disks, "plugged-in-late");
    machine.usb = true;
    let mut machine = machine.with(&parameters).boot()?;
    machine.unlock()?;
    let [_, (detached, _)] = VOLUMES;
    let said = machine.console.expect(texts::WHAT_NOW, TO_SHELL)?.before;
    bench.check("the volume whose header isn't there is named", || {
        says(&said, texts::ROOT_ABSENT)?;
        says(&said, &format!("{detached} is incomplete"))?;
        says(&said, "root.hdr")
    });
    machine.plug_in(&stick)?;
    // On a slow machine the disk comes well before its partitions, and what still lacks is told once more.
    let mut shell = Shell::take_over(&machine.console, TO_SHELL)?;
    let report = shell.boot_report()?;
    bench.check("the passphrase opens both once the stick is there", || {
        same("the number of unlocked volumes", &report.unlocked.len(), &2)
    });
    let tables = bench.made.disks(Layout::Stick)?.tables()?;
    bench.check("device-mapper holds what cryptsetup and vgchange load", || {
        same_tables(&mut shell, &tables)
    });
    bench.check("the stick isn't mounted any more", || {
        let mounts = shell.run("cat /proc/mounts")?;
        if mounts.contains("vfat") {
            bail!("{mounts}");
        }
        Ok(())
    });
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)?;

    let mut with_stick = disks;
    with_stick.push(stick);
    let [(first, _), (second, _)] = VOLUMES;
    let keys = format!(
        "rd.luks.key={first}=/first.key:LABEL={STICK} rd.luks.key={second}=/second.key:LABEL={STICK}"
    );
    let mut machine = bench
        .through_menu(&with_stick, "keyfiles")
        .with(&format!("{parameters} {keys}"))
        .boot()?;
    machine
        .console
        .set_fatal(&[texts::PANIC, texts::TROUBLE, texts::ROOT_ABSENT, texts::WHAT_NOW]);
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    shell.switch_off_kernel()?;
    bench.check(
        "keyfiles on the stick open both volumes, though nobody types",
        || same("the number of unlocked volumes", &report.unlocked.len(), &2),
    );
    machine.wait_until_off(TO_OFF)
}

/// LVM without encryption.
pub(super) fn plain_lvm(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::PlainLvm)?;
    let machine = bench.without_menu(Layout::PlainLvm, &disks, "console")?;
    boots(
        bench,
        Layout::PlainLvm,
        machine,
        "a root on LVM without encryption boots",
        0,
    )
}

/// Nothing but a partition.
pub(super) fn bare_partition(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::BarePartition)?;
    let mut machine = bench.without_menu(Layout::BarePartition, &disks, "console")?;
    machine.set_initrd(&initrd_with(bench, &["xfs"])?);
    boots(
        bench,
        Layout::BarePartition,
        machine,
        "an XFS root on a partition, named by PARTUUID=, boots",
        0,
    )
}

/// LUKS without LVM, and a subvolume of Btrfs, through the firmware.
pub(super) fn btrfs(bench: &mut Bench<'_>) -> Result<()> {
    let initrd = initrd_with(bench, &["btrfs"])?;
    let disks = bench.disks_with_initrd(Layout::Btrfs, &initrd)?;
    let machine = bench
        .through_menu(&disks, "console")
        .with(&Layout::Btrfs.root_parameters().join(" "));
    boots(
        bench,
        Layout::Btrfs,
        machine,
        "a subvolume of Btrfs on LUKS without LVM boots",
        1,
    )
}

/// An initrd with modules beside those of the usual set.
fn initrd_with(bench: &Bench<'_>, modules: &[&str]) -> Result<PathBuf> {
    let initrd = bench.directory.join("initrd");
    bench
        .made
        .keel
        .initrd_with(&bench.made.systems.modules, "common", modules, &initrd)?;
    Ok(initrd)
}

fn boots(bench: &mut Bench<'_>, layout: Layout, machine: Machine, what: &str, volumes: usize) -> Result<()> {
    let mut machine = machine.with(SHELL_AS_INIT).boot()?;
    if volumes > 0 {
        machine.unlock()?;
    }
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.made.figures.note_boot(layout.name(), &report);
    bench.check(what, || {
        same("the number of unlocked volumes", &report.unlocked.len(), &volumes)
    });
    bench.check("nothing was warned of", || {
        same("the warnings", &report.warnings, &Vec::new())
    });
    if layout != Layout::BarePartition {
        let tables = bench.made.disks(layout)?.tables()?;
        bench.check("device-mapper holds what cryptsetup and vgchange load", || {
            same_tables(&mut shell, &tables)
        });
    }
    bench.check("the root's file system is the one that was made", || {
        let mounted = shell.run("findmnt --noheadings --output FSTYPE /")?;
        same("it", &mounted.as_str(), &layout.file_system().name())
    });
    bench.check("the root can be written to", || {
        let _ = shell.run("echo text >/var/lib/keel/test && sync && grep text /var/lib/keel/test")?;
        Ok(())
    });
    shell.switch_off_kernel()?;
    let asked = machine
        .console
        .everything()
        .matches(texts::PASSPHRASE_PROMPT)
        .count();
    bench.check(
        "the passphrase is asked for once when there is something to unlock",
        || same("how often", &asked, &volumes.min(1)),
    );
    machine.wait_until_off(TO_OFF)
}
