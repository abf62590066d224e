//! What tests inside of a machine do again and again.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use keel::systemd::{Error, Manager, Outcome, RefusalKind, Verb};

/// A service that ends its start once `/run/go` exists.
pub(crate) const WAITS_FOR_GO: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'until [ -e /run/go ]; do sleep 0.02; done'\n";

/// When a test that hangs is given up. It decides nothing else.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

pub(crate) fn write_unit(name: &str, text: &str) {
    let path = Path::new("/etc/systemd/system").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Connects, and makes the units known.
pub(crate) fn manager_with(units: &[(&str, &str)]) -> Manager {
    for (name, text) in units {
        write_unit(name, text);
    }
    let mut manager = Manager::connect().unwrap();
    wait_until(|| matches!(manager.system_state().unwrap().as_str(), "running" | "degraded"));
    manager.daemon_reload(soon()).unwrap();
    manager
}

pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = soon();
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to that");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn refusal(error: &Error) -> RefusalKind {
    error.refusal().unwrap_or_else(|| panic!("{error}")).kind
}

pub(crate) fn outcome(manager: &mut Manager, verb: Verb, unit: &str) -> Outcome {
    let finished = manager.run(verb, unit, soon()).unwrap();
    assert!(!finished.inferred);
    finished.outcome
}
