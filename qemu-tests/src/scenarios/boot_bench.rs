//! How long early boot takes, beside Debian's own initrds: the same disk, the same machine, one after the other.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::bench::{Bench, TO_PROMPT, TO_SHELL};
use crate::guest::Shell;
use crate::layout::{EMULATED, Layout, PASSPHRASE, VOLUMES};
use crate::machine::{Firmware, Machine, Threads};
use crate::peers::Peer;
use crate::report::Phases;
use crate::texts;

/// How often each is booted; the median counts.
const ROUNDS: usize = 3;
/// How often a boot is tried.
const ATTEMPTS: usize = 3;
/// What the first systemd of the real root says. One in an initrd has said it before the prompt.
const WELCOME: &str = "Welcome to";

/// When systemd of the real root started by the guest's clock, in microseconds (org.freedesktop.systemd1(5)), and that clock.
const START_AND_UPTIME: &str =
    "systemctl show --value -p UserspaceTimestampMonotonic; cut -d ' ' -f 1 /proc/uptime";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Keel,
    Peer(Peer),
}

/// Seconds of one boot.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// From QEMU's start to the prompt.
    prompt: f64,
    /// From the kernel's start to the initrd's first program, and to the prompt, when the subject knows it.
    to_init: Option<f64>,
    by_itself: Option<f64>,
    /// From the passphrase to systemd of the real root: to its start, as it notes it itself, and to its first words.
    systemd: f64,
    welcome: f64,
    /// Of that the key derivation.
    key_derivation: f64,
}

/// Boots everyone several times, in turns.
pub(super) fn boot(bench: &mut Bench<'_>) -> Result<()> {
    let subjects = [
        Subject::Keel,
        Subject::Peer(Peer::InitramfsTools),
        Subject::Peer(Peer::Dracut),
    ];
    let mut all: Vec<Vec<Times>> = vec![Vec::new(); subjects.len()];
    for round in 0..ROUNDS {
        for (subject, times) in subjects.iter().zip(&mut all) {
            let mut attempt = 1;
            let measured = loop {
                match measure(bench, *subject, round) {
                    // See `Threads::Several`.
                    Err(error) if attempt < ATTEMPTS => {
                        eprintln!("{}, once more: {error:#}", subject.name());
                        attempt += 1;
                    }
                    measured => break measured,
                }
            };
            times.push(measured.with_context(|| format!("round {round} of {}", subject.name()))?);
        }
    }
    // What passes before the kernel starts is the same for all.
    let before = all
        .iter()
        .flatten()
        .filter_map(|times| Some(times.prompt - times.by_itself?))
        .collect();
    let before = median(before);
    for (subject, times) in subjects.iter().zip(&all) {
        let of = |value: fn(&Times) -> f64| median(times.iter().map(value).collect());
        let note = |what: &str, value: f64, unit: &str| {
            bench
                .made
                .figures
                .note(&format!("boot: {what}|{}", subject.name()), value, unit);
        };
        note("kernel start to prompt", of(|times| times.prompt) - before, "s");
        note(
            "passphrase to systemd, net of the key derivation",
            of(|times| times.systemd - times.key_derivation),
            "s",
        );
        note(
            "passphrase to systemd's first words, net of the key derivation",
            of(|times| times.welcome - times.key_derivation),
            "s",
        );
        if let Some(to_init) = times
            .iter()
            .map(|times| times.to_init)
            .collect::<Option<Vec<f64>>>()
        {
            note("kernel start to the initrd's first program", median(to_init), "s");
        }
        note("key derivation", of(|times| times.key_derivation), "s");
        let size = fs::metadata(subject.initrd(bench)?)
            .context("an initrd is gone")?
            .len();
        #[allow(clippy::cast_precision_loss)] // megabytes with three digits
        note("initrd", size as f64 / 1e6, "MB");
    }
    Ok(())
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Keel => "keel",
            Subject::Peer(peer) => peer.name(),
        }
    }

    fn initrd(self, bench: &Bench<'_>) -> Result<PathBuf> {
        match self {
            Subject::Keel => bench.made.part("initrd"),
            Subject::Peer(peer) => Ok(bench.made.peers()?.initrd(peer)),
        }
    }
}

fn measure(bench: &Bench<'_>, subject: Subject, round: usize) -> Result<Times> {
    let peers = bench.made.peers()?;
    let disks = peers.disks().disks();
    let disks: Vec<_> = disks
        .iter()
        .map(|disk| disk.overlay(&bench.directory))
        .collect::<Result<_>>()?;
    let (kernel, mut parameters) = match subject {
        Subject::Keel => (bench.made.part("kernel")?, Layout::Main.parameters()),
        Subject::Peer(_) => {
            let (uuid, name) = VOLUMES[0];
            let parameters = [
                "root=/dev/mapper/vg-root",
                "rootfstype=ext4",
                &format!("rd.luks.name={uuid}={name}"),
                "rd.luks.options=discard",
                "rd.lvm.lv=vg/root",
                "console=tty0",
                "console=ttyS0,115200",
                "quiet",
            ];
            (peers.kernel(), parameters.map(str::to_owned).into())
        }
    };
    // What spares emulation work isn't there on a machine, and would spare one of them more than another.
    parameters.retain(|parameter| !EMULATED.contains(&parameter.as_str()));
    parameters.push("systemd.show_status=true".to_owned());
    let machine = Machine {
        firmware: Firmware::Kernel {
            kernel,
            initrd: subject.initrd(bench)?,
            command_line: parameters.join(" "),
        },
        extra_parameters: String::new(),
        disks,
        usb: false,
        autologin: true,
        state: None,
        reboots: false,
        processors: 2,
        threads: Threads::Several,
        memory_mib: 1024,
        directory: bench.directory.clone(),
        log_name: format!("{}-{round}", subject.name()),
    };
    let started = Instant::now();
    let machine = machine.boot()?;
    let asks = match subject {
        Subject::Keel => texts::PASSPHRASE_PROMPT,
        Subject::Peer(peer) => peer.prompt(),
    };
    let prompt = machine.console.expect(asks, TO_PROMPT)?.at;
    machine.console.send_line(PASSPHRASE)?;
    let sent = started.elapsed();
    let welcome = machine.console.expect(WELCOME, TO_SHELL)?.at;
    let mut shell = Shell::take_over(&machine.console, TO_SHELL)?;
    let clocks = shell.run(START_AND_UPTIME)?;
    // The guest's clock was looked at right before this.
    let systemd = started.elapsed().as_secs_f64() - since_start(&clocks)?;
    let (to_init, by_itself, key_derivation) = match subject {
        Subject::Keel => {
            let phases = Phases::of(&shell.boot_report()?);
            (phases.to_init, phases.to_prompt, phases.key_derivation)
        }
        Subject::Peer(_) => (None, None, unlock_again(&mut shell)?),
    };
    machine.cut_power();
    Ok(Times {
        prompt: prompt.as_secs_f64(),
        to_init,
        by_itself,
        systemd: systemd - sent.as_secs_f64(),
        welcome: welcome.saturating_sub(sent).max(Duration::ZERO).as_secs_f64(),
        key_derivation,
    })
}

/// How many seconds ago systemd started, from the answer to [`START_AND_UPTIME`].
fn since_start(clocks: &str) -> Result<f64> {
    let (start, uptime) = two_numbers(clocks)?;
    Ok(uptime - start / 1e6)
}

/// How long cryptsetup takes for the keyslot on this machine, its own start included: peers don't say it.
fn unlock_again(shell: &mut Shell<'_>) -> Result<f64> {
    let text = shell.run(&format!(
        "cut -d ' ' -f 1 /proc/uptime; printf %s '{PASSPHRASE}' | cryptsetup open --test-passphrase --key-file - \
         /dev/disk/by-uuid/{}; cut -d ' ' -f 1 /proc/uptime",
        VOLUMES[0].0
    ))?;
    let (from, to) = two_numbers(&text)?;
    Ok(to - from)
}

/// The first two lines that are numbers.
fn two_numbers(text: &str) -> Result<(f64, f64)> {
    let mut numbers = text.lines().filter_map(|line| line.parse::<f64>().ok());
    let (first, second) = (numbers.next(), numbers.next());
    first.zip(second).with_context(|| format!("times read {text:?}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
