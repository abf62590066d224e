//! Writes the tree of an archive into the file system, in Nix's canonical form, and hashes the archive on its way.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;
use sha2::{Digest, Sha256};

use super::read::{Item, ReadError, Reader};
use super::{BUFFER, NarHash};
use crate::store::files;

/// Why an archive can't be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream.
    #[error("the archive: {0}")]
    Archive(#[from] ReadError),
    /// Longer than what was agreed on.
    #[error("the archive is longer than the {0} bytes that were announced")]
    Oversize(u64),
    /// A file can't be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Unpacks the archive in `source` at `target`, which may not exist, and gives the archive's hash and size. An archive that
/// is longer than `most` bytes is refused before it fills the disk. `also` sees every byte of it. Nothing is written outside
/// of `target`, whatever the archive holds: names are single ones, and no link is followed. After an error a part of the tree
/// may lie at `target`; the caller removes it.
///
/// # Errors
/// An archive that isn't in canonical form, ends early or goes on; a file that can't be written.
pub fn unpack(
    source: &mut dyn Read,
    target: &Path,
    most: u64,
    also: &mut dyn FnMut(&[u8]),
) -> Result<NarHash, UnpackError> {
    let hashing = Hashing {
        source,
        sha256: Sha256::new(),
        left: most,
        is_over: false,
        also,
    };
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, hashing));
    let written = write_tree(&mut reader, target);
    let size = reader.position();
    // How the stream ended matters more than what the parser saw of that.
    let end = match written {
        Ok(()) => reader.finish(),
        Err(error) => Err((error, reader.into_source().into_inner().is_over)),
    };
    match end {
        Ok(hashing) => Ok(NarHash {
            sha256: hashing.sha256.finalize().into(),
            size,
        }),
        Err((_, true)) => Err(UnpackError::Oversize(most)),
        Err((error, false)) => Err(error),
    }
}

/// Hashes what is read, and ends after a number of bytes.
struct Hashing<'a> {
    source: &'a mut dyn Read,
    sha256: Sha256,
    left: u64,
    is_over: bool,
    also: &'a mut dyn FnMut(&[u8]),
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if count as u64 > self.left {
            self.is_over = true;
            return Err(io::Error::other("longer than announced"));
        }
        self.left -= count as u64;
        let bytes = buffer.get(..count).unwrap_or_default();
        self.sha256.update(bytes);
        (self.also)(bytes);
        Ok(count)
    }
}

impl<'a> Reader<BufReader<Hashing<'a>>> {
    fn finish(self) -> Result<Hashing<'a>, (UnpackError, bool)> {
        let mut source = self.into_source();
        let mut byte = [0u8; 1];
        let next = loop {
            match source.read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                next => break next,
            }
        };
        let hashing = source.into_inner();
        match next {
            Ok(0) => Ok(hashing),
            Ok(_) => Err((ReadError::GoesOn.into(), hashing.is_over)),
            Err(error) => Err((ReadError::from(error).into(), hashing.is_over)),
        }
    }
}

/// A directory that is being filled.
struct Open {
    directory: OwnedFd,
    path: PathBuf,
}

fn write_tree<R: Read>(reader: &mut Reader<R>, target: &Path) -> Result<(), UnpackError> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(failed(target)(io::ErrorKind::InvalidInput.into()));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let top = File::open(parent).map_err(failed(parent))?;
    let mut open = vec![Open {
        directory: top.into(),
        path: parent.to_owned(),
    }];
    let mut name = name.to_owned();
    while let Some(item) = reader.item()? {
        let Some(last) = open.last() else { break };
        let path = last.path.join(&name);
        match item {
            Item::Directory => {
                let directory = make_directory(last, &name).map_err(failed(&path))?;
                open.push(Open { directory, path });
            }
            Item::Entry(bytes) => OsStr::from_bytes(&bytes).clone_into(&mut name),
            Item::File { executable, .. } => {
                let mut file = make_file(last, &name).map_err(failed(&path))?;
                let mut failure = None;
                let contents = reader.contents(&mut |bytes| {
                    file.write_all(bytes).map_err(|error| {
                        let kind = error.kind();
                        failure = Some(error);
                        kind.into()
                    })
                });
                if let Some(error) = failure {
                    return Err(failed(&path)(error));
                }
                contents?;
                files::canonicalise_file(&file, executable).map_err(failed(&path))?;
            }
            Item::Symlink(link) => {
                symlinkat(OsStr::from_bytes(&link), &last.directory, name.as_os_str())
                    .map_err(io::Error::from)
                    .and_then(|()| files::canonicalise_link_at(last.directory.as_fd(), &name))
                    .map_err(failed(&path))?;
            }
            Item::Leave => {
                if let Some(left) = open.pop() {
                    files::canonicalise_file(&File::from(left.directory), true)
                        .map_err(failed(&left.path))?;
                }
            }
        }
    }
    Ok(())
}

fn make_directory(parent: &Open, name: &OsStr) -> io::Result<OwnedFd> {
    let name = CString::new(name.as_bytes())?;
    mkdirat(&parent.directory, name.as_c_str(), Mode::S_IRWXU)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(&parent.directory, name.as_c_str(), flags, Mode::empty())?)
}

fn make_file(parent: &Open, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let descriptor = openat(&parent.directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    Ok(descriptor.into())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> UnpackError {
    let path = path.to_owned();
    move |source| UnpackError::Write { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use proptest::prelude::*;

    use super::*;
    use crate::store::nar;

    fn string(bytes: &[u8]) -> Vec<u8> {
        let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }

    /// An archive of words, as they stand there.
    fn archive(words: &[&[u8]]) -> Vec<u8> {
        words.iter().flat_map(|word| string(word)).collect()
    }

    /// A directory with two entries of these names.
    fn directory(first: &[u8], second: &[u8]) -> Vec<u8> {
        let entry = |name| {
            archive(&[
                b"entry",
                b"(",
                b"name",
                name,
                b"node",
                b"(",
                b"type",
                b"regular",
                b"contents",
                b"x",
                b")",
                b")",
            ])
        };
        let begin = archive(&[b"nix-archive-1", b"(", b"type", b"directory"]);
        [begin, entry(first), entry(second), archive(&[b")"])].concat()
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<NarHash, String>) {
        let dir = tempfile::tempdir().unwrap();
        let result = unpack(&mut &bytes[..], &dir.path().join("out"), u64::MAX, &mut |_| {});
        (dir, result.map_err(|error| error.to_string()))
    }

    #[test]
    fn what_nix_dumps_comes_back_as_nix_restores_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("b/empty")).unwrap();
        for (name, size) in [("b/none", 0), ("a", 7), ("a.b", 8), ("a-b", 4097), ("B", 700_001)] {
            fs::write(tree.join(name), vec![b'x'; size]).unwrap();
        }
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("../nowhere", tree.join("link")).unwrap();
        let dump = std::process::Command::new("nix-store")
            .arg("--dump")
            .arg(&tree)
            .output()
            .unwrap();
        let out = dir.path().join("out");
        let mut seen: Vec<u8> = Vec::new();
        let hash = unpack(&mut &dump.stdout[..], &out, u64::MAX, &mut |bytes| {
            seen.extend(bytes);
        })
        .unwrap();
        assert_eq!(hash.size, dump.stdout.len() as u64);
        assert!(seen == dump.stdout);
        assert_eq!(nar::hash(&out, &mut |_| {}).unwrap(), hash);
        for (name, mode) in [("", 0o555), ("a", 0o555), ("B", 0o444), ("b/empty", 0o555)] {
            let metadata = out.join(name).symlink_metadata().unwrap();
            assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (mode, 1), "{name}");
        }
        assert_eq!(out.join("link").symlink_metadata().unwrap().mtime(), 1);
    }

    #[test]
    fn names_that_lead_elsewhere_or_stand_in_another_order_are_refused() {
        let long = [b'n'; 256];
        for (first, second, says) in [
            (&b"a"[..], &b".."[..], "such a name leads elsewhere"),
            (b".", b"b", "such a name leads elsewhere"),
            (b"", b"b", "such a name leads elsewhere"),
            (b"a", b"b/c", "such a name leads elsewhere"),
            (b"/etc/passwd", b"b", "such a name leads elsewhere"),
            (b"a", b"b\0", "such a name leads elsewhere"),
            (b"b", b"a", "'a' stands after 'b'"),
            (b"a", b"a", "'a' stands after 'a'"),
            (b"a", &long, "where at most 255 are possible"),
        ] {
            let (dir, result) = unpacked(&directory(first, second));
            let error = result.unwrap_err();
            assert!(error.contains(says), "{first:?} {second:?}: {error}");
            assert!(!dir.path().join("c").exists());
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        // A directory with the name of a link that stands before it: the same name twice.
        let begin = archive(&[b"nix-archive-1", b"(", b"type", b"directory"]);
        let link = archive(&[
            b"entry", b"(", b"name", b"a", b"node", b"(", b"type", b"symlink", b"target", b"/tmp", b")", b")",
        ]);
        let inside = archive(&[
            b"entry",
            b"(",
            b"name",
            b"a",
            b"node",
            b"(",
            b"type",
            b"directory",
            b")",
            b")",
            b")",
        ]);
        let (_dir, result) = unpacked(&[begin, link, inside].concat());
        assert!(result.unwrap_err().contains("'a' stands after 'a'"));
        // And a link that is there already.
        let dir = tempfile::tempdir().unwrap();
        symlink("/nonexistent", dir.path().join("out")).unwrap();
        let bytes = directory(b"a", b"b");
        let error = unpack(&mut &bytes[..], &dir.path().join("out"), u64::MAX, &mut |_| {}).unwrap_err();
        assert!(matches!(error, UnpackError::Write { .. }), "{error}");
    }

    #[test]
    fn every_truncation_is_told_and_so_is_what_follows() {
        let whole = directory(b"a", b"b");
        unpacked(&whole).1.unwrap();
        for length in 0..whole.len() {
            let error = unpacked(&whole[..length]).1.unwrap_err();
            assert!(error.contains("in the middle"), "{length}: {error}");
        }
        let error = unpacked(&[&whole[..], b"x"].concat()).1.unwrap_err();
        assert!(error.contains("goes on after its end"), "{error}");
    }

    #[test]
    fn a_stream_that_is_longer_than_announced_or_never_ends_is_cut() {
        let whole = directory(b"a", b"b");
        let dir = tempfile::tempdir().unwrap();
        let most = whole.len() as u64;
        let result = unpack(&mut &whole[..], &dir.path().join("a"), most, &mut |_| {});
        assert_eq!(result.unwrap().size, most);
        let result = unpack(&mut &whole[..], &dir.path().join("b"), most - 1, &mut |_| {});
        assert!(matches!(result, Err(UnpackError::Oversize(_))), "{result:?}");
        // A file of all the bytes that there can be.
        let head = archive(&[b"nix-archive-1", b"(", b"type", b"regular", b"contents"]);
        let size = u64::MAX.to_le_bytes();
        let mut endless = (&head[..]).chain(&size[..]).chain(std::io::repeat(0));
        let result = unpack(&mut endless, &dir.path().join("c"), 10_000_000, &mut |_| {});
        assert!(
            matches!(result, Err(UnpackError::Oversize(10_000_000))),
            "{result:?}"
        );
    }

    #[test]
    fn padding_that_is_not_zero_is_refused() {
        let mut bytes = directory(b"a", b"b");
        bytes[8 + 13] = 1;
        assert!(unpacked(&bytes).1.unwrap_err().contains("only fill up"));
    }

    #[test]
    fn too_deep_is_refused() {
        let mut bytes = archive(&[b"nix-archive-1"]);
        for _ in 0..300 {
            bytes.extend(archive(&[
                b"(",
                b"type",
                b"directory",
                b"entry",
                b"(",
                b"name",
                b"d",
                b"node",
            ]));
        }
        assert!(unpacked(&bytes).1.unwrap_err().contains("deeper than"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn a_changed_byte_is_an_error_or_another_archive(at in 0usize..400, to in any::<u8>()) {
            let mut bytes = directory(b"first", b"second");
            let at = at % bytes.len();
            bytes[at] = to;
            let (dir, result) = unpacked(&bytes);
            if let Ok(hash) = result {
                // What was accepted is canonical: its archive is what was read.
                let mut again = Vec::new();
                nar::write(&dir.path().join("out"), &mut again).unwrap();
                prop_assert_eq!(&again, &bytes);
                prop_assert_eq!(hash.size, bytes.len() as u64);
            }
        }
    }
}
