//! What the root file system itself holds: mount points, and links into `/usr`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

/// Mount points and directories of state, with their modes.
const DIRECTORIES: &[(&str, u32)] = &[
    ("usr", 0o755),
    ("etc", 0o755),
    ("var", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("boot", 0o755),
    ("home", 0o755),
    ("root", 0o700),
    ("mnt", 0o755),
    ("media", 0o755),
    ("srv", 0o755),
    ("opt", 0o755),
    ("var/lib", 0o755),
    ("var/lib/keel", 0o755),
    ("var/lib/keel/etc", 0o755),
    ("var/lib/keel/etc/upper", 0o755),
];

/// Links of the merged `/usr` (systemd, "The Case for the /usr Merge").
const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
];

/// A directory or link of the root file system that can't be made.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct LayoutError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Makes what is missing below `root`. What is there stays as it is, whatever its mode: it's the administrator's.
pub(super) fn complete(root: &Path) -> Result<(), LayoutError> {
    for &(name, mode) in DIRECTORIES {
        let path = root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(LayoutError { path, source }),
        }
        // The mode goes in a second step: mkdir(2) would apply the umask.
        DirBuilder::new()
            .mode(mode)
            .create(&path)
            .and_then(|()| fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)))
            .map_err(|source| LayoutError { path, source })?;
    }
    for &(name, target) in LINKS {
        let path = root.join(name);
        match symlink(target, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(LayoutError { path, source }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn completes_an_empty_root_and_keeps_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        fs::set_permissions(root.path().join("home"), fs::Permissions::from_mode(0o711)).unwrap();
        complete(root.path()).unwrap();
        complete(root.path()).unwrap();
        let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("tmp"), 0o1777);
        assert_eq!(mode("home"), 0o711);
        assert_eq!(
            fs::read_link(root.path().join("bin")).unwrap(),
            Path::new("usr/bin")
        );
    }
}
