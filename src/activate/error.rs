//! How a switch ends, when not well.

/// Exit codes of `activate`.
pub mod code {
    /// Done.
    pub const DONE: u8 = 0;
    /// An error; nothing changed.
    pub const ERROR: u8 = 1;
    /// The activation failed, and the old system could not be brought back whole.
    pub const ACTIVATION: u8 = 2;
    /// Units failed, and were left so.
    pub const UNITS: u8 = 4;
    /// The old system is back.
    pub const REVERTED: u8 = 5;
    /// No space on the ESP; nothing changed.
    pub const NO_SPACE: u8 = 6;
    /// Somebody holds an inhibitor; nothing changed.
    pub const INHIBITED: u8 = 7;
    /// Another process works on the machine.
    pub const LOCKED: u8 = 11;
    /// Done as far as it goes without a reboot.
    pub const REBOOT: u8 = 100;
}

/// Why a switch stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The exit code when nothing has changed yet, or when it's left as it is.
    pub code: u8,
    /// In plain words: what failed, on what, why.
    pub text: String,
    /// Units whose last log lines tell more.
    pub units: Vec<String>,
}

impl Failure {
    /// A failure of a step that isn't a unit's.
    pub(super) fn activation(what: &str, why: impl std::fmt::Display) -> Self {
        Self {
            code: code::ACTIVATION,
            text: format!("{what}: {why}"),
            units: Vec::new(),
        }
    }

    /// Before anything has changed.
    pub(super) fn refused(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            units: Vec::new(),
        }
    }

    /// Of units.
    pub(super) fn units(text: String, units: Vec<String>) -> Self {
        Self {
            code: code::UNITS,
            text,
            units,
        }
    }
}
