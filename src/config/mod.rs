//! `system.toml`: what a machine is declared to be.
//!
//! [`load`] reads the main file and what it imports, holds every key against the table of [`options`], merges the files by
//! fixed rules, and checks what no option shows alone. docs/configuration.md is for users.

mod check;
mod convert;
mod cross;
pub mod describe;
mod load;
mod merge;
pub mod options;
mod overrides;
mod place;
mod read;
mod required;
mod setting;
#[cfg(test)]
mod tests;
mod types;
mod walk;

pub use load::{Loaded, load, load_file};
pub use place::{Place, Problems, Remark, Text, printable};
pub use read::Sources;
pub use setting::dotted;
pub use types::*;

/// Where a machine's configuration is.
pub const DEFAULT_PATH: &str = "/etc/keel/system.toml";

/// The values that `state_version` may have.
pub const STATE_VERSIONS: &[&str] = &["1"];
