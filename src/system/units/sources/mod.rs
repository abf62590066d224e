//! Where unit files, programs and configuration are read from: a running root, a system's trees in the store, trees in
//! memory during an import, and layers of them.

mod directory;
mod layered;
mod mounted;
mod resolve;
#[cfg(feature = "tools")]
mod tree;

use std::fs::File;
use std::io::{self, Read};

pub use directory::InDirectory;
pub use layered::Layered;
pub use mounted::Mounted;
pub use resolve::{Resolved, is_null, resolve};
#[cfg(feature = "tools")]
pub use tree::InTree;

use crate::store::verity::{Digest, Verity};

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Whether somebody may execute it.
        executable: bool,
    },
    /// A symbolic link and its target. One whose target isn't UTF-8 is [`Found::Other`].
    Symlink(String),
    /// The upper layer of an overlay says here that nothing is there (a character device 0/0).
    Whiteout,
    /// A device, a socket, a fifo.
    Other,
}

/// A tree of files below `/`. Paths are absolute, without `.` and `..`, and no part but the last is a link: [`resolve`]
/// makes such paths.
pub trait Sources: Sync {
    /// What lies at `path`, not following a link; nothing when nothing does.
    fn look(&self, path: &str) -> io::Result<Option<Found>>;

    /// The names in the directory `path` that are UTF-8, in no order.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Opens the regular file `path`.
    fn open(&self, path: &str) -> io::Result<File>;

    /// The fs-verity digest of the regular file `path`: what names an object of the store.
    fn digest(&self, path: &str) -> io::Result<Digest> {
        let mut file = self.open(path)?;
        let mut verity = Verity::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = file.read(&mut buffer)?;
            match buffer.get(..length) {
                None | Some([]) => return Ok(verity.finish().0),
                Some(bytes) => verity.update(bytes),
            }
        }
    }

    /// The bytes of the regular file `path`, at most `limit`.
    fn read(&self, path: &str, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let _length = self.open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            let text = format!("it is larger than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
