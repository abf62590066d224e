//! Is equal to systemd what keel calls equal? The systemd of Debian 13 itself is the judge: it loads both texts, and
//! says by `systemctl show` what they came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use keel::system::units::mutate::{Pair, must_differ, mutations};

use super::native::Place;
use crate::rootfs::write;
use crate::services::{Debian, IDLE, UNITS, tree};

/// So many mutations have to be judged.
const PAIRS_MIN: usize = 300;
/// Differences that are shown.
const SHOWN_MAX: usize = 10;

/// What isn't compared, and why.
const LEFT_OUT: [(&str, &str); 4] = [
    (
        "UnitFileState",
        "made of [Install] when it's asked for; systemctl enable reads that, the manager doesn't",
    ),
    ("UnitFilePreset", "the same"),
    ("StateChangeTimestamp", "when it was loaded"),
    ("StateChangeTimestampMonotonic", "the same"),
];

/// What systemctl can't print ("[unprintable]") and `systemd-analyze dump` does: the beginnings of names.
const DUMPED: [&str; 5] = [
    "Assert",
    "Condition",
    "ImportCredential",
    "LoadCredential",
    "SetCredential",
];

/// Lists of words whose order is that of a hash table.
const SETS: &[&str] = &[
    "After",
    "Before",
    "BindsTo",
    "BoundBy",
    "ConflictedBy",
    "Conflicts",
    "ConsistsOf",
    "JoinsNamespaceOf",
    "OnFailure",
    "OnFailureOf",
    "OnSuccess",
    "OnSuccessOf",
    "PartOf",
    "PropagatesReloadTo",
    "PropagatesStopTo",
    "ReloadPropagatedFrom",
    "RequiredBy",
    "Requires",
    "RequiresMountsFor",
    "Requisite",
    "RequisiteOf",
    "SliceOf",
    "StopPropagatedFrom",
    "TriggeredBy",
    "Triggers",
    "UpheldBy",
    "Upholds",
    "WantedBy",
    "Wants",
    "WantsMountsFor",
];

/// The properties of a unit, by name.
type Properties = BTreeMap<String, String>;

/// A unit, and changed versions of its text.
struct Unit {
    /// The file's name.
    file: String,
    /// The unit's: of a template, that of an instance.
    name: String,
    text: String,
    /// Those that keel calls equal.
    versions: Vec<Pair>,
}

/// Loads the units of Debian 13 and changed versions of each.
pub(super) fn units(place: &mut Place<'_>) -> Result<()> {
    let tree = tree(place.cache)?;
    let mut count = 0;
    let units: Vec<Unit> = texts(&tree.join(UNITS))?
        .into_iter()
        .map(|(file, text)| {
            let mut versions = mutations([(&*file, &*text)], 1);
            count += versions.len();
            versions.retain(Pair::keel_says_equal);
            Unit {
                name: file.replace("@.", "@x."),
                file,
                text,
                versions,
            }
        })
        .collect();
    let debian = Debian::idle(&tree, &place.directory.join("units.log"))?;
    let equal = units.iter().map(|unit| unit.versions.len()).sum::<usize>();
    let wrong = differing(&debian, &units)?;
    place.check(
        &format!(
            "{count} mutations of {} units, {equal} of them equal to keel: those are equal to systemd",
            units.len()
        ),
        || {
            if equal < PAIRS_MIN {
                bail!("so few say nothing");
            }
            none_of(&wrong)
        },
    );

    let pairs = must_differ();
    let shown = |text: fn(&Pair) -> &str| -> Result<Vec<Properties>> {
        let files: Vec<_> = pairs.iter().map(|pair| (&*pair.name, text(pair))).collect();
        let names: Vec<_> = pairs.iter().map(|pair| &*pair.name).collect();
        load(&debian, &files, &names)?;
        show(&debian, &names)
    };
    let (before, after) = (shown(|pair| &pair.before)?, shown(|pair| &pair.after)?);
    let mut unseen = Vec::new();
    for (pair, (before, after)) in pairs.iter().zip(before.iter().zip(&after)) {
        for (who, sees_none) in [
            ("systemd", differences(before, after).is_empty()),
            ("keel", pair.keel_says_equal()),
        ] {
            if sees_none {
                unseen.push(format!("equal to {who}: {:?} and {:?}", pair.before, pair.after));
            }
        }
    }
    place.check(
        &format!(
            "{} pairs that must differ do, to systemd and to keel",
            pairs.len()
        ),
        || none_of(&unseen),
    );
    Ok(())
}

/// Loads all units as they are, then again and again with another version of each. What differs is returned; so is what
/// can't be loaded: it could hide differences.
fn differing(debian: &Debian, units: &[Unit]) -> Result<Vec<String>> {
    let files: Vec<_> = units.iter().map(|unit| (&*unit.file, &*unit.text)).collect();
    let names: Vec<_> = units.iter().map(|unit| &*unit.name).collect();
    load(debian, &files, &names)?;
    let original = show(debian, &names)?;
    let mut found = Vec::new();
    for (unit, properties) in units.iter().zip(&original) {
        let state = properties.get("LoadState").map_or("", |state| state.trim_end());
        if state != "loaded" {
            found.push(format!(
                "{} is {state}: {:?}",
                unit.name,
                properties.get("LoadError")
            ));
        }
    }
    let rounds = units.iter().map(|unit| unit.versions.len()).max().unwrap_or(0);
    for round in 0..rounds {
        // A unit that has no such version stays: others depend on it.
        let files: Vec<_> = units
            .iter()
            .map(|unit| match unit.versions.get(round) {
                Some(pair) => (&*unit.file, &*pair.after),
                None => (&*unit.file, &*unit.text),
            })
            .collect();
        load(debian, &files, &names)?;
        let changed: Vec<_> = units
            .iter()
            .zip(&original)
            .filter_map(|(unit, original)| Some((unit, unit.versions.get(round)?, original)))
            .collect();
        let shown = show(
            debian,
            &changed.iter().map(|(unit, ..)| &*unit.name).collect::<Vec<_>>(),
        )?;
        for ((unit, pair, before), after) in changed.into_iter().zip(&shown) {
            let differences = differences(before, after);
            if !differences.is_empty() {
                found.push(format!(
                    "{} ({}): {}",
                    unit.name,
                    pair.mutation,
                    differences.join("; ")
                ));
            }
        }
    }
    Ok(found)
}

fn none_of(found: &[String]) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let shown = found.get(..SHOWN_MAX.min(found.len())).unwrap_or_default();
    bail!("{} pairs:\n{}", found.len(), shown.join("\n"))
}

/// The texts of all units in a directory, by name. Links are other names of units.
fn texts(directory: &Path) -> Result<Vec<(String, String)>> {
    let read = || -> std::io::Result<Vec<(String, String)>> {
        let mut texts = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                texts.push((name, fs::read_to_string(entry.path())?));
            }
        }
        texts.sort();
        Ok(texts)
    };
    read().with_context(|| format!("the units in {} can't be read", directory.display()))
}

/// Loads the units `names` from files with these names and texts.
fn load(debian: &Debian, files: &[(&str, &str)], names: &[&str]) -> Result<()> {
    let directory = debian.path("run/systemd/system");
    for (name, text) in files {
        write(&directory.join(name), text)?;
    }
    // What an active unit wants stays loaded.
    let wants = format!("[Unit]\nWants={}\n", names.join(" "));
    write(&directory.join(format!("{IDLE}.d/wants.conf")), &wants)?;
    debian.run(&["systemctl", "daemon-reload"]).map(drop)
}

/// What systemd shows of loaded units.
fn show(debian: &Debian, names: &[&str]) -> Result<Vec<Properties>> {
    let line = ["systemctl", "show", "--all", "--no-pager", "--"];
    let text = debian.run(&[&line[..], names].concat())?;
    let blocks: Vec<&str> = text.trim_end().split("\n\n").collect();
    if blocks.len() != names.len() {
        bail!("systemd shows {} of {} units", blocks.len(), names.len());
    }
    let mut dumped = dumped(&debian.run(&["systemd-analyze", "dump"])?);
    let mut shown = Vec::new();
    for (name, block) in names.iter().zip(blocks) {
        if !block.lines().any(|line| line.strip_prefix("Id=") == Some(name)) {
            bail!("systemd shows another unit than {name}");
        }
        let dumped = dumped
            .remove(*name)
            .with_context(|| format!("systemd dumps no {name}"))?;
        let mut properties = properties(block);
        let _ = properties.insert("systemd-analyze dump".to_owned(), dumped);
        shown.push(properties);
    }
    Ok(shown)
}

/// Of each unit, the lines that only a dump has.
fn dumped(dump: &str) -> BTreeMap<String, String> {
    let mut units: BTreeMap<String, String> = BTreeMap::new();
    let mut current = None;
    for line in dump.lines() {
        if let Some(name) = line
            .split_once("Unit ")
            .and_then(|(_, rest)| rest.strip_suffix(':'))
            && !line.starts_with('\t')
        {
            current = Some(units.entry(name.to_owned()).or_default());
        } else if let Some(lines) = &mut current
            && line.trim_start().split_once(':').is_some_and(|(key, _)| {
                !key.contains(' ') && DUMPED.iter().any(|start| key.starts_with(start))
            })
        {
            lines.push_str(line.trim_start());
            lines.push('\n');
        }
    }
    units
}

fn properties(block: &str) -> Properties {
    let mut properties = Properties::new();
    for (name, value) in block.lines().filter_map(|line| line.split_once('=')) {
        let value = if SETS.contains(&name) {
            let words: BTreeSet<&str> = value.split(' ').collect();
            words.into_iter().collect::<Vec<_>>().join(" ")
        } else {
            value.to_owned()
        };
        // Some are lists of one line an item: timers, listeners.
        let lines = properties.entry(name.to_owned()).or_default();
        lines.push_str(&value);
        lines.push('\n');
    }
    properties
}

fn differences(before: &Properties, after: &Properties) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| !LEFT_OUT.iter().any(|(left_out, _)| left_out == *name))
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| {
            let of = |properties: &Properties| {
                properties
                    .get(name)
                    .map_or("", |value| value.trim_end())
                    .to_owned()
            };
            format!("{name} is {:.200?}, was {:.200?}", of(after), of(before))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_gives_conditions() {
        let dump = "→ Unit a.service:\n\tCondition Result: yes\n\tConditionPathExists: !/a untested\n→ Unit b.service:\n";
        let units = dumped(dump);
        assert_eq!(units.len(), 2);
        assert_eq!(
            units.get("a.service").map(String::as_str),
            Some("ConditionPathExists: !/a untested\n")
        );
    }

    #[test]
    fn order_of_sets_and_what_is_left_out_make_no_difference() {
        let one = properties("Id=a.service\nAfter=b c\nUnitFileState=static\nTimers=1\nTimers=2");
        let two = properties("Id=a.service\nAfter=c b\nUnitFileState=disabled\nTimers=1\nTimers=2");
        assert!(differences(&one, &two).is_empty());
        let other = properties("Id=a.service\nAfter=c b\nTimers=2\nTimers=1");
        assert_eq!(differences(&one, &other), [r#"Timers is "2\n1", was "1\n2""#]);
    }
}
