//! The options as a tree, along which files are checked.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::{Spec, all};
use crate::config::check::Check;

/// A place in the tree.
#[derive(Debug)]
pub(in crate::config) enum Branch {
    /// A table.
    Table(Table),
    /// A list of tables.
    List(Table),
    /// An option.
    Leaf(&'static Spec),
}

/// A table's keys.
#[derive(Debug, Default)]
pub(in crate::config) struct Table {
    /// Those that have a meaning of their own.
    pub(in crate::config) known: BTreeMap<&'static str, Branch>,
    /// What any other key stands for.
    pub(in crate::config) chosen: Option<Chosen>,
}

/// A key that the user chooses.
#[derive(Debug)]
pub(in crate::config) struct Chosen {
    /// What it has to be like.
    pub(in crate::config) check: Check,
    /// What it leads to.
    pub(in crate::config) branch: Box<Branch>,
}

/// What a user's key has to be like, by the word that stands for it in a path.
fn check_of(word: &str) -> Check {
    match word {
        "<mapping>" => Check::MappingName,
        "<path>" => Check::AbsolutePath,
        "<user>" => Check::User,
        "<group>" => Check::Group,
        "<keyword>" => Check::SshKeyword,
        "<address>" => Check::Address,
        "<alias>" => Check::Alias,
        "<unit>" => Check::Unit,
        "<section>" => Check::Section,
        "<key>" => Check::UnitKey,
        "<dropin>" => Check::DropIn,
        "<file>" => Check::EtcPath,
        "<sysctl>" => Check::Sysctl,
        "<variable>" => Check::Variable,
        _ => Check::Name,
    }
}

/// The whole tree.
pub(in crate::config) fn root() -> &'static Table {
    static ROOT: OnceLock<Table> = OnceLock::new();
    ROOT.get_or_init(|| {
        let mut root = Table::default();
        for spec in all() {
            let words: Vec<&'static str> = spec.path.split('.').collect();
            root.insert(&words, spec);
        }
        root
    })
}

impl Table {
    fn insert(&mut self, words: &[&'static str], spec: &'static Spec) {
        let Some((word, rest)) = words.split_first() else {
            return;
        };
        let branch = if word.starts_with('<') {
            let chosen = self.chosen.get_or_insert_with(|| Chosen {
                check: check_of(word),
                branch: Box::new(Branch::new(false, rest, spec)),
            });
            &mut chosen.branch
        } else {
            let name = word.trim_end_matches("[]");
            let is_list = name.len() < word.len();
            self.known
                .entry(name)
                .or_insert_with(|| Branch::new(is_list, rest, spec))
        };
        if let Branch::Table(table) | Branch::List(table) = branch {
            table.insert(rest, spec);
        }
    }
}

impl Branch {
    fn new(is_list: bool, rest: &[&'static str], spec: &'static Spec) -> Self {
        match (is_list, rest.is_empty()) {
            (true, _) => Branch::List(Table::default()),
            (false, true) => Branch::Leaf(spec),
            (false, false) => Branch::Table(Table::default()),
        }
    }

    /// For people: what is expected here.
    pub(in crate::config) fn words(&self) -> String {
        match self {
            Branch::Table(_) => "a table".to_owned(),
            Branch::List(_) => "a list of tables".to_owned(),
            Branch::Leaf(spec) => crate::config::convert::expected(spec.kind),
        }
    }
}
