//! What is to be built, and in which order: whatever is valid already, or comes from a cache, needs nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Event, Realise, RealiseError, Report, Want, fetch, open, wanted};
use crate::store::StorePath;
use crate::store::db::Database;
use crate::store::derivation::{Derivation, Library};
use crate::store::locks::TempRoots;

/// A build.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) path: StorePath,
    pub(super) derivation: Arc<Derivation>,
    /// The builds, by index, that come before it.
    pub(super) needs: Vec<usize>,
}

/// Builds, each of them after what it needs or not: that is what `needs` is for.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
}

/// Temporary roots, each noted once.
pub(super) struct Announced<'a> {
    roots: &'a mut TempRoots,
    known: BTreeSet<StorePath>,
}

impl<'a> Announced<'a> {
    pub(super) fn new(roots: &'a mut TempRoots) -> Self {
        Self {
            roots,
            known: BTreeSet::new(),
        }
    }

    /// Notes paths, before anybody looks whether they are valid.
    pub(super) fn add(&mut self, realise: &Realise<'_>, paths: Vec<StorePath>) -> Result<(), RealiseError> {
        let new: Vec<StorePath> = paths
            .into_iter()
            .filter(|path| self.known.insert(path.clone()))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        self.roots.add_all(&new).map_err(|source| RealiseError::File {
            path: realise
                .layout
                .physical(realise.layout.state_dir())
                .join("temproots"),
            source,
        })
    }

    pub(super) fn roots(&mut self) -> &mut TempRoots {
        self.roots
    }
}

/// Plans, and copies from caches what they have until nothing but builds is left. What was copied is added to `fetched`.
pub(super) fn plan(
    realise: &Realise<'_>,
    wants: &[Want],
    library: &mut Library,
    announced: &mut Announced<'_>,
    (fetched, report): (&mut Vec<StorePath>, &dyn Report),
) -> Result<Plan, RealiseError> {
    let database = open(realise.layout)?;
    let tops: Vec<StorePath> = wants.iter().map(|want| want.derivation.clone()).collect();
    announced.add(realise, tops.clone())?;
    absent_derivations(realise, &database, &tops, announced, (fetched, report))?;
    // What no cache has, or has and can't deliver.
    let mut unavailable = BTreeSet::new();
    loop {
        let mut walk = Walk {
            realise,
            database: &database,
            library,
            announced,
            unavailable: &mut unavailable,
            report,
            builds: BTreeMap::new(),
            fetches: BTreeSet::new(),
        };
        walk.go(wants)?;
        let (builds, fetches) = (walk.builds, walk.fetches);
        if !builds.is_empty() || !fetches.is_empty() {
            report.tell(Event::Planned {
                builds: builds.len(),
                fetches: fetches.len(),
            });
        }
        if fetches.is_empty() {
            return Ok(in_nodes(builds));
        }
        let fetches: Vec<StorePath> = fetches.into_iter().collect();
        fetched.extend(fetch::fetch(realise, &fetches, announced.roots(), report));
        for path in fetches {
            if !database.is_valid(&path)? {
                let _new = unavailable.insert(path);
            }
        }
    }
}

/// Derivations that aren't in the store come from a cache.
fn absent_derivations(
    realise: &Realise<'_>,
    database: &Database,
    tops: &[StorePath],
    announced: &mut Announced<'_>,
    (fetched, report): (&mut Vec<StorePath>, &dyn Report),
) -> Result<(), RealiseError> {
    let mut absent = Vec::new();
    for path in tops {
        if !database.is_valid(path)? {
            absent.push(path.clone());
        }
    }
    if !absent.is_empty() && !realise.caches.is_empty() {
        fetched.extend(fetch::fetch(realise, &absent, announced.roots(), report));
    }
    for path in absent {
        if !database.is_valid(&path)? {
            return Err(RealiseError::Absent(path));
        }
    }
    Ok(())
}

/// What is to be built: the derivation of each, and the derivations that it needs.
type Builds = BTreeMap<StorePath, Arc<Derivation>>;

struct Walk<'a, 'r> {
    realise: &'a Realise<'a>,
    database: &'a Database,
    library: &'a mut Library,
    announced: &'a mut Announced<'r>,
    unavailable: &'a mut BTreeSet<StorePath>,
    report: &'a dyn Report,
    builds: Builds,
    fetches: BTreeSet<StorePath>,
}

impl Walk<'_, '_> {
    /// From what is wanted down to what is there. Level by level, so that caches are asked for many paths at once.
    fn go(&mut self, wants: &[Want]) -> Result<(), RealiseError> {
        let mut level: Vec<Want> = wants.to_vec();
        let mut seen: BTreeSet<(StorePath, String)> = BTreeSet::new();
        while !level.is_empty() {
            let mut missing: Vec<(StorePath, Arc<Derivation>, Vec<StorePath>)> = Vec::new();
            for want in std::mem::take(&mut level) {
                let derivation = self.library.get(&want.derivation)?;
                let mut outputs = wanted(&want, &derivation)?;
                outputs.retain(|id, _| seen.insert((want.derivation.clone(), id.clone())));
                let mut needed: Vec<StorePath> = outputs.values().cloned().collect();
                needed.push(want.derivation.clone());
                self.announced.add(self.realise, needed)?;
                let mut invalid = Vec::new();
                for path in outputs.into_values() {
                    if !self.database.is_valid(&path)? {
                        invalid.push(path);
                    }
                }
                if !invalid.is_empty() && !self.builds.contains_key(&want.derivation) {
                    missing.push((want.derivation, derivation, invalid));
                }
            }
            self.ask(&missing);
            for (path, derivation, invalid) in missing {
                if may_be_fetched(&derivation) && invalid.iter().all(|path| !self.unavailable.contains(path))
                {
                    self.fetches.extend(invalid);
                    continue;
                }
                // Its outputs would overwrite whatever it names: they must be its own.
                let derivation = self.library.checked(&path).map(|_| derivation)?;
                let outputs = derivation
                    .outputs
                    .values()
                    .filter_map(|output| output.path.clone());
                self.announced.add(self.realise, outputs.collect())?;
                level.extend(derivation.input_derivations.iter().map(|(path, outputs)| Want {
                    derivation: path.clone(),
                    outputs: Some(outputs.clone()),
                }));
                let _none = self.builds.insert(path, derivation);
            }
        }
        Ok(())
    }

    /// Notes which of the missing outputs no cache has.
    fn ask(&mut self, missing: &[(StorePath, Arc<Derivation>, Vec<StorePath>)]) {
        let asked: Vec<StorePath> = missing
            .iter()
            .filter(|(_, derivation, _)| may_be_fetched(derivation))
            .flat_map(|(_, _, invalid)| invalid)
            .filter(|path| !self.fetches.contains(path) && !self.unavailable.contains(path))
            .cloned()
            .collect();
        let there = fetch::available(self.realise, &asked, self.report);
        self.unavailable
            .extend(asked.into_iter().filter(|path| !there.contains(path)));
    }
}

/// Whether outputs may come from a cache: `allowSubstitutes`.
fn may_be_fetched(derivation: &Derivation) -> bool {
    derivation.variable("allowSubstitutes") != Some("")
}

fn in_nodes(builds: Builds) -> Plan {
    let index: BTreeMap<StorePath, usize> = builds.keys().cloned().zip(0..).collect();
    let nodes = builds.into_iter().map(|(path, derivation)| {
        let inputs = derivation.input_derivations.keys();
        let needs = inputs.filter_map(|input| index.get(input).copied()).collect();
        Node {
            path,
            derivation,
            needs,
        }
    });
    Plan {
        nodes: nodes.collect(),
    }
}
