//! The kernel of a root file system, and its modules.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::compose::ComposeError;
use super::notice::Notice;
use crate::store::pool::ContentId;
use crate::store::tree::Node;

/// Takes the newest kernel that has modules: its version, its content, and the layer of `/usr` that holds them.
/// Everything else of that kind is left out.
pub(super) fn take(
    tree: &mut Node,
    usr: &mut Node,
    report: &mut dyn FnMut(Notice),
) -> Result<(String, ContentId, Node), ComposeError> {
    let mut kernels: BTreeMap<String, ContentId> = BTreeMap::new();
    let lib_meta = usr
        .get("lib")
        .ok_or(ComposeError::Missing("/usr/lib"))?
        .meta()
        .clone();
    let all = usr
        .take("lib/modules")
        .unwrap_or_else(|| Node::directory(lib_meta.mtime));
    for (version, node) in all.entries().into_iter().flatten() {
        if let (Some(version), Some(Node::File(_, id))) = (version.to_str(), node.get("vmlinuz")) {
            let _new = kernels.insert(version.to_owned(), *id);
        }
    }
    let boot = tree.take("boot");
    for (name, node) in boot.iter().filter_map(Node::entries).flatten() {
        if let (Some(version), Node::File(_, id)) =
            (name.to_str().and_then(|n| n.strip_prefix("vmlinuz-")), node)
        {
            let _other = kernels.insert(version.to_owned(), *id);
        }
    }
    let has_modules = |version: &str| all.get(version).is_some_and(|node| node.entries().is_some());
    let newest = kernels
        .iter()
        .filter(|(version, _)| !version.contains('/') && has_modules(version))
        .max_by(|(a, _), (b, _)| by_version(a, b));
    let Some((version, &kernel)) = newest else {
        let list = |names: Vec<String>| {
            if names.is_empty() {
                "none".into()
            } else {
                names.join(", ")
            }
        };
        let modules = all
            .entries()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.to_string_lossy().into_owned());
        return Err(ComposeError::NoKernel {
            kernels: list(kernels.into_keys().collect()),
            modules: list(modules.collect()),
        });
    };
    let version = version.clone();
    let mut modules = Node::Directory(all.meta().clone(), BTreeMap::new());
    for (name, node) in all.entries().into_iter().flatten() {
        if name == OsStr::new(&version) {
            modules.put(Path::new(name), node.clone(), 0)?;
        } else {
            let path = Path::new("/usr/lib/modules").join(name);
            report(Notice::LeftOut {
                path,
                why: "modules of another kernel than the newest",
            });
        }
    }
    for other in kernels.keys().filter(|&other| *other != version) {
        let path = PathBuf::from(format!("/boot/vmlinuz-{other}"));
        report(Notice::LeftOut {
            path,
            why: "another kernel than the newest that has modules",
        });
    }
    let lib = Node::Directory(lib_meta, BTreeMap::from([("modules".into(), modules)]));
    let layer = Node::Directory(usr.meta().clone(), BTreeMap::from([("lib".into(), lib)]));
    Ok((version, kernel, layer))
}

// Order of versions: runs of digits by value, everything else by bytes.
fn by_version(a: &str, b: &str) -> std::cmp::Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        let mut parts = vec![(0u64, String::new())];
        for c in text.chars() {
            match (c.to_digit(10), parts.last_mut()) {
                (Some(digit), Some((number, rest))) if rest.is_empty() => {
                    *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                }
                (Some(digit), _) => parts.push((u64::from(digit), String::new())),
                (None, Some((_, rest))) => rest.push(c),
                (None, None) => {}
            }
        }
        parts
    };
    parts(a).cmp(&parts(b))
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
    fn versions_are_ordered_by_their_numbers() {
        let mut versions = [
            "6.12.9+deb13-amd64",
            "6.12.57+deb13-amd64",
            "6.1.0-41-amd64",
            "6.12.57+deb13-cloud-amd64",
            "5.10",
        ];
        versions.sort_by(|a, b| by_version(a, b));
        assert_eq!(
            versions,
            [
                "5.10",
                "6.1.0-41-amd64",
                "6.12.9+deb13-amd64",
                "6.12.57+deb13-amd64",
                "6.12.57+deb13-cloud-amd64"
            ]
        );
    }
}
