//! `keel-init`: the `/init` of the initrd.

use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let error = match keel::init::run() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("keel-init: {error}");
    if std::process::id() == 1 {
        wait_then_reboot();
    }
    ExitCode::FAILURE
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
