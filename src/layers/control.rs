//! The control file of a package (deb-control(5)): what a layer has to know before dpkg reads it.

use std::collections::{BTreeMap, BTreeSet};

/// A package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) essential: bool,
    /// Names that it provides.
    pub(super) provides: Vec<String>,
    /// Of `Depends`: for each, the alternatives' names.
    pub(super) depends: Vec<Vec<String>>,
    /// Of `Pre-Depends` likewise.
    pub(super) pre_depends: Vec<Vec<String>>,
}

/// Reads a control file. Nothing when it has no name.
pub(super) fn parse(text: &[u8]) -> Option<Control> {
    let text = String::from_utf8_lossy(text);
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = fields.get_mut(&last) {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            last = name.to_ascii_lowercase();
            let _old = fields.insert(last.clone(), value.trim().to_owned());
        }
    }
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let name = field("package");
    (!name.is_empty()).then(|| Control {
        name: name.to_owned(),
        version: field("version").to_owned(),
        essential: field("essential") == "yes",
        provides: relations(field("provides")).into_iter().flatten().collect(),
        depends: relations(field("depends")),
        pre_depends: relations(field("pre-depends")),
    })
}

// Names alone: that versions fit was seen to when the lock was made.
fn relations(text: &str) -> Vec<Vec<String>> {
    let name = |relation: &str| {
        let end = relation.find(|c: char| c.is_whitespace() || matches!(c, '(' | '[' | '<' | ':'));
        relation
            .get(..end.unwrap_or(relation.len()))
            .unwrap_or_default()
            .to_owned()
    };
    let group = |text: &str| -> Vec<String> {
        let names = text.split('|').map(|relation| name(relation.trim()));
        names.filter(|name| !name.is_empty()).collect()
    };
    text.split(',')
        .map(group)
        .filter(|names| !names.is_empty())
        .collect()
}

/// Packages by what depends on them.
pub(super) struct Graph<'a> {
    packages: &'a [Control],
    // Names, provided ones included, to places in the list.
    by_name: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(packages: &'a [Control]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, package) in packages.iter().enumerate() {
            for name in [&package.name].into_iter().chain(&package.provides) {
                by_name.entry(name).or_default().push(at);
            }
        }
        Self { packages, by_name }
    }

    // Those of the list that a relation may mean: of its alternatives the first that is there.
    fn meant(&self, alternatives: &[String]) -> &[usize] {
        let mut found = alternatives
            .iter()
            .filter_map(|name| self.by_name.get(name.as_str()));
        found.next().map_or(&[], Vec::as_slice)
    }

    /// `start` and everything of the list that it depends on.
    pub(super) fn closure(&self, start: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut closure = BTreeSet::new();
        let mut pending: Vec<usize> = start.into_iter().collect();
        while let Some(at) = pending.pop() {
            if let Some(package) = self.packages.get(at)
                && closure.insert(at)
            {
                let relations = package.depends.iter().chain(&package.pre_depends);
                pending.extend(relations.flat_map(|names| self.meant(names)));
            }
        }
        closure
    }

    /// Those of the list that `at` asks to be configured before it is unpacked, with all that they depend on themselves.
    pub(super) fn before(&self, at: usize) -> BTreeSet<usize> {
        let direct = self
            .packages
            .get(at)
            .into_iter()
            .flat_map(|package| &package.pre_depends);
        let mut before = self.closure(direct.flat_map(|names| self.meant(names)).copied());
        let _itself = before.remove(&at);
        before
    }
}

/// In which order packages are unpacked and configured: each step unpacks some, then configures some. The last one's are all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) unpack: Vec<usize>,
    /// What the next step's packages need to be configured before they are unpacked.
    pub(super) configure: Vec<usize>,
}

/// Puts the packages at `given` in order. What isn't among them is there already, or never will be.
pub(super) fn steps(graph: &Graph<'_>, given: &BTreeSet<usize>) -> Vec<Step> {
    let (mut unpacked, mut configured) = (BTreeSet::new(), BTreeSet::new());
    let mut steps = Vec::new();
    let needs: BTreeMap<usize, BTreeSet<usize>> = given
        .iter()
        .map(|&at| (at, graph.before(at).intersection(given).copied().collect()))
        .collect();
    while unpacked.len() < given.len() {
        let left = given.difference(&unpacked).copied();
        let (mut now, later): (Vec<usize>, Vec<usize>) =
            left.partition(|at| needs.get(at).is_none_or(|needs| needs.is_subset(&configured)));
        if now.is_empty() {
            // A circle of such dependencies: dpkg is told to unpack all the same.
            now.clone_from(&later);
        }
        unpacked.extend(now.iter().copied());
        // What can be configured now, as the rest asks for it.
        let wanted = given
            .difference(&unpacked)
            .filter_map(|at| needs.get(at))
            .flatten()
            .copied();
        let configure: BTreeSet<usize> = wanted
            .filter(|at| unpacked.contains(at) && !configured.contains(at))
            .filter(|at| {
                graph
                    .closure([*at])
                    .intersection(given)
                    .all(|at| unpacked.contains(at))
            })
            .collect();
        configured.extend(configure.iter().copied());
        steps.push(Step {
            unpack: now,
            configure: configure.into_iter().collect(),
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_the_fields_of_deb_control() {
        let text = b"Package: login\nEssential: yes\nVersion: 1:4.16.0\nPre-Depends: libc6 (>= 2.38), libpam0g (>= 0.99.7.1),\n \
                     libpam-runtime | libpam-old:any\nDepends: debianutils (>= 4.4) [amd64]\nProvides: a (= 1), b\n\
                     Description: short\n Depends: not this\n";
        let control = parse(text).unwrap();
        assert_eq!(
            (control.name.as_str(), control.version.as_str()),
            ("login", "1:4.16.0")
        );
        assert!(control.essential);
        assert_eq!(control.provides, ["a", "b"]);
        assert_eq!(control.depends, [["debianutils"]]);
        let expected: [&[&str]; 3] = [&["libc6"], &["libpam0g"], &["libpam-runtime", "libpam-old"]];
        assert_eq!(control.pre_depends, expected);
        assert_eq!(parse(b"Version: 1\n"), None);
    }

    fn package(name: &str, depends: &str, pre_depends: &str) -> Control {
        Control {
            name: name.into(),
            depends: relations(depends),
            pre_depends: relations(pre_depends),
            ..Control::default()
        }
    }

    fn names(list: &[Control], steps: &[Step]) -> Vec<(Vec<String>, Vec<String>)> {
        let names = |at: &[usize]| at.iter().map(|at| list.get(*at).unwrap().name.clone()).collect();
        steps
            .iter()
            .map(|step| (names(&step.unpack), names(&step.configure)))
            .collect()
    }

    #[test]
    fn what_a_package_needs_configured_before_it_is_unpacked_comes_in_a_step_before() {
        let list = [
            package("a", "", "c"),
            package("b", "a", ""),
            package("c", "d", ""),
            package("d", "", ""),
        ];
        let all = (0..list.len()).collect();
        let words = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            names(&list, &steps(&Graph::new(&list), &all)),
            [
                (words(&["b", "c", "d"]), words(&["c", "d"])),
                (words(&["a"]), words(&[])),
            ]
        );
    }

    #[test]
    fn a_circle_ends_all_the_same() {
        let list = [package("a", "", "b"), package("b", "", "a"), package("c", "", "")];
        let all = (0..list.len()).collect();
        let steps = steps(&Graph::new(&list), &all);
        let unpacked: Vec<usize> = steps.iter().flat_map(|step| step.unpack.clone()).collect();
        assert_eq!(unpacked, [2, 0, 1]);
    }

    #[test]
    fn a_closure_follows_the_first_alternative_that_is_there_and_what_is_provided() {
        let mut list = vec![
            package("a", "none | b, virtual", ""),
            package("b", "", ""),
            package("c", "", ""),
            package("d", "", ""),
        ];
        if let Some(package) = list.get_mut(2) {
            package.provides = vec!["virtual".into()];
        }
        assert_eq!(Graph::new(&list).closure([0]), BTreeSet::from([0, 1, 2]));
    }
}
