//! Files of `/etc` that differ, by the images of two systems: contents by their digests, modes, owners, capabilities.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use composefs::erofs::reader::erofs_to_filesystem;
use composefs::fsverity::{FsVerityHashValue, Sha256HashValue};
use composefs::generic_tree::{Inode, LeafContent, Stat};
use composefs::tree::{Directory, FileSystem, RegularFile};
use serde::Serialize;

use super::accounts::Kind;

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathChange {
    /// Below `/etc`.
    pub path: PathBuf,
    /// What happened.
    pub change: Kind,
    /// In words: `contents`, `mode 0644 -> 0600`, `owner 0:0 -> 0:42`.
    pub details: Vec<String>,
}

/// What a path of an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `file`, `directory`, `link`, `device`, …
    pub kind: &'static str,
    /// Permissions, with setuid, setgid and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Digest of its contents, the contents of a short file, or a link's target. Empty for directories.
    pub content: Vec<u8>,
    /// Extended attributes, such as file capabilities.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All paths of an image.
pub type Tree = BTreeMap<PathBuf, Item>;

/// Contents that an image refers to: digest, in hexadecimal, and size.
pub type Contents = BTreeMap<String, u64>;

/// An image can't be read.
#[derive(Debug, thiserror::Error)]
#[error("it is no composefs image: {0}")]
pub struct BadImage(String);

/// Reads an image: its paths, without its root.
pub fn read(image: &[u8]) -> Result<Tree, BadImage> {
    let image = open(image)?;
    let mut tree = Tree::new();
    walk(&image, &image.root, Path::new(""), &mut tree);
    Ok(tree)
}

/// The contents that an image refers to, those that it holds itself aside.
pub fn contents(image: &[u8]) -> Result<Contents, BadImage> {
    let image = open(image)?;
    let mut contents = Contents::new();
    for leaf in &image.leaves {
        if let LeafContent::Regular(
            RegularFile::External(digest, size) | RegularFile::ExternalNoVerity(digest, size),
        ) = &leaf.content
        {
            let _same = contents.insert(digest.to_hex(), *size);
        }
    }
    Ok(contents)
}

fn open(image: &[u8]) -> Result<FileSystem<Sha256HashValue>, BadImage> {
    erofs_to_filesystem(image).map_err(|error| BadImage(format!("{error:#}")))
}

fn walk(
    image: &FileSystem<Sha256HashValue>,
    directory: &Directory<Sha256HashValue>,
    below: &Path,
    tree: &mut Tree,
) {
    for (name, inode) in directory.sorted_entries() {
        let path = below.join(name);
        let (stat, kind, content) = match inode {
            Inode::Directory(child) => {
                walk(image, child, &path, tree);
                (&child.stat, "directory", Vec::new())
            }
            Inode::Leaf(id, _) => {
                let Some(leaf) = image.leaves.get(id.0) else {
                    continue;
                };
                let (kind, content) = content(&leaf.content);
                (&leaf.stat, kind, content)
            }
        };
        let _none = tree.insert(path, item(stat, kind, content));
    }
}

fn content(of: &LeafContent<RegularFile<Sha256HashValue>>) -> (&'static str, Vec<u8>) {
    let bytes = |text: &OsStr| text.as_encoded_bytes().to_vec();
    match of {
        LeafContent::Regular(RegularFile::Inline(bytes)) => ("file", bytes.to_vec()),
        LeafContent::Regular(RegularFile::External(digest, _) | RegularFile::ExternalNoVerity(digest, _)) => {
            ("file", digest.to_hex().into_bytes())
        }
        LeafContent::Regular(RegularFile::Sparse(size)) => ("file", size.to_le_bytes().to_vec()),
        LeafContent::Symlink(target) => ("link", bytes(target)),
        LeafContent::BlockDevice(number) => ("block device", number.to_le_bytes().to_vec()),
        LeafContent::CharacterDevice(number) => ("character device", number.to_le_bytes().to_vec()),
        LeafContent::Fifo => ("pipe", Vec::new()),
        LeafContent::Socket => ("socket", Vec::new()),
    }
}

fn item(stat: &Stat, kind: &'static str, content: Vec<u8>) -> Item {
    let attributes = stat.xattrs.iter();
    Item {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        content,
        attributes: attributes
            .map(|(name, value)| (name.as_encoded_bytes().to_vec(), value.to_vec()))
            .collect(),
    }
}

/// Compares two trees. A directory that is new or gone is told with what it holds, not by itself.
pub fn compare(old: &Tree, new: &Tree) -> Vec<PathChange> {
    let mut all: BTreeMap<&Path, (Option<&Item>, Option<&Item>)> = BTreeMap::new();
    for (path, item) in old {
        all.entry(path).or_default().0 = Some(item);
    }
    for (path, item) in new {
        all.entry(path).or_default().1 = Some(item);
    }
    let mut changes = Vec::new();
    for (path, pair) in all {
        let (change, details) = match pair {
            (Some(before), Some(after)) => (Kind::Changed, details(before, after)),
            (Some(gone), None) if !has_children(old, path, gone) => (Kind::Removed, vec![]),
            (None, Some(added)) if !has_children(new, path, added) => (Kind::Added, vec![]),
            _ => continue,
        };
        if change != Kind::Changed || !details.is_empty() {
            changes.push(PathChange {
                path: path.to_owned(),
                change,
                details,
            });
        }
    }
    changes
}

fn has_children(tree: &Tree, path: &Path, item: &Item) -> bool {
    let mut after = tree.range::<Path, _>((std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded));
    item.kind == "directory" && after.next().is_some_and(|(next, _)| next.starts_with(path))
}

fn details(old: &Item, new: &Item) -> Vec<String> {
    let mut details = Vec::new();
    if old.kind != new.kind {
        details.push(format!("{} -> {}", old.kind, new.kind));
    } else if old.content != new.content {
        details.push(if new.kind == "link" {
            let target = |item: &Item| String::from_utf8_lossy(&item.content).into_owned();
            format!("link {} -> {}", target(old), target(new))
        } else {
            "contents".to_owned()
        });
    }
    if old.mode != new.mode {
        details.push(format!("mode {:04o} -> {:04o}", old.mode, new.mode));
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        details.push(format!(
            "owner {}:{} -> {}:{}",
            old.uid, old.gid, new.uid, new.gid
        ));
    }
    if old.attributes != new.attributes {
        details.push("attributes".to_owned());
    }
    details
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn item(kind: &'static str, mode: u32, gid: u32, content: &str) -> Item {
        Item {
            kind,
            mode,
            uid: 0,
            gid,
            content: content.as_bytes().to_vec(),
            attributes: BTreeMap::new(),
        }
    }

    fn tree(of: &[(&str, Item)]) -> Tree {
        of.iter()
            .map(|(path, item)| (PathBuf::from(path), item.clone()))
            .collect()
    }

    #[test]
    fn contents_modes_owners_and_kinds_are_compared() {
        let old = tree(&[
            ("a", item("file", 0o644, 0, "1")),
            ("b", item("link", 0o777, 0, "x")),
            ("c", item("file", 0o644, 0, "1")),
            ("gone", item("directory", 0o755, 0, "")),
            ("gone/1", item("file", 0o644, 0, "1")),
            ("kind", item("file", 0o644, 0, "1")),
            ("same", item("file", 0o644, 0, "1")),
        ]);
        let new = tree(&[
            ("a", item("file", 0o644, 0, "2")),
            ("b", item("link", 0o777, 0, "y")),
            ("c", item("file", 0o640, 42, "1")),
            ("kind", item("link", 0o777, 0, "1")),
            ("new.d", item("directory", 0o755, 0, "")),
            ("same", item("file", 0o644, 0, "1")),
        ]);
        let told: Vec<_> = compare(&old, &new)
            .iter()
            .map(|change| {
                format!(
                    "{:?} {} {}",
                    change.change,
                    change.path.display(),
                    change.details.join(", ")
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "Changed a contents",
                "Changed b link x -> y",
                "Changed c mode 0644 -> 0640, owner 0:0 -> 0:42",
                "Removed gone/1 ",
                "Changed kind file -> link, mode 0644 -> 0777",
                "Added new.d ",
            ]
        );
        assert!(compare(&old, &old).is_empty());
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for bytes in [&b""[..], b"text", &[0; 8192]] {
            assert!(read(bytes).is_err() && contents(bytes).is_err());
        }
    }
}
