//! What a system's own configuration says about the boot menu: the table `[boot]` of its `system.toml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::record::Record;
use crate::store::{Layout, StorePath};
use crate::sys::open_in_root::RootDir;

/// A longer configuration isn't read.
const LENGTH_MAX: u64 = 4 << 20;
/// The system that the machine booted.
const BOOTED: &str = "run/booted-system";

/// The part of `[boot]` that concerns the menu. Systems that were imported say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MenuSettings {
    /// The most generations in the menu.
    pub generations: Option<u32>,
    /// Seconds that it's shown.
    pub timeout: Option<u32>,
    /// Whether the firmware's variables may be written.
    pub can_touch_efi_variables: Option<bool>,
}

impl MenuSettings {
    /// Those of the system at `system`, a path below `root`.
    pub fn of(root: &RootDir, system: &Path) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct File {
            boot: MenuSettings,
        }
        let bytes = root
            .read(system.join("system.toml"), LENGTH_MAX)
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        toml::from_str::<File>(&text).unwrap_or_default().boot
    }

    /// Those of the system that runs.
    pub fn of_this_machine() -> Self {
        RootDir::open(Path::new("/"))
            .map(|root| Self::of(&root, &PathBuf::from("/run/current-system")))
            .unwrap_or_default()
    }
}

/// Systems that are in the menu however many there are: the one that was booted, the last good one, the one on trial, and
/// those that the administrator pinned.
pub fn kept_systems(layout: &Layout) -> BTreeSet<String> {
    let (record, _) = Record::read(layout.root());
    let booted = std::fs::read_link(layout.root().join(BOOTED)).ok();
    let pinned = record.systems.iter().filter(|(_, known)| known.pinned);
    let mut kept: BTreeSet<String> = pinned.map(|(system, _)| system.clone()).collect();
    kept.extend(record.last_good.clone());
    kept.extend(record.trial.map(|trial| trial.system));
    kept.extend(booted.map(|system| system.to_string_lossy().into_owned()));
    kept
}

/// The numbers that are shown of `all` (numbers and systems): the newest `limit`, and those that are kept anyway.
pub fn shown(
    all: &[(u64, StorePath)],
    limit: Option<u32>,
    is_kept: &dyn Fn(u64, &StorePath) -> bool,
) -> BTreeSet<u64> {
    let mut numbers: Vec<u64> = all.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    // At least one: a menu without entries starts nothing.
    let limit = limit.map_or(numbers.len(), |limit| limit.max(1) as usize);
    numbers.truncate(limit);
    let kept = all.iter().filter(|(number, system)| is_kept(*number, system));
    numbers
        .into_iter()
        .chain(kept.map(|(number, _)| *number))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_newest_are_shown_and_what_must_stay() {
        let path = |number: u64| {
            (
                number,
                StorePath::from_base_name(&format!("{}{number}-s", "a".repeat(31))).unwrap(),
            )
        };
        let all: Vec<_> = (1..=6).map(path).collect();
        let none = |_: u64, _: &StorePath| false;
        assert_eq!(Vec::from_iter(shown(&all, None, &none)), [1, 2, 3, 4, 5, 6]);
        assert_eq!(Vec::from_iter(shown(&all, Some(2), &none)), [5, 6]);
        assert_eq!(Vec::from_iter(shown(&all, Some(0), &none)), [6]);
        let kept = |number: u64, _: &StorePath| number == 2;
        assert_eq!(Vec::from_iter(shown(&all, Some(2), &kept)), [2, 5, 6]);
    }

    #[test]
    fn settings_are_those_of_the_systems_own_configuration() {
        let place = tempfile::tempdir().unwrap();
        let root = RootDir::open(place.path()).unwrap();
        assert_eq!(MenuSettings::of(&root, Path::new("/s")), MenuSettings::default());
        std::fs::create_dir(place.path().join("s")).unwrap();
        let text =
            "[system]\nhostname = \"a\"\n[boot]\ngenerations = 3\ntimeout = 7\nloader = \"systemd-boot\"\n";
        std::fs::write(place.path().join("s/system.toml"), text).unwrap();
        let settings = MenuSettings::of(&root, Path::new("/s"));
        assert_eq!((settings.generations, settings.timeout), (Some(3), Some(7)));
    }
}
