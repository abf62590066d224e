//! The generations of a profile: `<profile>-N-link` beside the link that leads to the current one.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest, ManifestError};
use crate::store::db::{Database, DbError};
use crate::store::locks::PathLock;
use crate::store::{Layout, StorePath, failpoint, files, indirect};
use crate::sys::open_in_root::RootDir;
use crate::system::generation::{self, Damage, ProfileError, SYSTEM_PROFILE};
use crate::system::profile::{self, SwitchError};

/// Why a profile can't be read or switched.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Its path names no file in a directory.
    #[error("'{0}' is no name of a profile: give a path such as /nix/var/nix/profiles/tools")]
    BadName(String),
    /// Its generations are systems.
    #[error(
        "{0} holds systems, not packages: `keel switch` and `keel rollback` change what the machine runs and boots"
    )]
    OfMachine(String),
    /// A file can't be read or written.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// The links can't be read.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A link can't be written.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// A link leads to nothing that is a generation.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The database can't be read.
    #[error(transparent)]
    Db(#[from] DbError),
    /// No generation has that number.
    #[error("{profile} has no generation {number}: `keel profile history` lists what there is")]
    NoGeneration {
        /// The profile.
        profile: String,
        /// The number asked for.
        number: u64,
    },
    /// Nothing is older than the current generation.
    #[error("{profile} has no generation before {current}: there is nothing to roll back to")]
    Oldest {
        /// The profile.
        profile: String,
        /// The current generation.
        current: u64,
    },
    /// There is no profile.
    #[error("{0} has no generation yet: `keel profile install` makes the first")]
    Empty(String),
    /// A generation's path is not in the store any more.
    #[error("generation {number} of {profile} leads to {path}, which is not a valid path of the store")]
    NotValid {
        /// The profile.
        profile: String,
        /// The generation.
        number: u64,
        /// Its path.
        path: StorePath,
    },
    /// A generation's manifest is none.
    #[error("{path}: {source}")]
    Manifest {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A generation that keel can't read.
    #[error(
        "{0} has no manifest.json: it was made by nix-env or is no profile; give another one with --profile, or change \
         this one with nix-env"
    )]
    NoManifest(String),
}

/// A generation.
#[derive(Debug)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// When its link was made, seconds since 1970.
    pub created: i64,
    /// The farm that it leads to, unless its link is damaged.
    pub path: Result<StorePath, Damage>,
}

/// The generations of one profile.
#[derive(Debug)]
pub struct History {
    profile: generation::Profile,
    store: RootDir,
    layout: Layout,
    link: PathBuf,
}

impl History {
    /// The profile whose current generation the link at `link` (a physical path) leads to, for the store of `layout`.
    pub fn open(layout: &Layout, link: &Path) -> Result<Self, HistoryError> {
        let bad = || HistoryError::BadName(link.display().to_string());
        let link = std::path::absolute(link).map_err(|_| bad())?;
        let name = link.file_name().and_then(|name| name.to_str()).ok_or_else(bad)?;
        let directory = link.parent().and_then(Path::to_str).ok_or_else(bad)?;
        if !profile::is_profile_name(name) {
            return Err(bad());
        }
        let below_root = layout.with_root("/");
        let store = RootDir::open(layout.root()).map_err(at(layout.root()))?;
        Ok(Self {
            profile: generation::Profile::open_in(below_root, directory.to_owned(), name)?,
            store,
            layout: layout.clone(),
            link,
        })
    }

    /// The link that leads to the current generation.
    pub fn link(&self) -> &Path {
        &self.link
    }

    /// Where its store lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Takes the lock that every change needs, `<profile>.lock`; makes the profile's directory. `waiting` is told when
    /// somebody else holds it. Refused for a profile of systems: what boots would change without its menu.
    pub fn lock(&self, waiting: &mut dyn FnMut(&Path)) -> Result<PathLock, HistoryError> {
        let is_system = |one: &Generation| {
            let path = one
                .path
                .as_ref()
                .map(|path| path.absolute(self.layout.store_dir()));
            path.is_ok_and(|path| self.exists(&format!("{path}/boot.json")))
        };
        let system = self
            .layout
            .physical(&self.layout.profiles_dir())
            .join(SYSTEM_PROFILE);
        if self.link == system || self.generations()?.iter().any(is_system) {
            return Err(HistoryError::OfMachine(self.shown()));
        }
        if let Some(directory) = self.link.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(at(directory))?;
        }
        PathLock::take(&self.link, waiting).map_err(at(&self.link))
    }

    /// All generations, the oldest first. A profile that doesn't exist has none.
    pub fn generations(&self) -> Result<Vec<Generation>, HistoryError> {
        let all = self.profile.generations()?.into_iter();
        Ok(all
            .map(|found| Generation {
                number: found.number,
                created: found.created,
                path: found.system,
            })
            .collect())
    }

    /// The number of the current generation, if there is a profile.
    pub fn current(&self) -> Result<Option<u64>, HistoryError> {
        Ok(self.profile.current()?)
    }

    /// The number of the current generation.
    pub fn must_have_current(&self) -> Result<u64, HistoryError> {
        self.current()?.ok_or_else(|| HistoryError::Empty(self.shown()))
    }

    /// The generation `number`.
    pub fn generation(&self, number: u64) -> Result<Generation, HistoryError> {
        let found = self.generations()?.into_iter().find(|one| one.number == number);
        found.ok_or_else(|| HistoryError::NoGeneration {
            profile: self.shown(),
            number,
        })
    }

    /// The generation before the current one.
    pub fn before_current(&self) -> Result<u64, HistoryError> {
        let current = self.must_have_current()?;
        let older = self.generations()?.into_iter().map(|one| one.number);
        older
            .filter(|number| *number < current)
            .max()
            .ok_or_else(|| HistoryError::Oldest {
                profile: self.shown(),
                current,
            })
    }

    /// What the generation `number` consists of.
    pub fn manifest(&self, number: u64) -> Result<Manifest, HistoryError> {
        self.manifest_of(&self.generation(number)?.path?)
    }

    /// What the farm `path` consists of.
    pub fn manifest_of(&self, path: &StorePath) -> Result<Manifest, HistoryError> {
        let farm = path.absolute(self.layout.store_dir());
        let file = format!("{farm}/{}", manifest::FILE_NAME);
        match self.store.read(&file, manifest::SIZE_MAX) {
            Ok(bytes) => Manifest::parse(self.layout.store_dir(), &bytes)
                .map_err(|source| HistoryError::Manifest { path: file, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.exists(&farm) => {
                Err(HistoryError::NoManifest(farm))
            }
            Err(error) => Err(HistoryError::File(file, error)),
        }
    }

    /// What is installed: nothing when there is no profile.
    pub fn current_manifest(&self) -> Result<Manifest, HistoryError> {
        match self.current()? {
            Some(number) => self.manifest(number),
            None => Ok(Manifest::default()),
        }
    }

    /// Makes `farm` the newest generation and the current one. The lock must be held, and the collector kept out.
    pub fn add(&self, farm: &StorePath, lock: &PathLock) -> Result<(u64, bool), HistoryError> {
        let all = self.generations()?;
        let newest = all.last();
        // Nothing new is made when the newest is the same.
        if !newest.is_some_and(|one| one.path.as_ref().is_ok_and(|path| path == farm)) {
            let last = newest.map_or(0, |one| one.number);
            let current = self.current().unwrap_or(None).unwrap_or(0);
            // The root comes first: one that leads nowhere is harmless, a generation without one is collected.
            self.root(last.max(current).saturating_add(1))?;
        }
        failpoint("before-generation");
        let added = profile::add_generation(&self.profile, farm, true, lock)?;
        failpoint("after-profile");
        Ok(added)
    }

    /// Makes the generation `number` the current one.
    pub fn switch(&self, number: u64, _lock: &PathLock) -> Result<StorePath, HistoryError> {
        let path = self.generation(number)?.path?;
        let database = self.layout.physical(&self.layout.database_dir());
        let valid = Database::open(&database, self.layout.store_dir())?.is_valid(&path)?;
        if !valid || !self.exists(&path.absolute(self.layout.store_dir())) {
            return Err(HistoryError::NotValid {
                profile: self.shown(),
                number,
                path,
            });
        }
        failpoint("before-profile");
        profile::set_current(&self.profile, number)?;
        failpoint("after-profile");
        Ok(path)
    }

    /// Forgets generations: their links go, and the next collection takes what nothing else needs. Never the current one.
    pub fn forget(&self, numbers: &[u64], _lock: &PathLock) -> Result<(), HistoryError> {
        let current = self.current()?;
        for number in numbers.iter().filter(|number| Some(**number) != current) {
            let link = self.generation_link(*number);
            files::remove_file_if_there(&link).map_err(at(&link))?;
            failpoint("between-generations");
            let root = indirect::root_of(&self.layout, &link);
            files::remove_file_if_there(&root).map_err(at(&root))?;
        }
        Ok(())
    }

    fn generation_link(&self, number: u64) -> PathBuf {
        self.link.with_file_name(self.profile.link_name(number))
    }

    // Profiles outside the store's own directory of profiles are found by the collector through a link to them.
    fn root(&self, number: u64) -> Result<(), HistoryError> {
        let link = self.generation_link(number);
        if link.starts_with(self.layout.physical(&self.layout.profiles_dir())) {
            return Ok(());
        }
        let root = indirect::root_of(&self.layout, &link);
        if let Some(directory) = root.parent() {
            std::fs::create_dir_all(directory).map_err(at(directory))?;
        }
        files::link_atomically(&link, &root).map_err(at(&root))
    }

    fn exists(&self, path: &str) -> bool {
        matches!(self.store.stat(path), Ok(Some(_)))
    }

    fn shown(&self) -> String {
        self.link.display().to_string()
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> HistoryError {
    let path = path.display().to_string();
    move |error| HistoryError::File(path, error)
}
