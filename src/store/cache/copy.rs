//! Copying closures between the store and caches: several paths at once, what is needed before what needs it.

mod fetch;
mod order;
mod push;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::CacheError;
use crate::store::db::DbError;
use crate::store::{AddError, StorePath};

pub use fetch::{Fetch, fetch, receive_again};
pub use push::{Push, push};

/// Why paths weren't copied. What was copied until then stays, and need not be copied again.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A cache can't be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// No cache has a path.
    #[error("none of the caches has {0}")]
    Absent(StorePath),
    /// No cache has a path that another one needs.
    #[error("none of the caches has {path}, which {referrer} needs")]
    AbsentReference {
        /// What is missing.
        path: StorePath,
        /// What needs it.
        referrer: StorePath,
    },
    /// Nobody who is trusted vouches for a path.
    #[error(
        "{path} of {cache} has no signature by a key that is trusted: name the key by --trusted-key, or take it unsigned by \
         --no-check-signatures"
    )]
    Untrusted {
        /// The path.
        path: StorePath,
        /// The cache.
        cache: String,
    },
    /// What the cache has isn't what it says.
    #[error("{path} of {cache}: {source}; it was not added")]
    File {
        /// The path.
        path: StorePath,
        /// The cache.
        cache: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The store can't take a path.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The store's database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A file of the store.
    #[error("{}: {source}", path.display())]
    Store {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A path to copy isn't valid, or changed while it was read.
    #[error("{0} can't be copied: {1}")]
    Source(StorePath, String),
    /// Paths that refer to each other in a circle.
    #[error("{0} needs itself by way of others: such paths can't be copied")]
    Circle(StorePath),
}

/// How far a copy has come. Read by whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Paths that are done.
    pub paths: AtomicU64,
    /// Paths to copy.
    pub paths_all: AtomicU64,
    /// Bytes that came or went.
    pub bytes: AtomicU64,
    /// Bytes to copy, as far as they're known.
    pub bytes_all: AtomicU64,
}

impl Progress {
    pub(crate) fn begin(&self, paths: usize, bytes: u64) {
        self.paths_all.store(paths as u64, Ordering::Relaxed);
        self.bytes_all.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self, count: u64) {
        let _before = self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn path(&self) {
        let _before = self.paths.fetch_add(1, Ordering::Relaxed);
    }
}
