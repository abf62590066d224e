//! Loading a unit as systemd does: fragment, drop-ins, links that are dependencies, all names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::load_path::LoadPath;
use super::name::{Kind, UnitName};
use super::names::{LoadError, Meaning, Names, main_name};
use super::parse::{FILE_MAX, Parsed, parse};
use super::settings::Settings;
use super::sources::{Found, Sources, is_null, resolve};

/// A file of a unit, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile {
    /// Where it lies, as systemd shows it (`FragmentPath`, `DropInPaths`).
    pub path: String,
    /// What it says.
    pub text: Arc<Parsed>,
}

/// A link in a `.wants`, `.requires` or `.upholds` directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The key that it stands for: `Wants`, `Requires`, `Upholds`.
    pub key: &'static str,
    /// The unit that it names.
    pub unit: String,
}

/// Whether a unit can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has a fragment.
    Loaded,
    /// Its fragment is empty or leads to `/dev/null`.
    Masked,
    /// It has no fragment, or one that can't be read: it exists by a generator, a device, or not at all.
    NotFound,
}

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its main name: that of its fragment.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// All its names, the main one among them.
    pub names: BTreeSet<String>,
    /// Whether it can be loaded.
    pub state: State,
    /// The fragment, when it is loaded; of a masked unit the empty one.
    pub fragment: Option<UnitFile>,
    /// In the order in which they apply.
    pub drop_ins: Vec<UnitFile>,
    /// Sorted.
    pub dependencies: Vec<Dependency>,
}

impl Unit {
    /// What its texts come to.
    pub fn settings(&self) -> Settings {
        let texts = self.fragment.iter().chain(&self.drop_ins).map(|file| &*file.text);
        let wanted = self
            .dependencies
            .iter()
            .map(|link| (link.key, link.unit.as_str()));
        Settings::new(self.kind, texts, wanted)
    }
}

/// The units of a load path. Directories are listed once, at [`Units::read`]; files are read when a unit is loaded.
pub struct Units<'a> {
    sources: &'a dyn Sources,
    load_path: LoadPath,
    names: Names,
    // Each directory of drop-ins or dependencies is listed once: path -> names in it.
    listings: BTreeMap<String, Vec<(String, Found)>>,
}

impl<'a> Units<'a> {
    /// Lists the directories of `load_path`.
    pub fn read(sources: &'a dyn Sources, load_path: LoadPath) -> Result<Self, LoadError> {
        let names = Names::read(sources, &load_path)?;
        let mut listings = BTreeMap::new();
        for directory in names.directories() {
            let listing = list(sources, directory)?;
            let _new = listings.insert(directory.to_owned(), listing);
        }
        Ok(Self {
            sources,
            load_path,
            names,
            listings,
        })
    }

    /// The names of all units that have a fragment here: templates among them, aliases not.
    pub fn fragments(&self) -> impl Iterator<Item = &str> {
        let files = self
            .names
            .all()
            .filter(|(_, meaning)| matches!(meaning, Meaning::File(_)));
        files.map(|(name, _)| name)
    }

    /// Instances that something is said about though only their template has a fragment: those with drop-ins of their
    /// own, and those that are linked to in `.wants`, `.requires` and `.upholds` directories.
    pub fn mentioned_instances(&self) -> BTreeSet<String> {
        let directories = self
            .names
            .directories()
            .filter_map(|path| path.rsplit('/').next());
        let owners = directories.filter_map(|name| name.rsplit_once('.').map(|(unit, _)| unit));
        let links = self
            .listings
            .iter()
            .filter(|(path, _)| path.strip_suffix(".d").is_none());
        let linked = links.flat_map(|(_, entries)| entries.iter().map(|(name, _)| name.as_str()));
        let is_instance = |name: &&str| UnitName::parse(name).is_some_and(|name| name.is_instance());
        let without_file = |name: &&str| {
            !matches!(self.names.meaning(name), Some(Meaning::File(_))) && self.names.file_of(name).is_some()
        };
        let found = owners.chain(linked).filter(is_instance).filter(without_file);
        found.map(|name| self.main_name(name)).collect()
    }

    fn main_name(&self, name: &str) -> String {
        let file = self.names.file_of(name).and_then(|path| path.rsplit('/').next());
        file.map_or_else(|| name.to_owned(), |file| main_name(name, file))
    }

    /// Loads the unit that `name` (one of its names) stands for; nothing when it is no unit's name.
    pub fn load(&self, name: &str) -> Result<Option<Unit>, LoadError> {
        let main = self.main_name(name);
        let Some(parsed) = UnitName::parse(&main) else {
            return Ok(None);
        };
        let fragment = match self.names.file_of(name) {
            None => None,
            Some(path) => self.file(path)?,
        };
        let state = match &fragment {
            None => State::NotFound,
            Some((_, true)) => State::Masked,
            Some(_) => State::Loaded,
        };
        let mut names: BTreeSet<String> = [main.clone(), name.to_owned()].into();
        names.extend(self.names.names_of(&main).map(str::to_owned));
        if let Some(template) = parsed.template()
            && let Some(instance) = parsed.instance
        {
            // What names the template names its instances, unless that instance leads elsewhere.
            for alias in self.names.names_of(&template).filter_map(UnitName::parse) {
                let alias = alias.with_instance(instance);
                if self.main_name(&alias) == main {
                    let _new = names.insert(alias);
                }
            }
        }
        // The main name's drop-ins come first, then those of its other names.
        let mut ordered = vec![main.as_str()];
        ordered.extend(names.iter().map(String::as_str).filter(|name| *name != main));
        let mut drop_ins = Vec::new();
        let mut dependencies = BTreeSet::new();
        if state != State::Masked {
            for path in self.drop_in_paths(&ordered, parsed.kind) {
                if let Some((file, _)) = self.file(&path)? {
                    drop_ins.push(file);
                }
            }
            for (end, key) in [
                (".wants", "Wants"),
                (".requires", "Requires"),
                (".upholds", "Upholds"),
            ] {
                let links = self.dependencies(&ordered, parsed, end);
                dependencies.extend(links.into_iter().map(|unit| Dependency { key, unit }));
            }
        }
        Ok(Some(Unit {
            kind: parsed.kind,
            name: main.clone(),
            names,
            state,
            fragment: fragment.map(|(file, _)| file),
            drop_ins,
            dependencies: dependencies.into_iter().collect(),
        }))
    }

    // A file, and whether it masks: empty, or a link to /dev/null. Nothing when it isn't there.
    fn file(&self, path: &str) -> Result<Option<(UnitFile, bool)>, LoadError> {
        let Some(found) = resolve(self.sources, path).map_err(LoadError::at(path))? else {
            return Ok(None);
        };
        let bytes = match found.found {
            Found::File { size: 0, .. } => Vec::new(),
            // Reading a byte more than it may have makes the parser refuse it.
            Found::File { size, .. } if size > FILE_MAX as u64 => vec![0; FILE_MAX + 1],
            Found::File { .. } => self
                .sources
                .read(&found.path, FILE_MAX)
                .map_err(LoadError::at(path))?,
            Found::Other if is_null(&found.path) => Vec::new(),
            _ => return Ok(None),
        };
        let file = UnitFile {
            path: path.to_owned(),
            text: Arc::new(parse(&bytes)),
        };
        Ok(Some((file, bytes.is_empty())))
    }

    // The directories that belong to a unit, the winning ones first: by the load path within each name, and those for
    // all units of the kind last.
    fn directories(&self, names: &[&str], kind: Kind, end: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut add = |path: String| {
            if self.names.has_directory(&path) && !found.contains(&path) {
                found.push(path);
            }
        };
        for name in names.iter().filter_map(|name| UnitName::parse(name)) {
            let stems = name.drop_in_names();
            for directory in self.load_path.directories() {
                for stem in &stems {
                    add(format!("{directory}/{stem}{end}"));
                }
            }
        }
        for directory in self.load_path.directories() {
            add(format!("{directory}/{}{end}", kind.suffix()));
        }
        found
    }

    // Sorted by file name; of files with the same name the first directory's.
    fn drop_in_paths(&self, names: &[&str], kind: Kind) -> Vec<String> {
        let mut found: BTreeMap<&str, String> = BTreeMap::new();
        for directory in self.directories(names, kind, ".d") {
            for (name, _) in self.listings.get(&directory).into_iter().flatten() {
                if name.strip_suffix(".conf").is_some() {
                    let _first = found.entry(name).or_insert_with(|| format!("{directory}/{name}"));
                }
            }
        }
        found.into_values().collect()
    }

    fn dependencies(&self, names: &[&str], unit: UnitName<'_>, end: &str) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for directory in self.directories(names, unit.kind, end) {
            for (name, what) in self.listings.get(&directory).into_iter().flatten() {
                let Some(wanted) = UnitName::parse(name).filter(|_| seen.insert(name)) else {
                    continue;
                };
                match what {
                    Found::Symlink(target) if target == "/dev/null" => {}
                    Found::Symlink(_) => found.push(match unit.instance {
                        Some(instance) if wanted.is_template() && !instance.is_empty() => {
                            wanted.with_instance(instance)
                        }
                        _ => name.clone(),
                    }),
                    _ => {}
                }
            }
        }
        found
    }
}

fn list(sources: &dyn Sources, directory: &str) -> Result<Vec<(String, Found)>, LoadError> {
    let resolved = resolve(sources, directory).map_err(LoadError::at(directory))?;
    let Some(resolved) = resolved.filter(|resolved| resolved.found == Found::Directory) else {
        return Ok(Vec::new());
    };
    let mut listing = Vec::new();
    for name in sources.list(&resolved.path).map_err(LoadError::at(directory))? {
        let path = format!("{}/{name}", resolved.path);
        if let Some(found) = sources.look(&path).map_err(LoadError::at(&path))? {
            listing.push((name, found));
        }
    }
    listing.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(listing)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
