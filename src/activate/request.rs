//! What a switch was asked to do.

use serde::{Deserialize, Serialize};

/// What is to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Activated now, and booted from now on once a boot of it has been healthy.
    Switch,
    /// Activated now; nothing is kept.
    Test,
    /// Not activated; the next boot is its trial.
    Boot,
    /// The way back, after a switch that failed.
    Revert,
}

impl Goal {
    /// Whether the running machine changes.
    pub fn activates(self) -> bool {
        !matches!(self, Goal::Boot)
    }

    /// Whether the next boot changes.
    pub fn persists(self) -> bool {
        matches!(self, Goal::Switch | Goal::Boot)
    }

    /// Whether the old system comes back when it fails.
    pub fn reverts(self) -> bool {
        matches!(self, Goal::Switch | Goal::Test)
    }
}

/// What is asked for, as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What is to come of it.
    pub goal: Goal,
    /// The system that runs: a store path.
    pub old: String,
    /// The system that is to run.
    pub new: String,
    /// Its generation; absent when it has none.
    pub generation: Option<u64>,
    /// Mount point of the ESP; absent when the machine has none.
    pub esp: Option<String>,
    /// Seconds within which somebody has to confirm.
    pub confirm: Option<u64>,
    /// Seconds until the old system comes back, whatever hangs.
    pub deadline: u64,
    /// Seconds that a single unit may take to stop, start or reload.
    pub unit_deadline: u64,
    /// Whether a switch that failed is left as it is, for somebody to look at.
    pub leave_failed: bool,
    /// Whether the inhibitors of others are passed over.
    pub ignore_inhibitors: bool,
    /// Whether the next boot isn't rehearsed.
    #[serde(default)]
    pub no_rehearsal: bool,
}

impl Request {
    /// Where it leads, in words.
    pub(super) fn describe(&self) -> String {
        match self.generation {
            Some(number) => format!("generation {number} ({})", self.new),
            None => self.new.clone(),
        }
    }
}
