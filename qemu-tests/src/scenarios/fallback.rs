//! Generations that can't be booted.

use anyhow::{Context, Result, bail};

use super::bench::{Bench, SHELL_AS_INIT, TO_OFF, TO_SHELL, same, says};
use crate::layout::Layout;
use crate::texts;

/// A system that was never there.
const ABSENT: &str = "/nix/store/00000000000000000000000000000000-keel-system-gone";

/// The requested system doesn't exist.
pub(super) fn absent(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Main)?;
    let systems = bench.made.systems_of_profile()?;
    let newest = systems.first().context("the profile has no generation")?;
    let mut machine = bench
        .without_menu(Layout::Main, &disks, "console")?
        .with(&format!("keel.system={ABSENT} {SHELL_AS_INIT}"))
        .boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    let generation = report.generation.context("the report names no generation")?;
    bench.check("the newest intact generation runs instead", || {
        same("the running system", &&generation.system, &newest)?;
        same("what chose it", &generation.chosen_by.as_str(), &"fallback")
    });
    bench.check("what was asked for, and why it doesn't run, is recorded", || {
        same("the request", &generation.requested.as_deref(), &Some(ABSENT))?;
        says(&generation.reason.unwrap_or_default(), ABSENT)
    });
    shell.switch_off_kernel()?;
    let said = machine.console.everything();
    bench.check("it's said on the console", || says(&said, "keel-system-gone"));
    machine.wait_until_off(TO_OFF)
}

/// The newest system lacks a store path, then has a broken image.
pub(super) fn damaged(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Main)?;
    let systems = bench.made.systems_of_profile()?;
    let [newest, older] = systems.as_slice() else {
        bail!("the profile has {} generations", systems.len())
    };

    let mut machine = bench
        .without_menu(Layout::Main, &disks, "damaging")?
        .with(SHELL_AS_INIT)
        .boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    let _ = shell.run(&format!(
        "readlink {newest}/etc >/var/hidden && mv $(cat /var/hidden) /var/hidden.tree"
    ))?;
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)?;

    let mut machine = bench
        .without_menu(Layout::Main, &disks, "path-missing")?
        .with(SHELL_AS_INIT)
        .boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.check("a generation with a path missing is passed over", || {
        let generation = report
            .generation
            .as_ref()
            .context("the report names no generation")?;
        same("the running system", &&generation.system, &older)?;
        says(generation.reason.as_deref().unwrap_or_default(), newest)
    });
    // The path comes back; now the image is broken.
    let _ = shell.run(&format!(
        "mv /var/hidden.tree $(cat /var/hidden) && image=$(readlink -f {newest}/usr.cfs) && chmod u+w $image \
         && dd if=/dev/zero of=$image bs=4096 count=1 conv=notrunc"
    ))?;
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)?;

    let mut machine = bench
        .without_menu(Layout::Main, &disks, "image-broken")?
        .with(SHELL_AS_INIT)
        .boot()?;
    machine.unlock()?;
    let said = machine.console.expect(texts::WHAT_NOW, TO_SHELL)?.before;
    bench.check("a broken image is named, with what can be done", || {
        says(&said, texts::TROUBLE)?;
        says(&said, "usr.cfs")?;
        says(&said, "another generation")
    });
    machine.console.send_line("g")?;
    let _ = machine.console.expect(texts::PICKER, TO_SHELL)?;
    machine.console.send_line("1")?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.check("the picker leads to the other generation", || {
        let generation = report
            .generation
            .as_ref()
            .context("the report names no generation")?;
        same("the running system", &&generation.system, &older)?;
        same("what chose it", &generation.chosen_by.as_str(), &"picker")
    });
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)
}
