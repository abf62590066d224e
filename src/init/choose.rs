//! Which system to start: the entry's, the profile's, the person's, or the newest that is whole.

use std::path::Path;
use std::time::{Duration, Instant};

use super::InitError;
use super::boot::Boot;
use super::console::{Choice, Echo, Picker, PickerItem, Prompt};
use super::report::GenerationReport;
use super::sequence::SYSROOT;
use crate::system::generation::{self, Generation, Integrity, Profile, System};

/// How long the picker waits for the first key before it takes the default: a stray byte on a serial line must not keep
/// a server from booting.
const PICKER_PATIENCE: Duration = Duration::from_mins(1);

impl Boot {
    /// Chooses the system. `Err` in the inner result says why there is none.
    pub(super) fn choose(&mut self) -> Result<Result<GenerationReport, String>, InitError> {
        let profile = match Profile::read(Path::new(SYSROOT), generation::SYSTEM_PROFILE) {
            Ok(profile) => profile,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let current = profile.current_generation().map(|generation| generation.system.clone());
        let requested = self.cmdline.system.clone().or(current);
        if self.cmdline.menu || self.consoles.take_pending_key() {
            return self.pick(&profile, requested);
        }
        Ok(self.decide(&profile, requested))
    }

    fn decide(&mut self, profile: &Profile, requested: Option<String>) -> Result<GenerationReport, String> {
        let from_entry = self.cmdline.system.is_some();
        let states = Survey::of(Path::new(SYSROOT), profile, requested.as_deref());
        let decision = decide(&states, requested.as_deref(), from_entry, &running_kernel());
        if let Ok(GenerationReport { reason: Some(reason), system, number, .. }) = &decision {
            let number = number.map_or_else(String::new, |number| format!("generation {number}, "));
            self.warn(&format!("{reason}; starting {number}{system} instead"));
        }
        decision
    }

    fn pick(
        &mut self,
        profile: &Profile,
        requested: Option<String>,
    ) -> Result<Result<GenerationReport, String>, InitError> {
        let kernel = running_kernel();
        let survey = Survey::of(Path::new(SYSROOT), profile, requested.as_deref());
        let items: Vec<PickerItem> =
            survey.candidates.iter().map(|candidate| candidate.picker_item(requested.as_deref(), &kernel)).collect();
        let default = decide(&survey, requested.as_deref(), true, &kernel).ok().and_then(|chosen| chosen.number);
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

/// What is known about a generation before one is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    number: Option<u64>,
    system: String,
    label: String,
    kernel: String,
    integrity: Integrity,
}

/// The generations, newest first, and the requested system when it is none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Survey {
    candidates: Vec<Candidate>,
}

impl Survey {
    fn of(root: &Path, profile: &Profile, requested: Option<&str>) -> Survey {
        let generations = profile.generations.iter().rev();
        let mut candidates: Vec<Candidate> =
            generations.map(|found| Candidate::look(root, &found.system, Some(found.number))).collect();
        if let Some(system) = requested
            && candidates.iter().all(|candidate| candidate.system != system)
        {
            candidates.push(Candidate::look(root, system, None));
        }
        Survey { candidates }
    }
}

impl Candidate {
    fn look(root: &Path, path: &str, number: Option<u64>) -> Candidate {
        let mut candidate = Candidate {
            number,
            system: path.to_owned(),
            label: path.to_owned(),
            kernel: String::new(),
            integrity: Integrity::Damaged("it can't be looked at".to_owned()),
        };
        let Ok(system) = System::at(root, path) else { return candidate };
        if let Ok(spec) = system.boot_spec() {
            candidate.label = spec.v1.label;
            candidate.kernel = spec.keel.map(|keel| keel.kernel_version).unwrap_or_default();
        }
        candidate.integrity = system.integrity();
        candidate
    }

    /// Why it can't be started on this kernel, if so.
    fn obstacle(&self, kernel: &str) -> Option<String> {
        match &self.integrity {
            Integrity::Damaged(reason) => Some(reason.clone()),
            Integrity::Foreign => Some("it isn't keel's".to_owned()),
            Integrity::Intact if self.kernel != kernel => {
                Some(format!("it needs kernel {}: choose its own boot entry", self.kernel))
            }
            Integrity::Intact => None,
        }
    }

    fn picker_item(&self, requested: Option<&str>, kernel: &str) -> PickerItem {
        let obstacle = self.obstacle(kernel);
        let note = obstacle.clone().unwrap_or_else(|| {
            if requested == Some(self.system.as_str()) { "asked for".to_owned() } else { String::new() }
        });
        PickerItem {
            number: self.number.unwrap_or(0),
            label: self.label.clone(),
            note,
            selectable: obstacle.is_none(),
        }
    }
}

/// The requested system when it can be started, else the newest generation that can be.
fn decide(
    survey: &Survey,
    requested: Option<&str>,
    from_entry: bool,
    kernel: &str,
) -> Result<GenerationReport, String> {
    let asked = requested.and_then(|system| survey.candidates.iter().find(|candidate| candidate.system == system));
    let obstacle = match asked {
        Some(candidate) => candidate.obstacle(kernel),
        None => Some("the boot entry names no generation and the profile has no current one".to_owned()),
    };
    let report = |candidate: &Candidate, chosen_by: &str, reason| GenerationReport {
        requested: requested.map(str::to_owned),
        system: candidate.system.clone(),
        number: candidate.number,
        chosen_by: chosen_by.to_owned(),
        reason,
    };
    match (asked, obstacle) {
        (Some(candidate), None) => Ok(report(candidate, if from_entry { "entry" } else { "profile" }, None)),
        (asked, obstacle) => {
            let what = asked.map_or_else(String::new, |candidate| format!("{}: ", candidate.system));
            let reason = format!("{what}{}", obstacle.unwrap_or_default());
            let fallback = survey.candidates.iter().find(|candidate| candidate.obstacle(kernel).is_none());
            fallback.map(|candidate| report(candidate, "fallback", Some(reason.clone()))).ok_or_else(|| {
                let others = survey.candidates.iter().filter_map(|candidate| {
                    Some(format!("\n  {}: {}", candidate.system, candidate.obstacle(kernel)?))
                });
                format!(
                    "no generation can be started on this kernel ({kernel}); reboot, and choose another boot entry.{}",
                    others.collect::<String>()
                )
            })
        }
    }
}

/// The modules tree that holds the running kernel's modules, when `system` has another kernel.
pub(super) fn modules_for_running_kernel(root: &Path, system: &str) -> Option<String> {
    let kernel = running_kernel();
    let keel_part = |path: &str| System::at(root, path).ok()?.boot_spec().ok()?.keel;
    if keel_part(system)?.kernel_version == kernel {
        return None;
    }
    let profile = Profile::read(root, generation::SYSTEM_PROFILE).ok()?;
    let same = profile.generations.iter().rev().filter_map(|found: &Generation| keel_part(&found.system));
    same.into_iter().find(|keel| keel.kernel_version == kernel).map(|keel| keel.modules)
}

/// `uname -r`
fn running_kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn candidate(number: u64, kernel: &str, integrity: Integrity) -> Candidate {
        Candidate {
            number: Some(number),
            system: format!("/nix/store/{number}"),
            label: String::new(),
            kernel: kernel.to_owned(),
            integrity,
        }
    }

    fn damaged() -> Integrity {
        Integrity::Damaged("/nix/store/x is missing".to_owned())
    }

    #[test]
    fn the_entry_decides_when_its_system_is_intact() {
        let survey =
            Survey { candidates: vec![candidate(2, "6", Integrity::Intact), candidate(1, "6", Integrity::Intact)] };
        let chosen = decide(&survey, Some("/nix/store/1"), true, "6").unwrap();
        assert_eq!((chosen.number, chosen.chosen_by.as_str(), chosen.reason), (Some(1), "entry", None));
    }

    #[test]
    fn the_newest_intact_generation_on_this_kernel_stands_in() {
        let survey = Survey {
            candidates: vec![
                candidate(5, "6", damaged()),
                candidate(4, "7", Integrity::Intact),
                candidate(3, "6", Integrity::Foreign),
                candidate(2, "6", Integrity::Intact),
                candidate(1, "6", Integrity::Intact),
            ],
        };
        let chosen = decide(&survey, Some("/nix/store/5"), true, "6").unwrap();
        assert_eq!((chosen.number, chosen.chosen_by.as_str()), (Some(2), "fallback"));
        assert_eq!(chosen.reason.as_deref(), Some("/nix/store/5: /nix/store/x is missing"));
    }

    #[test]
    fn without_any_the_way_out_is_said() {
        let survey = Survey { candidates: vec![candidate(4, "7", Integrity::Intact)] };
        let error = decide(&survey, Some("/nix/store/4"), true, "6").unwrap_err();
        assert!(error.contains("choose another boot entry") && error.contains("needs kernel 7"), "{error}");
    }
}
