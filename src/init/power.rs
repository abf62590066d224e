//! The end of a boot that can't go on.

use std::thread;

use nix::sys::reboot::{RebootMode, reboot as reboot_system};
use nix::unistd::sync;

use super::sequence::unmount_root;

/// Restarts the machine, with everything written and unmounted.
pub fn reboot() -> ! {
    end(RebootMode::RB_AUTOBOOT)
}

/// Turns the machine off, with everything written and unmounted.
pub(super) fn power_off() -> ! {
    end(RebootMode::RB_POWER_OFF)
}

fn end(mode: RebootMode) -> ! {
    unmount_root();
    sync();
    let _ = reboot_system(mode);
    // A machine that can't be turned off is left as it is: PID 1 must not end.
    loop {
        thread::park();
    }
}
