//! The machine's configuration: `keel check`, `keel options`, and how problems with it are shown.

mod check;
mod options;
mod problems;

pub(super) use check::{Args as CheckArgs, run as check};
pub(super) use options::{Args as OptionsArgs, run as options};

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::output::color::Style;
use crate::config::{DEFAULT_PATH, Loaded, Problems, load_file};

/// Which configuration, and what in it is another way.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct ConfigArgs {
    /// The configuration; /etc/keel/system.toml when left out.
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// An option whose value counts instead of the files', such as system.hostname=nixie; may be given several times.
    #[arg(long, value_name = "OPTION=VALUE")]
    option: Vec<String>,
}

impl ConfigArgs {
    /// The main file.
    pub(super) fn path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
    }

    /// Loads it, and shows what is to be said about it.
    pub(super) fn load(&self) -> Result<Loaded> {
        load(self.path(), &self.option)
    }

    /// The lock beside it.
    pub(super) fn lock_path(&self) -> PathBuf {
        let directory = self.path().parent().unwrap_or(Path::new(""));
        directory.join(crate::pins::FILE_NAME)
    }
}

/// Loads a configuration. Notes and problems are shown on standard error; the error that is returned only counts them.
pub(super) fn load(path: &Path, options: &[String]) -> Result<Loaded> {
    let style = Style::stderr();
    match load_file(path, options) {
        Ok(loaded) => {
            for note in &loaded.notes {
                problems::show(problems::Severity::Note, note, style);
            }
            Ok(loaded)
        }
        Err(problems) => {
            for problem in &problems.0 {
                problems::show(problems::Severity::Error, problem, style);
            }
            Err(count(path, &problems))
        }
    }
}

fn count(path: &Path, problems: &Problems) -> anyhow::Error {
    match problems.0.len() {
        1 => anyhow!("{} has a problem; nothing was changed", path.display()),
        count => anyhow!("{} has {count} problems; nothing was changed", path.display()),
    }
}
