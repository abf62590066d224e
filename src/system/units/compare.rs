//! What changed between a unit as it runs and as it will be: named by section and key, with what each change asks for.

use std::collections::BTreeMap;
use std::fmt;

use super::load::{State, Unit};
use super::settings::{Item, SettingName, Settings};
use super::verdict::{self, Verdict};

/// How a setting changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// It is there now.
    Added,
    /// It is gone.
    Removed,
    /// Its value is another.
    Changed,
}

/// A setting that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Without brackets; empty for what is no setting (a mask, a text that can't be read, the fragment's path).
    pub section: String,
    /// The key that the user wrote.
    pub key: String,
    /// Added, removed, changed.
    pub how: How,
    /// What it asks for.
    pub verdict: Verdict,
    /// Why it asks for that.
    pub why: &'static str,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.section.is_empty() {
            write!(f, "[{}] ", self.section)?;
        }
        let how = match self.how {
            How::Added => "added",
            How::Removed => "removed",
            How::Changed => "changed",
        };
        write!(f, "{} {how}", self.key)
    }
}

/// All that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// In the order of sections and keys.
    pub changes: Vec<Change>,
    /// The strongest of them.
    pub verdict: Verdict,
}

/// Compares a unit with its successor. What its programs and configuration files are is not looked at.
pub fn compare(old: &Unit, new: &Unit) -> Comparison {
    let (before, after) = (old.settings(), new.settings());
    let mut changes = compare_settings(&before, &after, new);
    let mut whole = |key: &str, how, why| {
        changes.push(Change {
            section: String::new(),
            key: key.to_owned(),
            how,
            verdict: Verdict::Restart,
            why,
        });
    };
    if old.state != new.state {
        match (old.state, new.state) {
            (_, State::Masked) => whole("mask", How::Added, "a masked unit can't be started"),
            (State::Masked, _) => whole("mask", How::Removed, "it can be started again"),
            (_, State::NotFound) => whole("fragment", How::Removed, "the unit is gone"),
            _ => whole("fragment", How::Added, "the unit is new"),
        }
    }
    if before.is_broken() != after.is_broken() {
        let how = if after.is_broken() {
            How::Added
        } else {
            How::Removed
        };
        whole("fault", how, "systemd doesn't read such a text to its end");
    }
    let path = |unit: &Unit| unit.fragment.as_ref().map(|fragment| fragment.path.clone());
    if path(old) != path(new) && (before.names_own_path() || after.names_own_path()) {
        whole("fragment's path", How::Changed, "%y or %Y names it");
    }
    let verdict = changes.iter().map(|change| change.verdict).max();
    Comparison {
        verdict: verdict.unwrap_or(Verdict::Equal),
        changes,
    }
}

fn compare_settings(before: &Settings, after: &Settings, unit: &Unit) -> Vec<Change> {
    let mut all: BTreeMap<&SettingName, (&[Item], &[Item])> = BTreeMap::new();
    for (name, items) in before.iter() {
        all.entry(name).or_default().0 = items;
    }
    for (name, items) in after.iter() {
        all.entry(name).or_default().1 = items;
    }
    let changed = all.into_iter().filter(|(_, (old, new))| old != new);
    let change = |(name, (old, new)): (&SettingName, (&[Item], &[Item]))| {
        let how = match (old, new) {
            ([], _) => How::Added,
            (_, []) => How::Removed,
            _ => How::Changed,
        };
        let (verdict, why) = verdict::of_setting(unit.kind, &name.section, &name.name);
        Change {
            section: name.section.clone(),
            key: first_difference(old, new).map_or_else(|| name.name.clone(), |item| item.key.clone()),
            how,
            verdict,
            why,
        }
    };
    changed.map(change).collect()
}

// The first assignment that one of them hasn't got, the new one's when both differ there.
fn first_difference<'a>(old: &'a [Item], new: &'a [Item]) -> Option<&'a Item> {
    let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    new.get(same).or_else(|| old.get(same))
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
