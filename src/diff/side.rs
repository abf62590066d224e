//! What a system is called on the command line.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::boot::record::Record;
use crate::store::StorePath;
use crate::system::generation::{Damage, Generation, Profile, ProfileError};

/// A system to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its store path.
    pub system: String,
    /// Its newest generation, when it has one.
    pub generation: Option<u64>,
    /// The same as `system`.
    #[serde(skip)]
    pub path: StorePath,
}

/// A name leads to no system.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// The profile can't be read.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// There is no such generation.
    #[error("there is no generation {0}; `keel generations` lists them")]
    NoGeneration(u64),
    /// Its link is damaged.
    #[error("generation {0} can't be looked at: {1}")]
    Damaged(u64, Damage),
    /// A name that stands for what a machine runs or boots, where there is none.
    #[error("'{name}' leads to no system here ({why})")]
    NotHere {
        /// The name.
        name: String,
        /// Why not.
        why: String,
    },
    /// It is no name at all.
    #[error(
        "'{0}' is neither a generation's number, nor a system in the store, nor one of running, booted, default, newest"
    )]
    Unknown(String),
}

impl Side {
    /// What `name` means: a generation's number, a store path (or a link to one), `running`, `booted`, `default` (what
    /// boots when nobody chooses), `newest`.
    pub fn named(profile: &Profile, name: &str) -> Result<Self, SideError> {
        let generations = profile.generations()?;
        if let Ok(number) = name.parse() {
            return of_number(profile, &generations, number);
        }
        match name {
            "running" => Self::linked(profile, &generations, name, "/run/current-system"),
            "booted" => Self::linked(profile, &generations, name, "/run/booted-system"),
            "default" => match default_generation(profile, &generations)? {
                Some(number) => of_number(profile, &generations, number),
                None => Err(SideError::NotHere {
                    name: name.to_owned(),
                    why: "no generation was healthy yet, and the profile leads to none".to_owned(),
                }),
            },
            "newest" => match generations.last() {
                Some(newest) => of_number(profile, &generations, newest.number),
                None => Err(SideError::NotHere {
                    name: name.to_owned(),
                    why: "the profile has no generations".to_owned(),
                }),
            },
            _ => Self::of_path(profile, &generations, name),
        }
    }

    fn linked(
        profile: &Profile,
        generations: &[Generation],
        name: &str,
        link: &str,
    ) -> Result<Self, SideError> {
        let not_here = |why: String| SideError::NotHere {
            name: name.to_owned(),
            why,
        };
        let target = profile
            .root()
            .read_link(link)
            .map_err(|error| not_here(format!("{link}: {error}")))?;
        let path = StorePath::from_absolute(profile.layout().store_dir(), &target.to_string_lossy())
            .map_err(|error| not_here(error.to_string()))?;
        Ok(Self::of(profile, generations, path))
    }

    fn of_path(profile: &Profile, generations: &[Generation], name: &str) -> Result<Self, SideError> {
        // A link such as `result`; a logical path of a store elsewhere leads nowhere here, and means itself.
        let path = fs::canonicalize(name).unwrap_or_else(|_| PathBuf::from(name));
        let below = path.strip_prefix(profile.layout().root()).unwrap_or(&path);
        let logical = Path::new("/").join(below);
        let unknown = || SideError::Unknown(name.to_owned());
        if !name.contains('/') {
            return Err(unknown());
        }
        let path = StorePath::from_absolute(profile.layout().store_dir(), &logical.to_string_lossy())
            .map_err(|_| unknown())?;
        Ok(Self::of(profile, generations, path))
    }

    fn of(profile: &Profile, generations: &[Generation], path: StorePath) -> Self {
        Self {
            system: path.absolute(profile.layout().store_dir()),
            generation: newest_of(generations, &path),
            path,
        }
    }

    /// `generation 42`, or the store path of a system without one.
    pub fn name(&self) -> String {
        self.generation
            .map_or_else(|| self.system.clone(), |number| format!("generation {number}"))
    }
}

fn of_number(profile: &Profile, generations: &[Generation], number: u64) -> Result<Side, SideError> {
    let found = generations.iter().find(|generation| generation.number == number);
    let found = found.ok_or(SideError::NoGeneration(number))?;
    match &found.system {
        Ok(path) => Ok(Side {
            system: path.absolute(profile.layout().store_dir()),
            generation: Some(number),
            path: path.clone(),
        }),
        // Damage can't be cloned, and its text says all.
        Err(_) => Err(
            match profile
                .generations()?
                .into_iter()
                .find(|one| one.number == number)
            {
                Some(Generation {
                    system: Err(damage), ..
                }) => SideError::Damaged(number, damage),
                _ => SideError::NoGeneration(number),
            },
        ),
    }
}

/// The number of the newest generation that is this system.
pub fn newest_of(generations: &[Generation], system: &StorePath) -> Option<u64> {
    let mut newest_first = generations.iter().rev();
    newest_first
        .find(|generation| generation.system.as_ref().is_ok_and(|path| path == system))
        .map(|generation| generation.number)
}

/// The generation that boots when nobody chooses: the last one that booted and was healthy, else the profile's own.
pub fn default_generation(
    profile: &Profile,
    generations: &[Generation],
) -> Result<Option<u64>, ProfileError> {
    let (record, _) = Record::read(profile.layout().root());
    let good = record
        .last_good
        .and_then(|system| StorePath::from_absolute(profile.layout().store_dir(), &system).ok())
        .and_then(|system| newest_of(generations, &system));
    match good {
        Some(number) => Ok(Some(number)),
        None => profile.current(),
    }
}
