//! `emergency.service` of the systemd initrd: what failed, and what can be done. No shell.

use std::fs;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};

use super::super::boot::open_consoles;
use super::super::console::{Consoles, Line};
use super::super::trouble::{Answer, UNATTENDED, menu, parse};
use super::super::{InitError, power, sequence};
use super::{FAILURE, check_place, manager};

/// What systemd goes on with when somebody wants another try.
const TARGET: &str = "initrd.target";

/// `keel-init --emergency`: shows why the boot stopped, and waits for an answer. Returns when systemd tries again.
pub fn emergency() -> Result<(), InitError> {
    check_place()?;
    let (cmdline, _) = sequence::command_line()?;
    let mut consoles = open_consoles(&cmdline);
    consoles.print(&explanation(Path::new(FAILURE)));
    let unattended = cmdline.panic.is_some_and(|seconds| seconds != 0);
    let deadline = unattended.then(|| Instant::now() + UNATTENDED);
    if unattended {
        let seconds = UNATTENDED.as_secs();
        consoles.print(&format!(
            "Without an answer the machine reboots in {seconds} seconds."
        ));
    }
    consoles.set_prompt(menu(offered));
    loop {
        let Some(line) = wait(&mut consoles, deadline)? else {
            power::reboot();
        };
        match parse(&line, offered) {
            Some(Answer::Reboot) => power::reboot(),
            Some(Answer::PowerOff) => power::power_off(),
            Some(_) => {
                // systemd ends this very unit when it goes on: the terminals must be as they were by then.
                consoles.close();
                let Err(error) = manager::start_unit(TARGET, "isolate") else {
                    return Ok(());
                };
                consoles = open_consoles(&cmdline);
                consoles.print(&error.to_string());
            }
            None => {}
        }
        consoles.set_prompt(menu(offered));
    }
}

fn offered(answer: Answer) -> bool {
    matches!(answer, Answer::Retry | Answer::Reboot | Answer::PowerOff)
}

/// What keel-init said last, or that it was something else.
fn explanation(failure: &Path) -> String {
    match fs::read_to_string(failure) {
        Ok(text) => format!("\nThis boot can't go on: {text}"),
        Err(_) => "\nThis boot can't go on: a unit of the initrd failed, and it wasn't keel-init.service. \
                   The lines above name it."
            .to_owned(),
    }
}

/// The next line that somebody types. `None` when the time is over.
fn wait(consoles: &mut Consoles, deadline: Option<Instant>) -> Result<Option<Line>, InitError> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
        });
        let ready = {
            let mut fds: Vec<PollFd<'_>> = consoles.poll_fds().collect();
            poll(&mut fds, timeout)
        };
        match ready {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(InitError::Wait(errno)),
        }
        if let Some(line) = consoles.handle_ready() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_reason_is_shown_when_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("failure");
        assert!(explanation(&path).contains("a unit of the initrd failed"));
        fs::write(&path, "the disk is gone").unwrap();
        assert_eq!(explanation(&path), "\nThis boot can't go on: the disk is gone");
    }
}
