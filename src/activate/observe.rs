//! Looking at the running machine and at two systems: what a plan is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::machine;
use super::mounts;
use super::plan::{Kept, Plan, Step, Verb};
use super::processes::{self, Process};
use super::request::Request;
use super::rules;
use super::status;
use super::trees::{self, Trees};
use super::view::{Observed, Text, UnitView};
use crate::root::{LocalKind, UPPER, differs, local_changes, trees_differ, units_on_replaced_trees};
use crate::system::bootspec::BootSpec;
use crate::system::fstab::{self, Line};
use crate::system::units::sources::{InDirectory, Layered, Mounted};
use crate::system::units::{
    Changed, Difference, Kind, LoadError, LoadPath, Method, Policy, RecordError, State, Unit, UnitName,
    UnitsRecord, compare, quick_compare,
};
use crate::system::units::{Units, record::UnitRecord};
use crate::systemd::{self, Logind, Manager, UnitProperties};

/// What systemd itself runs.
const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Configuration of systemd itself, below `/etc`.
const SYSTEMD_CONFIGURATION: [&str; 2] = ["systemd/system.conf", "systemd/system.conf.d"];

/// Why the machine or a system can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// systemd.
    #[error(transparent)]
    Systemd(#[from] systemd::Error),
    /// A file of a system.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `units.json`.
    #[error("{path}: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RecordError,
    },
    /// Units.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A system, as far as a plan needs it.
struct System<'a> {
    path: String,
    usr: PathBuf,
    etc: PathBuf,
    record: UnitsRecord<'a>,
}

/// `units.json` of a system.
fn read_record(system: &str) -> Result<Vec<u8>, ObserveError> {
    let path = record_path(system);
    fs::read(&path).map_err(|source| ObserveError::File { path, source })
}

fn record_path(system: &str) -> PathBuf {
    Path::new(system).join("units.json")
}

impl<'a> System<'a> {
    fn parse(path: &str, record: &'a [u8]) -> Result<Self, ObserveError> {
        let directory = Path::new(path);
        let record = UnitsRecord::parse(record).map_err(|source| ObserveError::Record {
            path: record_path(path),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            usr: directory.join("usr"),
            etc: directory.join("etc"),
            record,
        })
    }

    /// What the record says of a unit: an instance is what its template is.
    fn unit(&self, name: &str) -> Option<&UnitRecord<'a>> {
        self.record.units.get(name).or_else(|| {
            let template = UnitName::parse(name)?.template()?;
            self.record.units.get(template.as_str())
        })
    }
}

/// Observes what a plan for `request` needs.
pub(super) fn observe(manager: &mut Manager, request: &Request) -> Result<Observed, ObserveError> {
    observe_systems(manager, &request.old, &request.new)
}

/// Observes what a plan for going from `old`, which runs, to `new` needs.
pub fn observe_systems(manager: &mut Manager, old: &str, new: &str) -> Result<Observed, ObserveError> {
    let records = (read_record(old)?, read_record(new)?);
    let (old, new) = (System::parse(old, &records.0)?, System::parse(new, &records.1)?);
    let processes = processes::by_unit();
    let trees = Trees::read(Path::new(trees::PATH), &machine::booted());
    // Systems that were left, and whose code still runs. One that can't be read any more counts as another.
    let left: BTreeSet<&str> = processes
        .values()
        .flatten()
        .map(|process| trees.system_at(process.started))
        .filter(|system| *system != old.path && *system != new.path)
        .collect();
    let left: Vec<(&str, Vec<u8>)> = left
        .into_iter()
        .filter_map(|system| Some((system, read_record(system).ok()?)))
        .collect();
    let others = left
        .iter()
        .filter_map(|(system, record)| Some(((*system).to_owned(), System::parse(system, record).ok()?)))
        .collect();
    Look {
        manager,
        old: &old,
        new: &new,
        others,
        trees: &trees,
        consoles: consoles(),
        processes: &processes,
        warnings: Vec::new(),
    }
    .observe()
}

/// Terminals that somebody is logged in on. Without a bus nobody's session is known.
fn consoles() -> BTreeSet<String> {
    Logind::connect()
        .and_then(|mut logind| logind.list_sessions())
        .map(|sessions| {
            let held = sessions.into_iter().filter(systemd::Session::holds_console);
            held.map(|session| session.tty).collect()
        })
        .unwrap_or_default()
}

/// What looking needs at every unit.
struct Look<'a> {
    manager: &'a mut Manager,
    old: &'a System<'a>,
    new: &'a System<'a>,
    /// Systems that were left and whose code still runs, by their store paths.
    others: BTreeMap<String, System<'a>>,
    trees: &'a Trees,
    processes: &'a BTreeMap<String, Vec<Process>>,
    consoles: BTreeSet<String>,
    warnings: Vec<String>,
}

impl Look<'_> {
    fn observe(&mut self) -> Result<Observed, ObserveError> {
        let units = self.manager.list_units()?;
        let having = |states: &[&str]| -> Vec<String> {
            units
                .iter()
                .filter(|unit| states.contains(&unit.active.as_str()) && unit.following.is_empty())
                .map(|unit| unit.name.clone())
                .collect()
        };
        let live = having(&["active", "activating", "reloading"]);
        let failed = having(&["failed"]);
        let differences = quick_compare(&self.old.record, &self.new.record);
        let concerned: Vec<String> = live
            .iter()
            .filter(|name| self.is_concerned(name, &differences))
            .cloned()
            .collect();
        let properties = self.manager.units(&concerned)?;
        let active: BTreeSet<String> = live.iter().cloned().collect();
        let wants: Vec<String> = live
            .iter()
            .filter(|name| name.ends_with(".target") && differences.contains_key(name.as_str()))
            .cloned()
            .collect();
        let texts = self.texts(&concerned, &wants, &failed, &differences, &active)?;

        let mut observed = Observed {
            active,
            wanted: texts.wanted,
            unwanted: texts.unwanted,
            ..Observed::default()
        };
        for (name, unit) in concerned.iter().zip(&properties) {
            if let Some(view) = self.view(name, unit, texts.units.get(name), &differences) {
                observed.units.push(view);
            }
        }
        let (old, new) = self.fstab()?;
        mounts::observe(&old, &new, &mut observed);
        observed.reboot = self.needs_reboot()?;
        observed.reexec = self.needs_reexec();
        observed.hidden = self.hidden();
        observed.warnings = std::mem::take(&mut self.warnings);
        Ok(observed)
    }

    /// Whether a unit has to be looked at: something of it differs, or it runs code from before the last switch.
    fn is_concerned(&self, name: &str, differences: &BTreeMap<&str, Difference<'_>>) -> bool {
        let Some(parsed) = UnitName::parse(name) else {
            return false;
        };
        let template = parsed.template();
        let differs = differences.contains_key(name)
            || template
                .as_deref()
                .is_some_and(|template| differences.contains_key(template));
        let runs = parsed.kind == Kind::Service && self.processes.contains_key(name);
        differs || runs
    }

    /// Reads the texts of units that differ, as they are and as they will be.
    fn texts(
        &mut self,
        concerned: &[String],
        targets: &[String],
        failed: &[String],
        differences: &BTreeMap<&str, Difference<'_>>,
        active: &BTreeSet<String>,
    ) -> Result<Texts, ObserveError> {
        let at = |path: &Path| {
            InDirectory::open(path).map_err(|source| ObserveError::File {
                path: path.to_owned(),
                source,
            })
        };
        let upper = Path::new("/").join(UPPER);
        let live = at(Path::new("/"))?;
        let (usr, run) = (at(&self.new.usr)?, at(Path::new("/run"))?);
        let etc = Layered::new(at(&upper)?, at(&self.new.etc)?);
        let coming = Mounted::new()
            .with("usr", &usr)
            .with("etc", &etc)
            .with("run", &run);
        let before = Units::read(&live, LoadPath::system())?;
        let after = Units::read(&coming, LoadPath::system())?;
        let mut texts = Texts::default();
        for name in concerned {
            let template = UnitName::parse(name).and_then(|parsed| parsed.template());
            let is_different = [Some(name), template.as_ref()].into_iter().flatten().any(|name| {
                match differences.get(name.as_str()) {
                    Some(Difference::Changed(changed)) => changed.text || changed.mask,
                    Some(Difference::Added | Difference::Removed) => true,
                    None => false,
                }
            });
            let (old, new) = (before.load(name)?, after.load(name)?);
            let Some(new) = new else { continue };
            let comparison = old.filter(|_| is_different).map(|old| text(&old, &new));
            let _new = texts
                .units
                .insert(name.clone(), (comparison.unwrap_or(Text::Same), new));
        }
        let mut dropped = Vec::new();
        for target in targets {
            let (Some(old), Some(new)) = (before.load(target)?, after.load(target)?) else {
                continue;
            };
            for dependency in new
                .dependencies
                .iter()
                .filter(|found| !old.dependencies.contains(found))
            {
                let is_there = after
                    .load(&dependency.unit)?
                    .is_some_and(|unit| unit.state == State::Loaded);
                if is_there && !active.contains(&dependency.unit) {
                    let reason = format!("{target} wants it now");
                    texts.wanted.push((dependency.unit.clone(), reason));
                }
            }
            let gone = old
                .dependencies
                .iter()
                .filter(|found| !new.dependencies.contains(found));
            dropped.extend(gone.map(|found| (found.unit.clone(), target.as_str())));
        }
        let starting = texts.wanted.iter().map(|(unit, _)| unit);
        texts.unwanted = unwanted(dropped, active, starting, &after)?;
        let mended = self.mended(failed, active, differences, &after)?;
        texts.wanted.extend(mended);
        Ok(texts)
    }

    /// Units that have failed, that something active wants, and that are others in the new system: they may work there.
    /// With the reason to start each. `after` is the new system.
    fn mended(
        &self,
        failed: &[String],
        active: &BTreeSet<String>,
        differences: &BTreeMap<&str, Difference<'_>>,
        after: &Units<'_>,
    ) -> Result<Vec<(String, String)>, ObserveError> {
        let changed = |name: &String| {
            let template = UnitName::parse(name).and_then(|parsed| parsed.template());
            let difference = differences
                .get(name.as_str())
                .or_else(|| differences.get(template.as_deref()?));
            match difference {
                Some(Difference::Changed(changed)) => self.what_of_itself(name, changed),
                _ => None,
            }
        };
        let mut mended: Vec<(String, String)> = failed
            .iter()
            .filter_map(|name| {
                Some((
                    name.clone(),
                    format!("it had failed, and {} changed", changed(name)?),
                ))
            })
            .collect();
        if mended.is_empty() {
            return Ok(mended);
        }
        let mut wanted = BTreeSet::new();
        for name in active {
            let dependencies = after.load(name)?.map(|unit| unit.dependencies);
            wanted.extend(dependencies.into_iter().flatten().map(|found| found.unit));
        }
        mended.retain(|(name, _)| wanted.contains(name));
        Ok(mended)
    }

    /// What of a unit is another one, without the libraries that it shares with others.
    fn what_of_itself(&self, name: &str, changed: &Changed<'_>) -> Option<String> {
        if changed.text {
            return Some("its text".to_owned());
        }
        let programs = self
            .new
            .unit(name)
            .map(|unit| unit.code.as_slice())
            .unwrap_or_default();
        let mut code = changed
            .code
            .iter()
            .filter(|file| programs.iter().any(|program| &**program == **file));
        code.next()
            .or_else(|| changed.configuration.first())
            .map(|path| base_name(path))
    }

    fn view(
        &mut self,
        name: &str,
        live: &UnitProperties,
        text: Option<&(Text, Unit)>,
        differences: &BTreeMap<&str, Difference<'_>>,
    ) -> Option<UnitView> {
        let parsed = UnitName::parse(name)?;
        let kind = parsed.kind;
        let (text, new) = text?;
        let settings = new.settings();
        let template = parsed.template();
        let difference = differences
            .get(name)
            .or_else(|| differences.get(template.as_deref()?));
        let mut configuration: Vec<String> = match difference {
            Some(Difference::Changed(changed)) => {
                changed.configuration.iter().map(|path| base_name(path)).collect()
            }
            _ => Vec::new(),
        };
        if matches!(name, "dbus.service" | "dbus-broker.service") && self.bus_differs() {
            configuration.push("the bus's services and policies".to_owned());
        }
        let processes = self.processes.get(name).cloned().unwrap_or_default();
        let code = self.changed_code(name, &processes);
        let getty = parsed.instance.map(str::to_owned);
        Some(UnitView {
            name: name.to_owned(),
            kind,
            text: text.clone(),
            code,
            configuration,
            has_processes: !processes.is_empty(),
            is_stale: false,
            can_reload: settings
                .last("Service", "ExecReload")
                .is_some_and(|value| !value.is_empty()),
            in_use: getty.is_some_and(|tty| self.consoles.contains(&tty)),
            policy: Policy::of(kind, &settings),
            socket: live
                .triggered_by
                .iter()
                .find(|unit| unit.ends_with(".socket"))
                .cloned(),
            triggers: live.triggers.clone(),
        })
    }

    /// The files that a unit's processes run and that are others in the new system, by their base names.
    fn changed_code(&mut self, name: &str, processes: &[Process]) -> Vec<String> {
        let mut changed = BTreeSet::new();
        let mut by_system: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for process in processes {
            let system = self.trees.system_at(process.started).to_owned();
            by_system.entry(system).or_default().push(process.pid);
        }
        for (system, pids) in by_system {
            if system == self.new.path {
                continue;
            }
            let mut paths: BTreeSet<String> = BTreeSet::new();
            for pid in pids {
                paths.extend(processes::mapped(pid));
            }
            let from = if system == self.old.path {
                Some(self.old)
            } else {
                self.others.get(&system)
            };
            let Some(from) = from else {
                // Its system is gone: what it runs can't be compared.
                let _new = changed.insert("the code of a system that is gone".to_owned());
                continue;
            };
            if let Some(unit) = from.unit(name) {
                for program in &unit.code {
                    let _new = paths.insert(program.to_string());
                    let libraries = from.record.programs.get(program);
                    paths.extend(libraries.into_iter().flatten().map(ToString::to_string));
                }
            }
            changed.extend(
                paths
                    .iter()
                    .filter(|path| is_other(path, from, self.new))
                    .map(|path| base_name(path)),
            );
        }
        changed.into_iter().collect()
    }

    /// Whether what packages tell the bus differs. It watches the old trees, so it has to be told.
    fn bus_differs(&self) -> bool {
        trees_differ(Path::new("share/dbus-1"), &self.old.usr, &self.new.usr)
            || trees_differ(Path::new("dbus-1"), &self.old.etc, &self.new.etc)
    }

    /// The lines of `/etc/fstab`, as they are and as they will be.
    fn fstab(&self) -> Result<(Vec<Line>, Vec<Line>), ObserveError> {
        let read = |path: PathBuf| match fs::read(&path) {
            Ok(bytes) => Ok(fstab::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(ObserveError::File { path, source }),
        };
        let local = Path::new("/").join(UPPER).join("fstab");
        let old = read("/etc/fstab".into())?;
        // One that was changed here stays.
        let new = if fs::symlink_metadata(local).is_ok() {
            old.clone()
        } else {
            read(self.new.etc.join("fstab"))?
        };
        Ok((old, new))
    }

    /// What of the new system only a boot brings.
    fn needs_reboot(&self) -> Result<Vec<String>, ObserveError> {
        let spec = |system: &str| -> Result<BootSpec, ObserveError> {
            let path = Path::new(system).join("boot.json");
            let read = fs::read(&path).and_then(|bytes| BootSpec::parse(&bytes).map_err(io::Error::other));
            read.map_err(|source| ObserveError::File { path, source })
        };
        let (booted, new) = (machine::booted(), spec(&self.new.path)?);
        let Ok(booted) = spec(&booted) else {
            return Ok(vec!["the booted system isn't known any more".to_owned()]);
        };
        Ok(status::reboot_between(&booted, &new))
    }

    /// Why systemd has to start itself anew.
    fn needs_reexec(&self) -> Option<String> {
        let programs = [SYSTEMD, "/usr/lib/systemd/systemd-executor"];
        let mut files: BTreeSet<String> = programs.iter().map(|&path| path.to_owned()).collect();
        for system in [self.old, self.new] {
            let libraries = system.record.programs.get(SYSTEMD);
            files.extend(libraries.into_iter().flatten().map(ToString::to_string));
        }
        if let Some(file) = files.iter().find(|path| is_other(path, self.old, self.new)) {
            return Some(format!("{} changed", base_name(file)));
        }
        SYSTEMD_CONFIGURATION
            .iter()
            .find(|path| trees_differ(Path::new(path), &self.old.etc, &self.new.etc))
            .map(|path| format!("/etc/{path} changed"))
    }

    /// Files that the new system changes, and that local changes hide.
    fn hidden(&mut self) -> Vec<String> {
        let upper = Path::new("/").join(UPPER);
        let changes = match local_changes(&upper, &self.new.etc) {
            Ok(changes) => changes,
            Err(error) => {
                self.warnings
                    .push(format!("local changes in /etc can't be looked at: {error}"));
                return Vec::new();
            }
        };
        changes
            .into_iter()
            .filter(|change| matches!(change.kind, LocalKind::Changed | LocalKind::Removed))
            .filter(|change| differs(&change.path, &self.old.etc, &self.new.etc))
            .map(|change| format!("/etc/{}", change.path.display()))
            .collect()
    }
}

/// Texts of units.
#[derive(Default)]
struct Texts {
    units: BTreeMap<String, (Text, Unit)>,
    wanted: Vec<(String, String)>,
    unwanted: Vec<(String, String)>,
}

/// Keys by which a unit brings another one with it (systemd.unit(5)).
const BRING: [&str; 5] = ["Wants", "Requires", "Requisite", "BindsTo", "Upholds"];

/// Of units that targets wanted in the old system, those that are to end: what runs, may be stopped, and has nothing left that wants
/// it in the new system, `after`, among what is active or `starting`. With the reason.
fn unwanted<'a>(
    dropped: Vec<(String, &str)>,
    active: &'a BTreeSet<String>,
    starting: impl Iterator<Item = &'a String>,
    after: &Units<'_>,
) -> Result<Vec<(String, String)>, ObserveError> {
    let mut ending = BTreeMap::new();
    for (name, target) in dropped {
        let Some(kind) = UnitName::parse(&name).map(|parsed| parsed.kind) else {
            continue;
        };
        let is_startable = matches!(kind, Kind::Service | Kind::Socket | Kind::Timer | Kind::Path);
        if !is_startable || !active.contains(&name) || rules::never(&name, kind, true).is_some() {
            continue;
        }
        // What the new system lacks or masks is stopped by the rule for that.
        let Some(unit) = after.load(&name)?.filter(|unit| unit.state == State::Loaded) else {
            continue;
        };
        let policy = Policy::of(kind, &unit.settings());
        if policy.stop_on_removal && policy.method != Some(Method::Keep) {
            let _old = ending.insert(name, (unit.names, format!("{target} doesn't want it any more")));
        }
    }
    if ending.is_empty() {
        return Ok(Vec::new());
    }
    let mut brought = BTreeSet::new();
    for name in active.iter().chain(starting) {
        let Some(unit) = after.load(name)? else { continue };
        let settings = unit.settings();
        let items = BRING.iter().flat_map(|key| settings.items("Unit", key));
        brought.extend(items.map(|item| item.value.clone()));
    }
    Ok(ending
        .into_iter()
        .filter(|(_, (names, _))| names.is_disjoint(&brought))
        .map(|(name, (_, reason))| (name, reason))
        .collect())
}

fn text(old: &Unit, new: &Unit) -> Text {
    match (old.state, new.state) {
        // What has no text has none to lose: devices, and what generators make.
        (State::NotFound, _) | (State::Masked, State::Masked) => Text::Same,
        (_, State::NotFound) => Text::Gone,
        (_, State::Masked) => Text::Masked,
        _ => {
            let comparison = compare(old, new);
            Text::Changed {
                changes: comparison
                    .changes
                    .iter()
                    .filter(|change| super::plan::is_more_than_reading(change.verdict))
                    .map(ToString::to_string)
                    .collect(),
                verdict: comparison.verdict,
            }
        }
    }
}

/// Whether a file of `/usr` is another in `new`. What the records don't know is looked at.
fn is_other(path: &str, old: &System<'_>, new: &System<'_>) -> bool {
    if let (Some(before), Some(after)) = (old.record.files.get(path), new.record.files.get(path)) {
        return before != after;
    }
    let below = Path::new(path.strip_prefix("/usr/").unwrap_or(path));
    differs(below, &old.usr, &new.usr)
}

fn base_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// After the replacement: units whose mount namespace still shows the old trees, as steps, or as kept.
pub(super) fn stale(plan: &Plan) -> Vec<Result<Step, Kept>> {
    let mut found = Vec::new();
    for unit in units_on_replaced_trees().into_keys() {
        let Some(name) = UnitName::parse(&unit) else {
            continue;
        };
        let reasons = vec!["its mount namespace still shows the old /usr or /etc".to_owned()];
        let is_restarted = plan
            .steps
            .iter()
            .any(|step| step.unit == unit && matches!(step.verb, Verb::Restart | Verb::Stop));
        let is_kept = plan.kept.iter().any(|kept| kept.unit == unit);
        if is_restarted || is_kept {
            continue;
        }
        found.push(match rules::never(&unit, name.kind, true) {
            None if name.kind == Kind::Service => Ok(Step {
                unit,
                verb: Verb::Restart,
                reasons,
            }),
            because => Err(Kept {
                unit,
                reasons,
                because: because.unwrap_or("only services can be started anew").to_owned(),
            }),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Of these units, which all run and were wanted by multi-user.target, those that end.
    fn ending(files: &[(&str, &str)], starting: &[&str]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let units = root.path().join("usr/lib/systemd/system");
        fs::create_dir_all(&units).unwrap();
        for (name, text) in files {
            fs::write(units.join(name), text).unwrap();
        }
        let tree = InDirectory::open(root.path()).unwrap();
        let after = Units::read(&tree, LoadPath::system()).unwrap();
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let running: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        let starting = owned(starting);
        let active = owned(&running)
            .into_iter()
            .filter(|name| !starting.contains(name))
            .collect();
        let dropped = owned(&running)
            .into_iter()
            .map(|name| (name, "multi-user.target"))
            .collect();
        let found = unwanted(dropped, &active, starting.iter(), &after).unwrap();
        assert!(
            found
                .iter()
                .all(|(_, reason)| reason == "multi-user.target doesn't want it any more")
        );
        found.into_iter().map(|(name, _)| name).collect()
    }

    const SERVICE: &str = "[Service]\nExecStart=/bin/true\n";

    #[test]
    fn what_targets_want_no_more_ends_unless_something_else_wants_it() {
        assert_eq!(ending(&[("off.service", SERVICE)], &[]), ["off.service"]);
        for key in BRING {
            let other = format!("[Unit]\n{key}=off.service\n{SERVICE}X-Switch=keep\n");
            let files = [("off.service", SERVICE), ("other.service", &*other)];
            assert!(ending(&files, &[]).is_empty(), "{key} of what runs");
            assert!(
                ending(&files, &["other.service"]).is_empty(),
                "{key} of what starts"
            );
        }
    }

    #[test]
    fn what_may_not_or_need_not_be_stopped_goes_on() {
        let text = |line: &str| format!("[Unit]\n{line}\n{SERVICE}");
        for (name, text) in [
            ("kept.service", text("X-Switch=keep")),
            ("kept.service", text("X-StopOnRemoval=no")),
            ("dbus.service", SERVICE.to_owned()),
            ("srv.mount", "[Mount]\nWhat=/dev/sda1\nWhere=/srv\n".to_owned()),
            ("some.target", String::from("[Unit]\nDescription=x\n")),
            // Masked, which has a rule of its own.
            ("masked.service", String::new()),
        ] {
            assert!(ending(&[(name, &text)], &[]).is_empty(), "{name}: {text}");
        }
    }
}
