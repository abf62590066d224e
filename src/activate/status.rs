//! How the machine stands: what runs, what the next boot will be and why, what waits for a reboot, what needs attention.

use std::path::Path;

use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::commit;
use super::journal::{self, Event};
use super::machine::{self, Machine, MachineError};
use crate::boot::record::{Record, Trial, TrialState};
use crate::boot::{EfiVariables, TrialBy, menu};
use crate::root::{LocalKind, UPPER, local_changes};
use crate::store::StorePath;
use crate::system::bootspec::BootSpec;
use crate::system::generation::SYSTEM_PROFILE;
use crate::systemd::Manager;

/// A system of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// Its store path.
    pub system: String,
    /// Its newest generation.
    pub generation: Option<u64>,
    /// What people call it.
    pub label: Option<String>,
    /// Its kernel.
    pub kernel: Option<String>,
    /// The administrator's words for it.
    pub tag: Option<String>,
}

/// What the next boot will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextBoot {
    /// The generation, when it's one of keel's.
    pub generation: Option<u64>,
    /// The boot entry, when it's chosen by its name.
    pub entry: Option<String>,
    /// Why, in words.
    pub why: String,
}

/// What came of the last switch since the machine was booted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastSwitch {
    /// The exit code of the command.
    pub code: u8,
    /// In words.
    pub text: String,
}

/// Space of a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Where it's mounted, or a directory on it.
    pub path: String,
    /// Bytes that are free for everybody.
    pub free: u64,
    /// Bytes in all.
    pub size: u64,
}

/// What was changed in `/etc` by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Local {
    /// Files that differ from the system's, are new or gone.
    pub changed: usize,
    /// Files that are the same as the system's, and hide what later systems bring.
    pub same: usize,
}

/// How the machine stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What runs.
    pub running: Named,
    /// What was booted.
    pub booted: Option<Named>,
    /// What the next boot will be; nothing when nobody can tell.
    pub next_boot: Option<NextBoot>,
    /// What booted and was healthy last.
    pub last_good: Option<Named>,
    /// The trial that is under way or has failed.
    pub trial: Option<Trial>,
    /// Whether a switch is under way.
    pub switching: bool,
    /// The last switch since the boot.
    pub last_switch: Option<LastSwitch>,
    /// What of the running system only a reboot brings.
    pub reboot: Vec<String>,
    /// Units that failed.
    pub failed: Vec<String>,
    /// What was changed in `/etc` by hand.
    pub etc: Local,
    /// The EFI system partition.
    pub esp: Option<Space>,
    /// The file system of the store.
    pub store: Option<Space>,
    /// What couldn't be looked at.
    pub warnings: Vec<String>,
}

/// Looks at the machine.
pub fn status(machine: &Machine) -> Result<Status, MachineError> {
    let running = machine.current()?;
    let booted = machine::booted();
    let (record, fault) = Record::read(Path::new("/"));
    let mut warnings: Vec<String> = fault.iter().map(ToString::to_string).collect();
    let esp = commit::find_esp();
    let failed = match failed_units() {
        Ok(failed) => failed,
        Err(error) => {
            warnings.push(format!("units: {error}"));
            Vec::new()
        }
    };
    let etc = local(&running).unwrap_or_else(|error| {
        warnings.push(format!("changes in /etc: {error}"));
        Local::default()
    });
    let name = |system: &str| named(machine, &record, system);
    let variables = EfiVariables::default();
    let chosen = Chosen {
        one_shot: variables.one_shot().ok().flatten(),
        by: variables.trial_by(),
        default: esp
            .as_deref()
            .and_then(|esp| commit::menu_default_on(Path::new(esp))),
    };
    Ok(Status {
        next_boot: next_boot(&record, &chosen),
        last_good: record.last_good.as_deref().map(name),
        switching: machine.lock(std::time::Duration::ZERO).is_err(),
        last_switch: last_switch(),
        reboot: reboot(machine, &booted, &running),
        failed,
        etc,
        esp: esp.as_deref().and_then(space),
        store: space(machine.profile.layout().store_dir()),
        running: name(&running),
        booted: (!booted.is_empty()).then(|| name(&booted)),
        trial: record.trial,
        warnings,
    })
}

fn named(machine: &Machine, record: &Record, system: &str) -> Named {
    let spec = spec(machine, system);
    Named {
        system: system.to_owned(),
        generation: machine.generation_of(system),
        label: spec.as_ref().map(|spec| spec.v1.label.clone()),
        kernel: spec.map(|spec| spec.keel.kernel_version),
        tag: record.systems.get(system).and_then(|known| known.tag.clone()),
    }
}

fn spec(machine: &Machine, system: &str) -> Option<BootSpec> {
    let path = StorePath::from_absolute(machine.profile.layout().store_dir(), system).ok()?;
    machine.profile.boot_spec(&path).ok()
}

fn failed_units() -> Result<Vec<String>, crate::systemd::Error> {
    let mut manager = Manager::connect()?;
    let units = manager.list_units()?;
    Ok(units
        .into_iter()
        .filter(|unit| unit.active == "failed")
        .map(|unit| unit.name)
        .collect())
}

fn local(system: &str) -> std::io::Result<Local> {
    let upper = Path::new("/").join(UPPER);
    let changes = local_changes(&upper, &Path::new(system).join("etc"))?;
    let same = changes
        .iter()
        .filter(|change| change.kind == LocalKind::Same)
        .count();
    Ok(Local {
        changed: changes.len() - same,
        same,
    })
}

fn last_switch() -> Option<LastSwitch> {
    let events = journal::read(Path::new(journal::DIRECTORY)).ok()?;
    events.into_iter().rev().find_map(|event| match event {
        Event::End { code, text } => Some(LastSwitch { code, text }),
        _ => None,
    })
}

/// What of the running system only a boot brings: it was booted with another one's kernel, initrd or parameters.
fn reboot(machine: &Machine, booted: &str, running: &str) -> Vec<String> {
    let (Some(booted), Some(running)) = (spec(machine, booted), spec(machine, running)) else {
        return Vec::new();
    };
    reboot_between(&booted, &running)
}

/// What of `new` only a boot brings to a machine that was booted with `booted`.
pub(super) fn reboot_between(booted: &BootSpec, new: &BootSpec) -> Vec<String> {
    let mut reasons = Vec::new();
    if booted.v1.kernel != new.v1.kernel {
        let (from, to) = (&booted.keel.kernel_version, &new.keel.kernel_version);
        reasons.push(if from == to {
            format!("another build of the kernel {to}")
        } else {
            format!("the kernel {to} (this is {from})")
        });
    }
    if booted.v1.initrd != new.v1.initrd {
        reasons.push("another initrd".to_owned());
    }
    if booted.v1.kernel_params != new.v1.kernel_params {
        reasons.push("other kernel parameters".to_owned());
    }
    reasons
}

fn space(path: &str) -> Option<Space> {
    let stat = statvfs(path).ok()?;
    let fragment = stat.fragment_size();
    Some(Space {
        path: path.to_owned(),
        free: stat.blocks_available().saturating_mul(fragment),
        size: stat.blocks().saturating_mul(fragment),
    })
}

/// What the boot loader was told.
struct Chosen {
    /// The entry for the next boot only.
    one_shot: Option<String>,
    /// How a trial is armed on this machine.
    by: Option<TrialBy>,
    /// The generation that starts when nobody chooses.
    default: Option<u64>,
}

/// What the next boot will be, from what is remembered and what the boot loader was told.
fn next_boot(record: &Record, chosen: &Chosen) -> Option<NextBoot> {
    let armed = record.armed_trial();
    let default = chosen.default.map(|number| format!("generation {number}"));
    if let Some(entry) = &chosen.one_shot {
        let is_trial = armed.is_some_and(|trial| trial.entry == *entry);
        return Some(NextBoot {
            generation: menu::generation_of(SYSTEM_PROFILE, entry),
            entry: Some(entry.clone()),
            why: match (is_trial, armed) {
                (true, Some(trial)) => trial_words(trial, default.as_deref()),
                _ => "it was chosen for the next boot only".to_owned(),
            },
        });
    }
    match (armed, chosen.by) {
        (Some(trial), Some(TrialBy::Counter)) => Some(NextBoot {
            generation: Some(trial.generation),
            entry: Some(trial.entry.clone()),
            why: trial_words(trial, default.as_deref()),
        }),
        // Booted without `keel-healthy.service`, or somebody took the choice back.
        (Some(trial), _) => chosen.default.map(|number| NextBoot {
            generation: Some(number),
            entry: None,
            why: format!(
                "it is the default; the trial of generation {} is noted, but the boot loader isn't told",
                trial.generation
            ),
        }),
        (None, _) => {
            let failed = record.trial.as_ref().and_then(|trial| match &trial.state {
                TrialState::Failed(_) => Some(trial.generation),
                TrialState::Armed => None,
            });
            chosen.default.map(|number| NextBoot {
                generation: Some(number),
                entry: None,
                why: match failed {
                    Some(other) => format!("it is the default; the trial of generation {other} failed"),
                    None => "it is the default".to_owned(),
                },
            })
        }
    }
}

fn trial_words(trial: &Trial, default: Option<&str>) -> String {
    let back = default.map_or_else(String::new, |default| format!("; {default} boots if it fails"));
    format!(
        "it is on trial, attempt {} of {}{back}",
        trial.attempts,
        crate::boot::record::ATTEMPTS_MAX
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(state: Option<TrialState>) -> Record {
        Record {
            version: 1,
            trial: state.map(|state| Trial {
                system: "/nix/store/new".into(),
                generation: 5,
                entry: "keel-system-5.conf".into(),
                attempts: 2,
                state,
            }),
            ..Record::default()
        }
    }

    #[test]
    fn the_next_boot_and_its_reason() {
        let armed = || record(Some(TrialState::Armed));
        let failed = || record(Some(TrialState::Failed("panic".into())));
        for (record, one_shot, by, number, why) in [
            (
                armed(),
                Some("keel-system-5.conf"),
                TrialBy::Variable,
                5,
                "it is on trial, attempt 2 of 3; generation 4 boots if it fails",
            ),
            (
                armed(),
                None,
                TrialBy::Counter,
                5,
                "it is on trial, attempt 2 of 3; generation 4 boots if it fails",
            ),
            (
                armed(),
                None,
                TrialBy::Variable,
                4,
                "it is the default; the trial of generation 5 is noted, but the boot loader isn't told",
            ),
            (
                armed(),
                Some("keel-system-3.conf"),
                TrialBy::Variable,
                3,
                "it was chosen for the next boot only",
            ),
            (
                failed(),
                None,
                TrialBy::Variable,
                4,
                "it is the default; the trial of generation 5 failed",
            ),
            (record(None), None, TrialBy::Variable, 4, "it is the default"),
        ] {
            let chosen = Chosen {
                one_shot: one_shot.map(str::to_owned),
                by: Some(by),
                default: Some(4),
            };
            let next = next_boot(&record, &chosen).unwrap();
            assert_eq!((next.generation, next.why.as_str()), (Some(number), why));
        }
        let nothing = Chosen {
            one_shot: None,
            by: None,
            default: None,
        };
        assert_eq!(next_boot(&record(None), &nothing), None);
        let other = Chosen {
            one_shot: Some("windows.conf".into()),
            ..nothing
        };
        let next = next_boot(&record(None), &other).unwrap();
        assert_eq!(
            (next.generation, next.entry.as_deref()),
            (None, Some("windows.conf"))
        );
    }
}
