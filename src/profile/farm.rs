//! The trees of packages merged into one farm of links, as Nix's `builtin:buildenv` does it: a directory that one
//! package alone brings is one link; one that several bring is a real directory, whose entries are merged in turn.
//!
//! Semantics: Nix's manual, `nix-env`, "Profiles" and "priority"; compared with `builtin:buildenv` in the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::StorePath;
use crate::store::tree::DEPTH_MAX;

/// More entries are refused. Links in a circle within packages can name any number of them.
const ENTRIES_MAX: usize = 2_000_000;
/// The priority of the first package that only comes along with another one; each further one gets the next.
const PROPAGATED_FIRST: i64 = 1000;
/// Where a package lists what is to be installed with it.
const PROPAGATED: &str = "nix-support/propagated-user-env-packages";

/// What a name in a package leads to, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
    /// Nothing: a link to what isn't there.
    Dangling,
}

/// Looks into packages. All names are absolute, as links of the store hold them.
pub trait Trees {
    /// The entries of a directory, links to it followed; nothing when it is no directory.
    fn list(&self, directory: &Path) -> io::Result<Option<Vec<(OsString, Kind)>>>;
    /// The same place, named without any link.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;
    /// The text of a small file; nothing when there is none.
    fn text(&self, path: &Path) -> io::Result<Option<String>>;
    /// The directory of the store.
    fn store_dir(&self) -> &str;
}

/// A package to be linked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// The lower one's files win.
    pub priority: i64,
    /// Its tree.
    pub path: StorePath,
}

/// What brings a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The package.
    pub package: Package,
    /// The one that wants it to be installed, unless it was asked for by itself.
    pub wanted_by: Option<StorePath>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.package.path.name())?;
        match &self.wanted_by {
            Some(by) => write!(f, " (which {} brings along)", by.name()),
            None => Ok(()),
        }
    }
}

/// Why packages can't be merged.
#[derive(Debug, thiserror::Error)]
pub enum FarmError {
    /// Two packages of the same priority bring the same name.
    #[error(
        "{} and {} both bring '{}' with priority {}: {} and {}; remove one of them, or install one with another \
         --priority (the lower number wins)",
        .0.first, .0.second, .0.place.display(), .0.second.package.priority, .0.first_file.display(), .0.second_file.display()
    )]
    Collision(Box<Collision>),
    /// A package can't be read.
    #[error("{0}: {1}")]
    Read(String, #[source] io::Error),
    /// What comes along with a package isn't in the store.
    #[error("{0} isn't in the store: copy or build {1} first")]
    Absent(Owner, StorePath),
    /// Links lead in a circle, or it is no package at all.
    #[error(
        "{0} brings more than {ENTRIES_MAX} files or {DEPTH_MAX} directories in each other: do its links lead in a circle?"
    )]
    TooLarge(Owner),
    /// A package wants something installed that is no store path.
    #[error("{package} wants '{wanted}' to be installed with it, which is no store path: {source}")]
    BadPropagated {
        /// The package.
        package: StorePath,
        /// What it wants.
        wanted: String,
        /// What is wrong with it.
        source: crate::store::path::PathError,
    },
}

/// Two files under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The name in the farm.
    pub place: PathBuf,
    /// Who was there.
    pub first: Owner,
    /// With which file.
    pub first_file: PathBuf,
    /// Who came later.
    pub second: Owner,
    /// With which file.
    pub second_file: PathBuf,
}

/// A name of the farm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A link to a file, or to a directory that one package alone brings.
    Link(Link),
    /// A directory that several bring, and the first of them.
    Directory(Owner, PathBuf, Places),
}

/// A link of the farm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who brings it.
    pub owner: Owner,
    /// Where it leads.
    pub target: PathBuf,
    is_directory: bool,
}

/// A directory of the farm.
pub type Places = BTreeMap<OsString, Place>;

/// The farm, and what was left out of it.
#[derive(Clone, Debug, Default)]
pub struct Farm {
    /// Its top.
    pub places: Places,
    /// Everything that is linked, in the order of its linking; those that only come along included.
    pub owners: Vec<Owner>,
    /// Each a sentence: packages that are no directories, links that lead nowhere.
    pub left_out: Vec<String>,
}

impl Farm {
    /// Merges `packages`. The result doesn't depend on their order.
    pub fn merge(packages: &[Package], trees: &dyn Trees) -> Result<Self, FarmError> {
        let mut merge = Merge {
            trees,
            farm: Self::default(),
            entries: 0,
        };
        let sorted: BTreeSet<&Package> = packages.iter().collect();
        let mut done = BTreeSet::new();
        let mut wanted = BTreeMap::new();
        for package in sorted {
            if done.insert(package.path.clone()) {
                let owner = Owner {
                    package: package.clone(),
                    wanted_by: None,
                };
                merge.add(owner, &mut wanted)?;
            }
        }
        // What only comes along never wins against what was asked for.
        let mut priorities = PROPAGATED_FIRST..;
        while !wanted.is_empty() {
            for (path, by) in std::mem::take(&mut wanted) {
                if done.insert(path.clone()) {
                    let priority = priorities.next().unwrap_or(i64::MAX);
                    let owner = Owner {
                        package: Package { priority, path },
                        wanted_by: Some(by),
                    };
                    merge.add(owner, &mut wanted)?;
                }
            }
        }
        Ok(merge.farm)
    }

    /// Calls `visit` for each name, relative to the farm, directories before what lies in them.
    pub fn walk(&self, visit: &mut dyn FnMut(PathBuf, &Place)) {
        walk(Path::new(""), &self.places, visit);
    }
}

fn walk(above: &Path, places: &Places, visit: &mut dyn FnMut(PathBuf, &Place)) {
    for (name, place) in places {
        let path = above.join(name);
        visit(path.clone(), place);
        if let Place::Directory(_, _, below) = place {
            walk(&path, below, visit);
        }
    }
}

struct Merge<'a> {
    trees: &'a dyn Trees,
    farm: Farm,
    entries: usize,
}

/// A directory of a package, and the place in the farm that it is merged into.
struct Source<'a> {
    directory: &'a Path,
    owner: &'a Owner,
    place: &'a Path,
    depth: usize,
}

impl Merge<'_> {
    fn add(&mut self, owner: Owner, wanted: &mut BTreeMap<StorePath, StorePath>) -> Result<(), FarmError> {
        let directory = PathBuf::from(owner.package.path.absolute(self.trees.store_dir()));
        let source = Source {
            directory: &directory,
            owner: &owner,
            place: Path::new(""),
            depth: 0,
        };
        let mut places = std::mem::take(&mut self.farm.places);
        let merged = self.directory(&mut places, &source);
        self.farm.places = places;
        merged?;

        let list = directory.join(PROPAGATED);
        let text = self.trees.text(&list).map_err(at(&list))?.unwrap_or_default();
        for word in text.split([' ', '\n']).filter(|word| !word.is_empty()) {
            let path = StorePath::from_absolute(self.trees.store_dir(), word).map_err(|source| {
                FarmError::BadPropagated {
                    package: owner.package.path.clone(),
                    wanted: word.chars().take(200).collect(),
                    source,
                }
            })?;
            // The first that wants it is named.
            let _by = wanted.entry(path).or_insert_with(|| owner.package.path.clone());
        }
        self.farm.owners.push(owner);
        Ok(())
    }

    fn directory(&mut self, places: &mut Places, source: &Source<'_>) -> Result<(), FarmError> {
        let listed = match self.trees.list(source.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && source.depth == 0 => {
                let owner = source.owner.clone();
                return Err(FarmError::Absent(owner, source.owner.package.path.clone()));
            }
            other => other.map_err(at(source.directory))?,
        };
        let Some(mut listed) = listed else {
            self.leave_out(source.directory, "it is no directory");
            return Ok(());
        };
        listed.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.entries = self.entries.saturating_add(listed.len());
        if self.entries > ENTRIES_MAX || source.depth > DEPTH_MAX {
            return Err(FarmError::TooLarge(source.owner.clone()));
        }
        for (name, kind) in listed {
            let file = source.directory.join(&name);
            if kind == Kind::Dangling {
                self.leave_out(&file, "it leads nowhere");
            } else if !is_private(source.directory, &name) {
                self.entry(places, &name, (file, kind == Kind::Directory), source)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        places: &mut Places,
        name: &OsStr,
        (file, is_directory): (PathBuf, bool),
        source: &Source<'_>,
    ) -> Result<(), FarmError> {
        let owner = source.owner;
        let Some(there) = places.get_mut(name) else {
            let link = Link {
                owner: owner.clone(),
                target: file,
                is_directory,
            };
            let _none = places.insert(name.to_owned(), Place::Link(link));
            return Ok(());
        };
        let (first, first_file, first_is_directory) = match there {
            Place::Link(link) => (&link.owner, &link.target, link.is_directory),
            Place::Directory(owner, file, _) => (&*owner, &*file, true),
        };
        let place = source.place.join(name);
        if !(is_directory && first_is_directory) {
            // Packages come in the order of their priorities: what is there is never worse.
            if first.package.priority < owner.package.priority {
                return Ok(());
            }
            return Err(FarmError::Collision(Box::new(Collision {
                place,
                first: first.clone(),
                first_file: first_file.clone(),
                second: owner.clone(),
                second_file: file,
            })));
        }
        let depth = source.depth + 1;
        if let Place::Link(link) = there {
            // Two bring it: it becomes a directory of links, the first one's entries before all.
            let (first, target) = (link.owner.clone(), link.target.clone());
            let resolved = self.trees.resolve(&target).map_err(at(&target))?;
            let own = Source {
                directory: &resolved,
                owner: &first,
                place: &place,
                depth,
            };
            let mut below = Places::new();
            self.directory(&mut below, &own)?;
            *there = Place::Directory(first, target, below);
        }
        if let Place::Directory(_, _, below) = there {
            let own = Source {
                directory: &file,
                owner,
                place: &place,
                depth,
            };
            self.directory(below, &own)?;
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        self.farm
            .left_out
            .push(format!("{} isn't linked: {why}", path.display()));
    }
}

/// Names that never reach a farm: hidden ones, those that only builds use, those that every package of a kind brings, and
/// the farm's own manifests.
fn is_private(directory: &Path, name: &OsStr) -> bool {
    const NAMES: [&str; 6] = [
        "propagated-build-inputs",
        "nix-support",
        "perllocal.pod",
        "log",
        "manifest.nix",
        "manifest.json",
    ];
    name.as_encoded_bytes().starts_with(b".")
        || NAMES.iter().any(|private| name == *private)
        || (name == "dir" && directory.ends_with("info"))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FarmError {
    let path = path.display().to_string();
    move |error| FarmError::Read(path, error)
}

#[cfg(test)]
#[path = "farm_tests.rs"]
mod tests;
