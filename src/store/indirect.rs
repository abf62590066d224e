//! Links outside of the store's directories that keep what they lead to: each has a link in `gcroots/auto` that leads to it, named
//! by a hash of its place, as Nix's have.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use super::{Layout, StorePath, base32, files};

/// Makes a link at `link` to `path`, in the place of another link that is there, and notes it as a root. The root is noted first:
/// one that leads nowhere harms nothing.
///
/// # Errors
/// When something other than a link is there, or it can't be made.
pub fn add_indirect(layout: &Layout, link: &Path, path: &StorePath) -> io::Result<()> {
    let link = std::path::absolute(link)?;
    match link.symlink_metadata() {
        Ok(metadata) if !metadata.is_symlink() => {
            let text = "something is there that is no link";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let root = root_of(layout, &link);
    if let Some(auto) = root.parent() {
        std::fs::create_dir_all(auto)?;
    }
    files::link_atomically(&link, &root)?;
    files::link_atomically(&PathBuf::from(path.absolute(layout.store_dir())), &link)
}

/// The root that a link at the absolute place `link` has: one link has one.
pub fn root_of(layout: &Layout, link: &Path) -> PathBuf {
    let name = base32::encode(&Sha1::digest(link.as_os_str().as_bytes()));
    layout
        .physical(layout.state_dir())
        .join("gcroots/auto")
        .join(name)
}
