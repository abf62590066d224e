//! `[[overlay]]`: files of a store path that are laid over `/usr`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::PartsError;
use crate::store::pool::Pool;
use crate::store::tree::{Entries, Meta, Node};

/// Lays what the directory `place` holds over `usr` and `etc`: a tree with a `usr` is a root's, another one is a `/usr`.
pub(super) fn lay(place: &Path, usr: &mut Node, etc: &mut Node, pool: &Pool) -> Result<(), PartsError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| PartsError::File { path, source }
    };
    if !place.metadata().map_err(at(place))?.is_dir() {
        let source =
            io::Error::other("what takes a package's place is a directory with bin, lib, share and so on");
        return Err(at(place)(source));
    }
    if place.join("usr").is_dir() {
        copy(&place.join("usr"), Path::new(""), usr, pool)?;
        if place.join("etc").is_dir() {
            copy(&place.join("etc"), Path::new(""), etc, pool)?;
        }
        return Ok(());
    }
    copy(place, Path::new(""), usr, pool)
}

fn copy(from: &Path, below: &Path, into: &mut Node, pool: &Pool) -> Result<(), PartsError> {
    let full = from.join(below);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| PartsError::File { path, source }
    };
    // The store's times say nothing.
    let mtime = into.meta().mtime;
    let mut names = fs::read_dir(&full)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|e| e.file_name()))
                .collect::<io::Result<Vec<_>>>()
        })
        .map_err(at(&full))?;
    names.sort_unstable();
    for name in names {
        let path = below.join(name);
        let source = from.join(&path);
        let metadata = source.symlink_metadata().map_err(at(&source))?;
        if metadata.is_dir() {
            // A directory of a package keeps its owner and mode.
            let there = path.to_str().and_then(|path| into.get(path));
            if there.and_then(Node::entries).is_none() {
                into.put(
                    &path,
                    Node::Directory(Meta::root(0o755, mtime), Entries::new()),
                    mtime,
                )?;
            }
            copy(from, &path, into, pool)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(&source).map_err(at(&source))?;
            into.put(&path, Node::symlink(target, mtime), mtime)?;
        } else {
            let executable = metadata.mode() & 0o100 != 0;
            let id = pool.reserve();
            let mut file = fs::File::open(&source).map_err(at(&source))?;
            pool.fill_from(id, &mut file, executable).map_err(at(&source))?;
            let mode = if executable { 0o755 } else { 0o644 };
            into.put(&path, Node::File(Meta::root(mode, mtime), id), mtime)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, unused_results)]
    use super::*;

    #[test]
    fn files_take_the_place_of_a_packages() {
        let directory = tempfile::tempdir().unwrap();
        let pool = Pool::new(directory.path().join("pool"), directory.path().join("objects")).unwrap();
        let place = directory.path().join("path");
        fs::create_dir_all(place.join("bin")).unwrap();
        fs::write(place.join("bin/tool"), "new").unwrap();
        std::os::unix::fs::symlink("tool", place.join("bin/other")).unwrap();
        let (mut usr, mut etc) = (Node::directory(9), Node::directory(9));
        let old = pool.add(b"old", true).unwrap();
        let kept = Node::Directory(Meta::root(0o700, 3), Entries::new());
        usr.put(Path::new("bin"), kept, 0).unwrap();
        usr.put(Path::new("bin/tool"), Node::File(Meta::root(0o755, 3), old), 0)
            .unwrap();
        lay(&place, &mut usr, &mut etc, &pool).unwrap();
        let Some(Node::File(meta, id)) = usr.get("bin/tool") else {
            panic!("it isn't there");
        };
        assert_eq!(
            (meta, pool.read(*id, 9).unwrap()),
            (&Meta::root(0o644, 9), b"new".to_vec())
        );
        assert_eq!(usr.get("bin").unwrap().meta().mode, 0o700);
        assert!(usr.get("bin/other").is_some());

        let root = directory.path().join("root");
        fs::create_dir_all(root.join("usr/share")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/tool.conf"), "a").unwrap();
        lay(&root, &mut usr, &mut etc, &pool).unwrap();
        assert!(etc.get("tool.conf").is_some() && usr.get("share").is_some() && usr.get("usr").is_none());
        let error = lay(&root.join("etc/tool.conf"), &mut usr, &mut etc, &pool).unwrap_err();
        assert!(error.to_string().contains("is a directory with bin"), "{error}");
    }
}
