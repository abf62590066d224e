//! Why a build failed.

use std::io;
use std::path::{Path, PathBuf};

use super::environment::EnvironmentError;
use super::output::OutputError;
use crate::build::{Ended, IdsError, RunError};
use crate::store::db::DbError;
use crate::store::derivation::LibraryError;
use crate::store::{AddError, StorePath};

/// A build that failed. Nothing of it stays but its log.
#[derive(Debug, thiserror::Error)]
#[error("{derivation} can't be built: {cause}{}", kept_words(.kept.as_deref()))]
pub struct Failure {
    /// The derivation.
    pub derivation: StorePath,
    /// What went wrong.
    #[source]
    pub cause: Cause,
    /// The last lines of its log.
    pub last: Vec<String>,
    /// Where its working directory was kept, when that was asked for.
    pub kept: Option<PathBuf>,
}

fn kept_words(kept: Option<&Path>) -> String {
    kept.map_or_else(String::new, |kept| {
        format!("; its working directory stays at {}", kept.display())
    })
}

/// What went wrong with a build.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The builder failed, or was killed.
    #[error("{}; all that it said: keel store log {log}", ended_words(.ended))]
    Ended {
        /// How it ended.
        ended: Ended,
        /// What to ask for its log.
        log: String,
    },
    /// The sandbox.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No ids.
    #[error(transparent)]
    Ids(#[from] IdsError),
    /// Its outputs can't be taken.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Its environment can't be made.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// What it depends on can't be read.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The outputs can't be registered.
    #[error(transparent)]
    Add(#[from] AddError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It needs something of the machine that keel doesn't give.
    #[error(
        "it requires the feature '{0}', which keel doesn't have: big-parallel, benchmark, nixos-test and uid-range are there"
    )]
    Feature(String),
    /// For another kind of machine.
    #[error("it is for {theirs}; this machine is {ours}")]
    System {
        /// What it's for.
        theirs: String,
        /// What this is.
        ours: String,
    },
    /// Nix's escape from the sandbox.
    #[error("it asks to be built outside of a sandbox (__noChroot), which keel never does")]
    NoSandbox,
    /// A builder that is part of Nix.
    #[error("its builder is '{0}', a part of Nix that keel doesn't have")]
    Builtin(String),
    /// What `builtin:fetchurl` was asked for.
    #[error("{url} can't be fetched: {source}")]
    Fetch {
        /// From where.
        url: String,
        /// Why.
        source: io::Error,
    },
}

impl Cause {
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Cause {
        let path = path.to_owned();
        move |source| Cause::File { path, source }
    }
}

fn ended_words(ended: &Ended) -> String {
    match ended {
        Ended::Exited(code) if *code > 128 => format!("its builder was ended by signal {}", code - 128),
        Ended::Exited(code) => format!("its builder ended with exit code {code}"),
        Ended::OutOfTime(time) => format!("it took longer than {} s and was ended", time.as_secs()),
        Ended::Silent(time) => format!("it said nothing for {} s and was ended", time.as_secs()),
        Ended::LogTooLong(bytes) => format!("it said more than {bytes} bytes and was ended"),
        Ended::OutOfMemory(bytes) => format!("it used more than {bytes} bytes of memory and was ended"),
        Ended::OutputTooLarge(bytes) => format!("its outputs had more than {bytes} bytes and it was ended"),
    }
}
