//! The closure of the modules that an image needs, and the table of them for keel-init.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;

use super::depmod::underscored;
use super::tree::{Meaning, ModuleTree, ResolveError};
use crate::init::modules::{Module, Table};

/// Something that was asked for: a name, an alias, or with a trailing slash a directory of the kernel's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What is asked for.
    pub name: String,
    /// Kernels without it are fine.
    pub optional: bool,
    /// Who asks.
    pub origin: Origin,
}

/// Who asks for a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A set: what modprobe.d has taken out of use is left out.
    Set,
    /// The administrator by name: what can't be is an error.
    Named,
    /// Something of this machine.
    Host(String),
}

/// Why a module is in the image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Asked for by name.
    Named(String),
    /// This machine needs it: what of it.
    Host(String),
    /// Asked for by a line of the set.
    Set(String),
    /// A module depends on it.
    Needed(String),
    /// modules.softdep, modules.weakdep or modprobe.d wants it beside a module.
    Soft(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Named(name) => write!(formatter, "asked for ({name})"),
            Reason::Host(by) => write!(formatter, "for {by}"),
            Reason::Set(line) => write!(formatter, "in the set ({line})"),
            Reason::Needed(by) => write!(formatter, "{by} depends on it"),
            Reason::Soft(by) => write!(formatter, "{by} wishes it"),
        }
    }
}

/// The modules of an image.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The table for the initrd.
    pub table: Table,
    /// Files below the tree's directory, in the order of the table's modules.
    pub files: Vec<PathBuf>,
    /// In the order of the table's modules.
    pub reasons: Vec<Reason>,
    /// Members of the set that modprobe.d has taken out of use: their names, and what it says.
    pub left_out: BTreeMap<String, String>,
}

impl ModuleTree {
    /// The closure of what is asked for: dependencies, soft and weak dependencies, and theirs.
    pub fn resolve(&self, wishes: &[Wish]) -> Result<Resolved, ResolveError> {
        let mut closure = Closure {
            tree: self,
            chosen: BTreeMap::new(),
            queue: VecDeque::new(),
            left_out: BTreeMap::new(),
        };
        for wish in wishes {
            closure.grant(wish)?;
        }
        closure.follow_wishes()?;
        let order = closure.order()?;
        closure.into_resolved(&order)
    }

    /// Modules below a directory of the kernel's tree.
    fn below(&self, directory: &str) -> Vec<String> {
        let prefix = format!("kernel/{directory}");
        let matching = self
            .modules
            .iter()
            .filter(|(_, entry)| entry.path.starts_with(&prefix));
        matching.map(|(name, _)| name.clone()).collect()
    }

    /// A module with all that it depends on.
    fn with_dependencies(&self, asked: &str) -> Result<BTreeSet<String>, ResolveError> {
        let mut found = BTreeSet::new();
        let mut open = vec![asked.to_owned()];
        while let Some(name) = open.pop() {
            if let Some(command) = self.config.install.get(&name) {
                let (asked, command) = (asked.to_owned(), command.clone());
                return Err(ResolveError::Install {
                    asked,
                    module: name,
                    command,
                });
            }
            let entry = self.modules.get(&name).ok_or_else(|| ResolveError::Dependency {
                module: asked.to_owned(),
                needs: name.clone(),
            })?;
            let missing = entry
                .depends
                .iter()
                .filter(|needed| !self.builtin.contains(*needed) && !found.contains(*needed));
            open.extend(missing.cloned());
            let _ = found.insert(name);
        }
        Ok(found)
    }
}

struct Closure<'a> {
    tree: &'a ModuleTree,
    chosen: BTreeMap<String, Reason>,
    /// Chosen, but what they wish hasn't been looked at.
    queue: VecDeque<String>,
    left_out: BTreeMap<String, String>,
}

impl Closure<'_> {
    fn grant(&mut self, wish: &Wish) -> Result<(), ResolveError> {
        let reason = match &wish.origin {
            Origin::Host(by) => Reason::Host(by.clone()),
            Origin::Set => Reason::Set(wish.name.clone()),
            Origin::Named => Reason::Named(wish.name.clone()),
        };
        let names = if wish.name.ends_with('/') {
            self.tree.below(&wish.name)
        } else {
            match self.tree.meaning(&wish.name) {
                Meaning::Modules(names) => names,
                Meaning::Builtin => return Ok(()),
                Meaning::Nothing => Vec::new(),
            }
        };
        if names.is_empty() && !wish.optional {
            return Err(self.tree.unknown(&wish.name));
        }
        for name in names {
            self.choose(&name, &reason, wish.origin == Origin::Named)?;
        }
        Ok(())
    }

    /// Takes a module and what it depends on. One that modprobe.d has taken out of use is an error when it is a must.
    fn choose(&mut self, name: &str, reason: &Reason, must: bool) -> Result<(), ResolveError> {
        let all = match self.tree.with_dependencies(name) {
            Err(ResolveError::Install { module, command, .. }) if !must => {
                let line = format!("install {module} {command}");
                let _ = self.left_out.insert(name.to_owned(), line);
                return Ok(());
            }
            all => all?,
        };
        for found in all {
            let why = if found == name {
                reason.clone()
            } else {
                Reason::Needed(name.to_owned())
            };
            let known = self.chosen.contains_key(&found);
            let best = self.chosen.entry(found.clone()).or_insert_with(|| why.clone());
            if why < *best {
                *best = why;
            }
            if !known {
                self.queue.push_back(found);
            }
        }
        Ok(())
    }

    /// Takes what the chosen ones wish, until nothing new comes.
    fn follow_wishes(&mut self) -> Result<(), ResolveError> {
        while let Some(name) = self.queue.pop_front() {
            let config = &self.tree.config;
            let soft = config
                .soft
                .get(&name)
                .into_iter()
                .flat_map(|soft| soft.before.iter().chain(&soft.after));
            let weak = config.weak.get(&name).into_iter().flatten();
            for wished in soft.chain(weak) {
                if let Meaning::Modules(names) = self.tree.meaning(wished) {
                    for found in names {
                        self.choose(&found, &Reason::Soft(name.clone()), false)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Names, each behind those that it depends on; of those that may come next, the first by name.
    fn order(&self) -> Result<Vec<String>, ResolveError> {
        let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
        let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in self.chosen.keys() {
            let depends: BTreeSet<&str> = self.depends(name).collect();
            let _ = missing.insert(name, depends.len());
            for needed in depends {
                dependents.entry(needed).or_default().push(name);
            }
        }
        let mut ready: BTreeSet<&str> = missing
            .iter()
            .filter(|(_, missing)| **missing == 0)
            .map(|(name, _)| *name)
            .collect();
        let mut order = Vec::new();
        while let Some(name) = ready.pop_first() {
            order.push(name.to_owned());
            for dependent in dependents.get(name).into_iter().flatten() {
                if let Some(missing) = missing.get_mut(dependent) {
                    *missing = missing.saturating_sub(1);
                    if *missing == 0 {
                        let _ = ready.insert(dependent);
                    }
                }
            }
        }
        match missing.iter().find(|(_, missing)| **missing > 0) {
            Some((name, _)) => Err(ResolveError::Cycle((*name).to_owned())),
            None => Ok(order),
        }
    }

    fn depends(&self, name: &str) -> impl Iterator<Item = &str> {
        let depends = self
            .tree
            .modules
            .get(name)
            .map(|entry| entry.depends.as_slice())
            .unwrap_or_default();
        depends
            .iter()
            .map(String::as_str)
            .filter(|needed| self.chosen.contains_key(*needed))
    }

    fn into_resolved(self, order: &[String]) -> Result<Resolved, ResolveError> {
        let tree = self.tree;
        let places: BTreeMap<&str, usize> = order
            .iter()
            .enumerate()
            .map(|(place, name)| (name.as_str(), place))
            .collect();
        let place = |name: &str| places.get(name).copied();
        let places_of = |wished: &[String]| {
            let mut found = Vec::new();
            for name in wished {
                if let Meaning::Modules(names) = tree.meaning(name) {
                    found.extend(names.iter().filter_map(|name| place(name)));
                }
            }
            let mut seen = BTreeSet::new();
            found.retain(|place| seen.insert(*place));
            found
        };
        let mut modules = Vec::new();
        let mut files = Vec::new();
        for name in order {
            let soft = tree.config.soft.get(name).cloned().unwrap_or_default();
            let depends: BTreeSet<usize> = self.depends(name).filter_map(place).collect();
            modules.push(Module {
                name: name.clone(),
                file: format!("{name}.ko"),
                depends: depends.into_iter().collect(),
                soft_before: places_of(&soft.before),
                soft_after: places_of(&soft.after),
                options: tree
                    .config
                    .options
                    .get(name)
                    .map(|options| options.join(" "))
                    .unwrap_or_default(),
            });
            files.push(
                tree.modules
                    .get(name)
                    .map(|entry| PathBuf::from(&entry.path))
                    .unwrap_or_default(),
            );
        }
        let aliases = tree
            .aliases
            .iter()
            .filter_map(|(pattern, module)| Some((pattern.clone(), place(module)?)));
        let table = Table {
            kernel: tree.kernel().to_owned(),
            modules,
            aliases: aliases.collect(),
            builtin: tree.builtin.iter().cloned().collect(),
            builtin_aliases: tree.builtin_aliases.iter().cloned().collect(),
            blacklist: tree
                .config
                .blacklist
                .iter()
                .map(|name| underscored(name))
                .collect(),
        };
        // An image whose table keel-init refuses would only show itself at boot.
        let unreadable = |reason: String| ResolveError::Table {
            tree: tree.directory().to_owned(),
            reason,
        };
        match Table::parse(&table.to_bytes()) {
            Ok(read) if read == table => {}
            Ok(_) => return Err(unreadable("a name or an option holds a line break".to_owned())),
            Err(error) => return Err(unreadable(error.to_string())),
        }
        let reasons = order
            .iter()
            .filter_map(|name| self.chosen.get(name).cloned())
            .collect();
        Ok(Resolved {
            table,
            files,
            reasons,
            left_out: self.left_out,
        })
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
