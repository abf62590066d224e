//! A tree of files as it is composed: metadata in memory, contents in a [`Pool`](super::pool::Pool).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};

use super::pool::ContentId;

/// Deeper trees are refused: they are walked by recursion.
pub const DEPTH_MAX: usize = 256;

/// What an inode says besides its type and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permissions with setuid, setgid and sticky bit: the low twelve bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// The value of `security.capability`, when the file has one.
    pub capability: Option<Box<[u8]>>,
}

impl Meta {
    /// Owned by root, without capabilities.
    pub fn root(mode: u32, mtime: i64) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime,
            capability: None,
        }
    }
}

/// The entries of a directory, in the order of their bytes (the order of NARs).
pub type Entries = BTreeMap<OsString, Node>;

/// A file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory(Meta, Entries),
    /// A regular file.
    File(Meta, ContentId),
    /// A symbolic link.
    Symlink(Meta, OsString),
}

/// Why a node can't be put into a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// `..`, an absolute path, or nothing.
    #[error("'{0}' is no path below the root of the tree")]
    BadPath(String),
    /// Something above is a file or a link.
    #[error("'{0}' lies below something that is no directory")]
    NotADirectory(String),
    /// Too many directories above each other.
    #[error("'{0}' is nested deeper than {DEPTH_MAX} directories")]
    TooDeep(String),
}

impl Node {
    /// An empty directory of root, mode 0755.
    pub fn directory(mtime: i64) -> Self {
        Self::Directory(Meta::root(0o755, mtime), Entries::new())
    }

    /// A symbolic link of root.
    pub fn symlink(target: impl Into<OsString>, mtime: i64) -> Self {
        Self::Symlink(Meta::root(0o777, mtime), target.into())
    }

    /// Mode, owners, time.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Directory(meta, _) | Self::File(meta, _) | Self::Symlink(meta, _) => meta,
        }
    }

    /// The same, to be changed.
    pub fn meta_mut(&mut self) -> &mut Meta {
        match self {
            Self::Directory(meta, _) | Self::File(meta, _) | Self::Symlink(meta, _) => meta,
        }
    }

    /// The entries when this is a directory.
    pub fn entries(&self) -> Option<&Entries> {
        match self {
            Self::Directory(_, entries) => Some(entries),
            _ => None,
        }
    }

    /// The entries when this is a directory.
    pub fn entries_mut(&mut self) -> Option<&mut Entries> {
        match self {
            Self::Directory(_, entries) => Some(entries),
            _ => None,
        }
    }

    /// What lies at `path` below this node, links not followed.
    pub fn get(&self, path: &str) -> Option<&Self> {
        path.split('/')
            .try_fold(self, |node, name| node.entries()?.get(OsStr::new(name)))
    }

    /// Takes out what lies at `path` below this node.
    pub fn take(&mut self, path: &str) -> Option<Self> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut node = self;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            node = node.entries_mut()?.get_mut(OsStr::new(part))?;
        }
        node.entries_mut()?.remove(OsStr::new(name))
    }

    /// Puts `node` at `path`; directories above that are missing are made, with the time `mtime`. What was there is
    /// replaced, but a directory put onto a directory only changes its metadata.
    pub fn put(&mut self, path: &Path, node: Self, mtime: i64) -> Result<(), TreeError> {
        let shown = || path.display().to_string();
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::CurDir => {}
                _ => return Err(TreeError::BadPath(shown())),
            }
        }
        if names.len() > DEPTH_MAX {
            return Err(TreeError::TooDeep(shown()));
        }
        let Some(last) = names.pop() else {
            return Err(TreeError::BadPath(shown()));
        };
        let mut at = self;
        for name in names {
            let entries = at
                .entries_mut()
                .ok_or_else(|| TreeError::NotADirectory(shown()))?;
            at = entries
                .entry(name.to_owned())
                .or_insert_with(|| Self::directory(mtime));
        }
        let entries = at
            .entries_mut()
            .ok_or_else(|| TreeError::NotADirectory(shown()))?;
        match (entries.get_mut(last), node) {
            (Some(Self::Directory(old, _)), Self::Directory(new, _)) => *old = new,
            (_, node) => {
                let _replaced = entries.insert(last.to_owned(), node);
            }
        }
        Ok(())
    }

    /// Calls `visit` for this node and all below it, parents first, in the order of names.
    pub fn walk(&self, path: &Path, visit: &mut dyn FnMut(&Path, &Self)) {
        visit(path, self);
        for (name, node) in self.entries().into_iter().flatten() {
            node.walk(&path.join(name), visit);
        }
    }

    /// The same, to change metadata.
    pub fn walk_mut(&mut self, path: &Path, visit: &mut dyn FnMut(&Path, &mut Self)) {
        visit(path, self);
        for (name, node) in self.entries_mut().into_iter().flatten() {
            node.walk_mut(&path.join(name), visit);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;

    #[test]
    fn puts_and_takes() {
        let mut root = Node::directory(0);
        root.put(Path::new("./usr/bin/sh"), Node::symlink("dash", 5), 9)
            .unwrap();
        assert_eq!(root.get("usr").unwrap().meta().mtime, 9);
        assert!(matches!(root.get("usr/bin/sh"), Some(Node::Symlink(_, target)) if target == "dash"));
        root.put(
            Path::new("usr/bin"),
            Node::Directory(Meta::root(0o700, 1), Entries::new()),
            0,
        )
        .unwrap();
        assert_eq!(root.get("usr/bin").unwrap().meta().mode, 0o700);
        assert!(root.take("usr/bin/sh").is_some());
        assert!(root.get("usr/bin/sh").is_none() && root.take("nothing/there").is_none());
    }

    #[test]
    fn refuses_paths_that_leave_or_cross_links() {
        let mut root = Node::directory(0);
        root.put(Path::new("bin"), Node::symlink("usr/bin", 0), 0)
            .unwrap();
        let mut refused = |path: &str| root.put(Path::new(path), Node::directory(0), 0).unwrap_err();
        assert_eq!(refused("../x"), TreeError::BadPath("../x".into()));
        assert_eq!(refused("/x"), TreeError::BadPath("/x".into()));
        assert_eq!(refused("."), TreeError::BadPath(".".into()));
        assert_eq!(refused("bin/sh"), TreeError::NotADirectory("bin/sh".into()));
        assert!(matches!(refused(&"d/".repeat(300)), TreeError::TooDeep(_)));
    }
}
