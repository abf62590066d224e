//! What a plan is made from: the units of a running machine, beside what the new system says of them.

use std::collections::BTreeSet;

use crate::system::units::{Kind, Policy, Verdict};

/// Everything that was observed.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Units that are active.
    pub units: Vec<UnitView>,
    /// All units that are active, by any of their names.
    pub active: BTreeSet<String>,
    /// Units that active targets want now and didn't before, with the reason.
    pub wanted: Vec<(String, String)>,
    /// Units that run because active targets wanted them, and that nothing active wants in the new system, with the reason.
    pub unwanted: Vec<(String, String)>,
    /// What only a reboot brings.
    pub reboot: Vec<String>,
    /// Why systemd has to start itself anew.
    pub reexec: Option<String>,
    /// Files of the new system that local changes in `/etc` hide.
    pub hidden: Vec<String>,
    /// What was odd.
    pub warnings: Vec<String>,
}

impl Observed {
    /// Whether a unit is active.
    pub fn is_active(&self, unit: &str) -> bool {
        self.active.contains(unit)
    }
}

/// An active unit.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is observed by itself")]
pub struct UnitView {
    /// Its main name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: Text,
    /// Changed files of the code that it runs, by their base names.
    pub code: Vec<String>,
    /// Changed files of its configuration, by their base names.
    pub configuration: Vec<String>,
    /// Whether anything of it runs.
    pub has_processes: bool,
    /// Whether its mount namespace can't be reached by the replacement of the trees.
    pub is_stale: bool,
    /// Whether the new text has a way to reload.
    pub can_reload: bool,
    /// Whether somebody sits at it.
    pub in_use: bool,
    /// What its author wants.
    pub policy: Policy,
    /// The socket that starts it.
    pub socket: Option<String>,
    /// The services that a socket starts.
    pub triggers: Vec<String>,
}

/// How a unit's text differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Not at all, as systemd sees it.
    Same,
    /// The new system hasn't got the unit.
    Gone,
    /// The new system masks it.
    Masked,
    /// By section and key.
    Changed {
        /// `[Service] ExecStart changed`, …
        changes: Vec<String>,
        /// What they ask for.
        verdict: Verdict,
    },
}
