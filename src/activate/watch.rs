//! Whether the machine is healthy after a switch: nothing has failed that hadn't, nothing starts again and again, the
//! system's own checks succeed, and somebody confirms that it can still be reached.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::checks;
use super::error::Failure;
use super::execute::Executor;
use super::journal::{DIRECTORY, Event};
use crate::system::health::Health;

/// Made by `keel confirm`.
const CONFIRMED: &str = "confirmed";
/// How often the confirmation is looked for, and how often a user is reminded of it.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const REMIND_EVERY: u64 = 15;
/// Lines of a failed unit's log that are shown.
const LINES: &str = "8";

/// `health.json` of a system; one without any asks for nothing.
pub(super) fn health_of(system: &str) -> Result<Health, String> {
    let path = Path::new(system).join("health.json");
    match fs::read(&path) {
        Ok(bytes) => Health::parse(&bytes).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Health::default()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Watches units for the settle time while the checks run.
pub(super) fn watch(executor: &mut Executor) -> Result<(), Failure> {
    let health =
        health_of(&executor.request.new).map_err(|error| Failure::activation("the health checks", error))?;
    let is_idle = executor.plan.steps.is_empty() && health.checks.is_empty();
    let settle = if is_idle {
        Duration::ZERO
    } else {
        Duration::from_secs(health.settle)
    };
    let restarts = restarts(executor)?;
    let until = Instant::now() + settle;
    let mut texts: Vec<String> = checks::run(&health)
        .into_iter()
        .map(|failure| format!("the health check {} failed: {}", failure.check, failure.why))
        .collect();
    thread::sleep(until.saturating_duration_since(Instant::now()));
    let mut units = newly_failed(executor)?;
    if !units.is_empty() {
        texts.push(format!("{} failed", units.join(", ")));
    }
    let again: Vec<String> = self::restarts(executor)?
        .into_iter()
        .filter(|(unit, count)| {
            let before = restarts.iter().find(|(known, _)| known == unit);
            *count > before.map_or(0, |(_, count)| *count)
        })
        .map(|(unit, _)| unit)
        .collect();
    if !again.is_empty() {
        texts.push(format!(
            "{} ended and was started again by systemd",
            again.join(", ")
        ));
    }
    if texts.is_empty() {
        return Ok(());
    }
    units.extend(again);
    Err(Failure::units(texts.join("; "), units))
}

/// Units that have failed and hadn't before.
pub(super) fn newly_failed(executor: &mut Executor) -> Result<Vec<String>, Failure> {
    let units = executor
        .manager
        .list_units()
        .map_err(|error| Failure::activation("systemd doesn't answer", error))?;
    let failed = units.into_iter().filter(|unit| unit.active == "failed");
    Ok(failed
        .map(|unit| unit.name)
        .filter(|name| !executor.failed.contains(name))
        .collect())
}

/// How often systemd has restarted the services that the plan touched.
fn restarts(executor: &mut Executor) -> Result<Vec<(String, u32)>, Failure> {
    let services: Vec<String> = executor
        .plan
        .steps
        .iter()
        .map(|step| step.unit.clone())
        .filter(|unit| unit.ends_with(".service"))
        .collect();
    let found = executor
        .manager
        .units(&services)
        .map_err(|error| Failure::activation("systemd doesn't answer", error))?;
    Ok(found.into_iter().map(|unit| (unit.id, unit.n_restarts)).collect())
}

/// Waits for the confirmation, when one was asked for.
pub(super) fn confirm(executor: &mut Executor) -> Result<(), Failure> {
    let Some(seconds) = executor.request.confirm else {
        return Ok(());
    };
    let path = Path::new(DIRECTORY).join(CONFIRMED);
    let _ = fs::remove_file(&path);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut reminded = None;
    while Instant::now() < deadline {
        if path.exists() {
            executor.say(Event::Note {
                text: "confirmed".to_owned(),
            });
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now()).as_secs() + 1;
        if reminded.is_none_or(|at: u64| at >= left + REMIND_EVERY) {
            reminded = Some(left);
            executor.say(Event::Pending {
                text: format!("`keel confirm` within {left} s; else the old system comes back"),
            });
        }
        thread::sleep(LOOK_EVERY);
    }
    Err(Failure {
        code: super::error::code::ACTIVATION,
        text: format!("nobody confirmed within {seconds} s that the machine can be reached"),
        units: Vec::new(),
    })
}

/// Confirms the switch that waits for it.
pub fn confirm_now() -> std::io::Result<()> {
    fs::write(Path::new(DIRECTORY).join(CONFIRMED), "")
}

/// The last lines that units have logged, ready to be added to a sentence.
pub(super) fn last_lines(units: &[String]) -> String {
    let mut text = String::new();
    for unit in units.iter().take(4) {
        let output = Command::new("/usr/bin/journalctl")
            .args([
                "--no-pager",
                "--boot",
                "--output=cat",
                "--lines",
                LINES,
                "--unit",
                unit,
            ])
            .stdin(Stdio::null())
            .output();
        if let Ok(output) = output
            && output.status.success()
        {
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                text.push_str("\n    ");
                text.push_str(unit);
                text.push_str(": ");
                text.push_str(line);
            }
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}
