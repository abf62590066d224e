//! `/etc` as it will be: what the administrator changed (the upper directory of an overlay) over a system's tree.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use super::{Found, InDirectory, Sources};

/// An overlay's upper directory over a tree. Renamed directories (`redirect`) are followed for files only.
#[derive(Debug)]
pub struct Layered<L> {
    upper: InDirectory,
    lower: L,
}

// Which layer a path's content comes from.
enum Layer {
    Upper,
    // At this path of the lower tree.
    Lower(String),
}

impl<L: Sources> Layered<L> {
    /// Puts `upper` over `lower`.
    pub fn new(upper: InDirectory, lower: L) -> Self {
        Self { upper, lower }
    }

    // Whether the lower tree shows through at `path`, which the upper one hasn't got or has as a directory.
    fn shows_through(&self, path: &str) -> io::Result<bool> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for above in ends
            .filter_map(|end| path.get(..end))
            .filter(|above| !above.is_empty())
        {
            match self.upper.look(above)? {
                None => return Ok(true),
                Some(Found::Directory) => {
                    let opaque = self.upper.overlay_attribute(above, "opaque")?;
                    if opaque.as_deref() == Some(b"y") {
                        return Ok(false);
                    }
                }
                Some(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    // A file whose owner or mode alone was changed has no content in the upper layer.
    fn layer_of_file(&self, path: &str) -> io::Result<Layer> {
        if self.upper.overlay_attribute(path, "metacopy")?.is_none() {
            return Ok(Layer::Upper);
        }
        let redirect = self.upper.overlay_attribute(path, "redirect")?;
        Ok(Layer::Lower(match redirect.map(String::from_utf8) {
            Some(Ok(target)) if target.starts_with('/') => target,
            Some(Ok(name)) => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                format!("{parent}/{name}")
            }
            _ => path.to_owned(),
        }))
    }
}

impl<L: Sources> Sources for Layered<L> {
    fn look(&self, path: &str) -> io::Result<Option<Found>> {
        match self.upper.look(path)? {
            None if self.shows_through(path)? => self.lower.look(path),
            None | Some(Found::Whiteout) => Ok(None),
            Some(Found::File { size, executable }) => match self.layer_of_file(path)? {
                Layer::Upper => Ok(Some(Found::File { size, executable })),
                Layer::Lower(at) => match self.lower.look(&at)? {
                    Some(Found::File { size, .. }) => Ok(Some(Found::File { size, executable })),
                    _ => Ok(None),
                },
            },
            other => Ok(other),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = BTreeSet::new();
        let upper = matches!(self.upper.look(path)?, Some(Found::Directory));
        if self.shows_through(path)? && matches!(self.lower.look(path)?, Some(Found::Directory)) {
            names.extend(self.lower.list(path)?);
        } else if !upper {
            return Err(io::ErrorKind::NotFound.into());
        }
        if upper {
            for name in self.upper.list(path)? {
                let below = format!("{}/{name}", path.trim_end_matches('/'));
                if self.upper.look(&below)? == Some(Found::Whiteout) {
                    let _was_there = names.remove(&name);
                } else {
                    let _new = names.insert(name);
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    fn open(&self, path: &str) -> io::Result<File> {
        match self.upper.look(path)? {
            None if self.shows_through(path)? => self.lower.open(path),
            Some(Found::File { .. }) => match self.layer_of_file(path)? {
                Layer::Upper => self.upper.open(path),
                Layer::Lower(at) => self.lower.open(&at),
            },
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn digest(&self, path: &str) -> io::Result<crate::store::verity::Digest> {
        match self.upper.look(path)? {
            None if self.shows_through(path)? => self.lower.digest(path),
            Some(Found::File { .. }) => match self.layer_of_file(path)? {
                Layer::Upper => self.upper.digest(path),
                Layer::Lower(at) => self.lower.digest(&at),
            },
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
