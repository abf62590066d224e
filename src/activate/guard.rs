//! The guard: a transient unit that runs the *old* system's binary and brings the old system back, when the executor
//! dies or hangs.

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::Failure;
use super::request::Request;
use crate::systemd::{Manager, Mode, ServiceType, Transient, Value, Verb};

/// The unit of the executor.
pub(super) const SWITCH: &str = "keel-switch.service";
/// The unit that goes back, and its timer.
pub(super) const REVERT: &str = "keel-revert.service";
const TIMER: &str = "keel-revert.timer";

/// The binary that goes back to a system: the one that it brings. A system without one is served by this process's own.
fn binary_of(system: &str) -> String {
    let own = || {
        std::env::current_exe().map_or_else(
            |_| "/usr/bin/keel".to_owned(),
            |path| path.to_string_lossy().into_owned(),
        )
    };
    let brought = Path::new(system).join("keel/bin/keel");
    // Through every link: the path has to be good whatever /usr is.
    std::fs::canonicalize(brought).map_or_else(|_| own(), |path| path.to_string_lossy().into_owned())
}

/// Arms it: from here on the end of this process, or the passing of the deadline, brings the old system back.
pub(super) fn arm(manager: &mut Manager, request: &Request) -> Result<(), Failure> {
    let binary = binary_of(&request.old);
    let unit = Transient::service(REVERT, [binary.as_str(), "revert"])
        .description("Bring the old system back after a switch that went wrong")
        .service_type(ServiceType::Exec)
        .ignore_on_isolate()
        .stop_timeout(Duration::from_mins(1))
        // Going back is tried until it's done.
        .property("Restart", Value::Text("on-failure".to_owned()))
        .property("RestartUSec", Value::Span(Duration::from_secs(1)))
        .environment(log_environment())
        .after(Duration::from_secs(request.deadline))
        .description("The old system comes back when a switch hangs");
    disarm(manager);
    start(manager, &unit).map_err(|why| Failure::activation("the way back can't be prepared", why))
}

/// Disarms it. What isn't armed stays so.
pub(super) fn disarm(manager: &mut Manager) {
    let deadline = Instant::now() + Duration::from_secs(10);
    if let Err(error) = manager.run(Verb::Stop, TIMER, deadline) {
        log::debug!("{error}");
    }
}

/// Starts the executor with a request that lies in a file, and returns its process.
pub(super) fn start_executor(manager: &mut Manager, request: &Path) -> Result<u32, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let binary = std::fs::canonicalize(&own).unwrap_or(own);
    let _ = manager.reset_failed(SWITCH);
    let unit = Transient::service(
        SWITCH,
        [
            binary.to_string_lossy().into_owned(),
            "execute".to_owned(),
            request.to_string_lossy().into_owned(),
        ],
    )
    .description("Switch the running system to another generation")
    .service_type(ServiceType::Exec)
    .ignore_on_isolate()
    .stop_timeout(Duration::from_secs(5))
    .property("OnFailure", Value::List(vec![REVERT.to_owned()]))
    .environment(log_environment());
    start(manager, &unit)?;
    Ok(manager.unit(SWITCH).map_err(|error| error.to_string())?.main_pid)
}

fn start(manager: &mut Manager, unit: &Transient) -> Result<(), String> {
    let mut jobs = manager.jobs();
    let _ = jobs
        .submit_transient(unit, Mode::Fail)
        .map_err(|error| error.to_string())?;
    let finished = jobs.wait(Instant::now() + Duration::from_secs(30), &mut |_| {});
    match finished.into_iter().find(|done| !done.outcome.is_success()) {
        Some(failed) => Err(failed.to_string()),
        None => Ok(()),
    }
}

/// What the transient units need of this process's environment: how much to log, and what a test asks for.
fn log_environment() -> Vec<String> {
    ["KEEL_LOG", "KEEL_TEST_FAILPOINT"]
        .iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| format!("{name}={value}")))
        .collect()
}
