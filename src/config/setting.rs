//! What a file says about an option, before files are merged.

use std::collections::BTreeMap;

use super::options::Kind;
use super::place::Place;

/// Keys from the top to an option. A number stands for an element of a list of tables.
pub(super) type Path = Vec<String>;

/// Which of several values for one option counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    /// `{ default = … }`.
    Default,
    /// A plain value.
    Normal,
    /// `{ force = … }`.
    Force,
    /// `--option`.
    CommandLine,
}

/// A value at a place.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) value: toml::Value,
    pub(super) place: Place,
    /// Where the parts of an element of a list of tables are.
    pub(super) inner: BTreeMap<Path, Place>,
}

/// What is said.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// That there is a table.
    Table,
    /// A value.
    One(Item),
    /// Elements of a list.
    Items(Vec<Item>),
}

/// What one file says about one option.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) path: Path,
    pub(super) given: Given,
    pub(super) priority: Priority,
    pub(super) place: Place,
    /// What the option takes; a value inside a free table has none.
    pub(super) kind: Option<Kind>,
}

/// A path for people, as TOML writes keys: `etc."a/b".text`.
pub fn dotted(path: &[String]) -> String {
    let words: Vec<String> = path.iter().map(|key| quoted(key)).collect();
    words.join(".")
}

fn quoted(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(is_bare) {
        return key.to_owned();
    }
    toml::Value::String(key.to_owned()).to_string()
}

/// The name of a table for people: `[a.b]`, or `the file` for its top.
pub(super) fn table_name(path: &[String]) -> String {
    if path.is_empty() {
        return "a configuration".to_owned();
    }
    format!("[{}]", dotted(path))
}
