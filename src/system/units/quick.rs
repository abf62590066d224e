//! What differs between two systems' units, by their records alone. A difference is a reason to look at the unit, not
//! yet to act on it: a text may differ in its comments only.

use std::collections::{BTreeMap, HashMap};

use super::record::{UnitRecord, UnitsRecord};

/// What differs in a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference<'a> {
    /// The old system hasn't got it.
    Added,
    /// The new system hasn't got it.
    Removed,
    /// Both have it.
    Changed(Changed<'a>),
}

/// What differs in a unit that both systems have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed<'a> {
    /// Fragment, drop-ins or links.
    pub text: bool,
    /// It is masked in one of them only.
    pub mask: bool,
    /// Programs, scripts and libraries that are others, new or gone, in the order of their paths.
    pub code: Vec<&'a str>,
    /// Configuration files that are others, new or gone.
    pub configuration: Vec<&'a str>,
}

/// Compares two systems: the units that differ, by name.
pub fn quick_compare<'a>(old: &'a UnitsRecord, new: &'a UnitsRecord) -> BTreeMap<&'a str, Difference<'a>> {
    let mut programs = HashMap::new();
    let mut found = BTreeMap::new();
    for (name, before) in &old.units {
        match new.units.get(name) {
            None => {
                let _new = found.insert(name.as_str(), Difference::Removed);
            }
            Some(after) => {
                let changed = changed((old, before), (new, after), &mut programs);
                if changed != Changed::default() {
                    let _new = found.insert(name.as_str(), Difference::Changed(changed));
                }
            }
        }
    }
    let added = new.units.keys().filter(|name| !old.units.contains_key(*name));
    found.extend(added.map(|name| (name.as_str(), Difference::Added)));
    found
}

// A program's own file and libraries that differ: the same for every unit that runs it.
type Known<'a> = HashMap<&'a str, Vec<&'a str>>;

fn changed<'a>(
    (old, before): (&'a UnitsRecord, &'a UnitRecord),
    (new, after): (&'a UnitsRecord, &'a UnitRecord),
    programs: &mut Known<'a>,
) -> Changed<'a> {
    let mut code = Vec::new();
    for (program, (in_old, in_new)) in union(&before.code, &after.code) {
        if in_old && in_new {
            let differing = programs
                .entry(program)
                .or_insert_with(|| differing_files(old, new, program));
            code.extend_from_slice(differing);
        } else {
            code.push(program);
        }
    }
    code.sort_unstable();
    code.dedup();
    let configuration = union(&before.configuration, &after.configuration).into_iter();
    let configuration = configuration
        .filter(|(path, (in_old, in_new))| in_old != in_new || differs(old, new, path))
        .map(|(path, _)| path)
        .collect();
    Changed {
        text: before.text != after.text,
        mask: before.masked != after.masked,
        code,
        configuration,
    }
}

fn differing_files<'a>(old: &'a UnitsRecord, new: &'a UnitsRecord, program: &'a str) -> Vec<&'a str> {
    let libraries = |record: &'a UnitsRecord| {
        record
            .programs
            .get(program)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let all = union(libraries(old), libraries(new)).into_iter();
    let differing = all.filter(|(path, (in_old, in_new))| in_old != in_new || differs(old, new, path));
    let mut found: Vec<&str> = differing.map(|(path, _)| path).collect();
    found.extend(differs(old, new, program).then_some(program));
    found
}

fn differs(old: &UnitsRecord, new: &UnitsRecord, path: &str) -> bool {
    old.files.get(path) != new.files.get(path)
}

// All paths of two lists, and which of them each is in.
fn union<'a>(old: &'a [String], new: &'a [String]) -> BTreeMap<&'a str, (bool, bool)> {
    let mut all: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for path in old {
        all.entry(path).or_default().0 = true;
    }
    for path in new {
        all.entry(path).or_default().1 = true;
    }
    all
}

#[cfg(test)]
#[path = "quick_tests.rs"]
mod tests;
