//! What a builder left becomes what a store may hold: canonical, hashed, scanned for references, and what it was said to be.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::failure::Cause;
use crate::store::content::Method;
use crate::store::db::PathInfo;
use crate::store::derivation::FixedHash;
use crate::store::nar::{self, NarError, NarHash, pipeline};
use crate::store::references::ReferenceScanner;
use crate::store::{StorePath, files};
use crate::sys::xattr;

/// Directories above each other, as archives of them allow.
const DEPTH_MAX: usize = 256;
const SETUID_OR_SETGID: u32 = 0o6000;

/// Why an output can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The builder didn't make it.
    #[error("its builder ended well, but made no {0}")]
    Missing(String),
    /// It belongs to somebody whom the sandbox doesn't have.
    #[error("{} belongs to a user from outside of the sandbox ({uid})", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A program that would run with another user's rights.
    #[error("{} is setuid or setgid: the store is readable by all and holds no such files", .0.display())]
    Setuid(PathBuf),
    /// A device, socket or pipe.
    #[error("{} is neither a file, a directory nor a symbolic link: the store can't hold it", .0.display())]
    Special(PathBuf),
    /// More directories above each other than an archive may have.
    #[error("{} is nested deeper than {DEPTH_MAX} directories", .0.display())]
    TooDeep(PathBuf),
    /// More than may be.
    #[error("its outputs have more than {0} bytes, which is the limit")]
    TooLarge(u64),
    /// Another content than the one that was said.
    #[error("hash mismatch in {path}: it should have {should}, and has {is}")]
    Mismatch {
        /// The output.
        path: StorePath,
        /// The hash that was said.
        should: String,
        /// The hash that it has.
        is: String,
    },
    /// A hash of a file's bytes, and no plain file.
    #[error("{0} should be a file that isn't executable, since it's known by the hash of a file's bytes")]
    NotFlat(StorePath),
    /// Content that is known beforehand can't name store paths.
    #[error("{path} is known by its hash beforehand, and names {reference}: it may not refer to store paths")]
    FixedRefers {
        /// The output.
        path: StorePath,
        /// What it refers to.
        reference: StorePath,
    },
    /// Outputs that can only be collected together: Nix refuses them, and what it refuses its tools can't copy.
    #[error("its outputs {0} and others refer to each other in a circle")]
    Circle(StorePath),
    /// References that the derivation forbids.
    #[error("{path} refers to {reference}, which its derivation doesn't allow ({rule})")]
    Forbidden {
        /// The output.
        path: StorePath,
        /// What it refers to.
        reference: StorePath,
        /// The attribute.
        rule: &'static str,
    },
    /// An output or closure that is larger than the derivation allows.
    #[error("{path} has {bytes} bytes, more than its derivation allows ({rule} = {most})")]
    Size {
        /// The output.
        path: StorePath,
        /// Its size.
        bytes: u64,
        /// The attribute.
        rule: &'static str,
        /// What is allowed.
        most: u64,
    },
    /// A rule about references that names neither an output nor a store path.
    #[error("'{word}' in {rule} is neither an output nor a store path")]
    Specifier {
        /// What stands there.
        word: String,
        /// The attribute.
        rule: &'static str,
    },
    /// It can't be archived.
    #[error(transparent)]
    Nar(#[from] NarError),
    /// A file of it.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::File { path, source }
}

/// Brings trees into Nix's canonical form, in place. Nobody else may write to them any more.
#[derive(Debug)]
pub(super) struct Canonical {
    /// Who may own what is there.
    owners: Range<u32>,
    most: u64,
    left: u64,
}

impl Canonical {
    /// For trees of `owners` with `most` bytes at most, all together.
    pub(super) fn new(owners: Range<u32>, most: u64) -> Self {
        Self {
            owners,
            most,
            left: most,
        }
    }

    /// One of the trees: owner root, modes 0444 and 0555, time 1, no attributes.
    pub(super) fn tree(&mut self, path: &Path) -> Result<(), OutputError> {
        self.node(path, 0)
    }

    fn node(&mut self, path: &Path, depth: usize) -> Result<(), OutputError> {
        let metadata = path.symlink_metadata().map_err(at(path))?;
        if !self.owners.contains(&metadata.uid()) {
            return Err(OutputError::Foreign {
                path: path.to_owned(),
                uid: metadata.uid(),
            });
        }
        if metadata.is_symlink() {
            return files::canonicalise_link(path).map_err(at(path));
        }
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(OutputError::Special(path.to_owned()));
        }
        xattr::remove_all(path).map_err(at(path))?;
        if metadata.is_dir() {
            if depth == DEPTH_MAX {
                return Err(OutputError::TooDeep(path.to_owned()));
            }
            for entry in std::fs::read_dir(path).map_err(at(path))? {
                let entry = entry.map_err(at(path))?;
                self.node(&entry.path(), depth + 1)?;
            }
            return files::canonicalise_directory(path).map_err(at(path));
        }
        if metadata.mode() & SETUID_OR_SETGID != 0 {
            return Err(OutputError::Setuid(path.to_owned()));
        }
        self.left = self
            .left
            .checked_sub(metadata.len())
            .ok_or(OutputError::TooLarge(self.most))?;
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .map_err(at(path))?;
        files::canonicalise_file(&file, metadata.mode() & 0o100 != 0).map_err(at(path))?;
        // Its other names belong to whoever has them: it was canonicalised by one of them already, or will be.
        Ok(())
    }
}

/// Hash and size of the archive of a tree, and which of `candidates` it names.
pub(super) fn scan<'a>(
    path: &Path,
    candidates: impl IntoIterator<Item = &'a StorePath>,
) -> Result<(NarHash, Vec<StorePath>), OutputError> {
    let mut scanner = ReferenceScanner::new(candidates);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let nar = nar::hash_written(&mut |bytes| scanner.update(bytes), |sink| {
        pipeline::write(path, sink, workers, &pipeline::Only)
    })?;
    Ok((nar, scanner.found()))
}

/// Sees that a tree is what was said beforehand; its content address.
pub(super) fn fixed(
    tree: &Path,
    path: &StorePath,
    fixed: &FixedHash,
    store_dir: &str,
) -> Result<String, Cause> {
    let method = Method {
        algorithm: fixed.algorithm,
        flat: !fixed.recursive,
    };
    let metadata = tree.symlink_metadata().map_err(at(tree))?;
    if method.flat && (!metadata.is_file() || metadata.mode() & 0o111 != 0) {
        return Err(OutputError::NotFlat(path.clone()).into());
    }
    let is = method.hash(tree).map_err(OutputError::from)?;
    if is != fixed.hash {
        let shown = |hash: &[u8]| format!("{}-{}", fixed.algorithm.name(), STANDARD.encode(hash));
        return Err(OutputError::Mismatch {
            path: path.clone(),
            should: shown(&fixed.hash),
            is: shown(&is),
        }
        .into());
    }
    let (_, address) = method
        .path(store_dir, &is, path.name())
        .map_err(crate::store::AddError::from)?;
    Ok(address)
}

/// Sees that no outputs refer to each other in a circle; to itself one may.
pub(super) fn no_circle<'a>(infos: impl Iterator<Item = &'a PathInfo>) -> Result<(), OutputError> {
    let mut left: Vec<&PathInfo> = infos.collect();
    while !left.is_empty() {
        let needs_another = |info: &&PathInfo| {
            let mut others = left.iter().filter(|other| other.path != info.path);
            others.any(|other| info.references.contains(&other.path))
        };
        let rest: Vec<&PathInfo> = left.iter().copied().filter(needs_another).collect();
        if let (Some(first), true) = (rest.first(), rest.len() == left.len()) {
            return Err(OutputError::Circle(first.path.clone()));
        }
        left = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, unused_results)]
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn own() -> Range<u32> {
        let uid = nix::unistd::geteuid().as_raw();
        uid..uid + 1
    }

    #[test]
    fn modes_and_times_become_canonical_and_sizes_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("out");
        fs::create_dir(&tree).unwrap();
        for (name, mode) in [("plain", 0o600), ("program", 0o711), ("hidden", 0o000)] {
            fs::write(tree.join(name), "12345").unwrap();
            fs::set_permissions(tree.join(name), Permissions::from_mode(mode)).unwrap();
        }
        symlink("nowhere", tree.join("link")).unwrap();
        Canonical::new(own(), 15).tree(&tree).unwrap();
        for (name, mode) in [
            ("plain", 0o444),
            ("program", 0o555),
            ("hidden", 0o444),
            ("", 0o555),
        ] {
            let metadata = fs::metadata(tree.join(name)).unwrap();
            assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (mode, 1), "{name}");
        }
        assert_eq!(fs::symlink_metadata(tree.join("link")).unwrap().mtime(), 1);
        let error = Canonical::new(own(), 14).tree(&tree).unwrap_err();
        assert!(matches!(error, OutputError::TooLarge(14)), "{error}");
    }

    #[test]
    fn what_a_store_may_not_hold_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Canonical::new(own(), 100).tree(path).unwrap_err();
        let setuid = directory.path().join("setuid");
        fs::write(&setuid, "").unwrap();
        fs::set_permissions(&setuid, Permissions::from_mode(0o4755)).unwrap();
        assert!(matches!(refused(&setuid), OutputError::Setuid(_)));
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(refused(&socket), OutputError::Special(_)));
        let uid = nix::unistd::geteuid().as_raw();
        let error = Canonical::new(uid + 1..uid + 2, 100).tree(&setuid).unwrap_err();
        assert!(matches!(error, OutputError::Foreign { .. }));
    }
}
