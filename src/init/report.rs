//! The hand-off report: what early boot did, for `keel status`, the tests and the person who asks why.

use std::path::Path;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Where the report is found in the running system.
pub(super) const PATH: &str = "/run/keel/boot.json";

/// `/run/keel/boot.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format.
    pub version: u32,
    /// Moments, in the order in which they came.
    pub phases: Vec<Phase>,
    /// Volumes that were unlocked.
    pub unlocked: Vec<Unlocked>,
    /// Logical volumes that were activated, as `VG/LV`.
    pub activated: Vec<String>,
    /// The root file system.
    pub root: Option<RootReport>,
    /// Which system was asked for, which one runs, and why.
    pub generation: Option<GenerationReport>,
    /// The console's keymap; none when the kernel's own stayed, or no console has the machine's keyboard.
    #[serde(default)]
    pub keymap: Option<String>,
    /// What didn't stop the boot but should be known, in plain words.
    pub warnings: Vec<String>,
}

/// A moment of the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// `init`, `prompt`, `passphrase`, `unlocked`, `root-found`, `root-checked`, `root-mounted`, `assembled`,
    /// `hand-off`.
    pub name: String,
    /// `CLOCK_MONOTONIC`, microseconds since the kernel started.
    pub monotonic_usec: u64,
}

/// An unlocked volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlocked {
    /// Name of the mapping.
    pub name: String,
    /// The device that holds the LUKS header.
    pub device: String,
    /// UUID of the LUKS header.
    pub uuid: String,
    /// The keyslot that opened.
    pub keyslot: u32,
    /// `passphrase` or `keyfile`.
    #[serde(default)]
    pub by: String,
    /// Time that the keyslot took, microseconds: key derivation above all.
    pub duration_usec: u64,
}

/// The root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootReport {
    /// Its device.
    pub device: String,
    /// Its type.
    pub kind: String,
    /// What became of its check, in plain words.
    pub check: String,
}

/// The choice of the system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationReport {
    /// The store path that the boot entry or the person asked for.
    pub requested: Option<String>,
    /// The store path that runs.
    pub system: String,
    /// Its number in the profile, when it has one.
    pub number: Option<u64>,
    /// `entry`, `profile`, `picker` or `fallback`.
    pub chosen_by: String,
    /// Why another one than the requested one runs.
    pub reason: Option<String>,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Report {
            version: 1,
            ..Report::default()
        }
    }

    /// Notes that a phase is reached, the first time only: a second passphrase doesn't move the first prompt.
    pub fn reach(&mut self, name: &str) {
        if self.phases.iter().all(|phase| phase.name != name) {
            let monotonic_usec = monotonic_usec();
            log::info!("phase {name} at {monotonic_usec} us");
            self.phases.push(Phase {
                name: name.to_owned(),
                monotonic_usec,
            });
        }
    }

    /// Notes that a phase is reached anew: of several passphrases the last one counts.
    pub(crate) fn reach_anew(&mut self, name: &str) {
        self.phases.retain(|phase| phase.name != name);
        self.reach(name);
    }

    /// Notes a warning, and logs it.
    pub fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        log::warn!("{text}");
        self.warnings.push(text);
    }

    /// Writes the report at `path`.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut text = serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?;
        text.push(b'\n');
        std::fs::write(path, text)
    }
}

/// `CLOCK_MONOTONIC` in microseconds.
pub fn monotonic_usec() -> u64 {
    clock_usec(ClockId::CLOCK_MONOTONIC)
}

/// `CLOCK_REALTIME` in microseconds.
pub(super) fn realtime_usec() -> u64 {
    clock_usec(ClockId::CLOCK_REALTIME)
}

fn clock_usec(clock: ClockId) -> u64 {
    let Ok(time) = clock_gettime(clock) else { return 0 };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec() / 1000).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_prompt_and_the_last_passphrase_count() {
        let mut report = Report::new();
        for name in ["prompt", "passphrase", "prompt"] {
            report.reach(name);
        }
        report.reach_anew("passphrase");
        let names: Vec<&str> = report.phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["prompt", "passphrase"]);
        report.reach_anew("prompt");
        let names: Vec<&str> = report.phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["passphrase", "prompt"]);
    }
}
