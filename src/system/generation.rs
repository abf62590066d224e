//! Generations of a profile, and whether a system is intact. Everything is resolved below a root directory: the initrd
//! looks at the machine's root where it is mounted.

use std::cmp::Reverse;
use std::io;
use std::path::Path;

use super::bootspec::{self, BootSpec, BootSpecError};
use crate::store::path::PathError;
use crate::store::{Layout, StorePath};
use crate::sys::open_in_root::RootDir;

/// The profile that a machine boots.
pub const SYSTEM_PROFILE: &str = "system";
/// A longer `closure` is refused: it would name more than ten thousand paths.
const CLOSURE_MAX: u64 = 1 << 20;

/// Why a profile can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The root directory can't be opened.
    #[error("{path}: {source}")]
    Root {
        /// The root directory.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The directory of profiles can't be read.
    #[error("the profiles in {path} can't be read: {source}")]
    Unreadable {
        /// The directory.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The profile's link doesn't lead to a generation of it.
    #[error("the profile {path} leads to '{target}', which is no generation of it")]
    BadLink {
        /// The link.
        path: String,
        /// Its target.
        target: String,
    },
}

/// Why a system is not intact.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The generation's link is damaged.
    #[error("the link {link} leads to '{target}', which is no store path: {why}")]
    BadLink {
        /// The generation's link.
        link: String,
        /// Its target.
        target: String,
        /// What is wrong with it.
        why: PathError,
    },
    /// A path of the closure isn't there.
    #[error("{path} is missing")]
    Missing {
        /// The path.
        path: String,
    },
    /// The stamp isn't there.
    #[error("the objects of its images were never all linked (no stamp {stamp})")]
    NoStamp {
        /// Where the stamp should be.
        stamp: String,
    },
    /// A file of the system can't be read.
    #[error("{path} can't be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A line of `closure` is no store path.
    #[error("{path} lists what is no store path: {why}")]
    BadClosure {
        /// The file.
        path: String,
        /// What is wrong with the line.
        why: PathError,
    },
    /// Its boot.json is damaged.
    #[error("{path}: {why}")]
    BadBootSpec {
        /// The system.
        path: String,
        /// What is wrong.
        why: BootSpecError,
    },
    /// A path that its boot.json needs isn't part of the closure.
    #[error("{path}: boot.json names {named}, which its closure does not hold")]
    OutsideClosure {
        /// The system.
        path: String,
        /// What is named.
        named: String,
    },
}

/// Whether `system` is another system's than keel's: NixOS marks its own so. It's listed and kept, and never booted.
pub fn is_foreign(layout: &Layout, system: &StorePath) -> bool {
    let inside = layout.physical_path(system);
    let is_there = |name: &str| inside.join(name).symlink_metadata().is_ok();
    is_there("nixos-version") && !is_there("usr.cfs")
}

/// A generation of a profile.
#[derive(Debug)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// When its link was made, seconds since 1970.
    pub created: i64,
    /// The system that it leads to, unless its link is damaged.
    pub system: Result<StorePath, Damage>,
}

/// A profile of a store, below a root directory.
#[derive(Debug)]
pub struct Profile {
    root: RootDir,
    layout: Layout,
    directory: String,
    name: String,
}

impl Profile {
    /// The profile `name` of the store that `layout` describes; the root directory of `layout` must exist.
    pub fn open(layout: Layout, name: &str) -> Result<Self, ProfileError> {
        let directory = layout.profiles_dir();
        Self::open_in(layout, directory, name)
    }

    /// The profile `name` in the directory `directory` below the root of `layout`.
    pub fn open_in(layout: Layout, directory: String, name: &str) -> Result<Self, ProfileError> {
        let root = RootDir::open(layout.root()).map_err(|source| ProfileError::Root {
            path: layout.root().display().to_string(),
            source,
        })?;
        Ok(Self {
            root,
            layout,
            directory,
            name: name.to_owned(),
        })
    }

    /// The profile that the machine boots, whose root is mounted at `root`.
    pub fn of_machine(root: &Path) -> Result<Self, ProfileError> {
        Self::open(Layout::below(root), SYSTEM_PROFILE)
    }

    /// The directory that names are resolved below.
    pub fn root(&self) -> &RootDir {
        &self.root
    }

    /// Where its store lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All generations, the oldest first. A profile that doesn't exist has none.
    pub fn generations(&self) -> Result<Vec<Generation>, ProfileError> {
        let directory = self.directory.clone();
        let unreadable = |source| ProfileError::Unreadable {
            path: directory.clone(),
            source,
        };
        let names = match self.root.list(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(unreadable)?,
        };
        let mut all = Vec::new();
        for number in names.iter().filter_map(|name| self.number(name.to_str()?)) {
            let link = self.link(number);
            // It may have been deleted meanwhile.
            let Some(stat) = self.root.stat(&link).map_err(unreadable)? else {
                continue;
            };
            all.push(Generation {
                number,
                created: stat.st_mtime,
                system: self.system(&link),
            });
        }
        all.sort_by_key(|generation| generation.number);
        Ok(all)
    }

    /// The number of the generation that the profile leads to, if there is a profile.
    pub fn current(&self) -> Result<Option<u64>, ProfileError> {
        let path = self.path();
        let target = match self.root.read_link(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| ProfileError::Unreadable {
                path: path.clone(),
                source,
            })?,
        };
        let number = target.to_str().and_then(|target| self.number(target));
        number.map(Some).ok_or_else(|| ProfileError::BadLink {
            path,
            target: shown(&target),
        })
    }

    /// The boot.json of `system`.
    pub fn boot_spec(&self, system: &StorePath) -> Result<BootSpec, Damage> {
        let path = system.absolute(self.layout.store_dir());
        let bytes = self.read(&format!("{path}/boot.json"), bootspec::SIZE_MAX)?;
        BootSpec::parse(&bytes).map_err(|why| Damage::BadBootSpec { path, why })
    }

    /// The paths that `system` consists of, without itself.
    pub fn closure(&self, system: &StorePath) -> Result<Vec<StorePath>, Damage> {
        let path = format!("{}/closure", system.absolute(self.layout.store_dir()));
        let bytes = self.read(&path, CLOSURE_MAX)?;
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(|line| StorePath::from_absolute(self.layout.store_dir(), line))
            .collect::<Result<_, _>>()
            .map_err(|why| Damage::BadClosure { path, why })
    }

    /// Checks that `system` is intact: its own files read, every path of its closure exists (paths appear whole), what
    /// boot.json names is among them, and the stamp says that all objects of its images are linked.
    pub fn intact(&self, system: &StorePath) -> Result<BootSpec, Damage> {
        let store = self.layout.store_dir();
        let own = system.absolute(store);
        self.must_exist(&own)?;
        let spec = self.boot_spec(system)?;
        let closure = self.closure(system)?;
        for path in &closure {
            self.must_exist(&path.absolute(store))?;
        }
        let named = [
            &spec.v1.kernel,
            &spec.keel.usr_image,
            &spec.keel.etc_image,
            &spec.keel.modules,
        ];
        for named in named.into_iter().chain(&spec.v1.initrd) {
            if !closure.iter().any(|path| path.absolute(store) == *named) {
                return Err(Damage::OutsideClosure {
                    path: own,
                    named: named.clone(),
                });
            }
        }
        let stamp = self.layout.stamp(system);
        match self.root.stat(&stamp) {
            Ok(Some(_)) => Ok(spec),
            Ok(None) => Err(Damage::NoStamp { stamp }),
            Err(source) => Err(Damage::Unreadable { path: stamp, source }),
        }
    }

    /// Whether a system can run on the kernel `release` (as `uname -r` says it): it is its own, or its modules tree
    /// holds modules for it.
    pub fn runs_on(&self, spec: &BootSpec, release: &str) -> bool {
        if spec.keel.kernel_version == release {
            return true;
        }
        let plain = !release.is_empty() && !release.contains('/') && !matches!(release, "." | "..");
        plain
            && self
                .root
                .is_dir(format!("{}/lib/modules/{release}", spec.keel.modules))
                .unwrap_or(false)
    }

    /// The newest generation that is intact and runs on the kernel `release`; `passed` is told of each newer one why it
    /// was not taken.
    pub fn newest_intact(
        &self,
        release: &str,
        passed: &mut dyn FnMut(u64, &str),
    ) -> Result<Option<(u64, StorePath, BootSpec)>, ProfileError> {
        let mut all = self.generations()?;
        all.sort_by_key(|generation| Reverse(generation.number));
        for Generation { number, system, .. } in all {
            let checked = system.and_then(|system| Ok((self.intact(&system)?, system)));
            match checked {
                Ok((spec, system)) if self.runs_on(&spec, release) => {
                    return Ok(Some((number, system, spec)));
                }
                Ok((spec, _)) => {
                    let version = &spec.keel.kernel_version;
                    passed(
                        number,
                        &format!("it is for the kernel {version}, and {release} is running"),
                    );
                }
                Err(damage) => passed(number, &damage.to_string()),
            }
        }
        Ok(None)
    }

    /// The link that leads to the current generation, below the root.
    pub fn path(&self) -> String {
        format!("{}/{}", self.directory, self.name)
    }

    /// The name of the link of the generation `number`, in the profile's directory.
    pub fn link_name(&self, number: u64) -> String {
        format!("{}-{number}-link", self.name)
    }

    /// The link of the generation `number`, below the root.
    pub fn link(&self, number: u64) -> String {
        format!("{}/{}", self.directory, self.link_name(number))
    }

    // The number in `<profile>-<number>-link`.
    fn number(&self, name: &str) -> Option<u64> {
        let digits = name
            .strip_prefix(&self.name)?
            .strip_prefix('-')?
            .strip_suffix("-link")?;
        let number = digits.parse().ok()?;
        // "+1" and "01" parse, too, but are no names that were made for a generation.
        (format!("{number}") == digits).then_some(number)
    }

    fn system(&self, link: &str) -> Result<StorePath, Damage> {
        let target = self.root.read_link(link).map_err(|source| Damage::Unreadable {
            path: link.to_owned(),
            source,
        })?;
        let parsed = StorePath::from_absolute(self.layout.store_dir(), &target.to_string_lossy());
        parsed.map_err(|why| Damage::BadLink {
            link: link.to_owned(),
            target: shown(&target),
            why,
        })
    }

    fn must_exist(&self, path: &str) -> Result<(), Damage> {
        match self.root.stat(path) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Damage::Missing {
                path: path.to_owned(),
            }),
            Err(source) => Err(Damage::Unreadable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, Damage> {
        self.root.read(path, limit).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Damage::Missing {
                path: path.to_owned(),
            },
            _ => Damage::Unreadable {
                path: path.to_owned(),
                source,
            },
        })
    }
}

// A damaged link may hold anything, and its target is shown on a console.
fn shown(target: &Path) -> String {
    target
        .to_string_lossy()
        .chars()
        .take(200)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
