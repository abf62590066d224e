//! Going back: what the executor does when a phase failed, and the guard when the executor is gone.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::commit;
use super::error::{Failure, code};
use super::execute::Executor;
use super::journal::{self, Event, Journal, Phase};
use super::machine::Machine;
use super::plan::{Plan, Verb};
use super::request::{Goal, Request};
use super::rules;
use super::watch;
use crate::root::units_on_replaced_trees;
use crate::system::units::{Kind, UnitName};
use crate::systemd::{Manager, Verb as JobVerb};

impl Executor {
    /// Brings the old system back after `failure`, and says how that ended.
    pub(super) fn go_back(&mut self, reached: Phase, failure: &Failure) -> (u8, String) {
        self.say(Event::Revert {
            reason: failure.text.clone(),
        });
        let request = &mut self.request;
        request.goal = Goal::Revert;
        std::mem::swap(&mut request.old, &mut request.new);
        request.generation = None;
        let undone = self.undo(reached);
        let logs = watch::last_lines(&failure.units);
        let why = format!("{}{logs}", failure.text);
        match undone {
            Ok(()) => (
                code::REVERTED,
                format!(
                    "{why}; the old system {} is back (what programs wrote to /var stays)",
                    self.request.new
                ),
            ),
            Err(second) => (
                second.code,
                format!(
                    "{why}; going back failed as well: {}; a reboot starts the old system, which is still the default",
                    second.text
                ),
            ),
        }
    }

    /// Undoes what was done up to a phase. Each part can be done again: nobody knows how far the phase came.
    fn undo(&mut self, reached: Phase) -> Result<(), Failure> {
        let mut failures = Vec::new();
        if reached >= Phase::Assemble {
            self.assemble()?;
            // Accounts are merged back as far as they can be; the trees matter more.
            failures.extend(self.settle().err());
            let reexec = reached >= Phase::Manager && self.plan.reexec.is_some();
            self.reload_manager(reexec)?;
        }
        self.end_stubborn_units();
        let steps = self.steps_back(reached);
        for (job, units) in steps {
            failures.extend(self.jobs(job, &units).err());
        }
        failures.extend(match watch::newly_failed(self) {
            Ok(failed) if failed.is_empty() => None,
            Ok(failed) => Some(Failure::units(format!("{} failed", failed.join(", ")), failed)),
            Err(failure) => Some(failure),
        });
        match failures.into_iter().next() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// A unit that still hasn't stopped can't be started again: what is left of it is killed.
    fn end_stubborn_units(&mut self) {
        let planned = self.plan.units(Verb::Stop);
        let Ok(found) = self.manager.units(&planned) else {
            return;
        };
        for unit in found
            .into_iter()
            .filter(|unit| unit.active_state == "deactivating")
        {
            let text = match self.manager.kill(&unit.id, libc::SIGKILL) {
                Ok(()) => format!("{} doesn't stop, and was killed", unit.id),
                Err(error) => error.to_string(),
            };
            self.say(Event::Warning { text });
        }
    }

    /// What has to be done with units, once the old trees are back.
    fn steps_back(&mut self, reached: Phase) -> Vec<(JobVerb, Vec<String>)> {
        let was_active = |unit: &String| self.active.contains(unit);
        let touched = |verb: Verb, phase: Phase| -> Vec<String> {
            if reached >= phase {
                self.plan.units(verb)
            } else {
                Vec::new()
            }
        };
        let stopped = touched(Verb::Stop, Phase::Stop);
        let restarted = touched(Verb::Restart, Phase::Restart);
        let reloaded = touched(Verb::Reload, Phase::Reload);
        let started = touched(Verb::Start, Phase::Start);

        let to_stop: Vec<String> = started.iter().filter(|unit| !was_active(unit)).cloned().collect();
        let mut to_restart: BTreeSet<String> = restarted.into_iter().collect();
        to_restart.extend(started.iter().filter(|unit| was_active(unit)).cloned());
        let mut to_start: BTreeSet<String> = stopped.into_iter().filter(was_active).collect();
        if reached >= Phase::Assemble {
            for unit in units_on_replaced_trees().into_keys() {
                if UnitName::parse(&unit).is_some_and(|name| {
                    name.kind == Kind::Service && rules::never(&unit, name.kind, true).is_none()
                }) {
                    let _new = to_restart.insert(unit);
                }
            }
        }
        // What went down with others that were stopped.
        let now: Vec<String> = self
            .manager
            .list_units()
            .map(|units| {
                let up = units
                    .into_iter()
                    .filter(|unit| unit.active != "inactive" && unit.active != "failed");
                up.map(|unit| unit.name).collect()
            })
            .unwrap_or_default();
        let lost = self.active.iter().filter(|unit| {
            !now.contains(unit)
                && UnitName::parse(unit).is_some_and(|name| {
                    matches!(
                        name.kind,
                        Kind::Service | Kind::Socket | Kind::Timer | Kind::Path | Kind::Mount | Kind::Target
                    )
                })
                && rules::never(unit, Kind::Service, true).is_none()
        });
        // A service that had ended by itself meanwhile is no loss; only what the switch touched comes back for sure.
        to_start.extend(
            lost.filter(|unit| {
                !unit.ends_with(".service") || self.plan.steps.iter().any(|step| step.unit == **unit)
            })
            .cloned(),
        );
        for unit in &to_restart {
            let _old = to_start.remove(unit);
        }
        vec![
            (JobVerb::Stop, to_stop),
            (JobVerb::Reload, reloaded),
            (JobVerb::Restart, to_restart.into_iter().collect()),
            (JobVerb::Start, to_start.into_iter().collect()),
        ]
    }
}

/// Sees to a switch whose executor has ended: goes back, or finishes what only had to be finished.
pub(super) fn revert(machine: &Machine) -> Result<String, String> {
    let directory = Path::new(journal::DIRECTORY);
    let manager = Manager::connect().map_err(|error| error.to_string())?;
    let _lock = machine
        .lock(Duration::from_mins(1))
        .map_err(|error| error.to_string())?;
    let events = journal::read(directory).map_err(|error| error.to_string())?;
    if events.iter().any(|event| matches!(event, Event::End { .. })) {
        return Ok("the switch had come to its end".to_owned());
    }
    let Some(known) = Known::of(&events) else {
        return Ok("no switch had begun".to_owned());
    };
    let journal = Journal::resume(directory).map_err(|error| error.to_string())?;
    let mut executor = Executor {
        request: known.request,
        journal,
        manager,
        active: known.active,
        failed: known.failed,
        plan: known.plan,
    };
    let reached = journal::reached(&events).unwrap_or(Phase::Begun);
    let (code, text) = if reached >= Phase::Commit {
        let finished = commit::commit(&executor.request);
        match finished {
            Ok(()) => (code::DONE, format!("the machine runs {}", executor.request.new)),
            Err(failure) => (failure.code, failure.text),
        }
    } else if reached < Phase::Guarded {
        (
            code::ERROR,
            "the switch was cut short; nothing was changed".to_owned(),
        )
    } else {
        let cut_short = Failure::activation("the switch", "its process ended or hung");
        let reason = known
            .reason
            .map_or(cut_short, |reason| Failure::activation("the switch", reason));
        executor.go_back(reached, &reason)
    };
    executor.say(Event::End {
        code,
        text: text.clone(),
    });
    Ok(text)
}

/// What a journal tells about a switch.
struct Known {
    request: Request,
    active: Vec<String>,
    failed: Vec<String>,
    plan: Plan,
    reason: Option<String>,
}

impl Known {
    fn of(events: &[Event]) -> Option<Self> {
        let mut known = events.iter().find_map(|event| match event {
            Event::Begin {
                request,
                active,
                failed,
            } => Some(Known {
                request: (**request).clone(),
                active: active.clone(),
                failed: failed.clone(),
                plan: Plan::default(),
                reason: None,
            }),
            _ => None,
        })?;
        for event in events {
            match event {
                Event::Plan { plan } => known.plan = (**plan).clone(),
                Event::Revert { reason } => known.reason = Some(reason.clone()),
                _ => {}
            }
        }
        Some(known)
    }
}
