//! What the load path holds: which file each name of a unit stands for, and which directories hold drop-ins.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::load_path::LoadPath;
use super::name::UnitName;
use super::sources::{Found, Sources, is_null, resolve};

/// As many names as systemd follows from alias to alias.
const ALIASES_MAX: usize = 10;

/// A path that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct LoadError {
    /// The path, below the root of the sources.
    pub path: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl LoadError {
    pub(super) fn at(path: &str) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self {
            path: path.to_owned(),
            source,
        }
    }
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A file, or a link to one outside of the load path, or to `/dev/null`.
    File(String),
    /// Another name.
    Alias(String),
}

/// The names of a load path, read once.
#[derive(Debug, Default)]
pub(super) struct Names {
    meanings: BTreeMap<String, Meaning>,
    // Main name -> all names that lead to it.
    reverse: BTreeMap<String, BTreeSet<String>>,
    // `<directory>/<name>.d` and the like, that exist.
    directories: BTreeSet<String>,
}

impl Names {
    pub(super) fn read(sources: &dyn Sources, load_path: &LoadPath) -> Result<Self, LoadError> {
        let mut names = Self::default();
        // A directory may itself be a link; aliases are recognised under either name.
        let mut search: Vec<String> = Vec::new();
        let mut present = Vec::new();
        for &directory in load_path.directories() {
            search.push(directory.to_owned());
            if let Some(found) = resolve(sources, directory).map_err(LoadError::at(directory))?
                && found.found == Found::Directory
            {
                search.push(found.path.clone());
                present.push((directory, found.path));
            }
        }
        for (shown, directory) in present {
            let mut entries = sources.list(&directory).map_err(LoadError::at(&directory))?;
            entries.sort_unstable();
            for entry in entries {
                names.add(sources, (shown, &directory), &search, entry)?;
            }
        }
        let all: Vec<_> = names.meanings.keys().cloned().collect();
        for name in all {
            if let Some(file) = names.file_of(&name) {
                let main = main_name(&name, file.rsplit('/').next().unwrap_or_default());
                let _new = names.reverse.entry(main).or_default().insert(name);
            }
        }
        Ok(names)
    }

    fn add(
        &mut self,
        sources: &dyn Sources,
        (shown, directory): (&str, &str),
        search: &[String],
        entry: String,
    ) -> Result<(), LoadError> {
        let path = format!("{directory}/{entry}");
        let Some(found) = sources.look(&path).map_err(LoadError::at(&path))? else {
            return Ok(());
        };
        if UnitName::parse(&entry).is_none() {
            if [".d", ".wants", ".requires", ".upholds"]
                .iter()
                .any(|end| entry.ends_with(end))
                && matches!(found, Found::Directory | Found::Symlink(_))
            {
                let _new = self.directories.insert(format!("{shown}/{entry}"));
            }
            return Ok(());
        }
        if self.meanings.contains_key(&entry) {
            return Ok(());
        }
        let meaning = match found {
            Found::File { .. } => Meaning::File(format!("{shown}/{entry}")),
            Found::Symlink(target) => match alias(directory, &target, search) {
                Some(target) if target == entry => return Ok(()),
                Some(target) if is_fitting_alias(&entry, &target) => Meaning::Alias(target),
                Some(_) => return Ok(()),
                None => Meaning::File(format!("{shown}/{entry}")),
            },
            _ => return Ok(()),
        };
        let _new = self.meanings.insert(entry, meaning);
        Ok(())
    }

    /// The file that a name leads to, through aliases; an instance without a file of its own has its template's.
    pub(super) fn file_of(&self, name: &str) -> Option<&str> {
        self.follow(name)
            .or_else(|| self.follow(&UnitName::parse(name)?.template()?))
    }

    fn follow(&self, name: &str) -> Option<&str> {
        let mut name = name;
        for _ in 0..ALIASES_MAX {
            match self.meanings.get(name)? {
                Meaning::File(path) => return Some(path),
                Meaning::Alias(target) => name = target,
            }
        }
        None
    }

    /// All names that lead to the same file as the main name `name`, itself among them when it is a file.
    pub(super) fn names_of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.reverse.get(name).into_iter().flatten().map(String::as_str)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Meaning)> {
        self.meanings
            .iter()
            .map(|(name, meaning)| (name.as_str(), meaning))
    }

    pub(super) fn meaning(&self, name: &str) -> Option<&Meaning> {
        self.meanings.get(name)
    }

    pub(super) fn has_directory(&self, path: &str) -> bool {
        self.directories.contains(path)
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &str> {
        self.directories.iter().map(String::as_str)
    }
}

/// The main name of what `name` leads to: the file's, with the instance of `name` when the file is a template.
pub(super) fn main_name(name: &str, file: &str) -> String {
    let instance = UnitName::parse(name)
        .and_then(|name| name.instance)
        .filter(|instance| !instance.is_empty());
    match (UnitName::parse(file), instance) {
        (Some(file), Some(instance)) if file.is_template() => file.with_instance(instance),
        _ => file.to_owned(),
    }
}

// The name that a link stands for, when it leads to a place in the load path (which needn't exist). A link to anywhere
// else is a linked unit file, or a mask.
fn alias(directory: &str, target: &str, search: &[String]) -> Option<String> {
    let joined = if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("{directory}/{target}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // Merged /usr: /lib/systemd/system is /usr/lib/systemd/system.
    if parts.first() == Some(&"lib") {
        parts.insert(0, "usr");
    }
    let path = format!("/{}", parts.join("/"));
    if is_null(&path) {
        return None;
    }
    let (parent, name) = path.rsplit_once('/')?;
    let inside = search.iter().any(|directory| {
        parent == directory
            || parent
                .strip_prefix(directory.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
    });
    inside.then(|| name.to_owned())
}

// systemd takes an alias only for a unit of the same kind, a template only for a template, and so on.
fn is_fitting_alias(name: &str, target: &str) -> bool {
    match (UnitName::parse(name), UnitName::parse(target)) {
        (Some(name), Some(target)) if name.kind == target.kind => {
            if name.is_instance() {
                target.is_template() || target.instance == name.instance
            } else {
                name.is_template() == target.is_template() && !target.is_instance()
            }
        }
        _ => false,
    }
}
