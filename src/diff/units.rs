//! Units that differ, and in what.

use serde::Serialize;

use super::accounts::Kind;
use crate::system::units::{Changed, Difference, UnitsRecord, quick_compare};

/// A unit that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitChange {
    /// Its name.
    pub unit: String,
    /// What happened.
    pub change: Kind,
    /// Whether its text, drop-ins or links are others.
    pub text: bool,
    /// Settings that are others: `[Service] ExecStart changed`. Empty when only comments or their order differ.
    pub settings: Vec<String>,
    /// Whether it's masked in the new system and wasn't in the old, or the reverse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<bool>,
    /// Programs, scripts and libraries that are others.
    pub code: Vec<String>,
    /// Files of `/etc` that it reads and that are others.
    pub configuration: Vec<String>,
}

impl UnitChange {
    /// Whether nothing but the code that it runs is another: an upgrade of a library makes hundreds of these.
    pub fn is_code_only(&self) -> bool {
        self.change == Kind::Changed && !self.text && self.masked.is_none() && self.configuration.is_empty()
    }
}

/// Says which settings of a unit differ, by its name.
pub type Settings<'a> = dyn FnMut(&str) -> Vec<String> + 'a;

/// Compares two records; `settings` is asked about the units whose text is another.
pub fn compare(old: &UnitsRecord<'_>, new: &UnitsRecord<'_>, settings: &mut Settings<'_>) -> Vec<UnitChange> {
    let mut changes = Vec::new();
    for (name, difference) in quick_compare(old, new) {
        let (change, what) = match difference {
            Difference::Added => (Kind::Added, Changed::default()),
            Difference::Removed => (Kind::Removed, Changed::default()),
            Difference::Changed(changed) => (Kind::Changed, changed),
        };
        let is_masked = || new.units.get(name).is_some_and(|unit| unit.masked);
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        changes.push(UnitChange {
            unit: name.to_owned(),
            change,
            text: what.text,
            settings: if what.text { settings(name) } else { Vec::new() },
            masked: what.mask.then(is_masked),
            code: owned(&what.code),
            configuration: owned(&what.configuration),
        });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::units::UnitRecord;

    #[test]
    fn units_are_told_apart_by_what_differs_in_them() {
        let unit = |text: &'static str, masked| UnitRecord {
            text: text.into(),
            masked,
            code: vec!["/usr/bin/x".into()],
            ..UnitRecord::default()
        };
        let mut old = UnitsRecord::empty();
        let mut new = UnitsRecord::empty();
        for (record, digest) in [(&mut old, "1"), (&mut new, "2")] {
            let _new = record.files.insert("/usr/bin/x".into(), digest.into());
            let _new = record
                .programs
                .insert("/usr/bin/x".into(), vec!["/usr/bin/x".into()]);
        }
        let _new = old.units.insert("gone.service".into(), unit("a", false));
        let _new = old.units.insert("text.service".into(), unit("a", false));
        let _new = old.units.insert("mask.service".into(), unit("a", false));
        let _new = new.units.insert("new.service".into(), unit("a", false));
        let _new = new.units.insert("text.service".into(), unit("b", false));
        let _new = new.units.insert("mask.service".into(), unit("a", true));
        let mut asked = Vec::new();
        let changes = compare(&old, &new, &mut |name| {
            asked.push(name.to_owned());
            vec!["[Service] ExecStart changed".to_owned()]
        });
        assert_eq!(asked, ["text.service"]);
        let told: Vec<_> = changes
            .iter()
            .map(|change| (change.unit.as_str(), change.change, change.text, change.masked))
            .collect();
        assert_eq!(
            told,
            [
                ("gone.service", Kind::Removed, false, None),
                ("mask.service", Kind::Changed, false, Some(true)),
                ("new.service", Kind::Added, false, None),
                ("text.service", Kind::Changed, true, None),
            ]
        );
        assert!(compare(&old, &old, &mut |_| Vec::new()).is_empty());
    }
}
