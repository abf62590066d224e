//! What the merge did, and what it left alone, in words.

use std::fmt;

use super::files::{FileName, Files};

/// A user or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user.
    User,
    /// A group.
    Group,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Group => "group",
        })
    }
}

/// A field of passwd(5) that follows the declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Number of the primary group.
    PrimaryGroup,
    /// Full name and so on.
    Gecos,
    /// Home directory.
    Home,
    /// Login shell.
    Shell,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrimaryGroup => "primary group",
            Self::Gecos => "full name",
            Self::Home => "home directory",
            Self::Shell => "shell",
        })
    }
}

/// What is done, or on purpose not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A user or a group is added, with this number.
    Add(Kind, String, u32),
    /// A user or a group is removed.
    Remove(Kind, String),
    /// A field of a user is changed.
    Set {
        /// The user.
        user: String,
        /// The field.
        field: Field,
        /// Its new value.
        to: String,
    },
    /// A user becomes a member of a group.
    Join {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// A user is no longer a member of a group.
    Leave {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// An entry of an account in a shadow file, without a password that could be used.
    AddShadow(FileName, String),
    /// A range of subordinate numbers.
    AddRange {
        /// [`FileName::Subuid`] or [`FileName::Subgid`].
        file: FileName,
        /// The user.
        user: String,
        /// First number.
        start: u32,
        /// How many.
        count: u32,
    },
    /// An account keeps the number that it has on this machine, though another is declared.
    KeepNumber {
        /// User or group.
        kind: Kind,
        /// Its name.
        name: String,
        /// The number that it has.
        has: u32,
        /// The number that is declared.
        declared: u32,
    },
    /// The declared number belongs to another account of this machine.
    NumberTaken {
        /// User or group.
        kind: Kind,
        /// The declared name.
        name: String,
        /// The declared number.
        declared: u32,
        /// Whose it is.
        holder: String,
    },
    /// A field of a user stays as somebody set it.
    KeepField {
        /// The user.
        user: String,
        /// The field.
        field: Field,
        /// What it is.
        is: String,
        /// What is declared.
        declared: String,
    },
    /// An account stays, though it is no longer declared.
    KeepUndeclared(Kind, String),
    /// A line that can't be understood stays as it is.
    KeepLine(FileName, usize),
    /// A declaration that would damage the files is left out.
    Refuse(Kind, String),
    /// No free number or range is left.
    NoneFree(String),
}

/// How much a step matters to whoever reads the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Something is changed, as declared.
    Change,
    /// Something stays, as somebody wanted it.
    Note,
    /// Something isn't as it should be; somebody must look at it.
    Warning,
}

/// One thing done or not done, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub what: What,
    /// Why.
    pub reason: String,
}

impl Step {
    /// How much it matters.
    pub fn weight(&self) -> Weight {
        match self.what {
            What::Add(..)
            | What::Remove(..)
            | What::Set { .. }
            | What::Join { .. }
            | What::Leave { .. }
            | What::AddShadow(..)
            | What::AddRange { .. } => Weight::Change,
            What::KeepField { .. } | What::KeepUndeclared(..) => Weight::Note,
            What::KeepNumber { .. }
            | What::NumberTaken { .. }
            | What::KeepLine(..)
            | What::Refuse(..)
            | What::NoneFree(..) => Weight::Warning,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Add(kind, name, number) => write!(f, "{kind} {} added as {number}", name.escape_debug()),
            What::Remove(kind, name) => write!(f, "{kind} {} removed", name.escape_debug()),
            What::Set { user, field, to } => write!(f, "{field} of {user} set to {}", to.escape_debug()),
            What::Join { user, group } => write!(f, "{user} joins {group}"),
            What::Leave { user, group } => write!(f, "{user} leaves {group}"),
            What::AddShadow(file, name) => write!(f, "{name} added to {file}, locked"),
            What::AddRange {
                file,
                user,
                start,
                count,
            } => {
                write!(f, "{user} given {count} numbers from {start} in {file}")
            }
            What::KeepNumber {
                kind,
                name,
                has,
                declared,
            } => {
                write!(
                    f,
                    "{kind} {name} keeps number {has}, though {declared} is declared"
                )
            }
            What::NumberTaken {
                kind,
                name,
                declared,
                holder,
            } => {
                write!(
                    f,
                    "{kind} {name} can't have its number {declared}, which is {}'s",
                    holder.escape_debug()
                )
            }
            What::KeepField {
                user,
                field,
                is,
                declared,
            } => {
                let (is, declared) = (is.escape_debug(), declared.escape_debug());
                write!(f, "{field} of {user} stays {is}, though {declared} is declared")
            }
            What::KeepUndeclared(kind, name) => write!(f, "{kind} {} stays", name.escape_debug()),
            What::KeepLine(file, line) => write!(f, "line {line} of {file} stays as it is"),
            What::Refuse(kind, name) => write!(f, "{kind} {} left out", name.escape_debug()),
            What::NoneFree(what) => write!(f, "{what}"),
        }?;
        write!(f, ": {}", self.reason)
    }
}

/// The result of the merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is done and not done, in order.
    pub steps: Vec<Step>,
    /// The new texts of the six files.
    pub files: Files,
}

impl Plan {
    /// The steps of a weight.
    pub fn of_weight(&self, weight: Weight) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.weight() == weight)
    }
}
