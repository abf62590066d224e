//! Power cuts while a machine switches: whatever the moment, the next boot finds the old system or the new one, whole.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::bench::{Bench, SHELL_AS_INIT, TO_SHELL, same, says};
use crate::disk::{Disk, Format};
use crate::guest::Shell;
use crate::switching::Gen;

/// Cuts of every run; `soak` takes more.
const CUTS: u32 = 5;
/// Gives cuts 1.1, 6.6, 13.1, 9.8 and 11.3 seconds after the beginning.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// A switch takes about as long on an emulated machine.
const LONGEST: Duration = Duration::from_secs(20);

/// Boots a machine once, keeps its state, and cuts its power in the middle of a switch, several times.
pub(super) fn power(bench: &mut Bench<'_>) -> Result<()> {
    let saved = Saved::make(bench)?;
    let soak = std::env::var("KEEL_SOAK").ok().and_then(|text| text.parse().ok());
    let cuts = soak.unwrap_or(CUTS);
    // The moments of a run are always the same ones; a long one looks for others.
    let mut random = if soak.is_some() {
        Random::by_time()
    } else {
        Random(SEED)
    };
    for number in 0..cuts {
        let after = LONGEST.mul_f64(random.next());
        let disk = saved.disk(&bench.directory)?;
        cut(bench, &saved, &disk, after)
            .with_context(|| format!("cut {number}, after {} ms", after.as_millis()))?;
        whole(bench, &saved, &disk, number, after)?;
    }
    Ok(())
}

/// A machine that runs, kept.
struct Saved {
    state: std::path::PathBuf,
    disk: Disk,
    variables: std::path::PathBuf,
}

impl Saved {
    fn make(bench: &mut Bench<'_>) -> Result<Saved> {
        let disk = bench.made.switching()?.disk().overlay(&bench.directory)?;
        let kept = bench.directory.join("kept.qcow2");
        fs::rename(&disk.path, &kept).context("the disk can't be kept")?;
        let disk = Disk { path: kept, ..disk };
        let mut machine = bench.through_menu(std::slice::from_ref(&disk), "first").boot()?;
        let mut shell = machine.shell()?;
        let _ = shell.run("systemctl is-system-running --wait; sync")?;
        let state = bench.directory.join("state");
        machine.save(&state)?;
        let variables = bench.directory.join("variables.kept");
        let _ = fs::copy(bench.directory.join("variables.fd"), &variables)
            .context("the variables can't be kept")?;
        Ok(Saved {
            state,
            disk,
            variables,
        })
    }

    /// A disk on top of the kept one, and the kept variables in place.
    fn disk(&self, directory: &Path) -> Result<Disk> {
        let _ =
            fs::copy(&self.variables, directory.join("variables.fd")).context("the variables are gone")?;
        let disk = self.disk.overlay(directory)?;
        debug_assert!(disk.format == Format::Qcow2);
        Ok(disk)
    }
}

/// Goes on from the kept state, begins a switch, and cuts the power after a while, or when the switch is over.
fn cut(bench: &mut Bench<'_>, saved: &Saved, disk: &Disk, after: Duration) -> Result<()> {
    let mut definition = bench.through_menu(std::slice::from_ref(disk), "switching");
    definition.state = Some(saved.state.clone());
    let machine = definition.start()?;
    let mut shell = Shell::resumed(&machine.console);
    let begun = Instant::now();
    shell.send(&format!(
        "keel switch {}; echo switch-'ended'",
        Gen::Changed.number()
    ))?;
    // Either is a moment to cut at.
    let _ = machine
        .console
        .expect("switch-ended", after.saturating_sub(begun.elapsed()));
    machine.cut_power();
    Ok(())
}

/// Boots what is left, by the menu, and looks whether it's whole.
fn whole(bench: &mut Bench<'_>, saved: &Saved, disk: &Disk, number: u32, after: Duration) -> Result<()> {
    let _ = saved;
    let log = format!("after-{number}");
    let machine = bench
        .through_menu(std::slice::from_ref(disk), &log)
        .with(SHELL_AS_INIT)
        .start()?;
    let mut shell = Shell::take_over(&machine.console, TO_SHELL)?;
    let system = shell.run("readlink /run/current-system")?;
    let systems =
        shell.run("readlink /nix/var/nix/profiles/system-1-link /nix/var/nix/profiles/system-2-link")?;
    let state = shell.run("cat /etc/keeltest/followed.conf")?;
    let name = format!(
        "a power cut {} ms into a switch leaves a whole system",
        after.as_millis()
    );
    bench.check(&name, || {
        let position = systems.lines().position(|known| known == system);
        let word = match position {
            Some(0) => "one",
            Some(1) => "two",
            _ => anyhow::bail!("{system} runs, which is neither of {systems}"),
        };
        same("what /etc holds", &state.as_str(), &word)?;
        let _ = shell.run(&format!("keel check {system}"))?;
        let _ = shell.run("mkdir -p /run/esp; modprobe vfat; mount -o ro /dev/vda1 /run/esp")?;
        says(
            &shell.run("cat /run/esp/loader/loader.conf")?,
            "default keel-system-1.conf",
        )?;
        says(&shell.run("keel status")?, "last good    generation 1 ")
    });
    machine.cut_power();
    Ok(())
}

/// Numbers from 0 to 1 (xorshift64*; Vigna, "An experimental exploration of Marsaglia's xorshift generators").
struct Random(u64);

impl Random {
    fn by_time() -> Random {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |since| since.subsec_nanos());
        Random(u64::from(now) | 1)
    }

    #[allow(clippy::cast_precision_loss)] // 53 bits fit
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
