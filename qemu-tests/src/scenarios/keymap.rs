//! A German keyboard at the machine's own console: keys are pressed, not bytes sent.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::bench::{Bench, SHELL_AS_INIT, TO_OFF, TO_PROMPT, TO_SHELL, same, says};
use crate::disk::Disk;
use crate::keyboard::keys;
use crate::layout::{Layout, PASSPHRASE};
use crate::machine::{Machine, Running};
use crate::process::Tool;
use crate::texts;

/// What only a German keyboard types, as far as one can: y and z, umlauts, signs on keys of their own, with Shift and with
/// AltGr, and a letter by a dead key.
const GERMAN: &str = "zypresse-_?ß@ÄÖüê";

/// The keyboard's driver may come up after the prompt, and the first keys be lost.
const TRIES: u32 = 3;

/// A passphrase is typed on a German keyboard, and what early boot says of keymaps that it doesn't have.
pub(super) fn keymap(bench: &mut Bench<'_>) -> Result<()> {
    let german = bench.directory.join("german");
    let both = bench.directory.join("both");
    let modules = bench.made.systems.modules.clone();
    bench
        .made
        .keel
        .initrd_of(&modules, &["--set=common", "--keymap=de"], &german)?;
    bench
        .made
        .keel
        .initrd_of(&modules, &["--set=common", "--keymap=us", "--keymap=de"], &both)?;
    let disks = bench.disks_with_initrd(Layout::Main, &german)?;
    add_passphrase(bench, disks.first().context("no disk")?)?;

    typed_in_german(bench, &disks)?;
    unknown(bench, &disks, &german)?;
    picked(bench, &disks, &both)
}

/// The machine with another initrd, and a shell in systemd's place.
fn machine(bench: &Bench<'_>, disks: &[Disk], initrd: &Path, log_name: &str) -> Result<Machine> {
    let mut machine = bench
        .without_menu(Layout::Main, disks, log_name)?
        .with(SHELL_AS_INIT);
    machine.set_initrd(initrd);
    Ok(machine)
}

fn typed_in_german(bench: &mut Bench<'_>, disks: &[Disk]) -> Result<()> {
    let mut machine = bench.through_menu(disks, "german").with(SHELL_AS_INIT).boot()?;
    let serial = machine
        .console
        .expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?
        .before;
    bench.check(
        "the serial console, which has a keyboard of its own, names no layout",
        || same("whether it does", &serial.contains("Keyboard layout"), &false),
    );
    unlock_by_keys(&mut machine)?;
    machine.screenshot(&bench.directory.join("screen.png"))?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.check("a passphrase typed on a German keyboard unlocks", || {
        same("the number of unlocked volumes", &report.unlocked.len(), &1)?;
        same(
            "the keyslot",
            &report.unlocked.first().map(|one| one.keyslot),
            &Some(1),
        )?;
        same("the keymap in the report", &report.keymap.as_deref(), &Some("de"))?;
        same("the warnings", &report.warnings, &Vec::new())
    });
    // /dev/vcs is the text on the screen of the foreground terminal (vcs(4)).
    let screen = shell.run("tr '\\0' ' ' </dev/vcs | fold -w 80 | sed 's/ *$//' | grep .")?;
    bench.check("the screen names the keymap above the prompt", || {
        says(&screen, "Keyboard layout: de")?;
        says(&screen, texts::PASSPHRASE_PROMPT)
    });
    bench.check("the screen shows a star for each character", || {
        let prompt = screen
            .lines()
            .rfind(|line| line.starts_with(texts::PASSPHRASE_PROMPT));
        let stars = prompt.map_or(0, |line| line.matches('*').count());
        same("the number of stars", &stars, &GERMAN.chars().count())
    });
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)
}

fn unknown(bench: &mut Bench<'_>, disks: &[Disk], initrd: &Path) -> Result<()> {
    let mut machine = machine(bench, disks, initrd, "unknown")?
        .with("rd.vconsole.keymap=neo rd.vconsole.font=ter-v32n")
        .boot()?;
    let said = machine
        .console
        .expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?
        .before;
    bench.check(
        "a keymap that the initrd hasn't is told before the prompt, by name",
        || {
            says(&said, "the keymap neo")?;
            says(&said, "it has de, which stays")
        },
    );
    bench.check("a font is told of", || says(&said, "rd.vconsole.font=ter-v32n"));
    unlock_by_keys(&mut machine)?;
    let report = machine.shell()?.boot_report()?;
    bench.check("the default stays then", || {
        same("the keymap in the report", &report.keymap.as_deref(), &Some("de"))
    });
    machine.cut_power();
    Ok(())
}

fn picked(bench: &mut Bench<'_>, disks: &[Disk], initrd: &Path) -> Result<()> {
    let mut american = machine(bench, disks, initrd, "us")?.boot()?;
    let _ = american.console.expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?;
    let opened = (0..TRIES).try_fold(false, |opened, _| {
        anyhow::Ok(opened || type_passphrase(&mut american)?)
    })?;
    bench.check(
        "the same keys on the first keymap (us) are another passphrase",
        || same("whether it opened", &opened, &false),
    );
    american.cut_power();

    let mut german = machine(bench, disks, initrd, "picked")?
        .with("rd.vconsole.keymap=de")
        .boot()?;
    let _ = german.console.expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?;
    unlock_by_keys(&mut german)?;
    let report = german.shell()?.boot_report()?;
    bench.check("rd.vconsole.keymap= picks another keymap of the initrd", || {
        same("the keymap in the report", &report.keymap.as_deref(), &Some("de"))
    });
    german.cut_power();
    Ok(())
}

/// Types the passphrase until it opens the volume.
fn unlock_by_keys(machine: &mut Running) -> Result<()> {
    for _ in 0..TRIES {
        if type_passphrase(machine)? {
            // The prompt that has been seen comes once more.
            return machine.console.send_line("");
        }
    }
    bail!("the passphrase typed on the keyboard opens nothing")
}

/// Types the passphrase; whether it opens the volume.
fn type_passphrase(machine: &mut Running) -> Result<bool> {
    for chord in keys(GERMAN)? {
        machine.press(chord)?;
    }
    machine.press(&["ret"])?;
    machine.console.set_fatal(&[texts::PANIC, texts::TROUBLE]);
    let ends = [&[texts::WRONG_PASSPHRASE], texts::SHELL_PROMPTS.as_slice()].concat();
    let _ = machine
        .console
        .expect_any(&ends, TO_SHELL)
        .context("nothing comes of the passphrase that was typed")?;
    let everything = machine.console.everything();
    let wrong = everything.rfind(texts::WRONG_PASSPHRASE);
    Ok(texts::SHELL_PROMPTS
        .iter()
        .any(|prompt| everything.rfind(prompt) > wrong))
}

/// Gives the volume of a disk the passphrase that is typed here, in its second keyslot, by the real tool.
fn add_passphrase(bench: &Bench<'_>, disk: &Disk) -> Result<()> {
    // Behind 1 MiB and the ESP; the header with its keyslots has 16 MiB.
    const PARTITION_MIB: u64 = 301;
    const HEADER_MIB: u64 = 16;
    let header = bench.directory.join("header");
    let passphrase = bench.directory.join("passphrase");
    let qemu_io = |command: String| {
        Tool::new("qemu-io")
            .args(["-f", disk.format.name(), "-c", &command])
            .arg(&disk.path)
            .run()
    };
    Tool::new("qemu-img")
        .args(["dd", "-f", disk.format.name(), "-O", "raw", "bs=1M"])
        .arg(format!("skip={PARTITION_MIB}"))
        .arg(format!("count={}", PARTITION_MIB + HEADER_MIB))
        .arg(format!("if={}", disk.path.display()))
        .arg(format!("of={}", header.display()))
        .run()?;
    // cryptsetup wants room for data behind the header.
    File::options()
        .write(true)
        .open(&header)
        .and_then(|file| file.set_len((HEADER_MIB + 1) << 20))
        .context("the header's copy can't grow")?;
    fs::write(&passphrase, GERMAN).context("the passphrase can't be written")?;
    Tool::new("cryptsetup")
        .args([
            "luksAddKey",
            "--batch-mode",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
        ])
        .args(["--key-slot", "1", "--key-file", "-"])
        .arg(&header)
        .arg(&passphrase)
        .input(PASSPHRASE)
        .run()?;
    qemu_io(format!(
        "write -s {} {}M {HEADER_MIB}M",
        header.display(),
        PARTITION_MIB
    ))
}
