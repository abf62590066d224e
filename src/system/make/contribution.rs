//! What an option module adds to a system: files below `/etc`, links that enable units, kernel parameters.

use std::collections::{BTreeMap, BTreeSet};

/// The first line of files whose format has comments that begin with `#`.
pub const STAMP: &str =
    "# Made by keel from system.toml: don't edit, the next generation has this text again.\n";

/// What comes to lie at a path below `/etc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file with these bytes.
    File(Vec<u8>),
    /// A symbolic link.
    Link(String),
    /// The file of the packages, with this text at its end.
    Appended(String),
    /// Nothing: what the packages have there goes.
    Absent,
}

/// An entry below `/etc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What lies there.
    pub content: Content,
    /// Permissions.
    pub mode: u32,
    /// The owner's name.
    pub user: String,
    /// The group's name.
    pub group: String,
    /// The option that it comes from, for messages.
    pub option: String,
}

/// Two options write the same file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("/etc/{path} is written by {first} and by {second}, with different contents: leave one of them out")]
pub struct Conflict {
    path: String,
    first: String,
    second: String,
}

/// Everything that the modules add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contribution {
    /// Paths below `/etc` to what lies there.
    pub etc: BTreeMap<String, Entry>,
    /// Kernel parameters, one each.
    pub kernel_params: Vec<String>,
    /// Units whose links in the packages' `/etc` go: nothing starts them by itself.
    pub disabled: BTreeSet<String>,
    /// What the user should know.
    pub notes: Vec<String>,
    conflicts: Vec<Conflict>,
}

impl Contribution {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file of root's that everybody reads.
    pub fn file(&mut self, path: impl Into<String>, option: &str, text: impl Into<Vec<u8>>) {
        self.entry(path, root(option, Content::File(text.into()), 0o644));
    }

    /// The same, with [`STAMP`] at its head.
    pub fn stamped(&mut self, path: impl Into<String>, option: &str, text: &str) {
        self.file(path, option, format!("{STAMP}{text}"));
    }

    /// A stamped file with other permissions.
    pub fn stamped_with_mode(&mut self, path: impl Into<String>, option: &str, text: &str, mode: u32) {
        let content = Content::File(format!("{STAMP}{text}").into_bytes());
        self.entry(path, root(option, content, mode));
    }

    /// A symbolic link.
    pub fn link(&mut self, path: impl Into<String>, option: &str, target: impl Into<String>) {
        self.entry(path, root(option, Content::Link(target.into()), 0o777));
    }

    /// Text at the end of a file that packages bring.
    pub fn append(&mut self, path: impl Into<String>, option: &str, text: &str) {
        let path = path.into();
        if let Some(Entry {
            content: Content::Appended(known),
            ..
        }) = self.etc.get_mut(&path)
        {
            known.push_str(text);
            return;
        }
        self.entry(path, root(option, Content::Appended(text.to_owned()), 0o644));
    }

    /// Takes away what packages have at `path`.
    pub fn remove(&mut self, path: impl Into<String>, option: &str) {
        self.entry(path, root(option, Content::Absent, 0));
    }

    /// Enables a unit of a package by a link in `above` (`multi-user.target.wants`).
    pub fn enable(&mut self, unit: &str, above: &str, option: &str) {
        self.link(
            format!("systemd/system/{above}/{unit}"),
            option,
            format!("/usr/lib/systemd/system/{unit}"),
        );
    }

    /// A drop-in of a unit.
    pub fn drop_in(&mut self, unit: &str, name: &str, option: &str, text: &str) {
        self.stamped(format!("systemd/system/{unit}.d/{name}.conf"), option, text);
    }

    /// Puts an entry. Equal ones may come from several options.
    pub fn entry(&mut self, path: impl Into<String>, entry: Entry) {
        let path = path.into();
        match self.etc.get(&path) {
            Some(known)
                if (&known.content, known.mode, &known.user, &known.group)
                    != (&entry.content, entry.mode, &entry.user, &entry.group) =>
            {
                self.conflicts.push(Conflict {
                    first: known.option.clone(),
                    second: entry.option,
                    path,
                });
            }
            Some(_) => {}
            None => drop(self.etc.insert(path, entry)),
        }
    }

    /// Puts an entry of `[etc]`: the user's own word on a file is the last one.
    pub fn overrule(&mut self, path: impl Into<String>, entry: Entry) {
        let path = path.into();
        if let Some(other) = self.etc.insert(path.clone(), entry) {
            self.notes.push(format!(
                "[etc.{path:?}] takes the place of what {} would write",
                other.option
            ));
        }
    }

    /// What options disagree about.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// The text of a file, for tests and messages.
    #[cfg(test)]
    pub(super) fn text(&self, path: &str) -> String {
        match self.etc.get(path).map(|entry| &entry.content) {
            Some(Content::File(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Some(Content::Link(target)) => format!("-> {target}"),
            Some(Content::Appended(text)) => format!("+ {text}"),
            Some(Content::Absent) => "absent".to_owned(),
            None => format!("no {path}"),
        }
    }
}

fn root(option: &str, content: Content, mode: u32) -> Entry {
    Entry {
        content,
        mode,
        user: "root".to_owned(),
        group: "root".to_owned(),
        option: option.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn two_options_that_disagree_are_told_and_equal_ones_are_not() {
        let mut made = Contribution::new();
        made.file("hosts", "a", "1\n");
        made.file("hosts", "b", "1\n");
        assert!(made.conflicts().is_empty());
        made.file("hosts", "c", "2\n");
        assert_eq!(
            made.conflicts()[0].to_string(),
            "/etc/hosts is written by a and by c, with different contents: leave one of them out"
        );
        assert_eq!(made.text("hosts"), "1\n");
    }

    #[test]
    fn appended_texts_add_up_and_the_users_word_is_the_last() {
        let mut made = Contribution::new();
        made.append("bash.bashrc", "a", "1\n");
        made.append("bash.bashrc", "b", "2\n");
        assert_eq!(made.text("bash.bashrc"), "+ 1\n2\n");
        let own = Entry {
            content: Content::File(b"mine\n".to_vec()),
            ..made.etc["bash.bashrc"].clone()
        };
        made.overrule("bash.bashrc", own);
        assert_eq!(made.text("bash.bashrc"), "mine\n");
        assert_eq!(
            made.notes,
            ["[etc.\"bash.bashrc\"] takes the place of what a would write"]
        );
    }
}
