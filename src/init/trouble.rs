//! What stops a boot, said so that the person at the console can do something about it.

use std::time::{Duration, Instant};

use super::boot::Boot;
use super::cmdline::{DeviceSpec, FsckRepair};
use super::console::{Echo, Line, Prompt};
use super::find_root::Purpose;
use super::handoff::HandOffError;
use super::{InitError, modules, power, real_lvm};
use crate::root::AssembleError;

/// How long a machine that is to recover by itself (`panic=`, as entries on trial carry) waits for somebody.
pub(super) const UNATTENDED: Duration = Duration::from_mins(1);

/// A boot that can't go on as it is.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No `root=`.
    #[error("the kernel command line has no root=; add it to the boot entry, such as root=/dev/vg/root")]
    NoRoot,
    /// e2fsck found what it won't mend by itself.
    #[error("{device} has errors that e2fsck doesn't mend by itself: {output}")]
    RootDamaged {
        /// The root's device.
        device: String,
        /// Last lines of e2fsck.
        output: String,
    },
    /// The checker failed.
    #[error("{device} could not be checked: {reason}")]
    CheckFailed {
        /// The root's device.
        device: String,
        /// Why.
        reason: String,
    },
    /// The root file system can't be mounted.
    #[error("{device} can't be mounted as {kind}: {reason}")]
    Mount {
        /// The root's device.
        device: String,
        /// File system type.
        kind: String,
        /// What the kernel said, and what may help.
        reason: String,
    },
    /// No generation can be booted.
    #[error("{0}")]
    NoGeneration(String),
    /// The root can't be assembled.
    #[error("{system} can't be started: {source}")]
    Assemble {
        /// The system.
        system: String,
        /// Why.
        source: AssembleError,
    },
    /// systemd can't be started.
    #[error(transparent)]
    HandOff(#[from] HandOffError),
}

/// What the person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Try again.
    Retry,
    /// Repair the root file system, then try again.
    Repair,
    /// Show the picker.
    AnotherGeneration,
    /// Give up the hibernated system.
    StartAnew,
    /// A root shell, then the question again.
    Shell,
    /// Restart the machine.
    Reboot,
    /// Turn the machine off.
    PowerOff,
}

const ANSWERS: &[(&str, Answer, &str)] = &[
    ("r", Answer::Retry, "try again"),
    (
        "f",
        Answer::Repair,
        "let e2fsck mend everything it finds, then try again",
    ),
    ("g", Answer::AnotherGeneration, "choose another generation"),
    (
        "n",
        Answer::StartAnew,
        "start anew: what the hibernated system had in memory is lost",
    ),
    ("s", Answer::Shell, "a root shell on this console"),
    ("b", Answer::Reboot, "reboot"),
    ("p", Answer::PowerOff, "power off"),
];

impl Trouble {
    /// The answers that make sense here.
    fn offers(&self, answer: Answer) -> bool {
        match answer {
            Answer::Repair => matches!(self, Trouble::RootDamaged { .. }),
            Answer::AnotherGeneration => matches!(self, Trouble::Assemble { .. } | Trouble::HandOff(_)),
            Answer::Retry => !matches!(self, Trouble::NoRoot),
            Answer::StartAnew => false,
            Answer::Shell | Answer::Reboot | Answer::PowerOff => true,
        }
    }
}

pub(super) fn menu(offered: impl Fn(Answer) -> bool) -> Prompt {
    let mut text = String::new();
    for (key, _, meaning) in ANSWERS.iter().filter(|(_, answer, _)| offered(*answer)) {
        text.extend(["  ", key, "  ", meaning, "\n"]);
    }
    text.push_str("What now? ");
    Prompt {
        text,
        echo: Echo::Plain,
    }
}

pub(super) fn parse(line: &Line, offered: impl Fn(Answer) -> bool) -> Option<Answer> {
    let typed = std::str::from_utf8(&line.bytes).ok()?.trim().to_ascii_lowercase();
    ANSWERS
        .iter()
        .find(|(key, answer, _)| *key == typed && offered(*answer))
        .map(|(_, answer, _)| *answer)
}

/// What can be done while the root is missing; waiting for it goes on meanwhile.
fn offered_while_waiting(answer: Answer, purpose: Purpose) -> bool {
    match answer {
        Answer::Retry | Answer::Shell | Answer::Reboot | Answer::PowerOff => true,
        Answer::StartAnew => purpose != Purpose::Root,
        Answer::Repair | Answer::AnotherGeneration => false,
    }
}

impl Boot {
    /// Shows the trouble and waits for an answer. Modules are still loaded meanwhile: a keyboard may be plugged in.
    pub(super) fn offer(&mut self, trouble: &Trouble) -> Result<Answer, InitError> {
        self.say(&format!("\nThis boot can't go on: {trouble}"));
        let deadline = self.unattended_deadline();
        let has_shell = self.has_shell();
        let offered = |answer| trouble.offers(answer) && (answer != Answer::Shell || has_shell);
        self.consoles.set_prompt(menu(offered));
        loop {
            let wake = self.wait(deadline)?;
            if wake.timed_out {
                power::reboot();
            }
            let Some(line) = wake.line else { continue };
            match parse(&line, offered) {
                Some(Answer::Reboot) => power::reboot(),
                Some(Answer::PowerOff) => power::power_off(),
                Some(Answer::Shell) => {
                    self.run_shell(&line.console);
                    self.say(&format!("This boot can't go on: {trouble}"));
                }
                Some(answer) => {
                    self.consoles.clear_prompt();
                    return Ok(answer);
                }
                None => {}
            }
            self.consoles.set_prompt(menu(offered));
        }
    }

    /// A machine that is to recover by itself reboots when nobody answers.
    pub(super) fn unattended_deadline(&mut self) -> Option<Instant> {
        let unattended = self.cmdline.panic.is_some_and(|seconds| seconds != 0);
        unattended.then(|| {
            self.say(&format!(
                "Without an answer the machine reboots in {} seconds.",
                UNATTENDED.as_secs()
            ));
            Instant::now() + UNATTENDED
        })
    }

    /// Says what is missing and what is there.
    pub(super) fn explain_absence(&mut self, spec: &DeviceSpec, purpose: Purpose) {
        let what = match purpose {
            Purpose::Root => "The root file system",
            Purpose::Hibernated | Purpose::PerhapsHibernated => "The hibernated system on",
        };
        let mut text = vec![format!("{what} {spec} hasn't appeared. Still waiting for it.")];
        if self.devices.is_empty() {
            text.push("No disk has appeared at all.".to_owned());
        } else {
            text.push("Devices that have appeared:".to_owned());
            text.extend(
                self.devices
                    .describe()
                    .into_iter()
                    .map(|line| format!("  {line}")),
            );
        }
        for volume in &self.detached {
            let missing = match self.devices.find(&volume.data) {
                None => format!("the device of its data, {}", volume.data),
                Some(_) => format!("its header, {}", volume.header),
            };
            text.push(format!(
                "LUKS volume {} is incomplete: {missing}, hasn't appeared.",
                volume.uuid
            ));
        }
        text.extend(self.groups.explain(real_lvm::is_in_image()));
        let served = modules::served("/sys".as_ref());
        let is_served = |line: &str| {
            served
                .iter()
                .any(|modalias| line.ends_with(&format!("modalias {modalias}")))
        };
        let unmatched: Vec<String> = self
            .loader
            .unmatched()
            .into_iter()
            .filter(|line| !is_served(line))
            .collect();
        if !unmatched.is_empty() {
            text.push("Hardware for which this initrd has no module:".to_owned());
            text.extend(unmatched.into_iter().map(|line| format!("  {line}")));
        }
        for failure in self.loader.failures() {
            text.push(format!("Module that failed to load: {failure}"));
        }
        let text = text.join("\n");
        ::log::warn!("{}", text.replace('\n', "; "));
        self.say(&text);
    }

    /// The menu below the explanation.
    pub(super) fn absence_prompt(&self, purpose: Purpose) -> Prompt {
        let has_shell = self.has_shell();
        menu(|answer| offered_while_waiting(answer, purpose) && (answer != Answer::Shell || has_shell))
    }

    /// Deals with an answer to that menu. Whether the boot is to go on without the device.
    pub(super) fn answer_absence(&mut self, line: &Line, spec: &DeviceSpec, purpose: Purpose) -> bool {
        match parse(line, |answer| offered_while_waiting(answer, purpose)) {
            Some(Answer::Reboot) => power::reboot(),
            Some(Answer::PowerOff) => power::power_off(),
            Some(Answer::StartAnew) => return true,
            Some(Answer::Shell) => self.run_shell(&line.console),
            Some(_) => {
                self.look_again();
                self.explain_absence(spec, purpose);
            }
            None => {}
        }
        false
    }

    /// Applies an answer that changes how the next attempt is made.
    pub(super) fn heed(&mut self, answer: Answer) {
        match answer {
            Answer::AnotherGeneration => self.cmdline.menu = true,
            Answer::Repair => self.cmdline.fsck.repair = FsckRepair::Yes,
            Answer::Retry | Answer::StartAnew | Answer::Shell | Answer::Reboot | Answer::PowerOff => {}
        }
    }
}
