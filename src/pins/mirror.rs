//! A place that packages and indexes are fetched from.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use super::sources::options_before;
use crate::store::cache::{self, Cache};

/// Why a URI is no mirror.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Of a kind that keel can't fetch from.
    #[error(
        "'{0}' is no mirror that packages can be fetched from: http://…, https://… and file:///… are known"
    )]
    Unknown(String),
}

/// A mirror, or whatever else a URI is below.
pub struct Mirror {
    /// As it was named, without the slash at its end.
    uri: String,
    cache: Box<dyn Cache>,
    is_web: bool,
    // Set once it couldn't be reached: the others aren't kept waiting for it.
    away: AtomicBool,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

impl Mirror {
    /// The mirror at `uri`, as sources.list(5) writes it; options in front of it are apt's business.
    ///
    /// # Errors
    /// [`MirrorError::Unknown`].
    pub fn open(uri: &str) -> Result<Self, MirrorError> {
        let (_options, uri) = options_before(uri);
        let uri = normal(uri);
        let cache = cache::open(&uri).map_err(|_| MirrorError::Unknown(uri.chars().take(200).collect()))?;
        Ok(Self {
            is_web: !uri.starts_with("file:"),
            uri,
            cache,
            away: AtomicBool::new(false),
        })
    }

    /// As it was named.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The file `name` below it, from byte `from` on.
    ///
    /// # Errors
    /// When it can't be reached, or hasn't it.
    pub fn open_file(&self, name: &str, from: u64) -> io::Result<Box<dyn Read + Send>> {
        if self.away.load(Ordering::Relaxed) {
            return Err(io::Error::other("it couldn't be reached before"));
        }
        self.cache.open(&self.written(name), from)
    }

    /// Whether it has the file `name`.
    ///
    /// # Errors
    /// When it can't be reached.
    pub fn has(&self, name: &str) -> io::Result<bool> {
        match self.cache.open(&self.written(name), 0) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says that it couldn't be reached.
    pub fn set_away(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    // As apt writes it: some servers take a plus sign for a space.
    fn written(&self, name: &str) -> String {
        if self.is_web {
            name.replace('%', "%25").replace('+', "%2b").replace('~', "%7e")
        } else {
            name.to_owned()
        }
    }
}

/// `file:/PLACE` and `copy:/PLACE`, as apt has them, are `file:///PLACE` elsewhere.
pub(super) fn normal(uri: &str) -> String {
    let uri = uri.trim_end_matches('/');
    for kind in ["file:", "copy:"] {
        if let Some(place) = uri.strip_prefix(kind) {
            return format!("file:///{}", place.trim_start_matches('/'));
        }
    }
    uri.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_uris_of_apt_are_known() {
        for (uri, expected) in [
            ("file:/srv/debian/", "file:///srv/debian"),
            ("file:///srv/debian", "file:///srv/debian"),
            ("copy:/srv/debian", "file:///srv/debian"),
            ("[trusted=yes] file:/srv/debian", "file:///srv/debian"),
            ("http://mirror.example/debian/", "http://mirror.example/debian"),
        ] {
            assert_eq!(Mirror::open(uri).unwrap().uri(), expected);
        }
        for uri in ["cdrom:[Debian]", "ftp://x", ""] {
            assert!(Mirror::open(uri).is_err(), "{uri}");
        }
    }
}
