//! A tree in memory, its contents in a pool: what an import has before anything is in the store.

use std::fs::File;
use std::io;

use super::{Found, Sources};
use crate::store::pool::Pool;
use crate::store::tree::Node;
use crate::store::verity::Digest;

/// A node and the pool of its contents.
#[derive(Clone, Copy, Debug)]
pub struct InTree<'a> {
    node: &'a Node,
    pool: &'a Pool,
}

impl<'a> InTree<'a> {
    /// `node` becomes the root.
    pub fn new(node: &'a Node, pool: &'a Pool) -> Self {
        Self { node, pool }
    }

    fn get(&self, path: &str) -> Option<&'a Node> {
        match path.trim_start_matches('/') {
            "" => Some(self.node),
            below => self.node.get(below),
        }
    }
}

impl Sources for InTree<'_> {
    fn look(&self, path: &str) -> io::Result<Option<Found>> {
        Ok(match self.get(path) {
            None => None,
            Some(Node::Directory(..)) => Some(Found::Directory),
            Some(Node::File(meta, id)) => Some(Found::File {
                size: self.pool.content(*id)?.size,
                executable: meta.mode & 0o111 != 0,
            }),
            Some(Node::Symlink(_, target)) => Some(
                target
                    .to_str()
                    .map_or(Found::Other, |target| Found::Symlink(target.to_owned())),
            ),
        })
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = self
            .get(path)
            .and_then(Node::entries)
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(entries
            .keys()
            .filter_map(|name| name.to_str().map(str::to_owned))
            .collect())
    }

    fn open(&self, path: &str) -> io::Result<File> {
        match self.get(path) {
            Some(Node::File(_, id)) => self.pool.open(*id),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn digest(&self, path: &str) -> io::Result<Digest> {
        match self.get(path) {
            Some(Node::File(_, id)) => Ok(self.pool.content(*id)?.digest),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
