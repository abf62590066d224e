//! Trial boots: one that goes well becomes the default, one that panics or hangs ends in the old system.

use anyhow::Result;

use super::bench::{Bench, TO_OFF, TO_SHELL, same, says};
use crate::guest::Shell;
use crate::switching::Gen;
use crate::texts;

/// A machine whose EFI variables the kernel doesn't show: trials go by boot counters.
const NO_VARIABLES: &str = "efi=noruntime";

/// dbus, systemd and the kernel change; then boots that fail. A reboot ends the machine; the next one goes on with its disk
/// and its EFI variables.
pub(super) fn trials(bench: &mut Bench<'_>) -> Result<()> {
    let disk = bench.made.switching()?.disk().overlay(&bench.directory)?;
    let mut number = 0;
    let mut next = |bench: &Bench<'_>, parameters: &str| {
        number += 1;
        bench
            .through_menu(std::slice::from_ref(&disk), &format!("boot-{number}"))
            .with(parameters)
            .start()
    };
    let deep = Gen::Deep.number();

    let machine = next(bench, "")?;
    let mut shell = Shell::take_over(&machine.console, TO_SHELL)?;
    let _ = shell.run("systemctl is-system-running --wait")?;
    let before = shell.run("systemctl show -P MainPID dbus; uname -r")?;
    let (code, said) = shell.sh(&format!("keel switch {deep}"))?;
    bench.check("dbus, systemd and kernel: the rest is switched, 100", || {
        same(&format!("its exit code ({said})"), &code, &100)?;
        says(&said, "started itself anew")?;
        says(&said, "dbus.service stays as it is")?;
        says(&said, "the kernel 6.12")?;
        let now = shell.run("systemctl show -P MainPID dbus; uname -r")?;
        same("dbus and the kernel", &now, &before)?;
        says(&shell.run("modprobe loop && lsmod")?, "loop")
    });
    reboot(&mut shell)?;
    machine.wait_until_off(TO_OFF)?;

    let machine = next(bench, "")?;
    let mut shell = Shell::take_over(&machine.console, TO_SHELL)?;
    bench.check("its trial boot is blessed, and is the default then", || {
        let _ = shell.run("systemctl is-system-running --wait")?;
        says(&shell.run("uname -r")?, "cloud")?;
        let status = shell.run("keel status")?;
        says(&status, &format!("last good    generation {deep} "))?;
        says(&status, "trial        none")?;
        let conf = shell.run("cat /boot/loader/loader.conf")?;
        says(&conf, &format!("default keel-system-{deep}.conf"))
    });
    let (code, said) = shell.sh(&format!("keel boot {}", Gen::Panics.number()))?;
    bench.check(
        "a system is armed for the next boot without being activated",
        || {
            same(&format!("its exit code ({said})"), &code, &0)?;
            says(
                &shell.run("keel status")?,
                &format!("runs         generation {deep} "),
            )
        },
    );
    reboot(&mut shell)?;
    machine.wait_until_off(TO_OFF)?;

    let machine = next(bench, "")?;
    let _ = machine.console.expect(texts::PANIC, TO_SHELL)?;
    // The entry on trial has the kernel restart ten seconds later.
    machine.wait_until_off(TO_OFF)?;

    let machine = next(bench, NO_VARIABLES)?;
    let mut shell = Shell::take_over(&machine.console, TO_SHELL)?;
    old_system_says_so(bench, &mut shell, "panicked");
    let (code, _) = shell.sh(&format!("keel boot {}", Gen::Hangs.number()))?;
    bench.check("without EFI variables the next one is armed by its name", || {
        same("its exit code", &code, &0)?;
        let menu = shell.run("ls /boot/loader/entries; cat /boot/loader/loader.conf")?;
        says(&menu, &format!("keel-system-{}+1.conf", Gen::Hangs.number()))?;
        same("whether a default is named", &menu.contains("default"), &false)
    });
    reboot(&mut shell)?;
    machine.wait_until_off(TO_OFF)?;

    let machine = next(bench, NO_VARIABLES)?;
    // It says its label, and then nothing more: somebody holds the power button.
    let _ = machine.console.expect("\nsame ", TO_SHELL)?;
    machine.cut_power();

    let machine = next(bench, NO_VARIABLES)?;
    let mut shell = Shell::take_over(&machine.console, TO_SHELL)?;
    old_system_says_so(bench, &mut shell, "hung");
    reboot(&mut shell)?;
    machine.wait_until_off(TO_OFF)
}

/// Restarts a machine whose service that never stops would keep it on.
fn reboot(shell: &mut Shell<'_>) -> Result<()> {
    let _ = shell.run("systemctl kill --signal=KILL kt-stubborn")?;
    shell.send("systemctl reboot")
}

fn old_system_says_so(bench: &mut Bench<'_>, shell: &mut Shell<'_>, what: &str) {
    bench.check(
        &format!("after a trial that {what} the old system runs, and says so"),
        || {
            let _ = shell.run("systemctl is-system-running --wait")?;
            says(
                &shell.run("keel status")?,
                &format!("runs         generation {} ", Gen::Deep.number()),
            )?;
            says(&shell.run("cat /run/motd.d/50-keel")?, "didn't come to its end")
        },
    );
}
