//! `/var/lib/keel/generations.json`: what a machine remembers of its systems. When it's lost, it begins anew: the system
//! that runs is the last good one once it's judged.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::files;

/// Where it is, below the root.
pub const PATH: &str = "var/lib/keel/generations.json";
/// A longer one is refused: it would remember more systems than a disk holds.
const LENGTH_MAX: u64 = 16 << 20;
/// Boots of a system that are remembered.
const BOOTS_MAX: usize = 20;
/// How often a trial that was cut short without a failure is armed again.
pub const ATTEMPTS_MAX: u32 = 3;

/// Why it can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct RecordError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// Version of the format: 1.
    pub version: u32,
    /// The system that was booted and healthy last.
    pub last_good: Option<String>,
    /// The system that is tried by a boot.
    pub trial: Option<Trial>,
    /// What is known of a system, by its store path.
    pub systems: BTreeMap<String, Known>,
}

/// A trial boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// The system on trial.
    pub system: String,
    /// Its generation.
    pub generation: u64,
    /// Its boot entry.
    pub entry: String,
    /// How often it was armed.
    pub attempts: u32,
    /// Where it stands.
    pub state: TrialState,
}

/// Where a trial stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TrialState {
    /// The next boot is the trial.
    Armed,
    /// It has failed, for this reason; it isn't tried again by itself.
    Failed(String),
}

/// What is known of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Known {
    /// It's never removed to make room.
    pub pinned: bool,
    /// The administrator's words for it.
    pub tag: Option<String>,
    /// Its boots, the newest last.
    pub boots: Vec<Boot>,
}

/// A boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Seconds since 1970.
    pub time: u64,
    /// Whether it was healthy.
    pub healthy: bool,
    /// What was wrong, or nothing.
    pub reason: String,
}

/// What a boot means for a trial that was armed before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No trial was under way.
    None,
    /// This boot is the trial.
    IsTrial,
    /// The trial didn't come to its end, nobody knows why: armed again.
    Again,
    /// It isn't armed again; it says why.
    GivenUp(String),
}

impl Record {
    /// Reads it below `root`. One that isn't there or doesn't parse is empty; what is wrong is returned beside it.
    pub fn read(root: &Path) -> (Self, Option<RecordError>) {
        let path = root.join(PATH);
        let empty = Self {
            version: 1,
            ..Self::default()
        };
        let length = std::fs::metadata(&path).map(|found| found.len());
        let bytes = match length {
            Ok(length) if length > LENGTH_MAX => Err(io::Error::other("it is too long")),
            _ => std::fs::read(&path),
        };
        let read = bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
        match read {
            Ok(record) => (record, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (empty, None),
            Err(source) => (empty, Some(RecordError { path, source })),
        }
    }

    /// Writes it below `root`: a power cut leaves the old one or the new one.
    pub fn write(&self, root: &Path) -> Result<(), RecordError> {
        let path = root.join(PATH);
        let error = |source| RecordError {
            path: path.clone(),
            source,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(error)?;
        }
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|source| error(source.into()))?;
        bytes.push(b'\n');
        files::write_atomically(&path, &bytes, 0o644).map_err(error)
    }

    /// Notes a boot of `system`.
    pub fn note_boot(&mut self, system: &str, boot: Boot) {
        let boots = &mut self.systems.entry(system.to_owned()).or_default().boots;
        boots.push(boot);
        let surplus = boots.len().saturating_sub(BOOTS_MAX);
        let _old = boots.drain(..surplus);
    }

    /// Judges the trial that was armed before this boot of `running`, and notes what follows from it.
    pub fn judge_trial(&mut self, running: &str) -> Verdict {
        let Some(trial) = &mut self.trial else {
            return Verdict::None;
        };
        match &trial.state {
            _ if trial.system == running => Verdict::IsTrial,
            TrialState::Failed(reason) => Verdict::GivenUp(reason.clone()),
            TrialState::Armed if trial.attempts < ATTEMPTS_MAX => {
                trial.attempts += 1;
                Verdict::Again
            }
            TrialState::Armed => {
                let reason = format!("{} boots of it were cut short", trial.attempts);
                trial.state = TrialState::Failed(reason.clone());
                Verdict::GivenUp(reason)
            }
        }
    }

    /// `system` has booted and is healthy. When it was on trial, or when nothing was known to be good, it's the last good
    /// one from now on, and this is true. An older system that somebody picked once changes nothing.
    pub fn bless(&mut self, system: &str) -> bool {
        let was_trial = self.trial.as_ref().is_some_and(|trial| trial.system == system);
        if was_trial {
            self.trial = None;
        }
        let is_blessed = was_trial || self.last_good.is_none();
        if is_blessed {
            self.last_good = Some(system.to_owned());
        }
        is_blessed
    }

    /// The trial that the next boot is to be.
    pub fn armed_trial(&self) -> Option<&Trial> {
        self.trial
            .as_ref()
            .filter(|trial| trial.state == TrialState::Armed)
    }

    /// Whether a boot of `system` was healthy once.
    pub fn is_proven(&self, system: &str) -> bool {
        self.last_good.as_deref() == Some(system)
            || self
                .systems
                .get(system)
                .is_some_and(|known| known.boots.iter().any(|boot| boot.healthy))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn armed(attempts: u32) -> Record {
        Record {
            version: 1,
            trial: Some(Trial {
                system: "/nix/store/new".into(),
                generation: 2,
                entry: "keel-system-2.conf".into(),
                attempts,
                state: TrialState::Armed,
            }),
            ..Record::default()
        }
    }

    #[test]
    fn a_trial_that_is_cut_short_is_armed_three_times() {
        let mut record = armed(1);
        assert_eq!(record.judge_trial("/nix/store/new"), Verdict::IsTrial);
        assert_eq!(record.judge_trial("/nix/store/old"), Verdict::Again);
        assert_eq!(record.judge_trial("/nix/store/old"), Verdict::Again);
        assert!(matches!(
            record.judge_trial("/nix/store/old"),
            Verdict::GivenUp(_)
        ));
        assert!(matches!(
            record.judge_trial("/nix/store/old"),
            Verdict::GivenUp(_)
        ));
    }

    #[test]
    fn blessing_ends_the_trial_of_that_system_only() {
        let mut record = armed(1);
        assert!(record.bless("/nix/store/old"));
        assert!(record.trial.is_some());
        assert!(record.bless("/nix/store/new"));
        assert_eq!(record.trial, None);
        assert_eq!(record.last_good.as_deref(), Some("/nix/store/new"));
        // Picked once in the menu.
        assert!(!record.bless("/nix/store/old"));
        assert_eq!(record.last_good.as_deref(), Some("/nix/store/new"));
    }

    #[test]
    fn it_survives_writing_and_a_damaged_one_is_said() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(root.path()).0.version, 1);
        let mut record = armed(2);
        for time in 0..30 {
            record.note_boot(
                "/nix/store/new",
                Boot {
                    time,
                    healthy: true,
                    reason: String::new(),
                },
            );
        }
        record.write(root.path()).unwrap();
        let (read, fault) = Record::read(root.path());
        assert!(fault.is_none());
        assert_eq!(read, record);
        assert_eq!(read.systems.values().next().unwrap().boots.len(), BOOTS_MAX);
        std::fs::write(root.path().join(PATH), "{").unwrap();
        let (read, fault) = Record::read(root.path());
        assert_eq!(read.trial, None);
        assert!(fault.unwrap().to_string().contains("generations.json"));
    }
}
