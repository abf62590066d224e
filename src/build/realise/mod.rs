//! From derivations to valid outputs: what a cache has is fetched, the rest is built in order, several at once.

mod allowed;
mod attempt;
mod attributes;
mod compare;
mod environment;
mod exported;
mod failure;
mod fetch;
mod fetchurl;
mod limits;
mod log;
mod output;
mod place;
mod plan;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Input;
use crate::store::cache::copy::Progress;
use crate::store::cache::{Cache, Trust};
use crate::store::db::{Database, DbError};
use crate::store::derivation::{Derivation, Library, LibraryError};
use crate::store::locks::TempRoots;
use crate::store::{Layout, StorePath};

pub use compare::{Checked, check};
pub use failure::{Cause, Failure};
pub use limits::BuildLimits;
pub use log::{find_log, log_path};
pub use output::OutputError;

/// How derivations are realised.
#[derive(Clone, Copy)]
pub struct Realise<'a> {
    /// The store.
    pub layout: &'a Layout,
    /// Asked in this order before anything is built.
    pub caches: &'a [Box<dyn Cache>],
    /// Whose word is taken of what caches have.
    pub trust: &'a Trust,
    /// How many builds, and how many copies, at once.
    pub jobs: usize,
    /// What concerns each build.
    pub settings: &'a Settings,
}

/// What concerns each build.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This program, which the stages of a sandbox execute: `/proc/self/exe`, and another one in tests.
    pub program: PathBuf,
    /// What a build may not exceed.
    pub limits: BuildLimits,
    /// What builders are told of the processors that they may use (`NIX_BUILD_CORES`).
    pub cores: usize,
    /// Whether the directory in which a failed builder worked stays.
    pub keep_failed: bool,
    /// What every builder sees besides the closure of its inputs.
    pub shown: Vec<Input>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            program: "/proc/self/exe".into(),
            limits: BuildLimits::default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            keep_failed: false,
            shown: Vec::new(),
        }
    }
}

/// Something to realise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// A derivation of the store.
    pub derivation: StorePath,
    /// The identifiers of the outputs that are wanted; all of them without.
    pub outputs: Option<BTreeSet<String>>,
}

impl Want {
    /// All outputs of a derivation.
    pub fn all(derivation: StorePath) -> Self {
        Self {
            derivation,
            outputs: None,
        }
    }
}

/// What happens while derivations are realised.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// How many derivations are to be built, and how many paths come from caches, as far as that's known.
    Planned {
        /// Builds.
        builds: usize,
        /// Paths, without what they need.
        fetches: usize,
    },
    /// Paths were copied from caches.
    Fetched(&'a [StorePath]),
    /// A build begins.
    Started(&'a StorePath),
    /// A line that a builder says, without its end.
    Line(&'a StorePath, &'a [u8]),
    /// A build came to its end and its outputs are valid.
    Built(&'a StorePath, Duration),
    /// A build failed.
    Failed(&'a Failure),
    /// Another process holds this lock.
    Waiting(&'a Path),
    /// Something that stops nothing.
    Warning(&'a str),
}

/// Is told what happens, by several threads.
pub trait Report: Sync {
    /// Tells.
    fn tell(&self, event: Event<'_>);

    /// Does `work`, which copies paths from caches; how far it has come may be shown meanwhile.
    fn fetching(&self, _progress: &Progress, work: &mut dyn FnMut()) {
        work();
    }
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Report for Silent {
    fn tell(&self, _event: Event<'_>) {}
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For each derivation that was wanted its wanted outputs, all of them valid now.
    pub outputs: BTreeMap<StorePath, BTreeMap<String, StorePath>>,
    /// The derivations that were built.
    pub built: Vec<StorePath>,
    /// The paths that were copied from caches.
    pub fetched: Vec<StorePath>,
}

/// Why derivations weren't realised. What was built and copied until then stays valid.
#[derive(Debug, thiserror::Error)]
pub enum RealiseError {
    /// A derivation is absent, or wrong.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A file of the store.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A derivation isn't in the store, and no cache has it.
    #[error("the derivation {0} is not valid in this store, and no cache has it")]
    Absent(StorePath),
    /// An output that the derivation doesn't have.
    #[error("{derivation} has no output '{output}': it has {known}")]
    NoOutput {
        /// The derivation.
        derivation: StorePath,
        /// What was wanted.
        output: String,
        /// What there is.
        known: String,
    },
    /// Somebody without the rights to make a sandbox.
    #[error(
        "{0} derivations are to be built, which only root can: the sandbox has users of its own (run it with sudo)"
    )]
    NotRoot(usize),
    /// A build failed.
    #[error(transparent)]
    Failed(#[from] Box<Failure>),
    /// It can't be compared with what isn't there.
    #[error("{0} isn't valid: build it before it's checked")]
    NotBuilt(StorePath),
}

/// Makes the wanted outputs valid, and keeps them from the collector as long as `roots` lives.
///
/// # Errors
/// The first fault. What was built and copied until then stays.
pub fn realise(
    realise: &Realise<'_>,
    wants: &[Want],
    roots: &mut TempRoots,
    report: &dyn Report,
) -> Result<Outcome, RealiseError> {
    let mut library = Library::new(realise.layout);
    let mut fetched = Vec::new();
    let plan = plan::plan(
        realise,
        wants,
        &mut library,
        &mut plan::Announced::new(roots),
        (&mut fetched, report),
    )?;
    let built = schedule::run(realise, &plan, report)?;
    let mut outcome = Outcome {
        built,
        fetched,
        ..Outcome::default()
    };
    let database = open(realise.layout)?;
    for want in wants {
        let derivation = library.get(&want.derivation)?;
        let outputs = wanted(want, &derivation)?;
        if let Some(path) = invalid(&database, &outputs)? {
            // Not by us: somebody deleted it by force.
            return Err(RealiseError::NotBuilt(path));
        }
        outcome
            .outputs
            .entry(want.derivation.clone())
            .or_default()
            .extend(outputs);
    }
    Ok(outcome)
}

fn open(layout: &Layout) -> Result<Database, DbError> {
    Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())
}

/// The outputs that are wanted of a derivation, and where they go.
fn wanted(want: &Want, derivation: &Derivation) -> Result<BTreeMap<String, StorePath>, RealiseError> {
    let path = |id: &String| derivation.outputs.get(id).and_then(|output| output.path.clone());
    let ids: Vec<&String> = match &want.outputs {
        None => derivation.outputs.keys().collect(),
        Some(ids) => ids.iter().collect(),
    };
    ids.into_iter()
        .map(|id| match path(id) {
            Some(path) => Ok((id.clone(), path)),
            None => Err(RealiseError::NoOutput {
                derivation: want.derivation.clone(),
                output: id.clone(),
                known: derivation.outputs.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
        })
        .collect()
}

fn invalid(database: &Database, outputs: &BTreeMap<String, StorePath>) -> Result<Option<StorePath>, DbError> {
    for path in outputs.values() {
        if !database.is_valid(path)? {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}
