//! Other disk layouts. systemd isn't started here: what it sees doesn't depend on the layout.

use anyhow::Result;

use super::bench::{Bench, SHELL_AS_INIT, TO_OFF, TO_SHELL, same, says};
use super::boot::same_tables;
use crate::layout::Layout;
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

/// LVM without encryption.
pub(super) fn plain_lvm(bench: &mut Bench<'_>) -> Result<()> {
    without_menu(
        bench,
        Layout::PlainLvm,
        "a root on LVM without encryption boots",
        0,
    )
}

/// Nothing but a partition.
pub(super) fn bare_partition(bench: &mut Bench<'_>) -> Result<()> {
    without_menu(
        bench,
        Layout::BarePartition,
        "an XFS root on a partition, named by PARTUUID=, boots",
        0,
    )
}

fn without_menu(bench: &mut Bench<'_>, layout: Layout, what: &str, volumes: usize) -> Result<()> {
    let disks = bench.disks(layout)?;
    let machine = bench.without_menu(layout, &disks, "console")?;
    boots(bench, layout, machine, what, volumes)
}

/// LUKS without LVM, and a subvolume of Btrfs, through the firmware.
pub(super) fn btrfs(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Btrfs)?;
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
