//! Which configuration a verb works on.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::Config;
use crate::pins::FILE_NAME;

/// The machine's own.
pub(super) const DEFAULT: &str = "/etc/keel/system.toml";

/// Which configuration.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration.
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    config: PathBuf,
}

impl ConfigArgs {
    /// Reads it.
    pub(super) fn load(&self) -> anyhow::Result<Config> {
        let text = std::fs::read_to_string(&self.config)
            .with_context(|| format!("{} can't be read", self.config.display()))?;
        toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", self.config.display()))
    }

    /// The lock beside it.
    pub(super) fn lock_path(&self) -> PathBuf {
        self.config
            .parent()
            .unwrap_or_else(|| Path::new("."))
            .join(FILE_NAME)
    }
}
