//! The room that Nix keeps back beside its database (`reserved`, 8 MiB): where a disk is full, a collection couldn't note what
//! it deletes.

use std::fs::File;
use std::path::PathBuf;

use nix::fcntl::posix_fallocate;

use super::GcError;
use crate::store::{Layout, files};

/// What Nix keeps, unless its `gc-reserved-space` says otherwise.
const BYTES: i64 = 8 << 20;

/// Room that is free for the time of a collection.
pub(super) struct Reserve(Option<PathBuf>);

impl Reserve {
    /// Gives the room free.
    pub(super) fn release(layout: &Layout, dry_run: bool) -> Result<Self, GcError> {
        if dry_run {
            return Ok(Self(None));
        }
        let path = layout.physical(&layout.database_dir()).join("reserved");
        files::remove_file_if_there(&path).map_err(GcError::at(&path))?;
        Ok(Self(Some(path)))
    }

    /// Takes it again. Where there is no room now, the next one who has some does.
    pub(super) fn restore(self) {
        let Some(path) = self.0 else { return };
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let taken = file.map(|file| posix_fallocate(&file, 0, BYTES));
        if !matches!(taken, Ok(Ok(()))) {
            let _ignored = files::remove_file_if_there(&path);
        }
    }
}
