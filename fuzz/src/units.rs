//! Unit files, trees of them, and the records of a system's units.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::Arc;

use keel::system::units::exec;
use keel::system::units::load::{Dependency, UnitFile};
use keel::system::units::parse::parse;
use keel::system::units::sources::{Found, Sources};
use keel::system::units::{LoadPath, Policy, State, Unit, UnitName, Units, UnitsRecord, Verdict};
use keel::system::units::{compare, quick_compare};

use super::input::{check_line, parts};

/// A unit: `=== NAME` and the fragment, then drop-ins with any title; links as `=== Wants=NAME`.
pub(crate) fn files(data: &[u8]) {
    let parts = parts(data);
    let title = parts.first().map_or("", |(title, _)| *title);
    let name = if UnitName::parse(title).is_some() {
        title
    } else {
        "a.service"
    };
    let unit = unit(name, &parts, b"");
    check_equal(&unit, &unit);
    // What systemd doesn't see changes nothing.
    check_equal(&unit, &self::unit(name, &parts, b"# a comment\n\n; another\n"));
    check_settings(&unit);
    let nothing = self::unit(name, &[], b"");
    let (there, back) = (compare(&unit, &nothing), compare(&nothing, &unit));
    assert_eq!(there.changes.len(), back.changes.len());
}

fn unit(name: &str, parts: &[(&str, &[u8])], before: &[u8]) -> Unit {
    let texts: Vec<UnitFile> = parts
        .iter()
        .filter(|(title, _)| !title.contains('='))
        .map(|(_, text)| UnitFile {
            path: "/etc/systemd/system/x".to_owned(),
            text: Arc::new(parse(&[before, text].concat())),
        })
        .collect();
    let link = |title: &str| {
        let (key, unit) = title.split_once('=')?;
        let key = ["Wants", "Requires", "Upholds"]
            .into_iter()
            .find(|known| *known == key)?;
        let unit = UnitName::parse(unit)?.whole.to_owned();
        Some(Dependency { key, unit })
    };
    let mut texts = texts.into_iter();
    Unit {
        name: name.to_owned(),
        kind: UnitName::parse(name).expect("a name of a unit").kind,
        names: BTreeSet::from([name.to_owned()]),
        state: State::Loaded,
        fragment: texts.next(),
        drop_ins: texts.collect(),
        dependencies: parts.iter().filter_map(|(title, _)| link(title)).collect(),
    }
}

fn check_equal(unit: &Unit, same: &Unit) {
    let comparison = compare(unit, same);
    assert_eq!(
        (comparison.changes.as_slice(), comparison.verdict),
        (&[][..], Verdict::Equal)
    );
}

fn check_settings(unit: &Unit) {
    let settings = unit.settings();
    let _ = Policy::of(unit.kind, &settings);
    for (name, items) in settings.iter() {
        assert!(!items.is_empty(), "{name:?} has no items");
        assert_eq!(settings.items(&name.section, &name.name), items);
        for item in items {
            for command in exec::commands(&item.value) {
                assert!(!command.program.is_empty());
                assert!(
                    exec::paths(&command.arguments)
                        .iter()
                        .all(|path| path.starts_with('/'))
                );
            }
        }
    }
}

/// A tree of files: `=== PATH` and what the file holds, `=== PATH -> TARGET` for a link.
pub(crate) fn tree(data: &[u8]) {
    let mut tree = Tree::default();
    for (title, text) in parts(data) {
        match title.split_once(" -> ") {
            Some((path, target)) => tree.add(path, Node::Link(target.to_owned())),
            None => tree.add(title, Node::File(text.to_vec())),
        }
    }
    let units = match Units::read(&tree, LoadPath::system()) {
        Ok(units) => units,
        Err(error) => return check_line(&error),
    };
    let names: BTreeSet<String> = units
        .fragments()
        .map(str::to_owned)
        .chain(units.mentioned_instances())
        .collect();
    for name in &names {
        match units.load(name) {
            Ok(Some(unit)) => {
                assert!(unit.names.contains(&unit.name) && unit.names.contains(name));
                check_equal(&unit, &unit);
                check_settings(&unit);
            }
            Ok(None) => {}
            Err(error) => check_line(&error),
        }
    }
}

enum Node {
    Directory(BTreeSet<String>),
    File(Vec<u8>),
    Link(String),
}

/// Files in memory.
struct Tree(BTreeMap<String, Node>);

impl Default for Tree {
    fn default() -> Self {
        Self([("".to_owned(), Node::Directory(BTreeSet::new()))].into())
    }
}

impl Tree {
    /// Adds what the path names, with its directories. What can't be is left out.
    fn add(&mut self, path: &str, node: Node) {
        let clean = path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
        if !clean || self.0.contains_key(path) || self.0.len() > 256 || path.len() > 1024 {
            return;
        }
        let Some((parent, name)) = path.rsplit_once('/') else {
            return;
        };
        if !self.0.contains_key(parent) {
            self.add(parent, Node::Directory(BTreeSet::new()));
        }
        if let Some(Node::Directory(names)) = self.0.get_mut(parent) {
            let _new = names.insert(name.to_owned());
            let _none = self.0.insert(path.to_owned(), node);
        }
    }

    fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path.trim_end_matches('/'))
    }
}

impl Sources for Tree {
    fn look(&self, path: &str) -> io::Result<Option<Found>> {
        Ok(self.get(path).map(|node| match node {
            Node::Directory(_) => Found::Directory,
            Node::Link(target) => Found::Symlink(target.clone()),
            Node::File(bytes) => Found::File {
                size: bytes.len() as u64,
                executable: false,
            },
        }))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        match self.get(path) {
            Some(Node::Directory(names)) => Ok(names.iter().cloned().collect()),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn open(&self, _: &str) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read(&self, path: &str, _: usize) -> io::Result<Vec<u8>> {
        match self.get(path) {
            Some(Node::File(bytes)) => Ok(bytes.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A units.json, then perhaps `=== new` and another one.
pub(crate) fn record(data: &[u8]) {
    let read = |text| match UnitsRecord::parse(text) {
        Ok(record) => Some(record),
        Err(error) => {
            check_line(&error);
            None
        }
    };
    let records: Vec<UnitsRecord<'_>> = parts(data)
        .into_iter()
        .filter_map(|(_, text)| read(text))
        .collect();
    for record in &records {
        let text = record.to_json();
        assert_eq!(&UnitsRecord::parse(&text).expect("what was written"), record);
        assert!(quick_compare(record, record).is_empty());
    }
    if let [old, new, ..] = records.as_slice() {
        let (there, back) = (quick_compare(old, new), quick_compare(new, old));
        assert!(there.keys().eq(back.keys()));
    }
}
