//! `/etc` of a generation: that of the packages, and over it what the option modules add.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::contribution::{Content, Contribution, Entry};
use crate::store::pool::Pool;
use crate::store::tree::{Meta, Node, TreeError};
use crate::system::declared::Declared;

/// Where units lie.
const UNITS: &str = "systemd/system";
/// A file of packages that gets something at its end has some kilobytes.
const APPENDED_MAX: u64 = 4 << 20;

/// Why `/etc` can't be made.
#[derive(Debug, thiserror::Error)]
pub enum EtcError {
    /// An owner that isn't there.
    #[error("{option}: there is no {kind} {name}; declare it, or install what brings it")]
    NoOwner {
        /// The option.
        option: String,
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Something else lies in the way.
    #[error("{option}: {source}")]
    Place {
        /// The option.
        option: String,
        /// What.
        source: TreeError,
    },
    /// A content can't be read or written.
    #[error("{option}: {source}")]
    Content {
        /// The option.
        option: String,
        /// Why.
        source: io::Error,
    },
}

/// Puts `made` over the packages' `etc`. New entries have the time `mtime`; owners are those of `accounts`.
pub fn apply(
    mut etc: Node,
    made: &Contribution,
    accounts: &Declared,
    pool: &Pool,
    mtime: i64,
) -> Result<Node, EtcError> {
    disable(&mut etc, &made.disabled);
    for (path, entry) in &made.etc {
        let node = match &entry.content {
            Content::Absent => {
                drop(etc.take(path));
                continue;
            }
            Content::Link(target) => Node::symlink(target, mtime),
            Content::File(bytes) => file(entry, bytes, (accounts, pool), mtime)?,
            Content::Appended(text) => appended(etc.get(path), entry, text, (pool, mtime))?,
        };
        // A directory of the packages gives way to what is asked for by name.
        if !matches!(node, Node::Directory(..)) {
            drop(etc.take(path));
        }
        etc.put(Path::new(path), node, mtime)
            .map_err(|source| EtcError::Place {
                option: entry.option.clone(),
                source,
            })?;
    }
    Ok(etc)
}

fn file(
    entry: &Entry,
    bytes: &[u8],
    (accounts, pool): (&Declared, &Pool),
    mtime: i64,
) -> Result<Node, EtcError> {
    let none = |kind, name: &String| EtcError::NoOwner {
        option: entry.option.clone(),
        kind,
        name: name.clone(),
    };
    let user = accounts.users.iter().find(|user| user.name == entry.user);
    let group = accounts.groups.iter().find(|group| group.name == entry.group);
    let meta = Meta {
        mode: entry.mode,
        // Root is there before any account is.
        uid: match user {
            Some(user) => user.uid,
            None if entry.user == "root" => 0,
            None => return Err(none("user", &entry.user)),
        },
        gid: match group {
            Some(group) => group.gid,
            None if entry.group == "root" => 0,
            None => return Err(none("group", &entry.group)),
        },
        mtime,
        capability: None,
    };
    Ok(Node::File(meta, add(entry, bytes, pool)?))
}

fn appended(
    there: Option<&Node>,
    entry: &Entry,
    text: &str,
    (pool, mtime): (&Pool, i64),
) -> Result<Node, EtcError> {
    let (meta, mut bytes) = match there {
        Some(Node::File(meta, id)) => {
            let bytes = pool.read(*id, APPENDED_MAX).map_err(|source| EtcError::Content {
                option: entry.option.clone(),
                source,
            })?;
            (meta.clone(), bytes)
        }
        _ => (Meta::root(entry.mode, mtime), Vec::new()),
    };
    bytes.extend_from_slice(text.as_bytes());
    Ok(Node::File(Meta { mtime, ..meta }, add(entry, &bytes, pool)?))
}

fn add(entry: &Entry, bytes: &[u8], pool: &Pool) -> Result<crate::store::pool::ContentId, EtcError> {
    pool.add(bytes, entry.mode & 0o111 != 0)
        .map_err(|source| EtcError::Content {
            option: entry.option.clone(),
            source,
        })
}

/// Takes away the links that start units: those of their names in directories of dependencies, and their aliases.
fn disable(etc: &mut Node, units: &BTreeSet<String>) {
    let Some(directory) = node_mut(etc, UNITS).and_then(Node::entries_mut) else {
        return;
    };
    let names = |name: &OsStr| name.to_str().is_some_and(|name| units.contains(name));
    directory.retain(|name, node| match node {
        // An alias leads to the unit, and has another name.
        Node::Symlink(_, target) => names(name) || !Path::new(target).file_name().is_some_and(names),
        _ => true,
    });
    for (name, node) in directory.iter_mut() {
        let is_dependencies = name.to_str().is_some_and(|name| {
            [".wants", ".requires", ".upholds"]
                .iter()
                .any(|end| name.ends_with(end))
        });
        if let Some(entries) = node.entries_mut().filter(|_| is_dependencies) {
            entries.retain(|name, _| !names(name));
        }
    }
}

fn node_mut<'a>(tree: &'a mut Node, path: &str) -> Option<&'a mut Node> {
    path.split('/')
        .try_fold(tree, |node, name| node.entries_mut()?.get_mut(OsStr::new(name)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::system::declared::{Group, User};

    fn pool(place: &Path) -> Pool {
        Pool::new(place.join("pool"), place.join("objects")).unwrap()
    }

    #[test]
    fn files_get_owners_and_modes_and_what_is_appended_keeps_its_own() {
        let place = tempfile::tempdir().unwrap();
        let pool = pool(place.path());
        let mut base = Node::directory(5);
        let id = pool.add(b"old\n", false).unwrap();
        base.put(Path::new("bash.bashrc"), Node::File(Meta::root(0o640, 5), id), 5)
            .unwrap();
        let accounts = Declared {
            users: vec![User {
                name: "app".into(),
                uid: 105,
                ..User::default()
            }],
            groups: vec![Group {
                name: "adm".into(),
                gid: 4,
                members: Vec::new(),
            }],
        };
        let mut made = Contribution::new();
        made.append("bash.bashrc", "a", "new\n");
        made.entry(
            "app/app.conf",
            Entry {
                content: Content::File(b"x".to_vec()),
                mode: 0o600,
                user: "app".into(),
                group: "adm".into(),
                option: "etc".into(),
            },
        );
        let etc = apply(base.clone(), &made, &accounts, &pool, 7).unwrap();
        let (Some(Node::File(meta, id)), Some(Node::File(own, _))) =
            (etc.get("bash.bashrc"), etc.get("app/app.conf"))
        else {
            unreachable!()
        };
        assert_eq!(pool.read(*id, 100).unwrap(), b"old\nnew\n");
        assert_eq!((meta.mode, meta.mtime), (0o640, 7));
        assert_eq!((own.uid, own.gid, own.mode), (105, 4, 0o600));
        let error = apply(base, &made, &Declared::default(), &pool, 7).unwrap_err();
        assert_eq!(
            error.to_string(),
            "etc: there is no user app; declare it, or install what brings it"
        );
    }

    #[test]
    fn a_disabled_unit_loses_links_and_aliases_and_keeps_its_text() {
        let place = tempfile::tempdir().unwrap();
        let mut base = Node::directory(0);
        for path in [
            "multi-user.target.wants/ssh.service",
            "multi-user.target.wants/cron.service",
            "sshd.service",
            "ssh.service",
        ] {
            let link = Node::symlink("/usr/lib/systemd/system/ssh.service", 0);
            base.put(&Path::new(UNITS).join(path), link, 0).unwrap();
        }
        let mut made = Contribution::new();
        let _new = made.disabled.insert("ssh.service".into());
        let etc = apply(base, &made, &Declared::default(), &pool(place.path()), 0).unwrap();
        let there = |path: &str| etc.get(&format!("{UNITS}/{path}")).is_some();
        assert!(!there("multi-user.target.wants/ssh.service") && !there("sshd.service"));
        assert!(there("multi-user.target.wants/cron.service") && there("ssh.service"));
    }
}
