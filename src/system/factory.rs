//! Factory copies: what a root file system holds outside of `/usr` and `/etc` travels in `/usr/share/factory`, and a
//! tmpfiles.d(5) file seeds it at boot, where it isn't there yet. It is never reverted.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::store::tree::{Entries, Meta, Node};

/// Where the copies are, below `/usr`.
pub const FACTORY: &str = "share/factory";
/// The file that seeds them, below `/usr`.
pub const CONFIGURATION: &str = "lib/tmpfiles.d/keel-var.conf";

/// Numbers to names, for the lines of tmpfiles.d: the machine's numbers may differ from the image's author's.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Users.
    pub users: BTreeMap<u32, String>,
    /// Groups.
    pub groups: BTreeMap<u32, String>,
}

/// What one kind of line makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Made {
    Directory,
    File,
    Link,
}

/// Paths that the configuration files of packages make already: a second line for one of them would only be reported as a
/// duplicate.
#[derive(Clone, Debug, Default)]
pub struct Covered(BTreeSet<(Made, Vec<u8>)>);

impl Covered {
    /// Takes note of the lines of a tmpfiles.d file.
    pub fn add(&mut self, configuration: &[u8]) {
        for line in configuration.split(|&byte| byte == b'\n') {
            let mut fields = line
                .split(u8::is_ascii_whitespace)
                .filter(|field| !field.is_empty());
            let (Some(kind), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let made = match kind.first() {
                Some(b'd' | b'D' | b'v' | b'q' | b'Q') => Made::Directory,
                Some(b'f' | b'F' | b'C') => Made::File,
                Some(b'L') => Made::Link,
                _ => continue,
            };
            // Lines for the first boot only, and those that systemd-tmpfiles --create skips outside of boot, count too.
            let _new = self
                .0
                .insert((made, path.strip_suffix(b"/").unwrap_or(path).to_vec()));
        }
    }

    fn has(&self, made: Made, path: &[u8]) -> bool {
        self.0.contains(&(made, path.to_vec()))
    }
}

/// Factory copies and the lines that seed them.
#[derive(Debug)]
pub struct Factory {
    /// What belongs at [`FACTORY`]; only files and the directories above them.
    pub copies: Node,
    /// The content of [`CONFIGURATION`].
    pub configuration: String,
}

/// Makes factory copies of `trees`: each is the content of a directory of the root (`var`, `root`, `opt`…).
pub fn make(trees: &[(&str, &Node)], names: &Names, covered: &Covered, mtime: i64) -> Factory {
    let mut factory = Factory {
        copies: Node::directory(mtime),
        configuration:
            "# What this system's root file system held outside of /usr and /etc. Seeds what isn't there \
                        yet, changes nothing else.\n"
                .into(),
    };
    for (at, tree) in trees {
        tree.walk(Path::new(at), &mut |path, node| {
            factory.add(path, node, (names, covered), mtime);
        });
    }
    factory
}

impl Factory {
    fn add(&mut self, path: &Path, node: &Node, (names, covered): (&Names, &Covered), mtime: i64) {
        let absolute = PathBuf::from("/").join(path);
        let bytes = absolute.as_os_str().as_bytes();
        let owner = |meta: &Meta| {
            let name = |all: &BTreeMap<u32, String>, id: u32| {
                all.get(&id).cloned().unwrap_or_else(|| id.to_string())
            };
            format!(
                "{:04o} {} {}",
                meta.mode,
                name(&names.users, meta.uid),
                name(&names.groups, meta.gid)
            )
        };
        let line = match node {
            Node::Directory(..) if covered.has(Made::Directory, bytes) => return,
            Node::File(..) if covered.has(Made::File, bytes) => return,
            Node::Symlink(..) if covered.has(Made::Link, bytes) => return,
            Node::Directory(meta, _) => format!("d {} {} - -", escape(bytes), owner(meta)),
            Node::File(meta, _) => {
                // Below this tree's root there are only directories above, so it can't fail.
                let _placed = self.copies.put(path, node.clone(), mtime);
                format!("C {} {} - -", escape(bytes), owner(meta))
            }
            Node::Symlink(_, target) => format!("L {} - - - - {}", escape(bytes), escape(target.as_bytes())),
        };
        self.configuration.push_str(&line);
        self.configuration.push('\n');
    }
}

/// The line that makes `/var/lib/dpkg` a link to the database that travels with the generation.
pub const DPKG_LINE: &str = "L+ /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg\n";

// Fields are split at blanks, escapes are those of C, `%` begins a specifier (tmpfiles.d(5)).
fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'%' => text.push_str("%%"),
            b'!'..=b'~' if !matches!(byte, b'\\' | b'"' | b'\'') => text.push(char::from(byte)),
            _ => {
                let _infallible = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

/// Whether a tree holds anything but empty directories.
pub fn holds_files(tree: &Node) -> bool {
    tree.entries()
        .is_none_or(|entries: &Entries| entries.values().any(holds_files))
}

/// The files in a directory of tmpfiles.d files, by name: those that end in `.conf`.
pub fn configurations(directory: Option<&Node>) -> impl Iterator<Item = (&OsString, &Node)> {
    let is_configuration = |name: &OsString| Path::new(name).extension() == Some(OsStr::new("conf"));
    directory
        .and_then(Node::entries)
        .into_iter()
        .flatten()
        .filter(move |(name, _)| is_configuration(name))
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
    fn lines_carry_modes_and_owners_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let pool =
            crate::store::pool::Pool::new(dir.path().join("staging"), dir.path().join("objects")).unwrap();
        let id = pool.add(b"content", false).unwrap();
        let mut var = Node::directory(3);
        let meta = |mode, uid, gid| Meta {
            uid,
            gid,
            ..Meta::root(mode, 3)
        };
        var.put(
            Path::new("mail"),
            Node::Directory(meta(0o2775, 0, 8), Entries::new()),
            3,
        )
        .unwrap();
        var.put(Path::new("lib/a b%"), Node::File(meta(0o640, 33, 99), id), 3)
            .unwrap();
        var.put(Path::new("run"), Node::symlink("/run", 3), 3).unwrap();
        var.put(
            Path::new("tmp"),
            Node::Directory(meta(0o1777, 0, 0), Entries::new()),
            3,
        )
        .unwrap();
        let names = Names {
            users: [(0, "root".into()), (33, "www-data".into())].into(),
            groups: [(0, "root".into()), (8, "mail".into())].into(),
        };
        let mut covered = Covered::default();
        covered.add(b"# comment\nq /var/tmp 1777 root root 30d\nL /var/lib/x - - - - y\n");
        let factory = make(&[("var", &var)], &names, &covered, 3);
        let lines: Vec<_> = factory.configuration.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "d /var 0755 root root - -",
                "d /var/lib 0755 root root - -",
                "C /var/lib/a\\x20b%% 0640 www-data 99 - -",
                "d /var/mail 2775 root mail - -",
                "L /var/run - - - - /run",
            ]
        );
        assert!(factory.copies.get("var/lib/a b%").is_some() && factory.copies.get("var/mail").is_none());
    }
}
