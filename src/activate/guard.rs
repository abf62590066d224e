//! The guard: a process of the *old* system's binary that waits beside the executor, and brings the old system back when
//! the executor dies or hangs.
//!
//! It runs before anything changes, and it's static: with a broken C library in the new `/usr` systemd could start nothing
//! any more, not even a program that doesn't need it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::back::revert;
use super::error::Failure;
use super::machine::Machine;
use super::request::Request;
use crate::sys::pidfd;
use crate::systemd::{Manager, Mode, ServiceType, Transient, Value, Verb};

/// The unit of the executor.
pub(super) const SWITCH: &str = "keel-switch.service";
/// The unit of the guard.
const GUARD: &str = "keel-revert.service";

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
    disarm(manager);
    let argv = [
        binary_of(&request.old),
        "guard".to_owned(),
        std::process::id().to_string(),
        request.deadline.to_string(),
    ];
    let unit = Transient::service(GUARD, argv.clone())
        .description("Bring the old system back when a switch goes wrong")
        .service_type(ServiceType::Exec)
        .ignore_on_isolate()
        .stop_timeout(Duration::from_mins(1))
        // Going back is tried until it's done.
        .property("Restart", Value::Text("on-failure".to_owned()))
        .property("RestartUSec", Value::Span(Duration::from_secs(1)))
        .environment(log_environment());
    start(manager, &unit)
        .or_else(|why| {
            beside(&argv)
                .map(drop)
                .map_err(|error| format!("{why}; nor by itself: {error}"))
        })
        .map_err(|why| Failure::activation("the way back can't be prepared", why))
}

/// Disarms it. What isn't armed stays so.
pub(super) fn disarm(manager: &mut Manager) {
    let deadline = Instant::now() + Duration::from_secs(10);
    if let Err(error) = manager.run(Verb::Stop, GUARD, deadline) {
        log::debug!("{error}");
    }
}

/// Whether it waits, or sees to what is left.
pub(super) fn is_there() -> bool {
    Manager::connect()
        .and_then(|mut manager| manager.unit(GUARD))
        .is_ok_and(|unit| unit.is_up())
}

/// The guard's work: waits for the end of the executor `pid`, `seconds` at most, and sees to it that the machine is whole
/// then.
pub fn guard(pid: u32, seconds: u64, machine: &Machine) -> Result<String, String> {
    // One that has ended already left what there is to be seen to.
    if let Ok(executor) = pidfd::open(pid) {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        if !pidfd::wait(&executor, deadline).map_err(|error| error.to_string())? {
            log::warn!("the switch hasn't ended within {seconds} s: it is ended");
            pidfd::kill(&executor).map_err(|error| error.to_string())?;
            let _ = pidfd::wait(&executor, Instant::now() + Duration::from_secs(30));
        }
    }
    revert(machine)
}

/// Starts the executor with a request that lies in a file, and returns its process.
pub(super) fn start_executor(manager: &mut Manager, request: &Path) -> Result<u32, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let binary = std::fs::canonicalize(&own).unwrap_or(own);
    let _ = manager.reset_failed(SWITCH);
    let argv = [
        binary.to_string_lossy().into_owned(),
        "execute".to_owned(),
        request.to_string_lossy().into_owned(),
    ];
    let unit = Transient::service(SWITCH, argv.clone())
        .description("Switch the running system to another generation")
        .service_type(ServiceType::Exec)
        .ignore_on_isolate()
        .stop_timeout(Duration::from_secs(5))
        .environment(log_environment());
    match start(manager, &unit) {
        Ok(()) => Ok(manager.unit(SWITCH).map_err(|error| error.to_string())?.main_pid),
        // With a broken /usr systemd starts nothing; this program can still mend it.
        Err(why) if !is_running(manager) => {
            beside(&argv).map_err(|error| format!("{why}; nor by itself: {error}"))
        }
        Err(why) => Err(why),
    }
}

fn is_running(manager: &mut Manager) -> bool {
    manager.unit(SWITCH).is_ok_and(|unit| unit.is_up())
}

/// Starts a program in a session of its own, without systemd.
fn beside(argv: &[String]) -> std::io::Result<u32> {
    let (program, arguments) = argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    log::warn!("systemd can't start {program}: it's started without");
    let child = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(child.id())
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
