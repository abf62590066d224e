//! Which modules a name or an alias stands for.

use std::collections::{HashMap, HashSet};

use super::super::cmdline::ModuleParameters;
use super::table::{Index, Table, underscored};

/// What a name or an alias stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Modules of the image, by index.
    Modules(Vec<usize>),
    /// Something that is part of the kernel.
    Builtin,
    /// Only modules that no alias may load: their names.
    Blacklisted(String),
    Nothing,
}

/// Names and aliases of a table.
#[derive(Debug)]
pub(super) struct Lookup {
    names: HashMap<String, usize>,
    aliases: Index,
    builtin: HashSet<String>,
    builtin_aliases: Index,
    /// Modules that no alias loads, with their names.
    blacklist: HashMap<usize, String>,
}

impl Lookup {
    pub(super) fn new(table: &Table, parameters: &ModuleParameters) -> Lookup {
        let names: HashMap<_, _> = table
            .modules
            .iter()
            .enumerate()
            .map(|(index, module)| (underscored(&module.name), index))
            .collect();
        let blacklist = table
            .blacklist
            .iter()
            .chain(&parameters.blacklist)
            .map(|name| underscored(name));
        let blacklist = blacklist
            .filter_map(|name| names.get(&name).copied().map(|index| (index, name)))
            .collect();
        Lookup {
            aliases: Index::new(
                table
                    .aliases
                    .iter()
                    .map(|(pattern, index)| (pattern.as_str(), *index)),
            ),
            builtin: table.builtin.iter().map(|name| underscored(name)).collect(),
            builtin_aliases: Index::new(table.builtin_aliases.iter().map(|pattern| (pattern.as_str(), 0))),
            names,
            blacklist,
        }
    }

    pub(super) fn by_alias(&self, alias: &str) -> Found {
        let (blocked, allowed): (Vec<_>, Vec<_>) = self
            .aliases
            .matching(alias)
            .partition(|index| self.blacklist.contains_key(index));
        if !allowed.is_empty() {
            return Found::Modules(allowed);
        }
        if self.builtin_aliases.matching(alias).next().is_some() {
            return Found::Builtin;
        }
        if blocked.is_empty() {
            return Found::Nothing;
        }
        let names: Vec<_> = blocked
            .iter()
            .filter_map(|index| self.blacklist.get(index))
            .map(String::as_str)
            .collect();
        Found::Blacklisted(names.join(", "))
    }

    /// A name is a module's, else an alias.
    pub(super) fn by_name(&self, name: &str) -> Found {
        let plain = underscored(name);
        match self.names.get(&plain) {
            Some(index) => Found::Modules(vec![*index]),
            None if self.builtin.contains(&plain) => Found::Builtin,
            None => self.by_alias(name),
        }
    }
}
