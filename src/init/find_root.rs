//! The loop that ends when the root is there.

use std::time::{Duration, Instant};

use log::info;

use super::InitError;
use super::boot::Boot;
use super::cmdline::DeviceSpec;
use super::console::Line;
use super::devices::BlockDevice;
use super::unlock::Progress;
use super::unlock_trial::Origin;

/// How long nothing may happen, with nobody asked for anything, before the reason is shown. Waiting goes on after it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the device of a `resume=` is waited for that nobody announced: the swap space may be gone for good, and the
/// machine must start all the same.
const RESUME_PATIENCE: Duration = Duration::from_secs(30);

/// What a device is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It holds the root file system.
    Root,
    /// It holds a hibernated system.
    Hibernated,
    /// It's where a hibernated system would be.
    PerhapsHibernated,
}

/// How much longer it is waited beside systemd, which waits 90 seconds for a device (`DefaultDeviceTimeoutSec=`).
const BESIDE_SYSTEMD: Duration = Duration::from_secs(80);

/// What the consoles show below the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asking {
    Nothing,
    Passphrase(String),
    Trouble,
}

/// What became of a typed line.
enum Taken {
    /// Nobody had asked.
    Nothing,
    /// The prompt is to be shown anew.
    PromptGone,
    /// The boot goes on without the device.
    WithoutIt,
}

impl Boot {
    /// Unlocks and activates whatever appears until the root's device is there.
    pub(super) fn find_root(&mut self, spec: &DeviceSpec) -> Result<BlockDevice, InitError> {
        loop {
            if let Some(device) = self.find_device(spec, Purpose::Root)? {
                return Ok(device);
            }
        }
    }

    /// Unlocks and activates whatever appears until the device that `spec` means is there. Nothing when the boot is to go
    /// on without it, which a root's never is.
    pub(super) fn find_device(
        &mut self,
        spec: &DeviceSpec,
        purpose: Purpose,
    ) -> Result<Option<BlockDevice>, InitError> {
        let patience_of = if purpose == Purpose::PerhapsHibernated {
            RESUME_PATIENCE
        } else {
            PATIENCE
        };
        let mut asking = Asking::Nothing;
        let mut patience = Instant::now() + patience_of;
        loop {
            while let Some(number) = self.queue.pop_front() {
                self.consider(number);
                patience = Instant::now() + patience_of;
            }
            if let Some(device) = self.devices.find(spec).cloned() {
                self.stop_asking();
                return Ok(Some(device));
            }
            let next = self.what_to_ask(&asking);
            if next != asking {
                self.ask(&next, purpose);
                asking = next;
            }
            let idle = self.keyring.trial.is_none();
            let explaining = (asking == Asking::Nothing && idle).then_some(patience);
            let giving_up = (asking == Asking::Trouble && idle)
                .then(|| self.patience_beside_systemd())
                .flatten()
                .map(|longer| patience + longer);
            let deadlines = [explaining, giving_up, self.keyring.next_deadline()];
            let wake = self.wait(deadlines.into_iter().flatten().min())?;
            self.take_lapses();
            if let Some(line) = wake.line {
                patience = Instant::now() + patience_of;
                match self.take_line(&asking, line, (spec, purpose)) {
                    Taken::Nothing => {}
                    Taken::PromptGone => asking = Asking::Nothing,
                    Taken::WithoutIt => return Ok(None),
                }
            }
            if let Some(progress) = wake.progress {
                patience = Instant::now() + patience_of;
                self.take_progress(progress);
            }
            if wake.cancelled {
                return Err(InitError::Cancelled(spec.to_string()));
            }
            if wake.timed_out && explaining.is_some_and(|deadline| deadline <= Instant::now()) {
                if purpose == Purpose::PerhapsHibernated {
                    return Ok(None);
                }
                self.activate_volumes(true);
                if self.queue.is_empty() {
                    self.explain_absence(spec, purpose);
                    asking = Asking::Trouble;
                    self.ask(&asking, purpose);
                } else {
                    patience = Instant::now() + patience_of;
                }
            }
            if giving_up.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(InitError::RootAbsent(spec.to_string()));
            }
        }
    }

    /// How much longer a root is waited for that was said to be absent. Without systemd there is no end to it.
    fn patience_beside_systemd(&self) -> Option<Duration> {
        let given = self
            .cmdline
            .timeout
            .map_or(BESIDE_SYSTEMD, |seconds| Duration::from_secs(seconds.into()));
        (self.is_beside_systemd() && !given.is_zero()).then_some(given)
    }

    fn what_to_ask(&mut self, asking: &Asking) -> Asking {
        if self.keyring.try_by_itself() {
            return Asking::Nothing;
        }
        match self.keyring.prompt() {
            Some(prompt) => Asking::Passphrase(prompt),
            // A trouble that is shown stays until the person or a device changes something.
            None if *asking == Asking::Trouble => Asking::Trouble,
            None => Asking::Nothing,
        }
    }

    fn ask(&mut self, asking: &Asking, purpose: Purpose) {
        match asking {
            Asking::Nothing => self.stop_asking(),
            Asking::Passphrase(text) => {
                self.report.reach("prompt");
                self.keyring.asked();
                self.ask_passphrase(text.clone());
            }
            // Beside systemd there is nothing to choose: emergency.target has the menu.
            Asking::Trouble if self.is_beside_systemd() => self.stop_asking(),
            Asking::Trouble => {
                let prompt = self.absence_prompt(purpose);
                self.consoles.set_prompt(prompt);
            }
        }
    }

    /// Deals with a typed line.
    fn take_line(&mut self, asking: &Asking, line: Line, sought: (&DeviceSpec, Purpose)) -> Taken {
        match asking {
            Asking::Passphrase(_) if !line.bytes.is_empty() => {
                self.report.reach_anew("passphrase");
                self.say("Unlocking...");
                if let Err(error) = self.keyring.try_typed(line.bytes) {
                    self.warn(&format!("the passphrase can't be tried: {error}"));
                }
                Taken::PromptGone
            }
            Asking::Trouble if self.answer_absence(&line, sought.0, sought.1) => Taken::WithoutIt,
            Asking::Passphrase(_) | Asking::Trouble => Taken::PromptGone,
            Asking::Nothing => Taken::Nothing,
        }
    }

    fn take_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Attempt(attempt) => self.take_attempt(attempt),
            Progress::Over {
                origin: Origin::Typed,
                opened: false,
            } => {
                self.say("Wrong passphrase: it opened no volume. Try again, as often as you like.");
            }
            Progress::Over {
                origin: Origin::Typed,
                opened: true,
            } if !self.keyring.volumes.is_empty() => {
                self.say("That passphrase doesn't open the volumes that are left.");
            }
            Progress::Over { .. } => info!("{} volumes are still locked", self.keyring.volumes.len()),
        }
    }
}
