//! A program with a terminal of its own: setsid(2) and TIOCSCTTY (ioctl_tty(2)).

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use nix::errno::Errno;

/// Runs `command` on `terminal` and waits for its end. It leads a session whose terminal this is, so that Ctrl-C and job
/// control work.
///
/// # Errors
/// Those of opening the terminal, and of starting the program.
pub fn run_on_terminal(command: &mut Command, terminal: &Path) -> io::Result<ExitStatus> {
    let open = || File::options().read(true).write(true).open(terminal);
    let _command = command
        .stdin(Stdio::from(open()?))
        .stdout(Stdio::from(open()?))
        .stderr(Stdio::from(open()?));
    let begin_session = || {
        let _session = nix::unistd::setsid()?;
        // SAFETY: TIOCSCTTY takes a number; standard input is open.
        let result = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
        match Errno::result(result) {
            // A terminal that can't be had so still reads and writes.
            Ok(_) | Err(Errno::EPERM | Errno::ENOTTY | Errno::EINVAL) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    };
    // SAFETY: between fork and exec only two system calls are made; nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(begin_session) }.status()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn the_program_leads_a_session_with_this_terminal() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let name = nix::unistd::ttyname(pty.slave.as_fd()).unwrap();
        let mut shell = Command::new("/bin/sh");
        // /dev/tty can only be opened by who has a controlling terminal.
        let _ = shell.args(["-c", "echo here >/dev/tty; exit 7"]);
        let status = run_on_terminal(&mut shell, &name).unwrap();
        assert_eq!(status.code(), Some(7));
        let mut said = [0; 64];
        let length = File::from(pty.master).read(&mut said).unwrap();
        assert_eq!(said.get(..length).unwrap(), b"here\r\n");
        drop(pty.slave);
    }

    #[test]
    fn a_terminal_or_a_program_that_is_missing_is_an_error() {
        let mut shell = Command::new("/bin/true");
        assert!(run_on_terminal(&mut shell, Path::new("/nonexistent")).is_err());
        let mut none = Command::new("/nonexistent");
        assert!(run_on_terminal(&mut none, Path::new("/dev/null")).is_err());
    }
}
