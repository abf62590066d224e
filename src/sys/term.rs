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

/// How many columns the terminal has; none when the descriptor is no terminal, or one that doesn't know (a serial line).
pub fn columns(terminal: BorrowedFd<'_>) -> Option<u16> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes a winsize (ioctl_tty(2)) behind the pointer, which outlives the call; the descriptor is open.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{columns, wipe_input};
    use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn the_width_is_the_terminals() {
        let size = nix::pty::Winsize {
            ws_row: 25,
            ws_col: 97,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = nix::pty::openpty(Some(&size), None).unwrap();
        assert_eq!(columns(pty.slave.as_fd()), Some(97));
        assert_eq!(columns(std::fs::File::open("/dev/null").unwrap().as_fd()), None);
    }

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
