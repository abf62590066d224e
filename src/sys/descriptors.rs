//! Descriptors that a program must not inherit (close_range(2)).

use std::io;

/// Lets every descriptor from 3 on end with the next execution, whoever opened it.
pub fn end_at_execution() -> io::Result<()> {
    // SAFETY: the call takes three numbers, and closes nothing now.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
