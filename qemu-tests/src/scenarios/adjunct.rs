//! An initrd whose PID 1 is systemd, with keel-init as one of its units.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::bench::{Bench, TO_OFF, TO_PROMPT, TO_SHELL, same, says};
use super::boot::{same_tables, systemd_sees_everything};
use super::initrd::{contents, copy_backwards};
use crate::disk::Disk;
use crate::layout::{Layout, PASSPHRASE};
use crate::rootfs;
use crate::texts;

/// The main layout through the boot menu: a wrong passphrase and the right one; then a root that isn't there.
pub(super) fn adjunct(bench: &mut Bench<'_>) -> Result<()> {
    let image = image(bench)?;
    let disks = bench.disks_with_initrd(Layout::Main, &image)?;
    let systems = bench.made.systems_of_profile()?;

    let mut machine = bench.through_menu(&disks, "console").boot()?;
    machine
        .console
        .set_fatal(&[texts::PANIC, texts::TROUBLE, texts::ROOT_ABSENT]);
    let prompt = machine.console.expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?;
    let seconds = prompt.at.as_secs_f64();
    bench
        .made
        .figures
        .note("adjunct: power-on to prompt", seconds, "s");
    machine.console.send_line("no such passphrase")?;
    let wrong = machine
        .console
        .expect(texts::WRONG_PASSPHRASE, TO_PROMPT)
        .context("a wrong passphrase isn't called so")?;
    // The log and systemd's agent for passwords write on their own.
    if !wrong.before.contains(texts::PASSPHRASE_PROMPT) {
        let _ = machine
            .console
            .expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)
            .context("it isn't asked again")?;
    }
    machine.console.send_line(PASSPHRASE)?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.made.figures.note_boot("adjunct", &report);
    bench.check("keel-init chose the entry's generation and reported it", || {
        let generation = report
            .generation
            .as_ref()
            .context("the report names no generation")?;
        same("the running system", &Some(&generation.system), &systems.first())?;
        same("what chose it", &generation.chosen_by.as_str(), &"entry")?;
        same("the warnings", &report.warnings, &Vec::new())?;
        says(&shell.run("readlink /run/booted-system")?, &generation.system)
    });
    bench.check(
        "PID 1 of the initrd was systemd, and keel-init a unit of it",
        || {
            let log = shell.run("journalctl --boot --output=cat --identifier=systemd --identifier=kernel")?;
            says(&log, "Root of the chosen generation")?;
            says(&shell.run("systemd-analyze time")?, "(initrd)")
        },
    );
    systemd_sees_everything(bench, &mut shell, "after the hand-off");
    let tables = bench.made.disks(Layout::Main)?.tables()?;
    bench.check("device-mapper holds what cryptsetup and vgchange load", || {
        same_tables(&mut shell, &tables)
    });
    bench.check("nothing of the initrd is left running or mounted", || {
        let left = shell.sh("systemctl is-active keel-init.service systemd-ask-password-console.path")?;
        says(&left.1, "inactive")?;
        same(
            "mounts below /sysroot",
            &shell
                .sh("findmnt --raw --noheadings --output TARGET | grep ^/sysroot")?
                .1
                .as_str(),
            &"",
        )
    });
    shell.send("systemctl poweroff")?;
    machine.wait_until_off(TO_OFF)?;
    root_absent(bench, &disks)
}

/// The unit fails, and emergency.target says why and what can be done.
fn root_absent(bench: &mut Bench<'_>, disks: &[Disk]) -> Result<()> {
    let machine = bench
        .through_menu(disks, "absent")
        .with("root=/dev/vg/nowhere rd.timeout=10")
        .boot()?;
    let _ = machine.console.expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?;
    machine.console.send_line(PASSPHRASE)?;
    let said = machine.console.expect(texts::WHAT_NOW, TO_SHELL)?.before;
    bench.check(
        "a root that is absent is named, with what is there, and no shell appears",
        || {
            says(&said, texts::TROUBLE)?;
            says(&said, "the root file system /dev/vg/nowhere hasn't appeared")?;
            says(&said, "/dev/vg/root: ext4")
        },
    );
    // Another try gets as far: the volume is open by now.
    machine.console.send_line("r")?;
    let again = machine.console.expect(texts::WHAT_NOW, TO_SHELL)?.before;
    bench.check(
        "another try doesn't ask for the passphrase of an open volume",
        || {
            says(&again, texts::TROUBLE)?;
            if again.contains(texts::PASSPHRASE_PROMPT) {
                bail!("it is asked for in {again:?}");
            }
            Ok(())
        },
    );
    machine.console.send_line("p")?;
    machine.wait_until_off(TO_OFF)
}

/// The initrd of the newest generation's tree; that it is the same from a copy, and what is in it.
fn image(bench: &mut Bench<'_>) -> Result<PathBuf> {
    let tree = bench.directory.join("tree");
    rootfs::unpack(&bench.made.systems.second, &tree)?;
    let image = bench.directory.join("systemd.img");
    bench.made.keel.initrd_with_systemd(&tree, &image)?;
    let listed = contents(&image)?;
    bench.check("there is no shell in it", || {
        let shells = ["sh", "bash", "dash", "busybox", "sulogin"];
        match listed
            .iter()
            .find(|path| shells.contains(&path.rsplit('/').next().unwrap_or_default()))
        {
            Some(shell) => bail!("{shell}"),
            None => Ok(()),
        }
    });
    let copy = bench.directory.join("copy");
    copy_backwards(&tree, &copy)?;
    let second = bench.directory.join("second.img");
    bench.made.keel.initrd_with_systemd(&copy, &second)?;
    bench.check(
        "the same image, to the byte, from a copy in another order and with other times",
        || {
            if fs::read(&image)? != fs::read(&second)? {
                bail!("{} and {} differ", image.display(), second.display());
            }
            Ok(())
        },
    );
    for directory in [tree, copy] {
        fs::remove_dir_all(&directory).with_context(|| format!("{} stays", directory.display()))?;
    }
    Ok(image)
}
