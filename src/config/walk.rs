//! A file's tables held against the tree of options: each key and value becomes a setting or a remark.

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::Check;
use super::convert::{self, Mismatch, Shape};
use super::merge;
use super::options::{Branch, IMPORTS, Kind, Spec, Table as Tree, all, root};
use super::place::{Place, Remark, Text};
use super::setting::{Given, Item, Path, Priority, Setting, dotted, table_name};
use crate::nearest::nearest;

/// What files say, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) settings: Vec<Setting>,
    pub(super) remarks: Vec<Remark>,
    /// Paths about which something is wrong: nothing follows from what is missing there.
    pub(super) broken: BTreeSet<Path>,
}

/// A walk through a text.
pub(super) struct Walk<'a> {
    pub(super) text: &'a Arc<Text>,
    /// The directory of its file, seen from the main file's.
    pub(super) directory: &'a FilePath,
    /// Of plain values.
    pub(super) priority: Priority,
    pub(super) findings: &'a mut Findings,
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;
type Value<'i> = Spanned<DeValue<'i>>;

impl Walk<'_> {
    /// All of a file.
    pub(super) fn file(&mut self, table: &DeTable<'_>) {
        self.table(&mut Path::new(), root(), table);
    }

    fn place<T>(&self, of: &Spanned<T>) -> Place {
        Place::new(self.text, of.span())
    }

    fn fault(&mut self, path: &[String], remark: Remark) {
        let _new = self.findings.broken.insert(path.to_vec());
        self.findings.remarks.push(remark);
    }

    fn table(&mut self, path: &mut Path, tree: &Tree, table: &DeTable<'_>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if let Some(branch) = tree.known.get(name) {
                path.push(name.to_owned());
                self.branch(path, branch, key, value);
                let _key = path.pop();
                continue;
            }
            let Some(chosen) = &tree.chosen else {
                self.unknown(path, tree, key);
                continue;
            };
            if let Some(fault) = chosen.check.fault(name) {
                let remark = Remark::new(
                    self.place(key),
                    format!("{name:?} isn't {}: {fault}", chosen.check.words()),
                );
                let remark = match unquoted(name, value) {
                    Some(whole) => remark.help(format!("a name with dots stands in quotes: \"{whole}\"")),
                    None => remark,
                };
                path.push(name.to_owned());
                self.fault(path, remark);
                let _key = path.pop();
                continue;
            }
            path.push(name.to_owned());
            self.branch(path, &chosen.branch, key, value);
            let _key = path.pop();
        }
    }

    fn unknown(&mut self, path: &[String], tree: &Tree, key: &Key<'_>) {
        let name: &str = key.get_ref();
        let message = format!("{} has no key {name:?}", table_name(path));
        let remark = Remark::new(self.place(key), message);
        let remark = match nearest(name, tree.known.keys().copied()) {
            Some(near) => remark.help(format!("did you mean {near:?}?")),
            None => match elsewhere(name) {
                Some(place) => remark.help(format!("did you mean {place}?")),
                None => remark.help(format!(
                    "`keel options{}` lists what there is",
                    path.first().map_or_else(String::new, |table| format!(" {table}"))
                )),
            },
        };
        self.fault(path, remark);
    }

    fn branch(&mut self, path: &mut Path, branch: &Branch, key: &Key<'_>, value: &Value<'_>) {
        match (branch, value.get_ref()) {
            (Branch::Table(tree), DeValue::Table(table)) => {
                self.exists(path, key);
                self.table(path, tree, table);
            }
            (Branch::List(tree), DeValue::Array(elements)) => self.list(path, tree, elements, key),
            (Branch::Leaf(spec), _) => self.leaf(path, spec, value),
            (Branch::Table(_) | Branch::List(_), other) => {
                let name = dotted(path);
                let how = match branch {
                    Branch::List(_) => format!("[[{name}]]"),
                    _ => format!("[{name}]"),
                };
                let message = format!("{name} takes {}, not {}", branch.words(), convert::words(other));
                let place = self.place(value);
                self.fault(path, Remark::new(place, message).help(format!("write {how}")));
            }
        }
    }

    /// A table without keys is said by its name.
    fn exists(&mut self, path: &[String], key: &Key<'_>) {
        self.findings.settings.push(Setting {
            path: path.to_vec(),
            given: Given::Table,
            priority: self.priority,
            place: Place::new(self.text, key.span()),
            kind: None,
        });
    }

    fn list(&mut self, path: &mut Path, tree: &Tree, elements: &[Value<'_>], key: &Key<'_>) {
        let mut items = Vec::new();
        for element in elements {
            let DeValue::Table(table) = element.get_ref() else {
                let message = format!(
                    "{} takes a list of tables, not {} in it",
                    dotted(path),
                    convert::words(element.get_ref())
                );
                let place = self.place(element);
                self.fault(
                    path,
                    Remark::new(place, message).help(format!("write [[{}]]", dotted(path))),
                );
                continue;
            };
            let mut inside = Findings::default();
            let mut walk = Walk {
                text: self.text,
                directory: self.directory,
                priority: Priority::Normal,
                findings: &mut inside,
            };
            walk.table(path, tree, table);
            let from = path.len();
            let is_broken = !inside.remarks.is_empty();
            self.findings.remarks.append(&mut inside.remarks);
            if is_broken {
                let _new = self.findings.broken.insert(path.clone());
                continue;
            }
            for setting in &mut inside.settings {
                let _outer = setting.path.drain(..from);
            }
            let merged = merge::merge(inside.settings, &mut self.findings.remarks);
            items.push(Item {
                value: toml::Value::Table(merged.table),
                place: self.place(element),
                inner: merged.places,
            });
        }
        self.findings.settings.push(Setting {
            path: path.clone(),
            given: Given::Items(items),
            priority: self.priority,
            place: Place::new(self.text, key.span()),
            kind: None,
        });
    }

    fn leaf(&mut self, path: &[String], spec: &'static Spec, value: &Value<'_>) {
        // Read before the rest; only its form is looked at here.
        let is_imports = spec.path == IMPORTS;
        let (priority, value) = if spec.kind == Kind::Free || is_imports {
            (self.priority, value)
        } else {
            self.priority_of(value)
        };
        if let (Kind::Free, DeValue::Table(table)) = (spec.kind, value.get_ref()) {
            let place = self.place(value);
            self.push(path, Given::Table, (priority, place), None);
            self.free(&mut path.to_vec(), table);
            return;
        }
        let given = match (convert::value(spec.kind, value.get_ref()), value.get_ref()) {
            (Ok(Shape::One(one)), _) => Given::One(self.placed(one, value)),
            (Ok(Shape::List), DeValue::Array(elements)) => match self.elements(path, spec.kind, elements) {
                Some(items) => Given::Items(items),
                None => return,
            },
            (Ok(Shape::List), _) => return,
            (Err(mismatch), _) => {
                self.mismatch(path, spec, value, &mismatch);
                return;
            }
        };
        if is_imports {
            return;
        }
        let place = self.place(value);
        self.push(path, given, (priority, place), Some(spec.kind));
    }

    fn push(
        &mut self,
        path: &[String],
        given: Given,
        (priority, place): (Priority, Place),
        kind: Option<Kind>,
    ) {
        let given = self.rebased(given, kind);
        self.findings.settings.push(Setting {
            path: path.to_vec(),
            given,
            priority,
            place,
            kind,
        });
    }

    /// The same, files beside this one named from the main file's directory.
    fn rebased(&self, given: Given, kind: Option<Kind>) -> Given {
        match (given, kind) {
            (Given::One(mut item), Some(Kind::Text(Check::FilePath))) => {
                if let toml::Value::String(path) = &mut item.value {
                    let joined = super::read::normalised(&self.directory.join(&*path));
                    *path = joined.to_string_lossy().into_owned();
                }
                Given::One(item)
            }
            (given, _) => given,
        }
    }

    fn placed(&self, value: toml::Value, at: &Value<'_>) -> Item {
        Item {
            value,
            place: self.place(at),
            inner: std::collections::BTreeMap::new(),
        }
    }

    /// The elements of a list, or nothing when one of them is wrong.
    fn elements(&mut self, path: &[String], kind: Kind, elements: &[Value<'_>]) -> Option<Vec<Item>> {
        let mut items = Vec::new();
        let mut is_good = true;
        for element in elements {
            match convert::element(kind, element.get_ref()) {
                Ok(value) => items.push(self.placed(value, element)),
                Err(mismatch) => {
                    is_good = false;
                    let message = mismatch.message(&dotted(path), element.get_ref());
                    let place = self.place(element);
                    self.fault(path, Remark::new(place, message));
                }
            }
        }
        is_good.then_some(items)
    }

    fn mismatch(&mut self, path: &[String], spec: &Spec, value: &Value<'_>, mismatch: &Mismatch) {
        let message = mismatch.message(&dotted(path), value.get_ref());
        let remark = Remark::new(self.place(value), message);
        let help = match path.last().and_then(|name| unquoted(name, value)) {
            Some(whole) if spec.path.ends_with('>') => {
                Some(format!("a name with dots stands in quotes: \"{whole}\""))
            }
            _ => convert::help(spec.kind, value.get_ref()),
        };
        let remark = match help {
            Some(help) => remark.help(help),
            None => remark,
        };
        self.fault(path, remark);
    }

    /// What is inside of `{ default = … }` and `{ force = … }`.
    fn priority_of<'v, 'i>(&self, value: &'v Value<'i>) -> (Priority, &'v Value<'i>) {
        if let DeValue::Table(table) = value.get_ref() {
            let mut entries = table.iter();
            if let (Some((key, inner)), None) = (entries.next(), entries.next()) {
                let priority = match &**key.get_ref() {
                    "default" => Some(Priority::Default),
                    "force" => Some(Priority::Force),
                    _ => None,
                };
                if let Some(priority) = priority {
                    return (priority.max(self.priority_floor()), inner);
                }
            }
        }
        (self.priority, value)
    }

    fn priority_floor(&self) -> Priority {
        match self.priority {
            Priority::CommandLine => Priority::CommandLine,
            _ => Priority::Default,
        }
    }

    fn free(&mut self, path: &mut Path, table: &DeTable<'_>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            let place = self.place(value);
            match value.get_ref() {
                DeValue::Table(inner) => {
                    self.push(path, Given::Table, (self.priority, place), None);
                    self.free(path, inner);
                }
                DeValue::Array(elements) => {
                    let items: Vec<Item> = elements
                        .iter()
                        .filter_map(|element| Some(self.placed(convert::any(element.get_ref())?, element)))
                        .collect();
                    if items.len() == elements.len() {
                        self.push(path, Given::Items(items), (self.priority, place), None);
                    } else {
                        self.too_large(path, value);
                    }
                }
                other => match convert::any(other) {
                    Some(one) => {
                        let item = self.placed(one, value);
                        self.push(path, Given::One(item), (self.priority, place), None);
                    }
                    None => self.too_large(path, value),
                },
            }
            let _key = path.pop();
        }
    }

    fn too_large(&mut self, path: &[String], value: &Value<'_>) {
        let message = format!("{}: a number in here is too large", dotted(path));
        let remark = Remark::new(self.place(value), message).help("64 bits are kept");
        self.fault(path, remark);
    }
}

/// The option of this name in another table, when there is just one.
fn elsewhere(name: &str) -> Option<&'static str> {
    let mut found = all().filter(|spec| spec.path.rsplit('.').next() == Some(name));
    let first = found.next()?;
    found.next().is_none().then_some(first.path)
}

/// A name with dots that was written without quotes, which makes tables of it.
fn unquoted(name: &str, value: &Value<'_>) -> Option<String> {
    if name.contains('.') {
        return None;
    }
    let mut whole = name.to_owned();
    let mut value = value;
    while let DeValue::Table(table) = value.get_ref() {
        let mut entries = table.iter();
        let (key, inner) = entries.next()?;
        if whole.len() > name.len() && entries.next().is_some() {
            break;
        }
        // The type of a unit ends its name.
        whole.push('.');
        whole.push_str(key.get_ref());
        if crate::system::units::Kind::from_suffix(key.get_ref()).is_some() {
            break;
        }
        value = inner;
    }
    (whole.len() > name.len() && whole.len() < 200).then_some(whole)
}
