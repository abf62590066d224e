//! Switches that go wrong: each ends in the old system, or in the new one, whole; and says why.

use anyhow::{Context, Result, bail};

use super::bench::{Bench, TO_OFF, same, says};
use crate::guest::Shell;
use crate::switching::Gen;

/// Phases at which the executor is killed in every run.
const KILLED_AT: [&str; 7] = [
    "bootfiles",
    "stop",
    "assemble",
    "manager",
    "restart",
    "start",
    "commit",
];
/// The others, which `soak` adds.
const KILLED_IN_SOAK: [&str; 7] = [
    "guarded", "accounts", "reload", "health", "confirm", "tidy", "planned",
];

/// Everything that can fail while a machine runs.
pub(super) fn faults(bench: &mut Bench<'_>) -> Result<()> {
    let mut machine = bench.switching_machine("console")?;
    let mut shell = machine.shell()?;
    let _ = shell.run("systemctl is-system-running --wait")?;
    let _ = shell
        .run("systemctl kill --signal=KILL kt-socket.service 2>/dev/null; systemctl reset-failed; true")?;
    refused(bench, &mut shell)?;
    reverted(bench, &mut shell)?;
    confirmed(bench, &mut shell)?;
    left(bench, &mut shell)?;
    cut(bench, &mut shell)?;
    let soak = if std::env::var_os("KEEL_SOAK").is_some() {
        &KILLED_IN_SOAK[..]
    } else {
        &[]
    };
    for phase in KILLED_AT.iter().chain(soak) {
        killed(bench, &mut shell, phase)?;
    }
    bench.check("after all of it nothing has failed", || {
        let (_, failed) = shell.sh("systemctl --failed --no-legend --plain")?;
        same("failed units", &failed.as_str(), &"")
    });
    let _ = shell.run("systemctl kill --signal=KILL kt-stubborn")?;
    shell.send("systemctl poweroff")?;
    machine.wait_until_off(TO_OFF)
}

/// Runs keel and checks its exit code and a part of what it says.
fn keel(
    bench: &mut Bench<'_>,
    shell: &mut Shell<'_>,
    what: &str,
    command: &str,
    (code, part): (i32, &str),
) -> Result<()> {
    let (is, said) = shell.sh(command)?;
    bench.check(what, || {
        same(&format!("the exit code of `{command}` ({said})"), &is, &code)?;
        says(&said, part)
    });
    Ok(())
}

/// The old system runs, with everything that it had.
fn old_runs(bench: &mut Bench<'_>, shell: &mut Shell<'_>, after: &str) {
    bench.check(&format!("the old system is whole after {after}"), || {
        says(&shell.run("keel status")?, "runs         generation 1 ")?;
        says(&shell.run("cat /etc/keeltest/followed.conf")?, "one")?;
        let _ = shell
            .run("systemctl is-active kt-text kt-binary kt-library kt-config kt-removed kt-masked kt-same kt-stubborn srv-keeltest.mount")?;
        says(&shell.run("journalctl -u kt-text -o cat -n 1")?, "text-one")?;
        let failed = shell.run("systemctl --failed --no-legend --plain")?;
        same("failed units", &failed.as_str(), &"")?;
        says(
            &shell.run("cat /boot/loader/loader.conf")?,
            "default keel-system-1.conf",
        )?;
        let units = shell
            .run("systemctl list-units --all --no-legend --plain 'keel-switch*' 'keel-revert*' | wc -l")?;
        same("units of the switch that are left", &units.trim(), &"0")
    });
}

/// What is refused before anything changes.
fn refused(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let changed = Gen::Changed.number();
    keel(
        bench,
        shell,
        "no such generation: 1",
        "keel switch 99",
        (1, "no generation 99"),
    )?;
    keel(
        bench,
        shell,
        "no such system: 1",
        "keel switch /nix/store/none",
        (1, "neither a generation's number"),
    )?;
    keel(
        bench,
        shell,
        "wrong usage: 2, by clap",
        "keel switch --confirm never",
        (2, "a time is"),
    )?;
    keel(
        bench,
        shell,
        "a system that isn't intact: 1",
        &format!(
            "p=$(grep etc.cfs $(readlink -f /nix/var/nix/profiles/system-{changed}-link)/closure); mv $p $p.aside; \
             keel switch {changed}; c=$?; mv $p.aside $p; (exit $c)"
        ),
        (1, "isn't intact"),
    )?;
    keel(
        bench,
        shell,
        "an inhibitor: 7",
        &format!(
            "systemd-inhibit --what=shutdown --mode=block --who=apt --why='installs packages' sleep 1000 & i=$!; \
             while ! systemd-inhibit --list | grep -q apt; do sleep 0.1; done; keel switch {changed}; c=$?; kill $i; \
             (exit $c)"
        ),
        (7, "apt (installs packages)"),
    )?;
    keel(
        bench,
        shell,
        "another switch: 11",
        &format!(
            "flock --no-fork /run/keel/lock sleep 1000 & i=$!; while flock -n /run/keel/lock true; do sleep 0.1; \
             done; keel switch {changed}; c=$?; kill $i; (exit $c)"
        ),
        (11, "another process switches"),
    )?;
    keel(
        bench,
        shell,
        "a full ESP: 6",
        &format!(
            "for f in $(grep -h -e ^linux -e ^initrd /boot/loader/entries/keel-system-{}.conf | cut -d ' ' -f 2); do \
             cp /boot$f /run/; rm /boot$f; done; cat /dev/zero >/boot/full 2>/dev/null; keel boot {}; c=$?; \
             rm /boot/full; (exit $c)",
            Gen::Deep.number(),
            Gen::Deep.number()
        ),
        (6, "the ESP is too small"),
    )?;
    keel(
        bench,
        shell,
        "a full /run: an error, and nothing changed",
        &format!(
            "cat /dev/zero >/run/full 2>/dev/null; keel switch {changed}; c=$?; rm /run/full; (exit $c)"
        ),
        (1, "No space left on device"),
    )?;
    old_runs(bench, shell, "refusals");
    Ok(())
}

/// What brings the old system back.
fn reverted(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    for (generation, options, what, part) in [
        (
            Gen::Sick,
            "",
            "a failing health check, and a service that ends again and again: 5",
            "kt-text.service ended and was started again by systemd",
        ),
        (
            Gen::Broken,
            "",
            "a broken C library: 5",
            "libc.so.6: file too short",
        ),
        (
            Gen::Hanging,
            "--unit-deadline 3s",
            "a service that doesn't stop: 5",
            "kt-stubborn.service",
        ),
        (
            Gen::Changed,
            "--confirm 2s",
            "nobody confirms: 5",
            "nobody confirmed within 2 s",
        ),
    ] {
        let command = format!("keel switch {} {options}", generation.number());
        keel(bench, shell, what, &command, (5, part))?;
        old_runs(bench, shell, what);
    }
    Ok(())
}

/// A confirmed switch stays.
fn confirmed(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let command = format!(
        "rm /run/keel/switch/journal; (n=0; while ! grep -q 'keel confirm' /run/keel/switch/journal && [ $n -lt 600 ]; do sleep 0.2; n=$((n + 1)); \
         done; keel confirm) & keel test --confirm 60s {}",
        Gen::Changed.number()
    );
    keel(
        bench,
        shell,
        "a confirmed test: 0",
        &command,
        (0, "the machine runs generation 2"),
    )?;
    bench.check("a test changes nothing of the next boot", || {
        says(&shell.run("keel status")?, "trial        none")
    });
    keel(
        bench,
        shell,
        "and back",
        "keel test 1",
        (0, "the machine runs generation 1"),
    )?;
    old_runs(bench, shell, "a test");
    Ok(())
}

/// Failures that are left for somebody to look at: the other exit codes.
fn left(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let leave = |generation: Gen| format!("keel test --leave-failed {}", generation.number());
    keel(
        bench,
        shell,
        "failed checks, left: 4",
        &leave(Gen::Sick),
        (4, "the health check page failed"),
    )?;
    keel(
        bench,
        shell,
        "and back: a unit that has failed is started, since its text is another",
        "keel test 1",
        (0, "kt-text.service"),
    )?;
    old_runs(bench, shell, "failed checks that were left");
    keel(
        bench,
        shell,
        "a broken C library, left: 2",
        &leave(Gen::Broken),
        (2, "left as it is"),
    )?;
    // No program that needs the C library starts now; keel does.
    keel(
        bench,
        shell,
        "and back without a C library",
        "/nix/var/nix/profiles/system/keel/bin/keel test 1",
        (0, "generation 1"),
    )?;
    old_runs(bench, shell, "what was left");
    Ok(())
}

/// The command's end isn't the switch's.
fn cut(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let _ = shell.run(&format!(
        "rm /run/keel/switch/journal; keel test {} >/dev/null 2>&1 & p=$!; n=0; while ! grep -q assemble /run/keel/switch/journal && [ $n -lt 600 ]; do \
         sleep 0.1; n=$((n + 1)); done; kill -KILL $p; true",
        Gen::Changed.number()
    ))?;
    bench.check("the switch goes on when its terminal is gone", || {
        for _ in 0..100 {
            if shell.run("keel status")?.contains("runs         generation 2 ")
                && !shell.run("keel status")?.contains("right now")
            {
                return Ok(());
            }
            let _ = shell.run("sleep 0.5")?;
        }
        bail!("{}", shell.run("keel status")?)
    });
    let _ = shell.run("systemctl stop dbus.socket dbus.service")?;
    keel(bench, shell, "without D-Bus", "keel test 1", (0, "generation 1"))?;
    let _ = shell.run("systemctl start dbus.socket dbus.service; systemctl restart systemd-logind")?;
    old_runs(bench, shell, "a cut terminal");
    Ok(())
}

/// SIGKILL of the executor at a phase.
fn killed(bench: &mut Bench<'_>, shell: &mut Shell<'_>, phase: &str) -> Result<()> {
    let (code, said) = shell
        .sh(&format!(
            "KEEL_TEST_FAILPOINT=switch-{phase} keel switch {}",
            Gen::Changed.number()
        ))
        .context("the guard doesn't come")?;
    if matches!(phase, "planned" | "bootfiles") {
        bench.check(&format!("killed at {phase}: nothing was changed"), || {
            same(&format!("the exit code ({said})"), &code, &1)?;
            says(&said, "nothing was changed")
        });
    } else if matches!(phase, "commit" | "tidy") {
        bench.check(&format!("killed at {phase}: what was proven stays"), || {
            same(&format!("the exit code ({said})"), &code, &0)?;
            says(
                &shell.run("keel status")?,
                "trial        generation 2 at the next boot",
            )
        });
        keel(
            bench,
            shell,
            "and back",
            "keel rollback --to 1",
            (0, "generation 1"),
        )?;
    } else {
        bench.check(
            &format!("killed at {phase}: the guard brings the old system back"),
            || same(&format!("the exit code ({said})"), &code, &5),
        );
    }
    old_runs(bench, shell, &format!("a kill at {phase}"));
    Ok(())
}
