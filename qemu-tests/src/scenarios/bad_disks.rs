//! Disks with something wrong.

use anyhow::{Context, Result};

use super::bench::{Bench, SHELL_AS_INIT, TO_OFF, TO_PROMPT, TO_SHELL, same, says};
use crate::disk::damage;
use crate::layout::Layout;
use crate::texts;

/// Where the LUKS partition of the main layout begins: behind 1 MiB and the ESP.
const PARTITION: u64 = 301 << 20;
/// Into the JSON of a header (LUKS2 On-Disk Format, section 2): the checksum no longer fits.
const JSON: u64 = 8192;
/// Where the second header of a volume with the usual sizes is.
const SECOND_HEADER: u64 = 0x4000;

/// One header damaged, then both.
pub(super) fn damaged_header(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Main)?;
    let disk = disks.first().context("no disk")?;
    damage(disk, PARTITION + JSON, 512)?;
    let mut machine = bench
        .without_menu(Layout::Main, &disks, "console")?
        .with(SHELL_AS_INIT)
        .boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.check(
        "with a damaged primary header the secondary one boots, and a warning is recorded",
        || says(&report.warnings.join("\n"), "header"),
    );
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)?;

    damage(disk, PARTITION + SECOND_HEADER + JSON, 512)?;
    let machine = bench.without_menu(Layout::Main, &disks, "both")?.boot()?;
    let said = machine.console.expect(texts::WHAT_NOW, TO_SHELL)?.before;
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("can't be unlocked"))
        .collect();
    bench.check(
        "with both damaged one line names the device and the fault",
        || {
            same("the number of lines", &lines.len(), &1)?;
            says(lines.first().unwrap_or(&""), "/dev/nvme0n1p2")
        },
    );
    machine.cut_power();
    Ok(())
}

/// An initrd without the driver of the disk's controller.
pub(super) fn missing_module(bench: &mut Bench<'_>) -> Result<()> {
    let initrd = bench.directory.join("initrd");
    bench
        .made
        .keel
        .initrd(&bench.made.systems.modules, "minimal", &initrd)?;
    let disks = bench.disks(Layout::Main)?;
    let mut machine = bench.without_menu(Layout::Main, &disks, "console")?;
    machine.set_initrd(&initrd);
    let machine = machine.boot()?;
    let said = machine.console.expect(texts::WHAT_NOW, TO_PROMPT)?.before;
    bench.check("hardware without a driver is named", || {
        says(&said, texts::ROOT_ABSENT)?;
        says(&said, "NVM Express")
    });
    machine.cut_power();
    Ok(())
}
