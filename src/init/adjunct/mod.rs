//! Beside systemd: where systemd is PID 1 of the initrd, `keel-init.service` prepares the root with the code that does it
//! alone, and `initrd-switch-root.service` has PID 1 switch to it. What is different: udevd runs, so that it hears of new
//! devices by their events; consoles belong to systemd, so that passphrases are asked for by its password agents; what
//! can't go on fails the unit, and emergency.target offers what can be done.

mod agents;
mod emergency;
mod manager;

use std::fs;
use std::path::Path;

use log::{error, warn};
use nix::unistd::getpid;

pub(super) use agents::{Agents, Reply};
pub use emergency::emergency;
pub(super) use manager::CallError;

use super::boot::Place;
use super::sequence::{self, SYSROOT, Stop};
use super::{InitError, handoff};

/// Why the last attempt failed, for emergency.target.
const FAILURE: &str = "/run/keel/failure";

/// `keel-init --adjunct`: everything up to the assembled root below `/sysroot`.
pub fn prepare() -> Result<(), InitError> {
    check_place()?;
    let _ = fs::remove_file(FAILURE);
    let prepared = sequence::start(Place::BesideSystemd).and_then(|mut boot| {
        boot.prepare().map(drop).map_err(|stop| match stop {
            Stop::Fatal(error) => *error,
            Stop::Trouble(trouble) => InitError::Trouble(trouble),
        })
    });
    if let Err(failure) = &prepared {
        error!("{failure}");
        sequence::unmount_root();
        leave_failure(&failure.to_string());
    }
    prepared
}

/// `keel-init --switch-root`: has PID 1 make `/sysroot` the root, once everything else of the initrd is over.
pub fn hand_off() -> Result<(), InitError> {
    check_place()?;
    let (cmdline, _) = sequence::command_line()?;
    // With an empty name PID 1 looks for the root's own systemd and hands its state over; any other program starts anew.
    let init = cmdline
        .init
        .filter(|init| !handoff::is_systemd(init))
        .unwrap_or_default();
    let switched = manager::switch_root(SYSROOT, &init);
    if let Err(failure) = &switched {
        leave_failure(&failure.to_string());
    }
    Ok(switched?)
}

/// systemd is PID 1, and this is an initrd.
fn check_place() -> Result<(), InitError> {
    // sd_booted(3)
    let systemd = getpid().as_raw() != 1 && Path::new("/run/systemd/system").is_dir();
    if systemd && Path::new("/etc/initrd-release").exists() {
        Ok(())
    } else {
        Err(InitError::NotSystemdInitrd)
    }
}

fn leave_failure(text: &str) {
    let path = Path::new(FAILURE);
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text));
    if let Err(error) = written {
        warn!("{FAILURE} can't be written: {error}");
    }
}
