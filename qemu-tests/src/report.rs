//! Figures: how long what took, how large what is. They're shown and kept, and decide nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// The number.
    pub value: f64,
    /// `s` or `MB`.
    pub unit: String,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Figures(Mutex<BTreeMap<String, Figure>>);

impl Figures {
    /// Notes a figure.
    pub(crate) fn note(&self, name: &str, value: f64, unit: &str) {
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = figures.insert(
            name.to_owned(),
            Figure {
                value,
                unit: unit.to_owned(),
            },
        );
    }

    /// Notes the phases of a boot.
    pub(crate) fn note_boot(&self, prefix: &str, report: &BootReport) {
        let phases = Phases::of(report);
        let named = [
            ("kernel start to keel-init", phases.to_init),
            ("kernel start to prompt", phases.to_prompt),
            ("key derivation", Some(phases.key_derivation)),
            (
                "passphrase to systemd, net of the key derivation",
                phases.to_systemd,
            ),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                self.note(&format!("{prefix}: {name}"), value, "s");
            }
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Those of a scenario, without its name.
    pub(crate) fn of(&self, scenario: &str) -> Vec<(String, Figure)> {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |name: &String| name.strip_prefix(scenario)?.strip_prefix(": ").map(str::to_owned);
        figures
            .iter()
            .filter_map(|(name, figure)| Some((own(name)?, figure.clone())))
            .collect()
    }

    /// As lines of text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        figures
            .iter()
            .map(|(name, figure)| format!("{name}: {:.2} {}", figure.value, figure.unit))
            .collect()
    }

    /// Writes them as JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_string_pretty(&*figures).context("figures")?;
        fs::write(path, text + "\n").with_context(|| format!("{} can't be written", path.display()))
    }
}

/// What keel-init leaves in `/run/keel/boot.json`, as far as it's looked at here.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct BootReport {
    /// Moments of the boot.
    pub phases: Vec<Phase>,
    /// Unlocked volumes.
    pub unlocked: Vec<Unlocked>,
    /// Activated logical volumes.
    pub activated: Vec<String>,
    /// The generation.
    pub generation: Option<Generation>,
    /// The console's keymap.
    #[serde(default)]
    pub keymap: Option<String>,
    /// What should be known.
    pub warnings: Vec<String>,
}

/// A moment.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Phase {
    /// Its name.
    pub name: String,
    /// Microseconds since the kernel started.
    pub monotonic_usec: u64,
}

/// An unlocked volume.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Unlocked {
    /// Name of the mapping.
    pub name: String,
    /// The keyslot that opened.
    pub keyslot: u32,
    /// Microseconds that the keyslot took.
    pub duration_usec: u64,
}

/// Which system runs.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Generation {
    /// What was asked for.
    pub requested: Option<String>,
    /// What runs.
    pub system: String,
    /// Its number.
    pub number: Option<u64>,
    /// `entry`, `profile`, `picker` or `fallback`.
    pub chosen_by: String,
    /// Why another than the requested one.
    pub reason: Option<String>,
}

/// The times of a boot, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Phases {
    /// From the kernel's start to that of `keel-init`.
    pub to_init: Option<f64>,
    /// From the kernel's start to the first prompt.
    pub to_prompt: Option<f64>,
    /// In keyslots.
    pub key_derivation: f64,
    /// From the passphrase to the start of systemd, without the key derivation.
    pub to_systemd: Option<f64>,
}

impl Phases {
    /// Reads them from a report.
    pub(crate) fn of(report: &BootReport) -> Phases {
        #[allow(clippy::cast_precision_loss)] // microseconds of one boot
        let seconds = |usec: u64| usec as f64 / 1e6;
        let at = |name: &str| {
            report
                .phases
                .iter()
                .find(|phase| phase.name == name)
                .map(|phase| seconds(phase.monotonic_usec))
        };
        let key_derivation = report
            .unlocked
            .iter()
            .map(|volume| seconds(volume.duration_usec))
            .sum();
        let to_systemd = at("hand-off")
            .zip(at("passphrase"))
            .map(|(end, start)| end - start - key_derivation);
        Phases {
            to_init: at("init"),
            to_prompt: at("prompt"),
            key_derivation,
            to_systemd,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn phases_are_net_of_the_key_derivation() {
        let report: BootReport = serde_json::from_str(
            r#"{"phases": [{"name": "prompt", "monotonic_usec": 4000000},
                           {"name": "passphrase", "monotonic_usec": 6000000},
                           {"name": "hand-off", "monotonic_usec": 9500000}],
                "unlocked": [{"name": "crypt1", "keyslot": 0, "duration_usec": 2000000}],
                "activated": [], "generation": null, "warnings": []}"#,
        )
        .unwrap();
        let phases = Phases::of(&report);
        assert!((phases.to_prompt.unwrap() - 4.0).abs() < 1e-9);
        assert!((phases.to_systemd.unwrap() - 1.5).abs() < 1e-9);
    }
}
