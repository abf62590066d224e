//! What the texts of a unit come to: the fragment, then its drop-ins, put together as systemd does it.

use std::collections::BTreeMap;

use super::keys::{self, Rule};
use super::name::Kind;
use super::parse::Parsed;
use super::value;

/// A setting: the section and the key that stands for all names of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettingName {
    /// Without brackets.
    pub section: String,
    /// The key; for several keys that fill one list a name for all of them (`Conditions`, `Listen`, `On`).
    pub name: String,
}

/// One assignment that counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// The key as it is written; for a set of words the setting's name.
    pub key: String,
    /// Its value, specifiers as they are.
    pub value: String,
}

/// The settings of a unit. Two that are equal are the same unit to systemd (given the same name, and the same directory
/// when [`Settings::names_own_path`]); two that differ may still be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    settings: BTreeMap<SettingName, Vec<Item>>,
    broken: bool,
}

impl Settings {
    /// Puts texts together: the fragment first, then the drop-ins in their order. `wanted` are the names of units in
    /// `.wants`, `.requires` and `.upholds` directories with the key that they stand for. `[Install]`, sections of other
    /// kinds of units and `[X-…]` are left out, as systemd leaves them out.
    pub fn new<'a>(
        kind: Kind,
        texts: impl IntoIterator<Item = &'a Parsed>,
        wanted: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut gathered: BTreeMap<SettingName, (Rule, Vec<Item>)> = BTreeMap::new();
        let mut add = |section: &str, key: &str, value: &str| {
            let (section, name, rule) = match keys::group(section, key) {
                Some(group) => (group.section, group.name, group.rule),
                None => (section, key, Rule::Sequence),
            };
            let name = SettingName {
                section: section.to_owned(),
                name: name.to_owned(),
            };
            let (_, items) = gathered.entry(name).or_insert_with(|| (rule, Vec::new()));
            items.push(Item {
                key: key.to_owned(),
                value: value.to_owned(),
            });
        };
        let mut broken = false;
        for text in texts {
            broken |= text.broken.is_some();
            for assignment in &text.assignments {
                if assignment.section == "Unit" || Some(assignment.section.as_str()) == kind.section() {
                    add(&assignment.section, &assignment.key, &assignment.value);
                }
            }
        }
        for (key, unit) in wanted {
            add("Unit", key, unit);
        }
        let settings = gathered
            .into_iter()
            .filter_map(|(name, (rule, items))| {
                let items = reduce(rule, items, &name.name);
                (!items.is_empty()).then_some((name, items))
            })
            .collect();
        Self { settings, broken }
    }

    /// All settings that aren't at their default, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&SettingName, &[Item])> {
        self.settings.iter().map(|(name, items)| (name, items.as_slice()))
    }

    /// What counts of a setting; empty when nothing was assigned.
    pub fn items(&self, section: &str, name: &str) -> &[Item] {
        let name = SettingName {
            section: section.to_owned(),
            name: name.to_owned(),
        };
        self.settings.get(&name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The last value of a setting, in the section of the unit's kind or in `[Unit]`.
    pub fn last(&self, section: &str, name: &str) -> Option<&str> {
        self.items(section, name).last().map(|item| item.value.as_str())
    }

    /// Whether systemd stopped in one of the texts: it doesn't load such a fragment, and only a part of such a drop-in.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether a value names the fragment's own path (`%y`) or directory (`%Y`): then it matters where the fragment lies.
    pub fn names_own_path(&self) -> bool {
        let mut items = self.settings.values().flatten();
        items.any(|item| item.value.contains("%y") || item.value.contains("%Y"))
    }
}

fn reduce(rule: Rule, mut items: Vec<Item>, name: &str) -> Vec<Item> {
    let is_empty = |item: &Item| item.value.is_empty();
    match rule {
        Rule::Sequence => {}
        Rule::Scalar(class) => {
            if let Some(at) = items.iter().rposition(|item| class.takes(&item.value)) {
                let _irrelevant = items.drain(..at);
            }
            // Two names of one setting say the same.
            if let [only] = items.as_mut_slice()
                && class.takes(&only.value)
            {
                name.clone_into(&mut only.key);
            }
        }
        Rule::Emptied => {
            if let Some(at) = items.iter().rposition(is_empty) {
                let _irrelevant = items.drain(..at);
            }
        }
        Rule::List | Rule::Words => {
            if let Some(at) = items.iter().rposition(is_empty) {
                let _irrelevant = items.drain(..=at);
            }
        }
        Rule::Commands => {
            let at = items.iter().rposition(is_empty);
            let before = at.and_then(|at| items.get(..at)).unwrap_or_default();
            // A command that systemd rejects spoils the unit even when it is removed from the list later.
            let removed_were_good = before
                .iter()
                .all(|item| is_empty(item) || value::is_good_command(&item.value));
            if let Some(at) = at.filter(|_| removed_were_good) {
                let _irrelevant = items.drain(..=at);
            }
        }
        Rule::Dependencies => return words_of(&items, name),
    }
    if matches!(rule, Rule::Words | Rule::Commands) {
        for item in &mut items {
            let joined = value::words(&item.value).map(|words| words.collect::<Vec<_>>().join(" "));
            if let Some(joined) = joined {
                item.value = joined;
            }
        }
    }
    items
}

// The order and the number of mentions don't matter; all names of the setting say the same.
fn words_of(items: &[Item], name: &str) -> Vec<Item> {
    let mut words: Vec<&str> = Vec::new();
    for item in items {
        // The only backslashes of a unit's name are escapes (`\x2d`); anything else is left alone.
        let odd =
            item.value.contains(['"', '\'']) || item.value.contains("\\ ") || item.value.contains("\\\t");
        if odd || item.value.ends_with('\\') {
            words.push(&item.value);
        } else {
            words.extend(
                item.value
                    .split([' ', '\t', '\n', '\r'])
                    .filter(|word| !word.is_empty()),
            );
        }
    }
    words.sort_unstable();
    words.dedup();
    let item = |word: &str| Item {
        key: name.to_owned(),
        value: word.to_owned(),
    };
    words.into_iter().map(item).collect()
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
