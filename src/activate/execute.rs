//! The executor: walks the phases in their order, writes each into the journal before it begins, and goes back when one
//! fails. It runs in a transient unit of its own, from a store path that both systems keep.

use std::path::Path;
use std::time::{Duration, Instant};

use super::commit;
use super::error::{Failure, code};
use super::guard;
use super::journal::{self, Event, Journal, Phase};
use super::machine::Machine;
use super::observe;
use super::plan::{Plan, Verb, plan};
use super::request::{Goal, Request};
use super::watch;
use crate::store::failpoint;
use crate::systemd::{Logind, Manager, RefusalKind, Verb as JobVerb};

/// Who works, and on what.
pub(super) struct Executor {
    pub request: Request,
    pub journal: Journal,
    pub manager: Manager,
    /// Units that were active before the switch.
    pub active: Vec<String>,
    /// Units that had failed before the switch.
    pub failed: Vec<String>,
    /// The plan, once it's made.
    pub plan: Plan,
}

/// The executor's work: does what the request in the file `path` asks for. Everything that is to be known goes into the
/// journal; an error is one that kept it from being begun.
pub fn execute(path: &Path, machine: &Machine) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let request: Request =
        serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let _gone = std::fs::remove_file(path);
    run(request, machine)
}

fn run(request: Request, machine: &Machine) -> Result<(), String> {
    let _lock = machine
        .lock(Duration::from_secs(5))
        .map_err(|error| error.to_string())?;
    let journal = Journal::create(Path::new(journal::DIRECTORY)).map_err(|error| error.to_string())?;
    let mut executor = match Executor::begin(request, journal) {
        Ok(executor) => executor,
        Err((mut journal, text)) => {
            let code = code::ERROR;
            return journal
                .write(Event::End { code, text })
                .map_err(|error| error.to_string());
        }
    };
    let end = match executor.forward() {
        Ok(end) => end,
        Err((_, failure)) if !executor.request.goal.reverts() => (failure.code, failure.text),
        Err((Phase::Begun | Phase::Planned | Phase::BootFiles, failure)) => {
            (failure.code, unchanged(&failure.text))
        }
        Err((_, failure)) if executor.request.leave_failed => {
            let logs = watch::last_lines(&failure.units);
            (
                failure.code,
                format!("{}{logs}; left as it is (--leave-failed)", failure.text),
            )
        }
        Err((reached, failure)) => executor.go_back(reached, &failure),
    };
    guard::disarm(&mut executor.manager);
    executor.end(end);
    Ok(())
}

/// A fault before anything changed, which some errors say themselves.
fn unchanged(text: &str) -> String {
    const SAYS: &str = "nothing was changed";
    if text.contains(SAYS) {
        text.to_owned()
    } else {
        format!("{text}; {SAYS}")
    }
}

type Reached<T> = Result<T, (Phase, Failure)>;

impl Executor {
    fn begin(request: Request, mut journal: Journal) -> Result<Self, (Journal, String)> {
        let known = Manager::connect().and_then(|mut manager| {
            let units = manager.list_units()?;
            Ok((manager, units))
        });
        let (manager, units) = match known {
            Ok(known) => known,
            Err(error) => return Err((journal, error.to_string())),
        };
        let having = |states: &[&str]| -> Vec<String> {
            let units = units.iter().filter(|unit| states.contains(&unit.active.as_str()));
            units.map(|unit| unit.name.clone()).collect()
        };
        let (active, failed) = (
            having(&["active", "reloading", "activating"]),
            having(&["failed"]),
        );
        let begin = Event::Begin {
            request: Box::new(request.clone()),
            active: active.clone(),
            failed: failed.clone(),
        };
        if let Err(error) = journal.write(begin) {
            return Err((journal, error.to_string()));
        }
        Ok(Self {
            request,
            journal,
            manager,
            active,
            failed,
            plan: Plan::default(),
        })
    }

    /// All phases up to the end. On failure it says which phase it had reached.
    fn forward(&mut self) -> Reached<(u8, String)> {
        let at = |phase| move |failure| (phase, failure);
        self.enter(Phase::Begun)?;
        self.check_inhibitors().map_err(at(Phase::Begun))?;
        self.enter(Phase::Planned)?;
        self.make_plan().map_err(at(Phase::Planned))?;
        self.enter(Phase::BootFiles)?;
        let persists = self.request.goal.persists() && !commit::is_committed(&self.request);
        if persists {
            commit::write_boot_files(&self.request).map_err(at(Phase::BootFiles))?;
        }
        if self.request.goal.activates() && self.request.old != self.request.new {
            guard::arm(&mut self.manager, &self.request).map_err(at(Phase::BootFiles))?;
            self.activate()?;
        }
        if persists {
            self.enter(Phase::Commit)?;
            // Whatever fails here leaves the default where it was: the old system boots.
            commit::commit(&self.request).map_err(at(Phase::Commit))?;
        }
        self.enter(Phase::Tidy)?;
        Ok(self.success())
    }

    fn activate(&mut self) -> Reached<()> {
        let at = |phase| move |failure| (phase, failure);
        self.enter(Phase::Guarded)?;
        self.enter(Phase::Stop)?;
        self.jobs(JobVerb::Stop, &self.plan.units(Verb::Stop))
            .map_err(at(Phase::Stop))?;
        self.enter(Phase::Assemble)?;
        self.assemble().map_err(at(Phase::Assemble))?;
        self.enter(Phase::Accounts)?;
        self.settle().map_err(at(Phase::Accounts))?;
        self.enter(Phase::Manager)?;
        self.reload_manager(self.plan.reexec.is_some())
            .map_err(at(Phase::Manager))?;
        self.find_stale();
        let mut failed = Vec::new();
        for (phase, verb, job) in [
            (Phase::Reload, Verb::Reload, JobVerb::Reload),
            (Phase::Restart, Verb::Restart, JobVerb::Restart),
            (Phase::Start, Verb::Start, JobVerb::Start),
        ] {
            self.enter(phase)?;
            if let Err(failure) = self.jobs(job, &self.plan.units(verb)) {
                failed.push(failure);
            }
        }
        if let Some(failure) = failed.into_iter().next() {
            return Err((Phase::Start, failure));
        }
        self.enter(Phase::Health)?;
        watch::watch(self).map_err(at(Phase::Health))?;
        self.enter(Phase::Confirm)?;
        watch::confirm(self).map_err(at(Phase::Confirm))
    }

    fn success(&self) -> (u8, String) {
        let request = &self.request;
        let what = match request.goal {
            Goal::Boot => "the next boot is a trial of",
            Goal::Switch | Goal::Test | Goal::Revert => "the machine runs",
        };
        let name = request.describe();
        if request.goal.activates() && self.plan.is_partial() {
            let rest: Vec<String> = self
                .plan
                .reboot
                .iter()
                .cloned()
                .chain(
                    self.plan
                        .kept
                        .iter()
                        .map(|kept| format!("{} stays as it is", kept.unit)),
                )
                .collect();
            return (
                code::REBOOT,
                format!("{what} {name}; a reboot brings the rest: {}", rest.join(", ")),
            );
        }
        (code::DONE, format!("{what} {name}"))
    }

    /// Notes that a phase begins. A test may ask for the end of the process at this place.
    pub(super) fn enter(&mut self, phase: Phase) -> Reached<()> {
        self.journal
            .write(Event::Phase { phase })
            .map_err(|error| (phase, Failure::activation("the journal", error)))?;
        failpoint(&format!("switch-{phase:?}").to_lowercase());
        Ok(())
    }

    /// Says something; a journal that can't be written any more is no reason to stop half way.
    pub(super) fn say(&mut self, event: Event) {
        if let Err(error) = self.journal.write(event) {
            log::warn!("{error}");
        }
    }

    fn end(&mut self, (code, text): (u8, String)) {
        log::info!("{text} (exit code {code})");
        self.say(Event::End { code, text });
    }

    fn check_inhibitors(&mut self) -> Result<(), Failure> {
        if self.request.ignore_inhibitors {
            return Ok(());
        }
        // Without a bus there is nobody who could hold one.
        let held = Logind::connect()
            .and_then(|mut logind| logind.list_inhibitors())
            .unwrap_or_default();
        let against: Vec<String> = held
            .iter()
            .filter(|inhibitor| inhibitor.mode == "block")
            .filter(|inhibitor| inhibitor.what.split(':').any(|what| what == "shutdown"))
            .map(|inhibitor| format!("{} ({})", inhibitor.who, inhibitor.why))
            .collect();
        if against.is_empty() {
            return Ok(());
        }
        Err(Failure::refused(
            code::INHIBITED,
            format!(
                "{} asked that the machine not be changed now; wait for it, or give --ignore-inhibitors",
                against.join(", ")
            ),
        ))
    }

    fn make_plan(&mut self) -> Result<(), Failure> {
        if self.request.old == self.request.new {
            return Ok(());
        }
        let observed = observe::observe(&mut self.manager, &self.request)
            .map_err(|error| Failure::refused(code::ERROR, error.to_string()))?;
        self.plan = plan(&observed);
        let plan = Box::new(self.plan.clone());
        self.say(Event::Plan { plan });
        Ok(())
    }

    pub(super) fn assemble(&mut self) -> Result<(), Failure> {
        super::machine::replace_trees(&self.request.new)
            .map_err(|error| Failure::activation("replacing /usr and /etc", error))
    }

    /// Accounts, and what systemd's own tools make of the new trees.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        for text in super::machine::settle(&self.request.old, &self.request.new)? {
            self.say(Event::Warning { text });
        }
        Ok(())
    }

    pub(super) fn reload_manager(&mut self, reexec: bool) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_mins(2);
        if reexec {
            // PID 1 can't go back from a program that doesn't start.
            super::tools::try_systemd()?;
            let done = self.manager.daemon_reexec(deadline);
            let done =
                done.map_err(|error| Failure::activation("systemd doesn't start itself anew", error))?;
            let text = format!("systemd {} started itself anew (it was {})", done.to, done.from);
            self.say(Event::Note { text });
            Ok(())
        } else {
            self.manager
                .daemon_reload(deadline)
                .map_err(|error| Failure::activation("systemd doesn't read its units again", error))
        }
    }

    /// Adds what only shows after the replacement: units whose mount namespace it didn't reach.
    fn find_stale(&mut self) {
        for step in observe::stale(&self.plan) {
            match step {
                Ok(step) => self.plan.steps.push(step),
                Err(kept) => self.plan.kept.push(kept),
            }
        }
        let plan = Box::new(self.plan.clone());
        self.say(Event::Plan { plan });
    }

    /// Does the same with several units, and waits for all of them.
    pub(super) fn jobs(&mut self, verb: JobVerb, units: &[String]) -> Result<(), Failure> {
        if units.is_empty() {
            return Ok(());
        }
        if matches!(verb, JobVerb::Start | JobVerb::Restart) {
            for unit in units {
                // Attempts of another version, and of the switch before, don't count against systemd's limit of starts. What
                // isn't loaded has none.
                let _ = self.manager.reset_failed(unit);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(self.request.unit_deadline);
        let journal = &mut self.journal;
        let mut jobs = self.manager.jobs();
        let refused = jobs.submit_all(verb, units, crate::systemd::Mode::Replace);
        let finished = jobs.wait(deadline, &mut |pending| {
            let waiting: Vec<String> = pending
                .iter()
                .map(|job| format!("{} of {} (since {} s)", job.verb, job.unit, job.elapsed.as_secs()))
                .collect();
            let text = waiting.join(", ");
            let _ = journal.write(Event::Pending { text });
        });
        let mut bad = Vec::new();
        let mut texts = Vec::new();
        for (unit, error) in refused {
            // What isn't loaded doesn't run. A switch that was cut short may not have come to it.
            let is_absent = error
                .refusal()
                .is_some_and(|refusal| refusal.kind == RefusalKind::NoSuchUnit);
            if verb == JobVerb::Stop && is_absent {
                continue;
            }
            texts.push(error.to_string());
            self.note_unit(&unit, verb, "refused");
            bad.push(unit);
        }
        for done in finished {
            self.note_unit(
                &done.job.unit,
                verb,
                &format!("{:?}", done.outcome).to_lowercase(),
            );
            if done.outcome.is_success() {
                continue;
            }
            if self.failed.contains(&done.job.unit) {
                let text = format!("{done}; it had failed before the switch, too");
                self.say(Event::Warning { text });
            } else {
                texts.push(done.to_string());
                bad.push(done.job.unit);
            }
        }
        if bad.is_empty() {
            return Ok(());
        }
        Err(Failure::units(texts.join("; "), bad))
    }

    fn note_unit(&mut self, unit: &str, verb: JobVerb, result: &str) {
        self.say(Event::Unit {
            unit: unit.to_owned(),
            verb: verb.to_string(),
            result: result.to_owned(),
        });
    }
}
