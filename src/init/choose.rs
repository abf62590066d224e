//! Which system to start: the entry's, the profile's, the person's, or the newest that is whole.

use std::path::Path;
use std::time::{Duration, Instant};

use super::InitError;
use super::boot::{Boot, open_consoles};
use super::console::{Choice, Consoles, Echo, Picker, PickerItem, Prompt};
use super::report::GenerationReport;
use super::sequence::SYSROOT;
use crate::root::running_kernel;
use crate::store::StorePath;
use crate::system::generation::{Damage, Generation, Profile, ProfileError};

/// How long the picker waits for the first key before it takes the default: a stray byte on a serial line must not keep
/// a server from booting.
const PICKER_PATIENCE: Duration = Duration::from_mins(1);

impl Boot {
    /// Chooses the system. `Err` in the inner result says why there is none.
    pub(super) fn choose(&mut self) -> Result<Result<GenerationReport, String>, InitError> {
        let survey = match Survey::of(Path::new(SYSROOT), self.cmdline.system.as_deref()) {
            Ok(survey) => survey,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if self.cmdline.menu || self.consoles.take_pending_key() {
            if self.is_beside_systemd() {
                self.consoles = open_consoles(&self.cmdline);
            }
            let picked = self.pick(&survey);
            if self.is_beside_systemd() {
                self.consoles = Consoles::none();
            }
            return picked;
        }
        Ok(self.take_default(&survey))
    }

    fn take_default(&mut self, survey: &Survey) -> Result<GenerationReport, String> {
        let decision = decide(survey, &running_kernel());
        if let Ok(GenerationReport {
            reason: Some(reason),
            system,
            number,
            ..
        }) = &decision
        {
            let number = number.map_or_else(String::new, |number| format!("generation {number}, "));
            self.warn(&format!("{reason}; starting {number}{system} instead"));
        }
        decision
    }

    fn pick(&mut self, survey: &Survey) -> Result<Result<GenerationReport, String>, InitError> {
        let kernel = running_kernel();
        let asked = survey.requested.as_deref();
        let items = survey
            .candidates
            .iter()
            .filter_map(|candidate| candidate.picker_item(asked, &kernel))
            .collect();
        let default = decide(survey, &kernel).ok().and_then(|chosen| chosen.number);
        let picker = Picker::new(items, default);
        self.consoles.print(&picker.render());
        let mut deadline = default.is_some().then(|| Instant::now() + PICKER_PATIENCE);
        self.consoles.set_prompt(Prompt {
            text: picker.prompt(),
            echo: Echo::Plain,
        });
        loop {
            let wake = self.wait(deadline)?;
            if wake.timed_out {
                self.consoles.clear_prompt();
                return Ok(self.take_default(survey));
            }
            if self.consoles.has_typed() {
                deadline = None;
            }
            let Some(line) = wake.line else { continue };
            match picker.parse(&line.bytes) {
                Choice::Default => {
                    self.consoles.clear_prompt();
                    return Ok(self.take_default(survey));
                }
                Choice::Number(number) => {
                    let found = survey
                        .candidates
                        .iter()
                        .find(|candidate| candidate.number == Some(number));
                    if let Some(candidate) = found {
                        self.consoles.clear_prompt();
                        return Ok(Ok(survey.report(candidate, "picker", None)));
                    }
                }
                Choice::Invalid(reason) => {
                    self.consoles.print(&reason);
                    self.consoles.set_prompt(Prompt {
                        text: picker.prompt(),
                        echo: Echo::Plain,
                    });
                }
            }
        }
    }
}

/// The system that a boot asks for.
#[cfg(feature = "tools")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requested {
    /// Its store path.
    pub system: String,
    /// Its number in the profile.
    pub number: Option<u64>,
    /// The kernel that it needs.
    pub kernel: String,
}

/// The system that a boot asks for, below `root`: that of its entry, or the profile's. An error when early boot would
/// start another one, or none.
#[cfg(feature = "tools")]
pub(crate) fn requested(root: &Path, entry: Option<&str>) -> Result<Requested, String> {
    let survey = Survey::of(root, entry).map_err(|error| error.to_string())?;
    let system = survey.requested.as_ref().ok_or("the profile has no generation")?;
    let candidate = survey
        .candidates
        .iter()
        .find(|candidate| candidate.system == *system)
        .ok_or("the system isn't there")?;
    match &candidate.kernel {
        Ok(kernel) => Ok(Requested {
            system: system.clone(),
            number: candidate.number,
            kernel: kernel.clone(),
        }),
        Err(reason) => Err(format!("{system} can't be started: {reason}")),
    }
}

/// What is known about a generation before one is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    number: Option<u64>,
    system: String,
    label: String,
    /// Why it can't be started, or the kernel that it needs.
    kernel: Result<String, String>,
}

/// The generations, newest first, and the requested system when it is none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Survey {
    candidates: Vec<Candidate>,
    requested: Option<String>,
    from_entry: bool,
}

impl Survey {
    /// Looks at every generation of the root's profile. Without `entry` the profile's current one is requested.
    fn of(root: &Path, entry: Option<&str>) -> Result<Survey, ProfileError> {
        let profile = Profile::of_machine(root)?;
        let mut candidates: Vec<Candidate> = profile
            .generations()?
            .iter()
            .rev()
            .map(|generation| Candidate::of_generation(&profile, generation))
            .collect();
        let requested = if let Some(system) = entry {
            Some(system.to_owned())
        } else {
            // A profile whose link is damaged still has generations to fall back to.
            let current = profile.current().ok().flatten();
            let found = candidates
                .iter()
                .find(|candidate| candidate.number.is_some() && candidate.number == current);
            found.map(|candidate| candidate.system.clone())
        };
        if let Some(system) = &requested
            && candidates.iter().all(|candidate| candidate.system != *system)
        {
            candidates.push(Candidate::of_path(&profile, system));
        }
        Ok(Survey {
            candidates,
            requested,
            from_entry: entry.is_some(),
        })
    }

    fn report(&self, candidate: &Candidate, chosen_by: &str, reason: Option<String>) -> GenerationReport {
        GenerationReport {
            requested: self.requested.clone(),
            system: candidate.system.clone(),
            number: candidate.number,
            chosen_by: chosen_by.to_owned(),
            reason,
        }
    }
}

impl Candidate {
    fn of_generation(profile: &Profile, generation: &Generation) -> Candidate {
        match &generation.system {
            Ok(path) => Candidate::look(profile, path, Some(generation.number)),
            Err(damage) => {
                Candidate::damaged(profile.link(generation.number), Some(generation.number), damage)
            }
        }
    }

    fn of_path(profile: &Profile, system: &str) -> Candidate {
        match StorePath::from_absolute(profile.layout().store_dir(), system) {
            Ok(path) => Candidate::look(profile, &path, None),
            Err(error) => Candidate {
                number: None,
                system: system.to_owned(),
                label: system.to_owned(),
                kernel: Err(error.to_string()),
            },
        }
    }

    fn look(profile: &Profile, path: &StorePath, number: Option<u64>) -> Candidate {
        let system = path.absolute(profile.layout().store_dir());
        match profile.intact(path) {
            Ok(spec) => Candidate {
                number,
                system,
                label: spec.v1.label,
                kernel: Ok(spec.keel.kernel_version),
            },
            Err(damage) => Candidate::damaged(system, number, &damage),
        }
    }

    fn damaged(system: String, number: Option<u64>, damage: &Damage) -> Candidate {
        Candidate {
            number,
            label: system.clone(),
            system,
            kernel: Err(damage.to_string()),
        }
    }

    /// Why it can't be started on this kernel, if so.
    fn obstacle(&self, kernel: &str) -> Option<String> {
        match &self.kernel {
            Err(reason) => Some(reason.clone()),
            Ok(own) if own != kernel => Some(format!("it needs kernel {own}: choose its own boot entry")),
            Ok(_) => None,
        }
    }

    /// `None` for a system that is no generation: it has no number to pick it by.
    fn picker_item(&self, requested: Option<&str>, kernel: &str) -> Option<PickerItem> {
        let obstacle = self.obstacle(kernel);
        let asked = if requested == Some(self.system.as_str()) {
            "asked for"
        } else {
            ""
        };
        Some(PickerItem {
            number: self.number?,
            label: self.label.clone(),
            selectable: obstacle.is_none(),
            note: obstacle.unwrap_or_else(|| asked.to_owned()),
        })
    }
}

/// The requested system when it can be started, else the newest generation that can be.
fn decide(survey: &Survey, kernel: &str) -> Result<GenerationReport, String> {
    let asked = survey.requested.as_ref().and_then(|system| {
        survey
            .candidates
            .iter()
            .find(|candidate| candidate.system == *system)
    });
    let reason = match asked {
        Some(candidate) => match candidate.obstacle(kernel) {
            None => {
                let chosen_by = if survey.from_entry { "entry" } else { "profile" };
                return Ok(survey.report(candidate, chosen_by, None));
            }
            Some(obstacle) => format!("{} can't be started: {obstacle}", candidate.system),
        },
        None => "the boot entry names no generation and the profile has no current one".to_owned(),
    };
    let fallback = survey
        .candidates
        .iter()
        .find(|candidate| candidate.obstacle(kernel).is_none());
    fallback.map(|candidate| survey.report(candidate, "fallback", Some(reason))).ok_or_else(|| {
        let mut text =
            format!("no generation can be started on this kernel ({kernel}); reboot, and choose another boot entry");
        for candidate in &survey.candidates {
            let obstacle = candidate.obstacle(kernel).unwrap_or_default();
            text.extend(["\n  ", &candidate.system, ": ", &obstacle]);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn candidate(number: u64, kernel: Result<&str, &str>) -> Candidate {
        Candidate {
            number: Some(number),
            system: format!("/nix/store/{number}"),
            label: String::new(),
            kernel: kernel.map(str::to_owned).map_err(str::to_owned),
        }
    }

    fn survey(candidates: Vec<Candidate>, requested: &str) -> Survey {
        Survey {
            candidates,
            requested: Some(requested.to_owned()),
            from_entry: true,
        }
    }

    #[test]
    fn the_entry_decides_when_its_system_is_intact() {
        let survey = survey(vec![candidate(2, Ok("6")), candidate(1, Ok("6"))], "/nix/store/1");
        let chosen = decide(&survey, "6").unwrap();
        assert_eq!(
            (chosen.number, chosen.chosen_by.as_str(), chosen.reason),
            (Some(1), "entry", None)
        );
    }

    #[test]
    fn the_newest_intact_generation_on_this_kernel_stands_in() {
        let candidates = vec![
            candidate(5, Err("/nix/store/x is missing")),
            candidate(4, Ok("7")),
            candidate(2, Ok("6")),
            candidate(1, Ok("6")),
        ];
        let chosen = decide(&survey(candidates, "/nix/store/5"), "6").unwrap();
        assert_eq!((chosen.number, chosen.chosen_by.as_str()), (Some(2), "fallback"));
        assert_eq!(
            chosen.reason.as_deref(),
            Some("/nix/store/5 can't be started: /nix/store/x is missing")
        );
    }

    #[test]
    fn without_any_the_way_out_is_said() {
        let error = decide(&survey(vec![candidate(4, Ok("7"))], "/nix/store/4"), "6").unwrap_err();
        assert!(
            error.contains("choose another boot entry") && error.contains("needs kernel 7"),
            "{error}"
        );
    }
}
