//! A tree as text: what the store can't hold of it (owners, all modes, times, capabilities), and the digests of its contents, so
//! that nobody has to read them again. A line for each path, parents first:
//!
//! ```text
//! d <mode> <uid> <gid> <mtime> <path>
//! l <mode> <uid> <gid> <mtime> <target> <path>
//! f <mode> <uid> <gid> <mtime> <capability or -> <digest> <bytes> <path>
//! ```
//!
//! Paths and targets have `%` and two hexadecimal digits for each byte that isn't a visible one of ASCII.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::store::path::hex;
use crate::store::pool::{Content, Pool};
use crate::store::tree::{Entries, Meta, Node, TreeError};

/// Why a listing can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// A line that isn't of the format.
    #[error("line {0} can't be read")]
    BadLine(usize),
    /// A path that can't be placed.
    #[error("line {0}: {1}")]
    Place(usize, #[source] TreeError),
}

/// The listing of `tree`, whose contents are in `pool`.
pub(super) fn write(tree: &Node, pool: &Pool) -> io::Result<String> {
    let mut text = String::new();
    let mut failure = Ok(());
    tree.walk(Path::new(""), &mut |path, node| {
        if failure.is_ok() {
            failure = line(&mut text, path, node, pool);
        }
    });
    failure.map(|()| text)
}

fn line(text: &mut String, path: &Path, node: &Node, pool: &Pool) -> io::Result<()> {
    let meta = node.meta();
    let kind = match node {
        Node::Directory(..) => 'd',
        Node::Symlink(..) => 'l',
        Node::File(..) => 'f',
    };
    let _infallible = write!(
        text,
        "{kind} {:04o} {} {} {} ",
        meta.mode, meta.uid, meta.gid, meta.mtime
    );
    match node {
        Node::Directory(..) => {}
        Node::Symlink(_, target) => {
            escape(text, target.as_bytes());
            text.push(' ');
        }
        Node::File(_, id) => {
            let content = pool.content(*id)?;
            let capability = meta.capability.as_deref().map_or_else(|| "-".to_owned(), hex);
            let _infallible = write!(text, "{capability} {} {} ", hex(&content.digest), content.size);
        }
    }
    escape(text, path.as_os_str().as_bytes());
    text.push('\n');
    Ok(())
}

/// Reads a listing of the tree that lies at `place`: the contents of files are taken from there when somebody asks for them.
pub(super) fn read(text: &str, place: &Path, pool: &Pool) -> Result<Node, ListingError> {
    let mut root = Node::directory(0);
    for (at, line) in text.lines().enumerate() {
        let bad = || ListingError::BadLine(at + 1);
        let (path, node) = parse(line, place, pool).ok_or_else(bad)?;
        if path.as_os_str().is_empty() {
            root = node;
        } else {
            root.put(&path, node, 0)
                .map_err(|error| ListingError::Place(at + 1, error))?;
        }
    }
    Ok(root)
}

fn parse(line: &str, place: &Path, pool: &Pool) -> Option<(PathBuf, Node)> {
    let mut fields = line.split(' ');
    let mut next = || fields.next();
    let kind = next()?;
    let mut meta = Meta {
        mode: u32::from_str_radix(next()?, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)?,
        uid: next()?.parse().ok()?,
        gid: next()?.parse().ok()?,
        mtime: next()?.parse().ok()?,
        capability: None,
    };
    let (path, node) = match kind {
        "d" => (unescape(next()?)?, Node::Directory(meta, Entries::new())),
        "l" => {
            let target = OsString::from_vec(unescape(next()?)?);
            (unescape(next()?)?, Node::Symlink(meta, target))
        }
        "f" => {
            let capability = next()?;
            if capability != "-" {
                meta.capability = Some(unhex(capability)?.into());
            }
            let content = Content {
                digest: unhex(next()?)?.try_into().ok()?,
                size: next()?.parse().ok()?,
            };
            let path = unescape(next()?)?;
            let executable = meta.mode & 0o100 != 0;
            let file = place.join(OsString::from_vec(path.clone()));
            let id = pool.known(content, executable, file);
            (path, Node::File(meta, id))
        }
        _ => return None,
    };
    match next() {
        None => Some((OsString::from_vec(path).into(), node)),
        Some(_) => None,
    }
}

fn escape(text: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'%' {
            text.push(char::from(byte));
        } else {
            let _infallible = write!(text, "%{byte:02x}");
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        let digits = str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest);
    }
    Some(bytes)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    for pair in pairs {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let [high, low] = pair;
        bytes.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
    }
    rest.is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, unused_results)]
    use super::*;
    use proptest::prelude::*;

    fn pool(directory: &tempfile::TempDir, name: &str) -> Pool {
        Pool::new(directory.path().join(name), directory.path().join("objects")).unwrap()
    }

    #[test]
    fn a_tree_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let pool = pool(&directory, "first");
        let mut tree = Node::directory(5);
        let id = pool.add(b"content", true).unwrap();
        let meta = Meta {
            mode: 0o4755,
            uid: 1,
            gid: 70_000,
            mtime: -3,
            capability: Some([1, 0, 0, 2, b'\n'].into()),
        };
        let odd = OsString::from_vec(b"a b\n%\xff".to_vec());
        tree.put(&Path::new("bin").join(&odd), Node::File(meta.clone(), id), 7)
            .unwrap();
        tree.put(Path::new("bin/link"), Node::symlink("to here", 9), 7)
            .unwrap();
        let text = write(&tree, &pool).unwrap();

        let place = directory.path().join("tree");
        std::fs::create_dir_all(place.join("bin")).unwrap();
        std::fs::write(place.join("bin").join(&odd), b"content").unwrap();
        let other = self::pool(&directory, "second");
        let read = read(&text, &place, &other).unwrap();
        assert_eq!(write(&read, &other).unwrap(), text);
        let Some(Node::File(found, id)) = read.entries().unwrap()["bin".as_ref() as &std::ffi::OsStr]
            .entries()
            .unwrap()
            .get(&odd)
        else {
            panic!("it isn't there");
        };
        assert_eq!(found, &meta);
        assert_eq!(other.read(*id, 100).unwrap(), b"content");
    }

    #[test]
    fn damage_is_named_by_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let pool = pool(&directory, "pool");
        let good = "d 0755 0 0 1 \nd 0755 0 0 1 a\n";
        for bad in [
            "x 0755 0 0 1 b",
            "d 0999 0 0 1 b",
            "d 0755 0 0 1 b c",
            "d 0755 0 0 1 b%f",
            "f 0755 0 0 1 - 00 1 b",
        ] {
            let error = read(&format!("{good}{bad}\n"), Path::new("/"), &pool).unwrap_err();
            assert_eq!(error.to_string(), "line 3 can't be read", "{bad}");
        }
        let error = read(&format!("{good}d 0755 0 0 1 ../x\n"), Path::new("/"), &pool).unwrap_err();
        assert!(error.to_string().starts_with("line 3: '../x'"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[dlf] [0-7]{4} 0 0 [-0-9]{1,3} ([-0-9a-f%]{1,70} ){0,4}.{0,9}") {
            let directory = tempfile::tempdir().unwrap();
            let _either = read(&text, Path::new("/nowhere"), &pool(&directory, "pool"));
        }

        #[test]
        fn bytes_survive(bytes: Vec<u8>) {
            let mut text = String::new();
            escape(&mut text, &bytes);
            prop_assert_eq!(unescape(&text), Some(bytes));
        }
    }
}
