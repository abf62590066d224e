//! Judging a boot (`keel-healthy.service`): a system that has booted and is healthy becomes the default; a trial that
//! hasn't gone well leaves the old one there, and the user is told.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::checks;
use super::commit;
use super::machine::Machine;
use super::watch;
use crate::boot::record::{Boot, Record, TrialState, Verdict};
use crate::init::Report;
use crate::system::profile;
use crate::systemd::Manager;

/// Shown at a login (pam_motd(8)).
const MOTD: &str = "/run/motd.d/50-keel";
/// What early boot did.
const REPORT: &str = "/run/keel/boot.json";

/// What a boot was judged to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it was healthy.
    pub healthy: bool,
    /// What was found, in plain words; shown at logins when something isn't as it was asked for.
    pub words: Vec<String>,
}

/// Judges this boot and acts on it.
pub fn healthy(machine: &Machine) -> Result<Judgement, String> {
    let root = Path::new("/");
    let system = super::machine::booted();
    let generation = machine.generation_of(&system);
    let (mut record, fault) = Record::read(root);
    let mut words: Vec<String> = fault.iter().map(ToString::to_string).collect();
    let verdict = record.judge_trial(&system);
    let problems = problems(&system);
    let is_healthy = problems.is_empty();
    record.note_boot(
        &system,
        Boot {
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            healthy: is_healthy,
            reason: problems.join("; "),
        },
    );
    let name = generation.map_or_else(|| system.clone(), |number| format!("generation {number}"));
    let is_blessed = is_healthy && record.bless(&system);
    if !is_healthy {
        words.push(format!(
            "{name} runs, but it isn't healthy: {}",
            problems.join("; ")
        ));
    }
    if let Some(trial) = &mut record.trial {
        let other = trial.generation;
        match &verdict {
            Verdict::IsTrial => {
                let reason = problems.join("; ");
                words.push(format!("the trial of generation {other} failed; the next boot starts the old system"));
                trial.state = TrialState::Failed(reason);
            }
            Verdict::Again => words.push(format!(
                "the trial boot of generation {other} didn't come to its end (a panic, a hang or a power cut); this is the \
                 old system; the next boot tries again ({} of {})",
                trial.attempts,
                crate::boot::record::ATTEMPTS_MAX
            )),
            Verdict::GivenUp(reason) => words.push(format!(
                "generation {other} isn't tried again: {reason}; this is the old system"
            )),
            Verdict::None => {}
        }
    }
    words.extend(fallback());
    record.write(root).map_err(|error| error.to_string())?;
    let esp = commit::find_esp();
    let esp = esp.as_deref().map(Path::new);
    if let Some(number) = generation {
        if let Some(esp) = esp.filter(|_| is_blessed) {
            commit::move_default(esp, number, &record).map_err(|error| {
                format!("the boot menu can't be made to start generation {number}: {error}")
            })?;
        }
        // After a trial that failed the profile leads back to what runs.
        if is_blessed || matches!(verdict, Verdict::GivenUp(_)) {
            profile::set_current(&machine.profile, number).map_err(|error| error.to_string())?;
        }
    }
    if let Err(error) = commit::arm(&record, esp) {
        words.push(error);
    }
    show(&words);
    Ok(Judgement {
        healthy: is_healthy,
        words,
    })
}

/// What is wrong with this boot.
fn problems(system: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let failed = Manager::connect().and_then(|mut manager| manager.list_units());
    match failed {
        Ok(units) => {
            let failed: Vec<String> = units
                .into_iter()
                .filter(|unit| unit.active == "failed")
                .map(|unit| unit.name)
                .collect();
            if !failed.is_empty() {
                problems.push(format!("{} failed", failed.join(", ")));
            }
        }
        Err(error) => problems.push(error.to_string()),
    }
    match watch::health_of(system) {
        Ok(health) => problems.extend(
            checks::run(&health)
                .into_iter()
                .map(|failure| format!("the health check {} failed: {}", failure.check, failure.why)),
        ),
        Err(error) => problems.push(error),
    }
    problems
}

/// Why another system runs than the one that was asked for.
fn fallback() -> Option<String> {
    let report: Report = serde_json::from_slice(&fs::read(REPORT).ok()?).ok()?;
    let generation = report.generation?;
    let reason = generation.reason?;
    Some(format!(
        "{} runs instead of what was asked for: {reason}",
        generation.system
    ))
}

/// Leaves the words for the next login, or takes old ones away.
fn show(words: &[String]) {
    let _ = fs::remove_file(MOTD);
    if words.is_empty() {
        return;
    }
    let text = words
        .iter()
        .fold(String::new(), |text, line| text + "keel: " + line + "\n");
    let shown = Path::new(MOTD)
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(MOTD, text));
    if let Err(error) = shown {
        log::warn!("{MOTD}: {error}");
    }
}
