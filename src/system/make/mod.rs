//! From a configuration and the parts of its packages to a system: every table of `system.toml` has a module here, a pure
//! function to a [`Contribution`]; [`generation`] puts the contributions over the packages' parts.

pub mod accounts;
pub mod contribution;
pub mod disks;
pub mod etc;
pub mod files;
pub mod firewall;
pub mod generation;
pub mod host;
pub mod initrd;
pub mod memory;
pub mod network;
pub mod people;
pub mod programs;
pub mod record;
pub mod services;
pub mod units;
pub mod verify;

use std::path::Path;

pub use contribution::{Conflict, Contribution};

use crate::config::Config;

/// What a configuration asks for that can't be done.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// A unit.
    #[error(transparent)]
    Unit(#[from] units::UnitError),
    /// A file.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// Git's settings.
    #[error(transparent)]
    Git(#[from] programs::GitError),
    /// Two options that write one file.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// What all tables of a configuration add. `base` is the directory that its files are relative to; `fragment` gives the text
/// of a package's unit.
pub fn contribute(
    config: &Config,
    base: &Path,
    fragment: &dyn Fn(&str) -> Option<String>,
) -> Result<Contribution, OptionError> {
    let mut made = Contribution::new();
    host::contribute(&config.system, &mut made);
    disks::contribute(config, &mut made);
    people::contribute(config, &mut made);
    services::contribute(&config.services, &mut made);
    network::contribute(config, &mut made);
    firewall::contribute(&config.networking.firewall, &mut made);
    programs::contribute(&config.programs, &mut made)?;
    programs::environment(&config.environment, &mut made);
    units::contribute(config, fragment, &mut made)?;
    // Last: the user's own word on a file overrules what options write.
    files::contribute(config, base, &mut made)?;
    match made.conflicts().first() {
        Some(conflict) => Err(conflict.clone().into()),
        None => Ok(made),
    }
}
