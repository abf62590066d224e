//! `demo`: the machine of one file, built from it twice, to look at or to try by hand.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sys::termios::{self, SetArg, Termios};

use crate::builder::Disks;
use crate::declared::{self, Declared, PASSWORD, USER};
use crate::disk::{Disk, Format};
use crate::image_cache::Cache;
use crate::keel::Keel;
use crate::layout::PASSPHRASE;
use crate::machine::{Firmware, Machine, Threads};
use crate::report::Phases;
use crate::rootfs::{root_file_systems, write};
use crate::scenarios::{TO_OFF, TO_PROMPT};
use crate::suite::DIRECTORY;
use crate::texts;

/// Ctrl-]: leaves the console.
const LEAVE: u8 = 0x1d;
/// What the machine of the newest generation is edited with, as its person.
const HOW_TO_EDIT: &str = "sudo vim /etc/keel/system.toml, then sudo keel switch --ask";

/// Makes the machine, boots it and says what happened; or leaves the person at its console.
pub(crate) fn demo(interactive: bool) -> Result<()> {
    println!("Building keel, and a machine from its configuration (minutes the first time) ...");
    let directory = std::path::absolute(DIRECTORY)
        .context("the working directory is gone")?
        .join("demo");
    std::fs::create_dir_all(&directory).with_context(|| format!("{} can't be made", directory.display()))?;
    let made = make(&directory)?;
    show_file(&directory)?;
    let disks = disks(&made, &directory)?;
    let machine = Machine {
        firmware: Firmware::Uefi {
            variables: directory.join("variables.fd"),
        },
        extra_parameters: "keel.menu".to_owned(),
        disks,
        usb: false,
        autologin: !interactive,
        state: None,
        reboots: interactive,
        processors: 2,
        threads: Threads::One,
        memory_mib: 1024,
        directory: directory.clone(),
        log_name: "console".to_owned(),
    };
    if interactive {
        by_hand(&machine)
    } else {
        by_itself(&machine)
    }
}

/// Makes the machine. The tools that make its disks are put together meanwhile.
fn make(notes: &Path) -> Result<Disks> {
    let cache = Cache::open()?;
    thread::scope(|scope| {
        let systems = scope.spawn(|| root_file_systems(&cache));
        let keel = Keel::build();
        let systems = systems
            .join()
            .map_err(|_| anyhow!("making the root file systems panicked"))??;
        let keel = keel?;
        Declared::make(&cache, &keel)?.edited_disks(&cache, &keel, &systems, notes)
    })
}

/// Says what the machine is made of.
fn show_file(directory: &Path) -> Result<()> {
    write(&directory.join("system.toml"), &declared::edited_toml())?;
    println!("The machine is one file: {DIRECTORY}/demo/system.toml, which is /etc/keel/system.toml there.");
    println!("Generation 1 was built from it, generation 2 after this edit:");
    for (from, to) in declared::EDIT {
        println!("  -{from}\n  +{to}");
    }
    Ok(())
}

/// The machine's disks. Their changes are kept from one demo to the next, until keel or the recipe changes.
fn disks(made: &Disks, directory: &Path) -> Result<Vec<Disk>> {
    let bases = made.disks();
    let stamp = directory.join("base");
    let wanted: String = bases
        .iter()
        .map(|disk| disk.path.display().to_string() + "\n")
        .collect();
    let kept = std::fs::read_to_string(&stamp).is_ok_and(|is| is == wanted);
    let mut disks = Vec::new();
    for base in &bases {
        let path = directory.join(format!("{}.qcow2", base.serial));
        disks.push(if kept && path.exists() {
            Disk {
                path,
                format: Format::Qcow2,
                ..base.clone()
            }
        } else {
            base.overlay(directory)?
        });
    }
    std::fs::write(&stamp, wanted).context("the disk can't be remembered")?;
    Ok(disks)
}

fn by_itself(machine: &Machine) -> Result<()> {
    println!("Starting the machine: OVMF, systemd-boot, NVMe disk, LUKS2, LVM.");
    let mut running = machine.boot()?;
    let _ = running.console.expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?;
    println!("It asks for the passphrase; typing it.");
    running.console.send_line(PASSPHRASE)?;
    let _ = running.console.expect(texts::PICKER, TO_PROMPT)?;
    println!("It shows its generations, 2 and 1; picking number 1.");
    running.console.send_line("1")?;
    let mut shell = running.shell()?;
    let (_, state) = shell.sh("systemctl is-system-running --wait")?;
    let report = shell.boot_report()?;
    let stages = shell.run("systemd-analyze time | head -n 1")?;
    let host = shell.run("hostname")?;
    shell.send("systemctl poweroff")?;
    running.wait_until_off(TO_OFF)?;

    println!(
        "\nunlocked     {}",
        report
            .unlocked
            .iter()
            .map(|volume| volume.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    println!("activated    {}", report.activated.join(", "));
    if let Some(generation) = &report.generation {
        let number = generation
            .number
            .map_or_else(String::new, |number| format!("number {number}, "));
        println!(
            "generation   {number}{} (by {})",
            generation.system, generation.chosen_by
        );
    }
    println!("host name    {host}");
    println!("systemd      {state}");
    let phases = Phases::of(&report);
    if let Some(seconds) = phases.to_prompt {
        println!("times        {seconds:.1} s from the kernel's start to the prompt");
    }
    println!("             {:.1} s key derivation", phases.key_derivation);
    println!("             {stages}");
    println!("\nThe console's log is in {DIRECTORY}/demo. Try it by hand: qemu-tests/demo --interactive");
    println!("There log in as {USER}, password {PASSWORD}; {HOW_TO_EDIT}.");
    Ok(())
}

fn by_hand(machine: &Machine) -> Result<()> {
    println!(
        "\nThis is the machine's serial console.\n  passphrase   {PASSPHRASE}\n  login        {USER}, password {PASSWORD}\n  \
         edit         {HOW_TO_EDIT}\n  leave        sudo poweroff, or Ctrl-] to cut its power\n\
         The disk is kept for the next time.\n"
    );
    let terminal = RawTerminal::enter()?;
    let running = machine.start_with(Some(Box::new(io::stdout())))?;
    let console = running.console.sender()?;
    let (leave, left) = io::pipe()
        .map(|(reader, writer)| (writer, reader))
        .context("a pipe can't be made")?;
    // Not joined: it waits for a key that may never come.
    let _ = thread::spawn(move || type_on(console, leave));
    running.wait_for_end_or(left.as_fd())?;
    drop(running);
    drop(terminal);
    println!();
    Ok(())
}

/// Passes keys on until Ctrl-]; then `leave` is closed.
fn type_on(mut console: impl Write, leave: impl Write) {
    let mut keys = [0; 256];
    while let Ok(length) = io::stdin().read(&mut keys) {
        let keys = keys.get(..length).unwrap_or_default();
        if keys.is_empty() || keys.contains(&LEAVE) || console.write_all(keys).is_err() {
            break;
        }
    }
    drop(leave);
}

/// A terminal that hands every key on as it is; dropped, it's as before.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn enter() -> Result<RawTerminal> {
        let Ok(before) = termios::tcgetattr(io::stdin()) else {
            return Ok(RawTerminal(None));
        };
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &raw).context("the terminal can't be set")?;
        Ok(RawTerminal(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
