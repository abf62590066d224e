//! Binary caches in Nix's format: archives of paths, what is told about them, and signatures.

mod check;
pub mod copy;
mod directory;
mod http;
pub mod keys;
pub mod narinfo;
mod resolve;
mod stream;

use std::io::{self, Read, Write};
use std::path::Path;

use crate::store::{Layout, StorePath};

pub use check::Trust;
pub use directory::Directory;
use narinfo::{NarInfo, NarInfoError};

/// Why a cache can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Not a place that keel knows.
    #[error("'{0}' is no cache: file:///DIRECTORY, http://HOST/… and https://HOST/… are known")]
    UnknownScheme(String),
    /// The cache can't be reached or read.
    #[error("the cache {cache}: {what}: {source}")]
    Io {
        /// Which cache.
        cache: String,
        /// What was read or written.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The answer makes no sense.
    #[error("the cache {cache}: {what}: {source}")]
    NarInfo {
        /// Which cache.
        cache: String,
        /// Which narinfo.
        what: String,
        /// What is wrong with it.
        source: NarInfoError,
    },
    /// A narinfo that tells of another path.
    #[error("the cache {cache} answers with {found} when it's asked for {asked}")]
    OtherPath {
        /// Which cache.
        cache: String,
        /// What it tells of.
        found: String,
        /// What was asked for.
        asked: String,
    },
    /// Paths of another store directory.
    #[error("the cache {cache} is of the store {theirs}; this one is {ours}")]
    OtherStore {
        /// Which cache.
        cache: String,
        /// Its store directory.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// Only read.
    #[error("the cache {0} can only be read")]
    ReadOnly(String),
}

/// What a cache tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The store directory of its paths.
    pub store_dir: String,
    /// The lower, the sooner it's asked.
    pub priority: u32,
}

/// A place that archives of paths lie at. Object storage, servers and the like would be others.
pub trait Cache: Sync + Send {
    /// How it was named.
    fn name(&self) -> &str;

    /// A small file of it; nothing when it isn't there.
    ///
    /// # Errors
    /// When it can't be read, or is longer than `most` bytes.
    fn file(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>>;

    /// A file, from byte `from` on.
    ///
    /// # Errors
    /// When it can't be opened.
    fn open(&self, name: &str, from: u64) -> io::Result<Box<dyn Read + Send>>;

    /// The directory that it is, when it can be written to.
    fn as_directory(&self) -> Option<&Directory> {
        None
    }
}

/// The cache at `url`.
///
/// # Errors
/// [`CacheError::UnknownScheme`].
pub fn open(url: &str) -> Result<Box<dyn Cache>, CacheError> {
    // Nix writes options after a question mark; none of them is for readers.
    let place = url.split('?').next().unwrap_or(url);
    if let Some(path) = place.strip_prefix("file://").filter(|path| path.starts_with('/')) {
        return Ok(Box::new(Directory::new(url, Path::new(path))));
    }
    if place.starts_with("http://") || place.starts_with("https://") {
        return Ok(Box::new(http::Http::new(place)));
    }
    Err(CacheError::UnknownScheme(url.chars().take(200).collect()))
}

/// Writes the file at `url` (`file://`, `http://` or `https://`) to `sink`, gone on with where it's cut; its length.
///
/// # Errors
/// When it can't be read or written, or is longer than `most` bytes.
pub fn download(url: &str, sink: &mut dyn Write, most: u64) -> io::Result<u64> {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let cut = url.get(..end).and_then(|place| place.rfind('/')).unwrap_or(0);
    let (base, name) = url.split_at(cut);
    let cache = open(base).map_err(|_| {
        let text = format!("'{url}' is no file:///…, http://… or https://…");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let mut source =
        stream::Resumed::new(cache.as_ref(), name.trim_start_matches('/')).take(most.saturating_add(1));
    let bytes = io::copy(&mut source, sink)?;
    if bytes > most {
        return Err(io::Error::other(format!("it's longer than {most} bytes")));
    }
    Ok(bytes)
}

/// Reads `nix-cache-info`.
///
/// # Errors
/// When it can't be read; when the cache is of another store directory.
pub fn about(cache: &dyn Cache, layout: &Layout) -> Result<About, CacheError> {
    const NAME: &str = "nix-cache-info";
    let text = small_file(cache, NAME, 1 << 16)?.unwrap_or_default();
    let mut about = About {
        store_dir: "/nix/store".to_owned(),
        priority: 50,
    };
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        match name {
            "StoreDir" => value.trim().clone_into(&mut about.store_dir),
            "Priority" => about.priority = value.trim().parse().unwrap_or(about.priority),
            _ => {}
        }
    }
    if about.store_dir != layout.store_dir() {
        return Err(CacheError::OtherStore {
            cache: cache.name().to_owned(),
            theirs: about.store_dir.chars().take(200).collect(),
            ours: layout.store_dir().to_owned(),
        });
    }
    Ok(about)
}

/// What `cache` tells about `path`; nothing when it hasn't it.
///
/// # Errors
/// When it can't be read, makes no sense, or tells of another path.
pub fn narinfo(cache: &dyn Cache, layout: &Layout, path: &StorePath) -> Result<Option<NarInfo>, CacheError> {
    let name = format!("{}.narinfo", path.hash_part());
    let Some(text) = small_file(cache, &name, narinfo::LENGTH_MAX)? else {
        return Ok(None);
    };
    let info = NarInfo::parse(&text, layout.store_dir()).map_err(|source| CacheError::NarInfo {
        cache: cache.name().to_owned(),
        what: name,
        source,
    })?;
    if info.info.path != *path {
        return Err(CacheError::OtherPath {
            cache: cache.name().to_owned(),
            found: info.info.path.to_string(),
            asked: path.to_string(),
        });
    }
    Ok(Some(info))
}

fn small_file(cache: &dyn Cache, name: &str, most: u64) -> Result<Option<String>, CacheError> {
    let failed = |source| CacheError::Io {
        cache: cache.name().to_owned(),
        what: name.to_owned(),
        source,
    };
    let Some(bytes) = cache.file(name, most).map_err(failed)? else {
        return Ok(None);
    };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))
}
