//! Where a build works: a directory beside its derivation, so that outputs are renamed into the store.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::failure::Cause;
use crate::store::{Layout, StorePath, files};

/// How the name of the directory ends, behind that of the derivation. Nix's builds do the same: collectors keep it as long as
/// the derivation is announced, and take it away when its builder was killed.
const ENDING: &str = ".chroot";

/// A build's directory; it's removed when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    store_dir: String,
}

impl Place {
    /// Makes it for the sandbox whose first id is `first_id`, in the place of one that a killed build left. Whoever calls this
    /// holds the locks on all outputs.
    pub(super) fn make(layout: &Layout, derivation: &StorePath, first_id: u32) -> Result<Self, Cause> {
        let mut path = layout.physical_path(derivation).into_os_string();
        path.push(ENDING);
        let path = PathBuf::from(path);
        files::remove_tree(&path).map_err(Cause::file(&path))?;
        let place = Self {
            path,
            store_dir: layout.store_dir().to_owned(),
        };
        // Nobody but the sandbox reaches what the builder makes.
        directory(&place.path, 0o700, first_id)?;
        Ok(place)
    }

    /// The root of the sandbox.
    pub(super) fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// What the builder sees as `/build`.
    pub(super) fn build(&self) -> PathBuf {
        self.path.join("build")
    }

    /// Makes the two directories, of which the builder's own belongs to `builder`.
    pub(super) fn directories(&self, first_id: u32, builder: u32) -> Result<(), Cause> {
        directory(&self.root(), 0o755, first_id)?;
        directory(&self.build(), 0o700, builder)
    }

    /// Where the builder leaves an output.
    pub(super) fn output(&self, path: &StorePath) -> PathBuf {
        self.root()
            .join(self.store_dir.trim_start_matches('/'))
            .join(path.base_name())
    }

    /// A name for something beside the sandbox.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Keeps the builder's own directory: moves it to where root finds it.
    pub(super) fn keep(&self, derivation: &StorePath) -> Result<PathBuf, Cause> {
        let temporary = std::env::temp_dir();
        let name = format!("keel-build-{}-", derivation.name());
        let target = tempfile::Builder::new()
            .prefix(&name)
            .tempdir_in(&temporary)
            .map_err(Cause::file(&temporary))?
            .keep();
        let target = target.join("build");
        // Another file system, perhaps.
        if fs::rename(self.build(), &target).is_err() {
            copy(&self.build(), &target)?;
        }
        Ok(target)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What can't be removed now goes with the next build or collection.
        let _ignored = files::remove_tree(&self.path);
    }
}

fn directory(path: &Path, mode: u32, owner: u32) -> Result<(), Cause> {
    fs::create_dir(path).map_err(Cause::file(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Cause::file(path))?;
    chown(path, Some(owner), Some(owner)).map_err(Cause::file(path))
}

/// Copies directories, files and links; what else a builder made tells nothing.
fn copy(from: &Path, to: &Path) -> Result<(), Cause> {
    let metadata = from.symlink_metadata().map_err(Cause::file(from))?;
    if metadata.is_symlink() {
        let target = fs::read_link(from).map_err(Cause::file(from))?;
        return std::os::unix::fs::symlink(target, to).map_err(Cause::file(to));
    }
    if metadata.is_file() {
        return fs::copy(from, to).map(drop).map_err(Cause::file(to));
    }
    if !metadata.is_dir() {
        return Ok(());
    }
    fs::create_dir(to).map_err(Cause::file(to))?;
    for entry in fs::read_dir(from).map_err(Cause::file(from))? {
        let name = entry.map_err(Cause::file(from))?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}
