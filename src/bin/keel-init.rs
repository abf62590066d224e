//! `keel-init`: the `/init` of the initrd, or what its units run where systemd is `/init`.

use std::io::{Read, Write};
use std::process::ExitCode;

use keel::init::InitError;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let done = match argument.as_deref() {
        // PID 1 gets what the kernel doesn't understand of its command line.
        _ if std::process::id() == 1 => run(),
        Some("--adjunct") => keel::init::prepare(),
        Some("--switch-root") => keel::init::hand_off(),
        Some("--emergency") => keel::init::emergency(),
        _ => run(),
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    eprintln!("keel-init: {error}");
    if std::process::id() == 1 {
        wait_then_reboot();
    }
    ExitCode::FAILURE
}

fn run() -> Result<(), InitError> {
    match keel::init::run()? {}
}

/// PID 1 must not end: the kernel would panic and the reason scroll away. It stays on the screen until somebody presses
/// Enter.
fn wait_then_reboot() {
    eprint!(
        "This machine can't be started with this initrd. Enter reboots it; choose another boot entry then. "
    );
    let _ = std::io::stderr().flush();
    let _ = std::io::stdin().read(&mut [0]);
    keel::init::reboot();
}
