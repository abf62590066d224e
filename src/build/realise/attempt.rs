//! One build: under the locks on its outputs, in a sandbox, and from there into the store.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use super::environment::{Given, Surroundings, given};
use super::failure::{Cause, Failure};
use super::log::Log;
use super::output::{self, Canonical, OutputError};
use super::place::Place;
use super::{Event, Realise, Report, allowed, fetchurl, open};
use crate::build::{BUILDER_GID, BUILDER_UID, Ended, IDS, IdRange, Input, Sandbox, run};
use crate::store::db::{Database, Direction, PathInfo};
use crate::store::derivation::{Derivation, Library};
use crate::store::locks::PathLock;
use crate::store::{Addition, Prepared, StorePath, copy};

/// Features that a derivation may require; all but the last ask for what every machine has.
const FEATURES: [&str; 4] = ["big-parallel", "benchmark", "nixos-test", UID_RANGE];
const UID_RANGE: &str = "uid-range";
/// How builders are named that are part of Nix.
const BUILTIN: &str = "builtin:";

/// What is built, and who is told.
pub(super) struct Attempt<'a> {
    pub(super) realise: &'a Realise<'a>,
    pub(super) path: &'a StorePath,
    pub(super) derivation: &'a Derivation,
    pub(super) report: &'a dyn Report,
    pub(super) database: Database,
}

/// An output that a builder made, in canonical form.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) id: String,
    pub(super) info: PathInfo,
    pub(super) tree: PathBuf,
}

type Locks = Vec<(StorePath, PathLock)>;

/// Builds a derivation whose inputs are valid, and registers its outputs. Whether it was built: not when another process
/// did it meanwhile.
pub(super) fn build(
    realise: &Realise<'_>,
    path: &StorePath,
    derivation: &Derivation,
    report: &dyn Report,
) -> Result<bool, Box<Failure>> {
    let started = Instant::now();
    let attempt = Attempt::new(realise, path, derivation, report)?;
    let locks = attempt.lock().map_err(|cause| attempt.failed(cause))?;
    if attempt.is_done().map_err(|cause| attempt.failed(cause))? {
        return Ok(false);
    }
    attempt.make(|made, _place| attempt.register(made, locks))?;
    report.tell(Event::Built(path, started.elapsed()));
    Ok(true)
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        realise: &'a Realise<'a>,
        path: &'a StorePath,
        derivation: &'a Derivation,
        report: &'a dyn Report,
    ) -> Result<Self, Box<Failure>> {
        let database = open(realise.layout).map_err(|error| failure(path, error.into()))?;
        Ok(Self {
            realise,
            path,
            derivation,
            report,
            database,
        })
    }

    pub(super) fn failed(&self, cause: Cause) -> Box<Failure> {
        failure(self.path, cause)
    }

    /// The locks on all outputs, in the order of their paths: as Nix takes them, so that nobody builds the same meanwhile.
    pub(super) fn lock(&self) -> Result<Locks, Cause> {
        let mut paths: Vec<&StorePath> = self.outputs().map(|(_, path)| path).collect();
        paths.sort_unstable();
        let mut locks = Vec::new();
        for path in paths {
            let target = self.realise.layout.physical_path(path);
            let mut waiting = |lock: &std::path::Path| self.report.tell(Event::Waiting(lock));
            let lock = PathLock::take(&target, &mut waiting).map_err(Cause::file(&target))?;
            locks.push((path.clone(), lock));
        }
        Ok(locks)
    }

    fn outputs(&self) -> impl Iterator<Item = (&'a String, &'a StorePath)> {
        let outputs = self.derivation.outputs.iter();
        outputs.filter_map(|(id, output)| Some((id, output.path.as_ref()?)))
    }

    fn is_done(&self) -> Result<bool, Cause> {
        for (_, path) in self.outputs() {
            if !self.database.is_valid(path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs the builder, and gives its outputs to `take` before the place that they lie in is removed.
    pub(super) fn make<T>(
        &self,
        take: impl FnOnce(Vec<Made>, &Place) -> Result<T, Cause>,
    ) -> Result<T, Box<Failure>> {
        let failed = |cause| self.failed(cause);
        let layout = self.realise.layout;
        let is_root = self.check().map_err(failed)?;
        let state_dir = layout.physical(layout.state_dir());
        let ids = IdRange::take(&state_dir).map_err(|error| failed(error.into()))?;
        let place = Place::make(layout, self.path, ids.first()).map_err(failed)?;
        let log_path = super::log_path(layout, self.path);
        let mut log = Log::begin(layout, self.path, self.report)
            .map_err(Cause::file(&log_path))
            .map_err(failed)?;
        self.report.tell(Event::Started(self.path));
        let builder = if is_root {
            (0, 0)
        } else {
            (BUILDER_UID, BUILDER_GID)
        };
        let room = Room {
            place: &place,
            ids: ids.first()..ids.first() + IDS,
            builder,
        };
        let result = self.run(&room, &mut log).and_then(|made| take(made, &place));
        result.map_err(|cause| {
            let kept = self.realise.settings.keep_failed.then(|| place.keep(self.path));
            let failure = Box::new(Failure {
                derivation: self.path.clone(),
                cause,
                last: log.last(),
                kept: kept.and_then(Result::ok),
            });
            self.report.tell(Event::Failed(&failure));
            failure
        })
    }

    /// Whether this machine can build it; whether as root of a range of ids.
    fn check(&self) -> Result<bool, Cause> {
        let theirs = String::from_utf8_lossy(&self.derivation.system);
        let ours = format!("{}-linux", std::env::consts::ARCH);
        let also = if ours == "x86_64-linux" {
            "i686-linux"
        } else {
            "builtin"
        };
        if ![ours.as_str(), also, "builtin"].contains(&&*theirs) {
            let theirs = theirs.into_owned();
            return Err(Cause::System { theirs, ours });
        }
        if matches!(self.derivation.variable("__noChroot"), Some("1")) {
            return Err(Cause::NoSandbox);
        }
        let attributes =
            super::attributes::of(self.derivation).map_err(super::environment::EnvironmentError::from)?;
        let features =
            super::attributes::words(self.derivation, attributes.as_ref(), "requiredSystemFeatures");
        match features
            .iter()
            .find(|feature| !FEATURES.contains(&feature.as_str()))
        {
            Some(unknown) => Err(Cause::Feature(unknown.clone())),
            None => Ok(features.iter().any(|feature| feature == UID_RANGE)),
        }
    }

    /// The closure of all that it may see.
    fn inputs(&self) -> Result<Vec<StorePath>, Cause> {
        let mut roots: Vec<StorePath> = self.derivation.input_sources.iter().cloned().collect();
        let mut library = Library::new(self.realise.layout);
        for (input, ids) in &self.derivation.input_derivations {
            let input = library.get(input)?;
            let outputs = ids.iter().filter_map(|id| input.outputs.get(id));
            roots.extend(outputs.filter_map(|output| output.path.clone()));
        }
        Ok(self.database.closure(&roots, Direction::References)?)
    }

    fn run(&self, room: &Room<'_>, log: &mut Log<'_>) -> Result<Vec<Made>, Cause> {
        let settings = self.realise.settings;
        let inputs = self.inputs()?;
        let surroundings = Surroundings {
            layout: self.realise.layout,
            database: &self.database,
            inputs: &inputs,
            cores: settings.cores,
        };
        let given = given(self.derivation, &surroundings)?;
        let owner = (room.ids.start + room.builder.0, room.ids.start + room.builder.1);
        room.place.directories(room.ids.start, owner.0)?;
        given.write(&room.place.build(), owner)?;
        let builder = String::from_utf8_lossy(&given.builder).into_owned();
        let owners = if let Some(builtin) = builder.strip_prefix(BUILTIN) {
            if builtin != "fetchurl" {
                return Err(Cause::Builtin(builder));
            }
            fetchurl::run(self.derivation, room.place, settings.limits.output_bytes)?;
            let uid = nix::unistd::geteuid().as_raw();
            uid..uid + 1
        } else {
            let sandbox = self.sandbox(room, given, &inputs);
            let ended = run(&settings.program, &sandbox, settings.limits.of_run(), log)?;
            if ended != Ended::Exited(0) {
                let log = self.path.absolute(self.realise.layout.store_dir());
                return Err(Cause::Ended { ended, log });
            }
            room.ids.clone()
        };
        self.take(room.place, owners, &inputs)
    }

    fn sandbox(&self, room: &Room<'_>, given: Given, inputs: &[StorePath]) -> Sandbox {
        let (layout, settings) = (self.realise.layout, self.realise.settings);
        let shown = inputs.iter().map(|path| Input {
            source: layout.physical_path(path),
            target: path.absolute(layout.store_dir()).into(),
        });
        Sandbox {
            root: room.place.root(),
            build_directory: room.place.build(),
            store_dir: layout.store_dir().to_owned(),
            inputs: shown.chain(settings.shown.iter().cloned()).collect(),
            builder: given.builder,
            arguments: given.arguments,
            environment: given.environment.into_iter().collect(),
            first_id: room.ids.start,
            is_root: room.builder.0 == 0,
            has_network: self.derivation.fixed_output().is_some(),
            output_bytes_max: settings.limits.output_bytes,
            memory_bytes_max: settings.limits.memory_bytes,
        }
    }

    /// The outputs, as they may be registered.
    fn take(&self, place: &Place, owners: Range<u32>, inputs: &[StorePath]) -> Result<Vec<Made>, Cause> {
        let store_dir = self.realise.layout.store_dir();
        let mut canonical = Canonical::new(owners, self.realise.settings.limits.output_bytes);
        for (_, path) in self.outputs() {
            let tree = place.output(path);
            if tree.symlink_metadata().is_err() {
                return Err(OutputError::Missing(path.absolute(store_dir)).into());
            }
            canonical.tree(&tree)?;
        }
        let mut all = Vec::new();
        for (id, path) in self.outputs() {
            let mut tree = place.output(path);
            let mut ca = None;
            if let Some(fixed) = self.derivation.fixed_output() {
                // In the host's network a builder can hand an open file to somebody outside, who writes to it later: what is
                // hashed and registered is a copy.
                let copied = place.beside("copied");
                let _nar = copy::copy(&tree, &copied).map_err(OutputError::from)?;
                tree = copied;
                ca = Some(output::fixed(&tree, path, fixed, store_dir)?);
            }
            let candidates = inputs.iter().chain(self.outputs().map(|(_, path)| path));
            let (nar, references) = output::scan(&tree, candidates)?;
            if let (Some(_), Some(reference)) = (&ca, references.first()) {
                return Err(OutputError::FixedRefers {
                    path: path.clone(),
                    reference: reference.clone(),
                }
                .into());
            }
            let info = PathInfo {
                deriver: Some(self.path.clone()),
                ultimate: true,
                ca,
                ..PathInfo::new(path.clone(), nar, references)
            };
            let id = id.clone();
            all.push(Made { id, info, tree });
        }
        output::no_circle(all.iter().map(|made: &Made| &made.info))?;
        allowed::check(self.derivation, &all, self.realise.layout, &self.database)?;
        Ok(all)
    }

    /// Makes the outputs valid, all of them or none.
    fn register(&self, made: Vec<Made>, locks: Locks) -> Result<(), Cause> {
        let mut waiting = |lock: &std::path::Path| self.report.tell(Event::Waiting(lock));
        let mut addition = Addition::begin(self.realise.layout, &mut waiting)?;
        addition.hold(locks);
        for Made { info, tree, .. } in made {
            let temporary = addition.temporary();
            std::fs::rename(&tree, &temporary).map_err(Cause::file(&tree))?;
            let nar = info.nar;
            addition.adopt_as(info, Prepared::new(temporary, nar))?;
        }
        Ok(addition.commit()?)
    }
}

/// Where a builder works, and as whom.
struct Room<'a> {
    place: &'a Place,
    ids: Range<u32>,
    builder: (u32, u32),
}

fn failure(path: &StorePath, cause: Cause) -> Box<Failure> {
    Box::new(Failure {
        derivation: path.clone(),
        cause,
        last: Vec::new(),
        kept: None,
    })
}

/// The outputs that were made, by identifier.
pub(super) fn by_id(made: &[Made]) -> BTreeMap<&str, &PathInfo> {
    made.iter().map(|made| (made.id.as_str(), &made.info)).collect()
}
