//! The loop that ends when the root is there.

use std::time::{Duration, Instant};

use log::info;

use super::InitError;
use super::boot::Boot;
use super::cmdline::DeviceSpec;
use super::console::{Echo, Line, Prompt};
use super::devices::BlockDevice;
use super::unlock::Progress;
use super::unlock_trial::Origin;

/// How long nothing may happen, with nobody asked for anything, before the reason is shown. Waiting goes on after it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the consoles show below the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asking {
    Nothing,
    Passphrase(String),
    Trouble,
}

impl Boot {
    /// Unlocks and activates whatever appears until the device that `spec` means is there.
    pub(super) fn find_device(&mut self, spec: &DeviceSpec) -> Result<BlockDevice, InitError> {
        let mut asking = Asking::Nothing;
        let mut patience = Instant::now() + PATIENCE;
        loop {
            while let Some(number) = self.queue.pop_front() {
                self.consider(number);
                patience = Instant::now() + PATIENCE;
            }
            if let Some(device) = self.devices.find(spec).cloned() {
                self.consoles.clear_prompt();
                return Ok(device);
            }
            let next = self.what_to_ask(&asking);
            if next != asking {
                self.ask(&next);
                asking = next;
            }
            let explaining = (asking == Asking::Nothing && self.keyring.trial.is_none()).then_some(patience);
            let deadlines = [explaining, self.keyring.next_deadline()];
            let wake = self.wait(deadlines.into_iter().flatten().min())?;
            self.take_lapses();
            if let Some(line) = wake.line {
                patience = Instant::now() + PATIENCE;
                if self.take_line(&asking, line, spec) {
                    asking = Asking::Nothing;
                }
            }
            if let Some(progress) = wake.progress {
                patience = Instant::now() + PATIENCE;
                self.take_progress(progress);
            }
            if wake.timed_out && explaining.is_some_and(|deadline| deadline <= Instant::now()) {
                self.activate_volumes(true);
                if self.queue.is_empty() {
                    self.explain_absence(spec);
                    asking = Asking::Trouble;
                    self.ask(&asking);
                } else {
                    patience = Instant::now() + PATIENCE;
                }
            }
        }
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

    fn ask(&mut self, asking: &Asking) {
        match asking {
            Asking::Nothing => self.consoles.clear_prompt(),
            Asking::Passphrase(text) => {
                self.report.reach("prompt");
                self.keyring.asked();
                self.consoles.set_prompt(Prompt {
                    text: text.clone(),
                    echo: Echo::Stars,
                });
            }
            Asking::Trouble => self.consoles.set_prompt(Boot::absence_prompt()),
        }
    }

    /// Deals with a typed line. Whether the prompt is to be shown anew.
    fn take_line(&mut self, asking: &Asking, line: Line, spec: &DeviceSpec) -> bool {
        match asking {
            Asking::Passphrase(_) if !line.bytes.is_empty() => {
                self.report.reach_anew("passphrase");
                self.say("Unlocking...");
                if let Err(error) = self.keyring.try_typed(line.bytes) {
                    self.warn(&format!("the passphrase can't be tried: {error}"));
                }
                true
            }
            Asking::Passphrase(_) => true,
            Asking::Trouble => {
                self.answer_absence(&line, spec);
                true
            }
            Asking::Nothing => false,
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
