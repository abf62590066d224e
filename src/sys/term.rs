//! What terminals need beyond termios.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::termios::{FlushArg, tcflush};

/// Size of the line discipline's ring of read bytes: `N_TTY_BUF_SIZE` in `drivers/tty/n_tty.c`.
const N_TTY_BYTES: usize = 4096;

/// Overwrites what was typed on the terminal where the kernel still keeps it.
///
/// Outside canonical mode the line discipline never clears its ring of 4096 bytes: a passphrase would stay in memory
/// until as much was typed after it. Flushing moves the ring back to its start, and `TIOCSTI` (ioctl_tty(2)) then types
/// NULs over all of it but the last byte. Needs `CAP_SYS_ADMIN` where `dev.tty.legacy_tiocsti` is 0. The terminal must
/// be in raw mode, without echo. What was typed and not yet read is lost.
pub fn wipe_input(terminal: BorrowedFd<'_>) -> nix::Result<()> {
    tcflush(terminal, FlushArg::TCIFLUSH)?;
    let nul: libc::c_char = 0;
    for _ in 1..N_TTY_BYTES {
        // SAFETY: TIOCSTI reads one byte behind the pointer, which outlives the call; the descriptor is open.
        let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, &raw const nul) };
        let _zero = nix::errno::Errno::result(result)?;
    }
    tcflush(terminal, FlushArg::TCIFLUSH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::wipe_input;
    use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn leaves_nothing_to_read() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut raw = tcgetattr(&pty.slave).unwrap();
        cfmakeraw(&mut raw);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &raw).unwrap();
        std::fs::File::from(pty.master.try_clone().unwrap())
            .write_all(b"secret")
            .unwrap();
        wipe_input(pty.slave.as_fd()).unwrap();
        let mut fds = [nix::poll::PollFd::new(
            pty.slave.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        assert_eq!(
            nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).unwrap(),
            0
        );
    }
}
