//! Trial boots: one that goes well becomes the default, one that panics or hangs ends in the old system.

use anyhow::Result;

use super::bench::{Bench, TO_OFF, same, says};
use crate::guest::Shell;
use crate::switching::Gen;

/// dbus, systemd and the kernel change; then boots that fail.
pub(super) fn trials(bench: &mut Bench<'_>) -> Result<()> {
    let disk = bench.made.switching()?.disk().overlay(&bench.directory)?;
    let mut definition = bench.through_menu(&[disk], "console");
    definition.reboots = true;
    let mut machine = definition.start()?;
    let deep = Gen::Deep.number();
    {
        let mut shell = Shell::take_over(&machine.console, super::bench::TO_SHELL)?;
        let _ = shell.run("systemctl is-system-running --wait")?;
        let before = shell.run("systemctl show -P MainPID dbus; uname -r")?;
        let (code, said) = shell.sh(&format!("keel switch {deep}"))?;
        bench.check("dbus, systemd and kernel: the rest is switched, 100", || {
            same(&format!("its exit code ({said})"), &code, &100)?;
            says(&said, "systemd 257")?;
            says(&said, "started itself anew")?;
            says(&said, "dbus.service stays as it is")?;
            says(&said, "the kernel 6.12")?;
            same(
                "dbus and the kernel",
                &shell.run("systemctl show -P MainPID dbus; uname -r")?,
                &before,
            )?;
            says(&shell.run("modprobe loop && lsmod")?, "loop")
        });
        let _ = shell.run("systemctl kill --signal=KILL kt-stubborn")?;
        shell.send("systemctl reboot")?;
    }
    {
        let mut shell = Shell::take_over(&machine.console, super::bench::TO_SHELL)?;
        bench.check("its trial boot is blessed, and is the default then", || {
            let _ = shell.run("systemctl is-system-running --wait")?;
            says(&shell.run("uname -r")?, "cloud")?;
            let status = shell.run("keel status")?;
            says(&status, &format!("last good  generation {deep} "))?;
            says(&status, "trial      none")?;
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
                    &format!("runs       generation {deep} "),
                )
            },
        );
        let _ = shell.run("systemctl kill --signal=KILL kt-stubborn")?;
        shell.send("systemctl reboot")?;
    }
    let _ = machine.console.expect("Kernel panic", super::bench::TO_SHELL)?;
    {
        let mut shell = Shell::take_over(&machine.console, super::bench::TO_SHELL)?;
        old_system_says_so(bench, &mut shell, "panicked");
        let (code, _) = shell.sh(&format!("keel boot {}", Gen::Hangs.number()))?;
        bench.check("the next one is armed", || same("its exit code", &code, &0));
        let _ = shell.run("systemctl kill --signal=KILL kt-stubborn")?;
        shell.send("systemctl reboot")?;
    }
    // It says its label, and then nothing more.
    let _ = machine.console.expect("\nsame ", super::bench::TO_SHELL)?;
    machine.reset()?;
    let mut shell = Shell::take_over(&machine.console, super::bench::TO_SHELL)?;
    old_system_says_so(bench, &mut shell, "hung");
    let _ = shell.run("systemctl kill --signal=KILL kt-stubborn")?;
    shell.send("systemctl poweroff")?;
    machine.wait_until_off(TO_OFF)
}

fn old_system_says_so(bench: &mut Bench<'_>, shell: &mut Shell<'_>, what: &str) {
    bench.check(
        &format!("after a trial that {what} the old system runs, and says so"),
        || {
            let _ = shell.run("systemctl is-system-running --wait")?;
            says(
                &shell.run("keel status")?,
                &format!("runs       generation {} ", Gen::Deep.number()),
            )?;
            says(&shell.run("cat /run/motd.d/50-keel")?, "didn't come to its end")
        },
    );
}
