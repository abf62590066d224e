//! The state that the root file system holds.

use anyhow::Result;

use super::bench::{Bench, SHELL_AS_INIT, TO_OFF, same};
use crate::layout::Layout;

/// Not one block is free.
pub(super) fn full_root(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Main)?;
    let mut machine = bench
        .without_menu(Layout::Main, &disks, "filling")?
        .with(SHELL_AS_INIT)
        .boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    // In ever smaller pieces, down to single blocks.
    let _ = shell.run(
        "for unit in 100M 10M 1M 64K 4K; do i=0; \
         while fallocate -l $unit /var/fill.$unit.$i 2>/dev/null; do i=$((i + 1)); done; rm -f /var/fill.$unit.$i; done; \
         ! sh -c 'printf %5000s x >/var/more' 2>/dev/null",
    )?;
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)?;

    let mut machine = bench
        .without_menu(Layout::Main, &disks, "console")?
        .with(SHELL_AS_INIT)
        .boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.check("a full root file system boots", || {
        same("the number of unlocked volumes", &report.unlocked.len(), &1)
    });
    bench.check("space can be made again", || {
        let _ = shell.run("rm /var/fill.* && echo text >/var/lib/keel/test")?;
        Ok(())
    });
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)
}
