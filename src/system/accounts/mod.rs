//! The merge of accounts: what is on the machine, what this system declares, what the last generation declared.
//!
//! [`merge`] is pure; [`Etc`] reads and replaces the files under the password lock. The same code runs in early boot
//! (on the real root's `/etc`) and at a switch.

mod apply;
mod files;
mod merge;
mod numbers;
mod plan;
mod removal;
mod table;
#[cfg(test)]
mod tests;

pub use apply::{Applied, Etc, EtcError};
pub use files::{FileName, Files};
pub use merge::merge;
pub use plan::{Field, Kind, Plan, Step, Weight, What};
