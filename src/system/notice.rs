//! What a user is told while something is made.

use std::fmt;
use std::path::PathBuf;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file is not part of the system.
    LeftOut {
        /// Its path on the machine.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// A name keeps the number that it has on the machine, another than in the root file system.
    Renumbered {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The number in the root file system.
        from: u32,
        /// The number in the images and in `accounts.json`.
        to: u32,
    },
    /// Something that may not be as the user wants it.
    Warning(String),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftOut { path, why } => write!(f, "left out: {} ({why})", path.display()),
            Self::Renumbered { kind, name, from, to } => {
                write!(
                    f,
                    "{kind} {name} is number {to} on this machine, not {from}: files are given to {to}"
                )
            }
            Self::Warning(text) => write!(f, "warning: {text}"),
        }
    }
}
