//! What is known of a generation.

use std::path::Path;

use serde::Serialize;

use crate::boot::record::{Known, Record, TrialState};
use crate::diff::side::default_generation;
use crate::store::StorePath;
use crate::system::generation::{Generation, Profile, ProfileError, is_foreign};

/// What a generation is to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mark {
    /// The profile leads to it.
    Profile,
    /// It runs.
    Running,
    /// The machine was booted into it.
    Booted,
    /// It boots when nobody chooses.
    Default,
    /// It booted and was healthy last.
    LastGood,
    /// The next boot tries it.
    Trial,
    /// It never goes by itself.
    Pinned,
    /// Another system's, such as NixOS's: kept, but never booted by keel.
    Foreign,
}

impl Mark {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Running => "running",
            Self::Booted => "booted",
            Self::Default => "default",
            Self::LastGood => "last good",
            Self::Trial => "on trial",
            Self::Pinned => "pinned",
            Self::Foreign => "foreign",
        }
    }

    /// Why a generation that is this isn't deleted: goes on from "since it is".
    pub fn reason(self) -> &'static str {
        match self {
            Self::Profile => "what the profile leads to",
            Self::Default => "the default",
            Self::LastGood => "the last good one",
            Self::Foreign => "another system's, such as NixOS's",
            Self::Running | Self::Booted | Self::Trial | Self::Pinned => self.name(),
        }
    }
}

/// How the last boot of a system went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Health {
    /// It was healthy.
    Healthy {
        /// When, in seconds since 1970.
        time: u64,
    },
    /// It wasn't.
    Failed {
        /// When, in seconds since 1970.
        time: u64,
        /// What was wrong.
        reason: String,
    },
    /// Its trial didn't come to its end.
    TrialFailed {
        /// Why it isn't tried again.
        reason: String,
    },
    /// It was never booted, or nobody remembers.
    Unknown,
}

/// What is known of a generation.
#[derive(Debug)]
pub struct Facts {
    /// The generation.
    pub generation: Generation,
    /// What it is to the machine, in the order of [`Mark`].
    pub marks: Vec<Mark>,
    /// How its last boot went.
    pub health: Health,
    /// The administrator's words for it.
    pub tag: Option<String>,
    /// What is remembered of its system.
    pub known: Known,
}

impl Facts {
    /// All generations of a profile, the oldest first. `record` is what the machine remembers; `menu_default` is what the
    /// boot menu starts by itself, as far as somebody could look.
    pub fn of_profile(
        profile: &Profile,
        record: &Record,
        menu_default: Option<u64>,
    ) -> Result<Vec<Self>, ProfileError> {
        let generations = profile.generations()?;
        let mut around = Around {
            current: profile.current().unwrap_or(None),
            default: menu_default,
            running: linked(profile, "/run/current-system"),
            booted: linked(profile, "/run/booted-system"),
        };
        if around.default.is_none() {
            around.default = default_generation(profile, &generations)?;
        }
        Ok(generations
            .into_iter()
            .map(|generation| around.facts(profile, record, generation))
            .collect())
    }

    /// The mark because of which the generation must not be deleted: whatever it is to the machine is a reason.
    pub fn protection(&self) -> Option<Mark> {
        self.marks.first().copied()
    }
}

struct Around {
    current: Option<u64>,
    default: Option<u64>,
    running: Option<StorePath>,
    booted: Option<StorePath>,
}

fn linked(profile: &Profile, link: &str) -> Option<StorePath> {
    let target = profile.root().read_link(link).ok()?;
    StorePath::from_absolute(profile.layout().store_dir(), &target.to_string_lossy()).ok()
}

impl Around {
    fn facts(&self, profile: &Profile, record: &Record, generation: Generation) -> Facts {
        let number = generation.number;
        let path = generation.system.as_ref().ok();
        let system = path.map(|path| path.absolute(profile.layout().store_dir()));
        let is = |other: Option<&str>| other.is_some() && system.as_deref() == other;
        let known = system
            .as_ref()
            .and_then(|system| record.systems.get(system))
            .cloned()
            .unwrap_or_default();
        let trial = record.trial.as_ref().filter(|trial| is(Some(&trial.system)));
        let is_armed = trial.is_some_and(|trial| trial.state == TrialState::Armed);
        let marks = [
            (self.current == Some(number), Mark::Profile),
            (path.is_some() && path == self.running.as_ref(), Mark::Running),
            (path.is_some() && path == self.booted.as_ref(), Mark::Booted),
            (self.default == Some(number), Mark::Default),
            (is(record.last_good.as_deref()), Mark::LastGood),
            (is_armed, Mark::Trial),
            (known.pinned, Mark::Pinned),
            (
                path.is_some_and(|path| is_foreign(profile.layout(), path)),
                Mark::Foreign,
            ),
        ];
        let health = match (trial.map(|trial| &trial.state), known.boots.last()) {
            (Some(TrialState::Failed(reason)), _) => Health::TrialFailed {
                reason: reason.clone(),
            },
            (_, Some(boot)) if boot.healthy => Health::Healthy { time: boot.time },
            (_, Some(boot)) => Health::Failed {
                time: boot.time,
                reason: boot.reason.clone(),
            },
            (_, None) => Health::Unknown,
        };
        Facts {
            marks: marks
                .into_iter()
                .filter(|(is, _)| *is)
                .map(|(_, mark)| mark)
                .collect(),
            health,
            tag: known.tag.clone(),
            known,
            generation,
        }
    }
}

/// Whether a root directory is this machine's own.
pub fn is_this_machine(root: &Path) -> bool {
    root == Path::new("/")
}
