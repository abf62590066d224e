//! What the administrator changed in `/etc`: the upper directory of its overlay, beside the tree of a system.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The upper directory, below the root.
pub const UPPER: &str = "var/lib/keel/etc/upper";

/// How a path of `/etc` differs from the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalKind {
    /// The system has it with another content.
    Changed,
    /// The system has the same: nothing is hidden now, but the next system's version would be.
    Same,
    /// The system hasn't got it.
    Added,
    /// The system has it, here it's gone.
    Removed,
}

/// A path that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalChange {
    /// Below `/etc`.
    pub path: PathBuf,
    /// How it differs.
    pub kind: LocalKind,
}

/// All files and links of `upper`, and what is removed there, compared with `tree`. Sorted. An `upper` that isn't there
/// changes nothing.
pub fn local_changes(upper: &Path, tree: &Path) -> io::Result<Vec<LocalChange>> {
    let mut changes = Vec::new();
    if upper.exists() {
        walk(upper, tree, Path::new(""), &mut changes)?;
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(changes)
}

fn walk(upper: &Path, tree: &Path, below: &Path, changes: &mut Vec<LocalChange>) -> io::Result<()> {
    for entry in fs::read_dir(upper.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let here = entry.metadata()?;
        let there = fs::symlink_metadata(tree.join(&path)).ok();
        let kind = match there {
            _ if is_whiteout(&here) => LocalKind::Removed,
            Some(there) if here.is_dir() && there.is_dir() => {
                if is_opaque(&upper.join(&path)) {
                    removed_below(upper, tree, &path, changes)?;
                }
                walk(upper, tree, &path, changes)?;
                continue;
            }
            None if here.is_dir() => {
                walk(upper, tree, &path, changes)?;
                continue;
            }
            None => LocalKind::Added,
            Some(there) if same(&upper.join(&path), &here, &tree.join(&path), &there)? => LocalKind::Same,
            Some(_) => LocalKind::Changed,
        };
        changes.push(LocalChange { path, kind });
    }
    Ok(())
}

/// What an opaque directory hides without having it itself.
fn removed_below(upper: &Path, tree: &Path, below: &Path, changes: &mut Vec<LocalChange>) -> io::Result<()> {
    for entry in fs::read_dir(tree.join(below))? {
        let path = below.join(entry?.file_name());
        if fs::symlink_metadata(upper.join(&path)).is_err() {
            changes.push(LocalChange {
                path,
                kind: LocalKind::Removed,
            });
        }
    }
    Ok(())
}

/// A character device 0:0 (Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_opaque(directory: &Path) -> bool {
    crate::sys::xattr::get(directory, "trusted.overlay.opaque", 8)
        .ok()
        .flatten()
        .is_some_and(|value| value == b"y")
}

/// Whether two files or links have the same content. Modes aren't compared: a tree of the store has none of its own.
pub(super) fn same(one: &Path, of_one: &Metadata, other: &Path, of_other: &Metadata) -> io::Result<bool> {
    if of_one.file_type() != of_other.file_type() {
        return Ok(false);
    }
    if of_one.is_symlink() {
        return Ok(fs::read_link(one)? == fs::read_link(other)?);
    }
    if !of_one.is_file() {
        return Ok(false);
    }
    if of_one.len() != of_other.len() {
        return Ok(false);
    }
    if (of_one.dev(), of_one.ino()) == (of_other.dev(), of_other.ino()) {
        return Ok(true);
    }
    Ok(fs::read(one)? == fs::read(other)?)
}

/// Whether a path differs between two trees.
pub fn differs(path: &Path, one: &Path, other: &Path) -> bool {
    let (one, other) = (one.join(path), other.join(path));
    match (fs::symlink_metadata(&one), fs::symlink_metadata(&other)) {
        (Ok(of_one), Ok(of_other)) => !same(&one, &of_one, &other, &of_other).unwrap_or(false),
        (Err(_), Err(_)) => false,
        _ => true,
    }
}

/// Whether anything at or below a path differs between two trees.
pub fn trees_differ(path: &Path, one: &Path, other: &Path) -> bool {
    let list = |root: &Path| -> Option<BTreeSet<PathBuf>> {
        let entries = fs::read_dir(root.join(path)).ok()?;
        Some(
            entries
                .flatten()
                .map(|entry| path.join(entry.file_name()))
                .collect(),
        )
    };
    match (list(one), list(other)) {
        (None, None) => differs(path, one, other),
        (Some(here), Some(there)) => here != there || here.iter().any(|path| trees_differ(path, one, other)),
        _ => true,
    }
}

/// Takes a local change away, so that the system's version shows: effective with the next replacement of `/etc`. The
/// old content is kept beside, as `/var/lib/keel/etc/reset/<path>.<number>`; its place is returned.
pub fn take_away(state: &Path, path: &Path) -> io::Result<PathBuf> {
    let from = state.join("upper").join(path);
    let kept = state.join("reset");
    for number in 1..10_000_u32 {
        let mut name: OsString = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let to = kept.join(name);
        if fs::symlink_metadata(&to).is_ok() {
            continue;
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(&from, &to)?;
        return Ok(to);
    }
    Err(io::Error::other(format!(
        "{} holds too many old versions",
        kept.display()
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn changes_are_told_apart() {
        let place = tempfile::tempdir().unwrap();
        let (upper, tree) = (place.path().join("upper"), place.path().join("tree"));
        write(tree.join("same"), "1");
        write(tree.join("changed"), "1");
        write(tree.join("d/untouched"), "1");
        write(tree.join("d/linked"), "1");
        write(upper.join("same"), "1");
        write(upper.join("changed"), "2");
        write(upper.join("new/added"), "2");
        fs::create_dir_all(upper.join("d")).unwrap();
        std::os::unix::fs::symlink("x", upper.join("d/linked")).unwrap();
        let changes = local_changes(&upper, &tree).unwrap();
        let told: Vec<_> = changes
            .iter()
            .map(|change| (change.path.to_str().unwrap(), change.kind))
            .collect();
        assert_eq!(
            told,
            [
                ("changed", LocalKind::Changed),
                ("d/linked", LocalKind::Changed),
                ("new/added", LocalKind::Added),
                ("same", LocalKind::Same),
            ]
        );
        assert!(
            local_changes(&place.path().join("none"), &tree)
                .unwrap()
                .is_empty()
        );
        assert!(differs(Path::new("changed"), &upper, &tree));
        assert!(!differs(Path::new("same"), &upper, &tree));
    }

    #[test]
    fn what_is_reset_is_kept_aside() {
        let place = tempfile::tempdir().unwrap();
        for text in ["first", "second"] {
            write(place.path().join("upper/ssh/sshd_config"), text);
            let kept = take_away(place.path(), Path::new("ssh/sshd_config")).unwrap();
            assert_eq!(fs::read_to_string(kept).unwrap(), text);
        }
        assert!(!place.path().join("upper/ssh/sshd_config").exists());
    }
}
