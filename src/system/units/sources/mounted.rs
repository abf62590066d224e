//! Trees at their places: a system's `/usr` and `/etc`, without the root that holds them.

use std::fs::File;
use std::io;

use super::{Found, Sources};
use crate::store::verity::Digest;

/// The links that a root has into `/usr`.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Trees at names of one part below `/`. With a tree at `usr` there are `/bin`, `/sbin`, `/lib` and `/lib64` too.
#[derive(Default)]
pub struct Mounted<'a> {
    trees: Vec<(&'static str, &'a dyn Sources)>,
}

impl<'a> Mounted<'a> {
    /// Nothing is mounted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The root of `tree` becomes `/name`.
    #[must_use]
    pub fn with(mut self, name: &'static str, tree: &'a dyn Sources) -> Self {
        self.trees.push((name, tree));
        self
    }

    // The tree that `path` is in, and its path there.
    fn tree<'p>(&self, path: &'p str) -> Option<(&'a dyn Sources, &'p str)> {
        let below = path.strip_prefix('/')?;
        let name = below.split('/').next()?;
        let (_, tree) = self.trees.iter().find(|(mounted, _)| *mounted == name)?;
        let rest = below.get(name.len()..).filter(|rest| !rest.is_empty());
        Some((*tree, rest.unwrap_or("/")))
    }

    fn merged(&self, name: &str) -> Option<Found> {
        let link = MERGED.contains(&name) && self.trees.iter().any(|(mounted, _)| *mounted == "usr");
        link.then(|| Found::Symlink(format!("usr/{name}")))
    }
}

impl Sources for Mounted<'_> {
    fn look(&self, path: &str) -> io::Result<Option<Found>> {
        match self.tree(path) {
            Some((_, "/")) => Ok(Some(Found::Directory)),
            Some((tree, below)) => tree.look(below),
            None if path == "/" => Ok(Some(Found::Directory)),
            None => Ok(path.strip_prefix('/').and_then(|name| self.merged(name))),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        match self.tree(path) {
            Some((tree, below)) => tree.list(below),
            None if path == "/" => {
                let links = MERGED.iter().copied().filter(|name| self.merged(name).is_some());
                let trees = self.trees.iter().map(|(name, _)| *name);
                Ok(trees.chain(links).map(str::to_owned).collect())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open(&self, path: &str) -> io::Result<File> {
        let (tree, below) = self.tree(path).ok_or(io::ErrorKind::NotFound)?;
        tree.open(below)
    }

    fn digest(&self, path: &str) -> io::Result<Digest> {
        let (tree, below) = self.tree(path).ok_or(io::ErrorKind::NotFound)?;
        tree.digest(below)
    }
}
