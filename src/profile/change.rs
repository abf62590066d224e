//! A change of a profile: manifest, merged farm, store path, generation, in this order. Killed at any moment the profile
//! leads to the old or the new generation.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::edit::EditError;
use super::farm::{Farm, FarmError, Package, Place};
use super::history::{History, HistoryError};
use super::manifest::{self, Manifest};
use super::trees::StoreTrees;
use crate::store::db::{Database, DbError};
use crate::store::{AddError, Addition, Layout, SmallDirectory, StorePath};

/// The name of every generation's store path, as `nix profile` gives it.
const NAME: &str = "profile";

/// Why a profile can't be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It can't be read or switched.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It doesn't hold what the change is about.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The packages can't be merged.
    #[error(transparent)]
    Farm(#[from] FarmError),
    /// The farm can't be added to the store.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The database can't be read.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The store can't be looked into.
    #[error("{0}: {1}")]
    Store(String, #[source] io::Error),
    /// A package isn't registered.
    #[error("{path} is not a valid path of the store in {store}: copy or build it first{}", by(.wanted_by.as_ref()))]
    NotValid {
        /// The package.
        path: StorePath,
        /// The store's directory.
        store: String,
        /// The package that wants it installed.
        wanted_by: Option<StorePath>,
    },
    /// A path that a package needs is registered, but gone.
    #[error(
        "{package} needs {missing}, which is registered but isn't there: `keel store repair` can bring it back"
    )]
    Missing {
        /// The package.
        package: StorePath,
        /// What isn't there.
        missing: StorePath,
    },
}

fn by(wanted_by: Option<&StorePath>) -> String {
    wanted_by.map_or_else(String::new, |by| {
        format!(" ({by} wants it to be installed with it)")
    })
}

/// What was changed.
#[derive(Debug)]
pub struct Changed {
    /// The number of the generation that is now the current one.
    pub generation: u64,
    /// Its farm.
    pub path: StorePath,
    /// The generation that was the current one.
    pub replaced: Option<u64>,
    /// What was installed before.
    pub before: Manifest,
    /// What is installed now.
    pub after: Manifest,
    /// What of the packages couldn't be linked: each a sentence.
    pub left_out: Vec<String>,
}

/// Changes what `history`'s profile consists of: `edit` is given the current manifest, under the lock. Nothing is made
/// when it changes nothing. `waiting` is told which lock another process holds.
pub fn change(
    history: &History,
    edit: &mut dyn FnMut(&mut Manifest) -> Result<(), EditError>,
    waiting: &mut dyn FnMut(&Path),
) -> Result<Option<Changed>, ChangeError> {
    let layout = history.layout();
    let lock = history.lock(waiting)?;
    let replaced = history.current()?;
    let before = match replaced {
        Some(number) => history.manifest(number)?,
        None => Manifest::default(),
    };
    let mut after = before.clone();
    edit(&mut after)?;
    if after == before {
        return Ok(None);
    }
    // From here to the generation no collection runs: what is looked at stays.
    let mut addition = Addition::begin(layout, waiting)?;
    let mut closure = Closure::open(layout)?;
    for element in &after.elements {
        for path in element.paths() {
            closure.add(path, None)?;
        }
    }
    let store = |error| ChangeError::Store(layout.root().display().to_string(), error);
    let trees = StoreTrees::open(layout).map_err(store)?;
    let farm = Farm::merge(&packages(&after), &trees)?;
    for owner in &farm.owners {
        closure.add(&owner.package.path, owner.wanted_by.as_ref())?;
    }
    let content = content(&farm, after.to_json(layout.store_dir()));
    let candidates: Vec<StorePath> = closure.seen.into_iter().collect();
    let path = addition.add_referring(NAME, &candidates, &|_| content.clone())?;
    addition.commit()?;
    let (generation, _) = history.add(&path, &lock)?;
    Ok(Some(Changed {
        generation,
        path,
        replaced,
        before,
        after,
        left_out: farm.left_out,
    }))
}

fn packages(manifest: &Manifest) -> Vec<Package> {
    let active = manifest.elements.iter().filter(|element| element.active);
    active
        .flat_map(|element| {
            element.paths().iter().map(|path| Package {
                priority: element.priority,
                path: path.clone(),
            })
        })
        .collect()
}

fn content(farm: &Farm, manifest: Vec<u8>) -> SmallDirectory {
    let mut content = SmallDirectory::default();
    let _new = content.files.insert(manifest::FILE_NAME.into(), manifest);
    farm.walk(&mut |name, place| {
        let _new = match place {
            Place::Link(link) => content.links.insert(name, link.target.clone()).is_none(),
            Place::Directory(..) => content.directories.insert(name),
        };
    });
    content
}

/// What packages need, looked up once each.
struct Closure<'a> {
    layout: &'a Layout,
    database: Database,
    seen: BTreeSet<StorePath>,
}

impl<'a> Closure<'a> {
    fn open(layout: &'a Layout) -> Result<Self, ChangeError> {
        Ok(Self {
            layout,
            database: Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?,
            seen: BTreeSet::new(),
        })
    }

    /// Checks that `package` and all that it needs is valid, and there.
    fn add(&mut self, package: &StorePath, wanted_by: Option<&StorePath>) -> Result<(), ChangeError> {
        if !self.seen.contains(package) && !self.database.is_valid(package)? {
            return Err(ChangeError::NotValid {
                path: package.clone(),
                store: self.layout.store_dir().to_owned(),
                wanted_by: wanted_by.cloned(),
            });
        }
        let mut open = vec![package.clone()];
        while let Some(path) = open.pop() {
            if self.seen.contains(&path) {
                continue;
            }
            if self.layout.physical_path(&path).symlink_metadata().is_err() {
                return Err(ChangeError::Missing {
                    package: package.clone(),
                    missing: path,
                });
            }
            // A path that refers to others is only registered while they are.
            open.extend(self.database.references(&path)?);
            let _new = self.seen.insert(path);
        }
        Ok(())
    }
}
