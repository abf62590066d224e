//! Several files become one: tables merge, lists add up, and of values the one with the highest priority counts.

use std::collections::BTreeMap;

use super::options::Kind;
use super::place::{Place, Remark};
use super::setting::{Given, Item, Path, Priority, Setting, dotted};

/// What all files say together.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) table: toml::Table,
    /// Where tables, values and elements of lists are said.
    pub(super) places: BTreeMap<Path, Place>,
}

/// Merges settings. What contradicts itself is told and left out.
pub(super) fn merge(settings: Vec<Setting>, remarks: &mut Vec<Remark>) -> Merged {
    let mut by_path: BTreeMap<Path, Vec<Setting>> = BTreeMap::new();
    for setting in settings {
        by_path.entry(setting.path.clone()).or_default().push(setting);
    }
    let mut merged = Merged::default();
    for (path, settings) in by_path {
        let Some(Chosen { value, place, inner }) = one(&path, settings, remarks) else {
            continue;
        };
        if !insert(&mut merged.table, &path, value) {
            contradiction(&path, place, &merged, remarks);
            continue;
        }
        for (below, place) in inner {
            let whole = path.iter().cloned().chain(below).collect();
            let _earlier = merged.places.insert(whole, place);
        }
        let _earlier = merged.places.insert(path, place);
    }
    merged
}

/// What counts at a path.
struct Chosen {
    value: toml::Value,
    place: Place,
    inner: BTreeMap<Path, Place>,
}

fn one(path: &Path, settings: Vec<Setting>, remarks: &mut Vec<Remark>) -> Option<Chosen> {
    let highest = settings.iter().map(|setting| setting.priority).max()?;
    let (tables, settings): (Vec<Setting>, Vec<Setting>) = settings
        .into_iter()
        .partition(|setting| matches!(setting.given, Given::Table));
    if let (Some(table), Some(value)) = (tables.first(), settings.first()) {
        let message = format!("{} is a value here", dotted(path));
        remarks.push(Remark::new(value.place.clone(), message).also("and a table at", table.place.clone()));
        return None;
    }
    if let Some(table) = tables.into_iter().next() {
        return Some(Chosen {
            value: toml::Value::Table(toml::Table::new()),
            place: table.place,
            inner: BTreeMap::new(),
        });
    }
    let mut settings: Vec<Setting> = settings
        .into_iter()
        .filter(|setting| setting.priority == highest)
        .collect();
    let kind = settings.first().and_then(|setting| setting.kind);
    let is_list = settings
        .iter()
        .any(|setting| matches!(setting.given, Given::Items(_)));
    if is_list && kind.is_none_or(Kind::adds_up) {
        return list(settings);
    }
    let first = settings.remove(0);
    let place = first.place;
    let Given::One(item) = first.given else {
        return None;
    };
    let mut is_told = false;
    for other in settings {
        if let Given::One(second) = other.given
            && second.value != item.value
        {
            remarks.push(conflict(path, (&item, &place), (&second, &other.place), highest));
            is_told = true;
        }
    }
    if is_told {
        return None;
    }
    let value = match kind {
        Some(Kind::Scalars(_)) => toml::Value::Array(vec![item.value]),
        _ => item.value,
    };
    Some(Chosen {
        value,
        place,
        inner: item.inner,
    })
}

fn conflict(path: &Path, first: (&Item, &Place), second: (&Item, &Place), priority: Priority) -> Remark {
    let name = dotted(path);
    let message = format!("{name} is {} here", first.0.value);
    let remark =
        Remark::new(first.1.clone(), message).also(format!("and {} at", second.0.value), second.1.clone());
    match priority {
        Priority::Normal => remark.help(format!(
            "take one of them out, or say which one counts: {name} = {{ force = {} }}",
            first.0.value
        )),
        Priority::CommandLine => remark.help("give it once"),
        Priority::Default | Priority::Force => remark.help("take one of them out"),
    }
}

/// Texts and numbers that several files have are there once; tables are kept as they are.
fn list(settings: Vec<Setting>) -> Option<Chosen> {
    let place = settings.first()?.place.clone();
    let mut values: Vec<toml::Value> = Vec::new();
    let mut inner = BTreeMap::new();
    for setting in settings {
        // What one setting says twice is meant so.
        let before = values.clone();
        let items = match setting.given {
            Given::Items(items) => items,
            Given::One(item) => vec![item],
            Given::Table => Vec::new(),
        };
        for item in items {
            if !item.value.is_table() && before.contains(&item.value) {
                continue;
            }
            let index = values.len().to_string();
            for (below, place) in item.inner {
                let whole = std::iter::once(index.clone()).chain(below).collect();
                let _first = inner.insert(whole, place);
            }
            let _first = inner.insert(vec![index], item.place);
            values.push(item.value);
        }
    }
    Some(Chosen {
        value: toml::Value::Array(values),
        place,
        inner,
    })
}

/// Puts a value at its path; false when there is a value where a table is needed.
fn insert(table: &mut toml::Table, path: &[String], value: toml::Value) -> bool {
    match path {
        [] => true,
        [key] => {
            let slot = table
                .entry(key.clone())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            match (&*slot, &value) {
                (toml::Value::Table(there), toml::Value::Table(_)) if !there.is_empty() => {}
                _ => *slot = value,
            }
            true
        }
        [key, rest @ ..] => {
            let below = table
                .entry(key.clone())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            match below {
                toml::Value::Table(below) => insert(below, rest, value),
                _ => false,
            }
        }
    }
}

/// A value inside of what another file has as a value.
fn contradiction(path: &[String], place: Place, merged: &Merged, remarks: &mut Vec<Remark>) {
    let mut above = path;
    while let Some((_, rest)) = above.split_last() {
        above = rest;
        if let Some(other) = merged.places.get(above) {
            let message = format!("{} is a table here", dotted(above));
            remarks.push(Remark::new(place, message).also("and a value at", other.clone()));
            return;
        }
    }
}
