//! `[security.setuid]`: which programs keep what gives them another user's rights.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::Setuid;
use crate::store::tree::Node;
use crate::system::notice::Notice;

/// Setuid and setgid.
const BITS: u32 = 0o6000;
/// The links of a merged `/usr`.
const MERGED: [&str; 4] = ["/bin/", "/sbin/", "/lib/", "/lib64/"];

/// Takes setuid and setgid bits and capabilities away from the files of `root` that may not have them.
pub(super) fn apply(policy: &Setuid, root: &mut Node, report: &mut dyn FnMut(Notice)) {
    let only: Option<BTreeSet<String>> = policy
        .only
        .as_ref()
        .map(|paths| paths.iter().map(|path| canonical(path)).collect());
    let remove: BTreeSet<String> = policy.remove.iter().map(|path| canonical(path)).collect();
    let mut unused: BTreeSet<&String> = only.iter().flatten().chain(&remove).collect();
    root.walk_mut(Path::new("/"), &mut |path, node| {
        let Node::File(meta, _) = node else { return };
        if meta.mode & BITS == 0 && meta.capability.is_none() {
            return;
        }
        let Some(path) = path.to_str() else { return };
        let _named = unused.take(&path.to_owned());
        let kept = only.as_ref().is_none_or(|only| only.contains(path)) && !remove.contains(path);
        if !kept {
            meta.mode &= !BITS;
            meta.capability = None;
        }
    });
    for path in unused {
        report(Notice::Warning(format!(
            "[security.setuid] names {path}, and no package brings a program there that has a setuid or setgid bit or capabilities"
        )));
    }
}

// `/bin/su` is `/usr/bin/su`.
fn canonical(path: &str) -> String {
    if MERGED.iter().any(|link| path.starts_with(link)) {
        format!("/usr{path}")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::pool::Pool;
    use crate::store::tree::Meta;

    fn modes(policy: &Setuid) -> (Vec<(u32, bool)>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let pool = Pool::new(directory.path().join("pool"), directory.path().join("objects")).unwrap();
        let id = pool.add(b"program", true).unwrap();
        let mut root = Node::directory(0);
        let files = [
            ("usr/bin/ping", 0o755, true),
            ("usr/bin/su", 0o4755, false),
            ("usr/sbin/expiry", 0o2755, false),
        ];
        for (path, mode, capable) in files {
            let meta = Meta {
                capability: capable.then(|| [1].into()),
                ..Meta::root(mode, 0)
            };
            root.put(Path::new(path), Node::File(meta, id), 0).unwrap();
        }
        let mut said = Vec::new();
        apply(policy, &mut root, &mut |notice| said.push(notice.to_string()));
        let left = files.iter().map(|(path, ..)| {
            let meta = root.get(path).unwrap().meta();
            (meta.mode, meta.capability.is_some())
        });
        (left.collect(), said)
    }

    #[test]
    fn without_a_policy_all_keep_theirs() {
        let (left, said) = modes(&Setuid::default());
        assert_eq!(left, [(0o755, true), (0o4755, false), (0o2755, false)]);
        assert!(said.is_empty());
    }

    #[test]
    fn those_that_are_named_keep_or_lose_theirs() {
        let (left, _) = modes(&Setuid {
            only: Some(vec!["/bin/su".into()]),
            remove: Vec::new(),
        });
        assert_eq!(left, [(0o755, false), (0o4755, false), (0o755, false)]);
        let (left, said) = modes(&Setuid {
            only: None,
            remove: vec!["/usr/bin/su".into(), "/usr/bin/none".into()],
        });
        assert_eq!(left, [(0o755, true), (0o755, false), (0o2755, false)]);
        assert!(said.len() == 1 && said.iter().all(|text| text.contains("names /usr/bin/none, and")));
    }
}
