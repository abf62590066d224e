//! The format of `keel.lock`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::files;
use crate::system::declared::Ids;

/// The version of the format that this keel writes.
pub const VERSION: u32 = 1;
/// The lock's name, beside the configuration.
pub const FILE_NAME: &str = "keel.lock";
const HEADER: &str = "# Written by `keel update`: exactly which packages this machine is built from. Keep it with system.toml.\n\n";

/// Why a lock can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can't be written.
    #[error("{} can't be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It's none.
    #[error("{what}: {why}; `keel update` writes a new one when this one is moved away")]
    Syntax {
        /// The file, or how it's called.
        what: String,
        /// What is wrong, on one line.
        why: String,
    },
    /// Of a newer keel.
    #[error("{what} has version {version}, and this keel knows {VERSION}: a newer keel wrote it")]
    Version {
        /// The file, or how it's called.
        what: String,
        /// Its version.
        version: u32,
    },
    /// A package that can't be meant.
    #[error("{what}: the package '{package}': {why}")]
    Pin {
        /// The file, or how it's called.
        what: String,
        /// Its name.
        package: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// `keel.lock`: TOML, written by `keel update` alone. The same configuration and lock give the same store paths on every
/// machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of this format: 1.
    pub version: u32,
    /// What the packages were resolved for: a change of it makes the lock stale.
    pub request: Request,
    /// keel's own programs: names (`keel`, `keel-init`) to store paths.
    #[serde(default)]
    pub programs: BTreeMap<String, String>,
    /// Where the packages were found: URIs that `place` is below, asked in this order after those of the configuration. They say where
    /// to look, not what is taken: that's what the hashes are for.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// Names to numbers of accounts, only ever appended to.
    #[serde(default)]
    pub ids: Ids,
    /// The packages, in the order in which they are installed: by layer, then by name.
    #[serde(default, rename = "package")]
    pub packages: Vec<Pin>,
}

/// What `keel update` was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Debian's suite.
    pub suite: String,
    /// Its components.
    pub components: Vec<String>,
    /// Whether the suite's updates are left out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_updates: bool,
    /// Whether its security updates are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_security: bool,
    /// Further sources, as lines of sources.list(5).
    #[serde(default)]
    pub sources: Vec<String>,
    /// Names of packages, sorted.
    pub install: Vec<String>,
    /// Whether recommended packages come along.
    #[serde(default)]
    pub recommends: bool,
    /// When the indexes were made: the newest `Date:` of the release files, in seconds since 1970. Times in images aren't later.
    pub date: i64,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Debian's name of its architecture, `all` included.
    pub architecture: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// Of the `.deb`, in hexadecimal digits.
    pub sha256: String,
    /// Where the `.deb` is: its path below a mirror (`pool/main/v/vim/…`), or a whole URI for another source.
    pub place: String,
    /// The layer that it's installed in: 0 is the base, which is the same for every machine of the suite. Packages that are added
    /// later form a layer of their own above, so that what lies below is not built again.
    pub layer: u32,
}

// Locks that were written before there was a choice stay as they are.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde's form
fn is_false(value: &bool) -> bool {
    !*value
}

impl Lock {
    /// Parses a lock; `what` is how messages call it.
    ///
    /// # Errors
    /// [`LockError::Syntax`], [`LockError::Version`], [`LockError::Pin`].
    pub fn parse(text: &str, what: &str) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let syntax = |error: toml::de::Error| LockError::Syntax {
            what: what.to_owned(),
            why: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        };
        // The version first: what a newer keel writes has keys that this one doesn't know.
        let Version { version } = toml::from_str(text).map_err(syntax)?;
        if version != VERSION {
            return Err(LockError::Version {
                what: what.to_owned(),
                version,
            });
        }
        let lock: Lock = toml::from_str(text).map_err(syntax)?;
        for pin in &lock.packages {
            pin.check().map_err(|why| LockError::Pin {
                what: what.to_owned(),
                package: pin.name.chars().take(80).collect(),
                why,
            })?;
        }
        Ok(lock)
    }

    /// Reads the lock at `path`; nothing when there is none.
    ///
    /// # Errors
    /// When it can't be read; those of [`Lock::parse`].
    pub fn read(path: &Path) -> Result<Option<Self>, LockError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LockError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Its text: the same for equal locks.
    ///
    /// # Errors
    /// When a text in it can't be written as TOML.
    pub fn text(&self) -> Result<String, LockError> {
        let body = toml::to_string(self).map_err(|error| LockError::Syntax {
            what: FILE_NAME.to_owned(),
            why: error.to_string(),
        })?;
        Ok(format!("{HEADER}{body}"))
    }

    /// Writes it to `path` in one step.
    ///
    /// # Errors
    /// When that fails: what was there stays.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        files::write_atomically(path, self.text()?.as_bytes(), 0o644).map_err(|source| LockError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// The package of this name.
    pub fn pin(&self, name: &str) -> Option<&Pin> {
        self.packages.iter().find(|pin| pin.name == name)
    }

    /// The number of layers.
    pub fn layers(&self) -> u32 {
        self.packages.iter().map(|pin| pin.layer + 1).max().unwrap_or(0)
    }
}

impl Pin {
    /// What apt calls the file of this package, and how it's named in directories of `.deb`s: the epoch's colon is written `%3a`.
    pub fn file_name(&self) -> String {
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }

    /// Its name in the store, whose names allow fewer characters.
    pub fn store_name(&self) -> String {
        let name = format!("{}_{}_{}.deb", self.name, self.version, self.architecture);
        name.chars()
            .map(|c| match c {
                c if c.is_ascii_alphanumeric() || "+-._?=".contains(c) => c,
                _ => '-',
            })
            .collect()
    }

    // Debian policy, sections 5.6.1, 5.6.7 and 5.6.12: what becomes part of a file name or a command.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let name = |text: &str| {
            text.len() > 1
                && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && text
                    .bytes()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+-.".contains(&c))
        };
        let version = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_digit())
                && text
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b".+-:~".contains(&c))
        };
        if !name(&self.name) {
            return Err("that is no name of a package");
        }
        if !version(&self.version) {
            return Err("its version is none");
        }
        if !name(&self.architecture) {
            return Err("its architecture is none");
        }
        if self.sha256.len() != 64
            || !self
                .sha256
                .bytes()
                .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
        {
            return Err("its hash isn't 64 lower-case hexadecimal digits");
        }
        if self.place.is_empty()
            || self.place.starts_with('/')
            || self.place.split('/').any(|part| part == "..")
        {
            return Err("its place is neither a path below a mirror nor a URI");
        }
        if self.layer >= 1000 {
            return Err("its layer can't be");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn lock() -> Lock {
        Lock {
            version: VERSION,
            request: Request {
                suite: "trixie".to_owned(),
                components: vec!["main".to_owned()],
                install: vec!["vim".to_owned()],
                date: 1_700_000_000,
                ..Request::default()
            },
            programs: BTreeMap::from([("keel".to_owned(), "/nix/store/x".to_owned())]),
            packages: vec![Pin {
                name: "libattr1".to_owned(),
                version: "1:2.5.2-3~x".to_owned(),
                architecture: "amd64".to_owned(),
                size: 1,
                sha256: "0".repeat(64),
                place: "pool/main/a/attr/libattr1_2.5.2-3~x_amd64.deb".to_owned(),
                layer: 0,
            }],
            ..Lock::default()
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = lock().text().unwrap();
        assert_eq!(Lock::parse(&text, "keel.lock").unwrap(), lock());
        assert_eq!(lock().layers(), 1);
    }

    #[test]
    fn names_of_files_and_in_the_store() {
        let pin = &lock().packages[0];
        assert_eq!(pin.file_name(), "libattr1_1%3a2.5.2-3~x_amd64.deb");
        assert_eq!(pin.store_name(), "libattr1_1-2.5.2-3-x_amd64.deb");
        crate::store::path::check_name(&pin.store_name()).unwrap();
    }

    #[test]
    fn damage_is_refused_on_one_line() {
        let text = lock().text().unwrap();
        for (from, to, why) in [
            ("version = 1", "version = 2", "a newer keel wrote it"),
            ("libattr1\"", "../x\"", "no name of a package"),
            ("1:2.5.2-3~x\"", "1;rm\"", "its version is none"),
            ("\"pool/", "\"../pool/", "neither a path"),
            (&"0".repeat(64), "00", "64 lower-case"),
            ("size = 1", "sise = 1", "unknown field"),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text, "{from}");
            let error = Lock::parse(&bad, "keel.lock").unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
