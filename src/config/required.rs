//! What has to be said in a table that is there.

use std::collections::BTreeSet;

use super::merge::Merged;
use super::options::{Branch, Preset, Spec, Table, root};
use super::place::{Place, Remark};
use super::setting::{Path, dotted, table_name};

/// Remarks about options that are missing. `start` stands for what is written nowhere.
pub(super) fn check(merged: &Merged, broken: &BTreeSet<Path>, start: &Place) -> Vec<Remark> {
    let mut search = Search {
        merged,
        broken,
        start,
        remarks: Vec::new(),
    };
    search.table(&mut Path::new(), root(), &merged.table);
    search.remarks
}

struct Search<'a> {
    merged: &'a Merged,
    broken: &'a BTreeSet<Path>,
    start: &'a Place,
    remarks: Vec<Remark>,
}

impl Search<'_> {
    fn table(&mut self, path: &mut Path, tree: &Table, values: &toml::Table) {
        for (key, branch) in &tree.known {
            match branch {
                Branch::Leaf(spec) => {
                    path.push((*key).to_owned());
                    let is_missing = spec.default == Preset::Required && !values.contains_key(*key);
                    let is_told = self.broken.contains(path);
                    let _key = path.pop();
                    if is_missing && !is_told && !self.broken.contains(path) {
                        self.missing(path, key, spec);
                    }
                }
                Branch::Table(_) | Branch::List(_) => {
                    if let Some(value) = values.get(*key) {
                        self.below(path, key, branch, value);
                    }
                }
            }
        }
        if let Some(chosen) = &tree.chosen {
            for (key, value) in values {
                self.below(path, key, &chosen.branch, value);
            }
        }
    }

    fn below(&mut self, path: &mut Path, key: &str, branch: &Branch, value: &toml::Value) {
        path.push(key.to_owned());
        match (branch, value) {
            (Branch::Table(tree), toml::Value::Table(table)) => self.table(path, tree, table),
            (Branch::List(tree), toml::Value::Array(elements)) => {
                for (index, element) in elements.iter().enumerate() {
                    path.push(index.to_string());
                    if let toml::Value::Table(table) = element {
                        self.table(path, tree, table);
                    }
                    let _index = path.pop();
                }
            }
            _ => {}
        }
        let _key = path.pop();
    }

    fn missing(&mut self, path: &[String], key: &str, spec: &Spec) {
        let place = self.merged.places.get(path).unwrap_or(self.start).clone();
        let name = match path.split_last() {
            Some((last, above)) if last.parse::<usize>().is_ok() => format!("[[{}]]", dotted(above)),
            _ => table_name(path),
        };
        self.remarks.push(
            Remark::new(place, format!("{name} has no {key}"))
                .help(format!("such as {key} = {}", spec.example)),
        );
    }
}
