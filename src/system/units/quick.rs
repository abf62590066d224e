//! What differs between two systems' units, by their records alone. A difference is a reason to look at the unit, not
//! yet to act on it: a text may differ in its comments only.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::record::{UnitRecord, UnitsRecord};
use super::text::Text;

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
pub fn quick_compare<'a>(
    old: &'a UnitsRecord<'a>,
    new: &'a UnitsRecord<'a>,
) -> BTreeMap<&'a str, Difference<'a>> {
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
                let _new = found.insert(&**name, Difference::Removed);
            }
            Some(after) => {
                let changed = files.changed(before, after);
                if changed != Changed::default() {
                    let _new = found.insert(&**name, Difference::Changed(changed));
                }
            }
        }
    }
    let added = new.units.keys().filter(|name| !old.units.contains_key(*name));
    found.extend(added.map(|name| (&**name, Difference::Added)));
    found
}

// Most systems differ in few files, so these are looked for once; then a path is only looked up among them.
fn differing_files<'a>(old: &'a UnitsRecord<'a>, new: &'a UnitsRecord<'a>) -> HashSet<&'a str> {
    let mut differing = HashSet::new();
    let (mut before, mut after) = (old.files.iter().peekable(), new.files.iter().peekable());
    // Both are in order, so one walk over them finds what a look-up of every path would.
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return differing,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        if old.map(|(_, digest)| digest) != new.map(|(_, digest)| digest) {
            differing.extend(old.or(new).map(|(path, _)| &**path));
        }
    }
}

struct Files<'a> {
    old: &'a UnitsRecord<'a>,
    new: &'a UnitsRecord<'a>,
    differing: HashSet<&'a str>,
    // A program's own file and libraries that differ: the same for every unit that runs it.
    programs: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Files<'a> {
    fn changed(&mut self, before: &'a UnitRecord<'a>, after: &'a UnitRecord<'a>) -> Changed<'a> {
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
            let libraries = |record: &'a UnitsRecord<'a>| {
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
    fn of_lists(&self, old: &'a [Text<'a>], new: &'a [Text<'a>]) -> Vec<&'a str> {
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
fn union<'a>(old: &'a [Text<'a>], new: &'a [Text<'a>]) -> Vec<(&'a str, bool)> {
    if old == new {
        return old.iter().map(|path| (&**path, true)).collect();
    }
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (
        old.iter().map(|path| &**path).collect(),
        new.iter().map(|path| &**path).collect(),
    );
    let both = |path: &&'a str| (*path, before.contains(path) && after.contains(path));
    before.union(&after).map(both).collect()
}

#[cfg(test)]
#[path = "quick_tests.rs"]
mod tests;
