//! A descriptor of a process (pidfd_open(2)): it becomes readable when the process ends, and never means another one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Opens the process `pid`.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the system call has just returned this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits for the end of the process; whether it came before `deadline`.
pub fn wait(process: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        // A longer wait than one number holds is made of several.
        let left = u16::try_from(left).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(left)) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Ends the process by SIGKILL.
pub fn kill(process: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open for the whole call; no siginfo is given, and there are no flags.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn the_end_of_a_process_is_waited_for() {
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let process = open(child.id()).unwrap();
        assert!(!wait(&process, Instant::now()).unwrap());
        kill(&process).unwrap();
        assert!(wait(&process, Instant::now() + Duration::from_mins(1)).unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(open(u32::MAX >> 1).is_err());
    }
}
