//! Which system to start: the entry's, the profile's, the person's, or the newest that is whole.

use std::path::Path;
use std::time::{Duration, Instant};

use super::InitError;
use super::boot::Boot;
use super::console::{Choice, Echo, Picker, PickerItem, Prompt};
use super::report::GenerationReport;
use super::sequence::SYSROOT;
use crate::system::generation::{self, Generation, Integrity, Profile};

/// How long the picker waits for the first key before it takes the default: a stray byte on a serial line must not keep
/// a server from booting.
const PICKER_PATIENCE: Duration = Duration::from_secs(60);

/// The system to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// What the report says about it.
    pub report: GenerationReport,
}

impl Boot {
    /// Chooses the system. `Err` in the inner result says why there is none.
    pub(super) fn choose(&mut self) -> Result<Result<GenerationReport, String>, InitError> {
        let profile = match Profile::read(Path::new(SYSROOT), generation::SYSTEM_PROFILE) {
            Ok(profile) => profile,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let requested = self.cmdline.system.clone().or_else(|| profile.current_system().map(str::to_owned));
        if self.cmdline.menu || self.consoles.take_pending_key() {
            return self.pick(&profile, requested);
        }
        Ok(self.decide(&profile, requested))
    }

    fn decide(&mut self, profile: &Profile, requested: Option<String>) -> Result<GenerationReport, String> {
        let decision = decide(profile, requested.as_deref(), &running_kernel());
        if let Ok(GenerationReport { reason: Some(reason), system, .. }) = &decision {
            let text = format!("{reason}. Starting {system} instead.");
            self.warn(&text);
        }
        decision
    }

    fn pick(
        &mut self,
        profile: &Profile,
        requested: Option<String>,
    ) -> Result<Result<GenerationReport, String>, InitError> {
        let kernel = running_kernel();
        let items: Vec<PickerItem> = profile
            .generations
            .iter()
            .rev()
            .map(|generation| picker_item(profile, generation, requested.as_deref(), &kernel))
            .collect();
        let default = items.iter().find(|item| item.default && item.selectable).map(|item| item.number);
        let picker = Picker::new(items, default);
        self.consoles.print(&picker.render());
        let mut deadline = default.is_some().then(|| Instant::now() + PICKER_PATIENCE);
        self.consoles.set_prompt(Prompt { text: picker.prompt(), echo: Echo::Plain });
        loop {
            let wake = self.wait(deadline)?;
            if wake.timed_out {
                self.consoles.clear_prompt();
                return Ok(self.decide(profile, requested));
            }
            if self.consoles.has_typed() {
                deadline = None;
            }
            let Some(line) = wake.line else { continue };
            match picker.parse(&line.bytes) {
                Choice::Default => {
                    self.consoles.clear_prompt();
                    return Ok(self.decide(profile, requested));
                }
                Choice::Number(number) => {
                    if let Some(generation) = profile.generations.iter().find(|found| found.number == number) {
                        self.consoles.clear_prompt();
                        return Ok(Ok(GenerationReport {
                            requested,
                            system: generation.system.clone(),
                            number: Some(number),
                            chosen_by: "picker".to_owned(),
                            reason: None,
                        }));
                    }
                }
                Choice::Invalid(reason) => {
                    self.consoles.print(&reason);
                    self.consoles.set_prompt(Prompt { text: picker.prompt(), echo: Echo::Plain });
                }
            }
        }
    }
}
