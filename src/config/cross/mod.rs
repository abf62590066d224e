//! What no option shows alone: checks across the configuration.

mod accounts;
mod files;
mod network;
mod storage;
mod units;

use std::collections::{BTreeMap, BTreeSet};

use super::Config;
use super::load::place_of;
use super::place::{Place, Remark};
use super::read::Sources;
use super::setting::Path;

/// What checks may look at besides the configuration.
pub(super) struct View<'a> {
    pub(super) sources: &'a Sources<'a>,
    pub(super) places: &'a BTreeMap<Path, Place>,
    /// The beginning of the main file.
    pub(super) start: &'a Place,
    /// Where something is wrong already.
    pub(super) broken: &'a BTreeSet<Path>,
}

/// What checks found.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) problems: Vec<Remark>,
    pub(super) notes: Vec<Remark>,
    /// Contents of files that the configuration names.
    pub(super) sources: BTreeMap<String, Vec<u8>>,
}

impl View<'_> {
    /// Where something is said.
    fn place(&self, path: &[&str]) -> Place {
        let path: Path = path.iter().map(|key| (*key).to_owned()).collect();
        place_of(self.places, &path, self.start).clone()
    }

    /// Whether it's said at all.
    fn is_said(&self, path: &[&str]) -> bool {
        let path: Path = path.iter().map(|key| (*key).to_owned()).collect();
        self.places.contains_key(&path)
    }

    /// Whether something is wrong there, or in a table around it.
    fn is_broken(&self, path: &[&str]) -> bool {
        let path: Path = path.iter().map(|key| (*key).to_owned()).collect();
        (0..=path.len()).any(|length| {
            path.get(..length)
                .is_some_and(|above| self.broken.contains(above))
        })
    }
}

impl Outcome {
    fn problem(&mut self, place: Place, message: String) {
        self.problems.push(Remark::new(place, message));
    }

    fn note(&mut self, place: Place, message: String) {
        self.notes.push(Remark::new(place, message));
    }
}

/// Checks the table that the configuration is read from. What couldn't be read is taken out.
pub(super) fn untyped(view: &View<'_>, mut table: toml::Table, problems: &mut Vec<Remark>) -> toml::Table {
    const KINDS: [&str; 4] = ["command", "unit", "tcp", "http"];
    let checks = table
        .get_mut("health")
        .and_then(|health| health.get_mut("checks"))
        .and_then(toml::Value::as_table_mut);
    if let Some(checks) = checks {
        checks.retain(|name, check| {
            let has: Vec<&str> = KINDS
                .into_iter()
                .filter(|kind| check.get(kind).is_some())
                .collect();
            if has.len() == 1 {
                return true;
            }
            let path = ["health", "checks", name];
            if has.is_empty()
                && (view.is_broken(&path)
                    || KINDS
                        .iter()
                        .any(|kind| view.is_broken(&[path[0], path[1], path[2], kind])))
            {
                return false;
            }
            let given = if has.is_empty() {
                "none".to_owned()
            } else {
                has.join(" and ")
            };
            problems.push(
                Remark::new(view.place(&path), format!("health.checks.{name} has {given}"))
                    .help("a check has one of command, unit, tcp and http"),
            );
            false
        });
    }
    table
}

/// Checks a configuration, and writes out what it leaves to keel.
pub(super) fn check(view: &View<'_>, config: &mut Config, outcome: &mut Outcome) {
    storage::check(view, config, outcome);
    accounts::check(view, config, outcome);
    units::check(view, config, outcome);
    files::check(view, config, outcome);
    network::check(view, config, outcome);
    health(view, config, outcome);
}

fn health(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    for (name, fault) in config.health.faults() {
        let place = view.place(&["health", "checks", &name]);
        outcome.problem(place, fault.to_string());
    }
}
