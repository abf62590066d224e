//! What differs between two systems' units, by their records alone. A difference is a reason to look at the unit, not
//! yet to act on it: a text may differ in its comments only.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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
    let mut files = Files {
        old,
        new,
        differing: differing_files(old, new),
        programs: HashMap::new(),
    };
    let mut found = BTreeMap::new();
    for (name, before) in &old.units {
        match new.units.get(name) {
            None => {
                let _new = found.insert(name.as_str(), Difference::Removed);
            }
            Some(after) => {
                let changed = files.changed(before, after);
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

// Most systems differ in few files, so these are looked for once; then a path is only looked up among them.
fn differing_files<'a>(old: &'a UnitsRecord, new: &'a UnitsRecord) -> HashSet<&'a str> {
    let changed = old
        .files
        .iter()
        .filter(|(path, digest)| new.files.get(*path) != Some(digest));
    let added = new.files.keys().filter(|path| !old.files.contains_key(*path));
    changed
        .map(|(path, _)| path)
        .chain(added)
        .map(String::as_str)
        .collect()
}

struct Files<'a> {
    old: &'a UnitsRecord,
    new: &'a UnitsRecord,
    differing: HashSet<&'a str>,
    // A program's own file and libraries that differ: the same for every unit that runs it.
    programs: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Files<'a> {
    fn changed(&mut self, before: &'a UnitRecord, after: &'a UnitRecord) -> Changed<'a> {
        let mut code = Vec::new();
        for (program, in_both) in union(&before.code, &after.code) {
            if in_both {
                code.extend_from_slice(self.program(program));
            } else {
                code.push(program);
            }
        }
        code.sort_unstable();
        code.dedup();
        Changed {
            text: before.text != after.text,
            mask: before.masked != after.masked,
            code,
            configuration: self.of_lists(&before.configuration, &after.configuration),
        }
    }

    fn program(&mut self, program: &'a str) -> &[&'a str] {
        if !self.programs.contains_key(program) {
            let libraries = |record: &'a UnitsRecord| {
                record
                    .programs
                    .get(program)
                    .map(Vec::as_slice)
                    .unwrap_or_default()
            };
            let mut found = self.of_lists(libraries(self.old), libraries(self.new));
            found.extend(self.differing.get(program));
            let _new = self.programs.insert(program, found);
        }
        self.programs.get(program).map(Vec::as_slice).unwrap_or_default()
    }

    // The files of two lists that are others, or in one of them only.
    fn of_lists(&self, old: &'a [String], new: &'a [String]) -> Vec<&'a str> {
        if self.differing.is_empty() && old == new {
            return Vec::new();
        }
        let all = union(old, new).into_iter();
        let differs = |path: &str| self.differing.contains(path);
        all.filter(|(path, in_both)| !in_both || differs(path))
            .map(|(path, _)| path)
            .collect()
    }
}

// All paths of two lists in their order, and whether both have it.
fn union<'a>(old: &'a [String], new: &'a [String]) -> Vec<(&'a str, bool)> {
    if old == new {
        return old.iter().map(|path| (path.as_str(), true)).collect();
    }
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (
        old.iter().map(String::as_str).collect(),
        new.iter().map(String::as_str).collect(),
    );
    let both = |path: &&'a str| (*path, before.contains(path) && after.contains(path));
    before.union(&after).map(both).collect()
}

#[cfg(test)]
#[path = "quick_tests.rs"]
mod tests;
