//! `keel update`: a configuration becomes a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use sha2::{Digest, Sha256};

use super::apt::{Apt, AptError, cat_file};
use super::deb822::{paragraphs, signed_text};
use super::index::{Index, Listed};
use super::layering::layered;
use super::lock::{Lock, LockError, Pin, Request, VERSION};
use super::missing::{Missing, missing};
use super::origin::{self, Origin, OriginError};
use super::required::{PackageRequest, required};
use super::resolve::{Resolve, ResolveError};
use super::sources::Source;
use super::{mirror, programs};
use crate::config::Config;
use crate::store::lock::{self, Access};
use crate::store::path::hex;
use crate::store::{AddError, Layout, files};
use crate::system::own::{OwnError, Programs};

/// Where this machine's apt keeps its indexes.
const MACHINE_LISTS: &str = "/var/lib/apt/lists";
/// What the packages of the lock were, in the private root.
const REMEMBERED: &str = "locked";

/// Why there is no new lock. The old one stays.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Packages that no source has.
    #[error("{suite} doesn't have {}", .missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Missing {
        /// The suite.
        suite: String,
        /// All of them.
        missing: Vec<Missing>,
    },
    /// A name that was to be updated alone isn't a part of this machine.
    #[error("{} {} no part of this machine: name it in [packages] install first", .0.join(", "), if .0.len() == 1 { "is" } else { "are" })]
    NotPart(Vec<String>),
    /// Only some packages are to be updated, and there's no lock yet.
    #[error("there is no lock yet: the first `keel update` takes no names")]
    NoLock,
    /// The suite changed, and only some packages are to be updated.
    #[error(
        "the lock is of {old}, the configuration of {new}: `keel update` without names moves all packages"
    )]
    OtherSuite {
        /// That of the lock.
        old: String,
        /// That of the configuration.
        new: String,
    },
    /// No sources.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// apt.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// No way to install it.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// keel's own programs.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// The store.
    #[error(transparent)]
    Add(#[from] AddError),
    /// A file of keel's own.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What an update works on.
#[derive(Clone, Copy)]
pub struct Update<'a> {
    /// The store.
    pub layout: &'a Layout,
    /// The machine.
    pub config: &'a Config,
    /// The lock that there is.
    pub old: Option<&'a Lock>,
    /// Names of packages that alone are updated; all when empty.
    pub only: &'a [String],
    /// Whether the indexes that are here are taken as they are.
    pub offline: bool,
    /// keel's own programs.
    pub programs: Programs<'a>,
    /// The name of the root that keeps those.
    pub root: &'a str,
}

/// Indexes of a configuration's sources, read.
pub struct Indexes {
    apt: Apt,
    lists: Vec<Listed>,
    mirrors: Vec<String>,
    // apt's questions are written into the private root: one process at a time.
    _held: Flock<File>,
}

impl Indexes {
    /// What they say.
    pub fn lists(&self) -> &[Listed] {
        &self.lists
    }
}

/// Whether the indexes that are here will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// They are fetched anew.
    Fetch,
    /// They are taken when they're here, and fetched otherwise.
    WhenMissing,
    /// They have to be here.
    Offline,
}

/// Reads the indexes of the sources that `config` means. `waiting` is told when another process is at them.
///
/// # Errors
/// When they can't be had.
pub fn indexes(
    layout: &Layout,
    config: &Config,
    locked: &[String],
    freshness: Freshness,
    waiting: &mut dyn FnMut(&Path),
) -> Result<Indexes, UpdateError> {
    let packages = &config.packages;
    let named = origin::mirrors_of(packages, locked);
    let further = origin::further(packages)?;
    let mut asked = Sha256::new();
    for text in named
        .iter()
        .chain(&origin::pockets(packages))
        .chain(&packages.components)
        .chain(&packages.sources)
    {
        asked.update(text.as_bytes());
        asked.update(b"\n");
    }
    let name: String = hex(&asked.finalize()).chars().take(16).collect();
    let directory = layout.physical(&format!("{}/apt/{name}", layout.keel_dir()));
    std::fs::create_dir_all(&directory).map_err(at(&directory))?;
    let place = directory.join("lock");
    let held = lock::take(&place, Access::Exclusive, waiting).map_err(at(&place))?;

    let known = known(&directory, &further);
    let origin = match (&known, freshness) {
        (Some(origin), Freshness::WhenMissing | Freshness::Offline) => origin.clone(),
        (None, Freshness::Offline) => return Err(AptError::NoIndexes(packages.suite.clone()).into()),
        _ => origin::find(packages, &named)?,
    };
    let apt = Apt::prepare(&directory, origin.sources.clone(), origin.mirrors)?;
    let lists = match freshness {
        Freshness::Offline => apt.lists()?,
        Freshness::WhenMissing => apt.lists().or_else(|_| apt.update().and_then(|()| apt.lists()))?,
        Freshness::Fetch => apt.update().and_then(|()| apt.lists())?,
    };
    let mut mirrors: Vec<String> = Vec::new();
    for source in origin.sources.iter().take(origin.mirrors) {
        let uri = mirror::normal(&source.uri);
        if !mirrors.contains(&uri) {
            mirrors.push(uri);
        }
    }
    Ok(Indexes {
        apt,
        lists,
        mirrors,
        _held: held,
    })
}

/// The sources that an earlier command found.
fn known(directory: &Path, further: &[Source]) -> Option<Origin> {
    let text = std::fs::read_to_string(directory.join("sources.list")).ok()?;
    let sources: Vec<Source> = text.lines().filter_map(Source::from_line).collect();
    // Those of the configuration come last.
    let mirrors = sources.len().checked_sub(further.len())?;
    Some(Origin { sources, mirrors })
}

/// Resolves the configuration, and returns the new lock: the old one when nothing changed. `waiting` is told of locks that others
/// hold.
///
/// # Errors
/// See [`UpdateError`].
pub fn update(update: &Update<'_>, waiting: &mut dyn FnMut(&Path)) -> Result<Lock, UpdateError> {
    let config = update.config;
    let requests = required(config);
    let none = Lock::default();
    let old = update.old.unwrap_or(&none);
    check_names(update, &requests)?;
    let freshness = if update.offline {
        Freshness::Offline
    } else {
        Freshness::Fetch
    };
    let indexes = indexes(update.layout, config, &old.mirrors, freshness, waiting)?;
    let index = Index::new(&indexes.lists);
    let elsewhere = |name: &str| elsewhere(update.layout, &config.packages.suite, name);
    let missing = missing(&requests, &index, &elsewhere);
    if !missing.is_empty() {
        return Err(UpdateError::Missing {
            suite: config.packages.suite.clone(),
            missing,
        });
    }
    let remembered = remembered(update.layout);
    let resolve = Resolve {
        apt: &indexes.apt,
        index: &index,
        remembered: &remembered,
        requests: &requests,
        recommends: config.packages.recommends,
    };
    let resolved = if update.only.is_empty() {
        resolve.all()?
    } else {
        resolve.some(&old.packages, update.only)?
    };
    let packages = layered(&old.packages, resolved);
    remember(update.layout, &index, &remembered, &packages)?;
    let programs = programs::add(update.layout, &update.programs, update.root, waiting)?;
    let mut lock = Lock {
        version: VERSION,
        request: request(config, &requests),
        programs,
        mirrors: indexes.mirrors,
        ids: old.ids.clone(),
        packages,
    };
    // The date alone is no reason for another lock, nor for other images.
    lock.request.date = if lock.packages == old.packages && old.request.date > 0 {
        old.request.date
    } else {
        indexes.apt.date()?.max(old.request.date)
    };
    // One mirror is as good as another for packages that are the same.
    if lock.packages == old.packages && config.packages.mirrors.is_empty() && !old.mirrors.is_empty() {
        lock.mirrors.clone_from(&old.mirrors);
    }
    Ok(lock)
}

fn check_names(update: &Update<'_>, requests: &[PackageRequest]) -> Result<(), UpdateError> {
    if update.only.is_empty() {
        return Ok(());
    }
    let old = update.old.ok_or(UpdateError::NoLock)?;
    let suite = &update.config.packages.suite;
    if old.request.suite != *suite {
        return Err(UpdateError::OtherSuite {
            old: old.request.suite.clone(),
            new: suite.clone(),
        });
    }
    let unknown: Vec<String> = update
        .only
        .iter()
        .filter(|name| old.pin(name).is_none() && !requests.iter().any(|request| request.name == **name))
        .cloned()
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(UpdateError::NotPart(unknown))
    }
}

/// What a lock has to be made for.
fn request(config: &Config, requests: &[PackageRequest]) -> Request {
    Request {
        suite: config.packages.suite.clone(),
        components: config.packages.components.clone(),
        no_updates: !config.packages.updates,
        no_security: !config.packages.security,
        sources: config.packages.sources.clone(),
        install: requests.iter().map(|request| request.name.clone()).collect(),
        recommends: config.packages.recommends,
        date: 0,
    }
}

/// Why `lock` isn't of `config`; nothing when it is.
pub fn stale(config: &Config, lock: &Lock) -> Option<String> {
    let mut asked = request(config, &required(config));
    asked.date = lock.request.date;
    let was = &lock.request;
    if asked == *was {
        return None;
    }
    if asked.suite != was.suite {
        return Some(format!("it's of {}, not of {}", was.suite, asked.suite));
    }
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let (now, before) = (set(&asked.install), set(&was.install));
    let list = |names: std::collections::btree_set::Difference<'_, String>| {
        names.cloned().collect::<Vec<_>>().join(", ")
    };
    let added = list(now.difference(&before));
    let removed = list(before.difference(&now));
    let mut words = Vec::new();
    if !added.is_empty() {
        words.push(format!("it lacks {added}"));
    }
    if !removed.is_empty() {
        words.push(format!("{removed} isn't asked for any more"));
    }
    if words.is_empty() {
        words.push("the components, sources, updates or recommendations changed".to_owned());
    }
    Some(words.join("; "))
}

/// The paragraphs of the old lock's packages, which a mirror forgets when it has newer ones.
fn remembered(layout: &Layout) -> Vec<Listed> {
    let path = layout.physical(&format!("{}/apt/{REMEMBERED}", layout.keel_dir()));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    vec![Listed {
        uri: String::new(),
        suite: String::new(),
        is_mirror: true,
        text,
    }]
}

fn remember(layout: &Layout, index: &Index<'_>, before: &[Listed], pins: &[Pin]) -> Result<(), UpdateError> {
    let mut old: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for paragraph in before.iter().flat_map(|listed| paragraphs(&listed.text)) {
        if let (Some(name), Some(version)) = (paragraph.get("Package"), paragraph.get("Version")) {
            let _same = old.insert((name, version), paragraph.text());
        }
    }
    let mut text = String::new();
    for pin in pins {
        let found = index
            .exactly(&pin.name, &pin.version, &pin.architecture)
            .map(|package| package.paragraph.text())
            .or_else(|| old.get(&(pin.name.as_str(), pin.version.as_str())).copied());
        if let Some(found) = found {
            text.push_str(found.trim_end());
            text.push_str("\n\n");
        }
    }
    let path = layout.physical(&format!("{}/apt/{REMEMBERED}", layout.keel_dir()));
    files::write_atomically(&path, text.as_bytes(), 0o644).map_err(at(&path))
}

/// Suites that have a package, by the indexes that lie on this machine: its own apt's, and those of other configurations.
fn elsewhere(layout: &Layout, suite: &str, name: &str) -> Vec<String> {
    let own = layout.physical(&format!("{}/apt", layout.keel_dir()));
    let mut directories = vec![PathBuf::from(MACHINE_LISTS)];
    for entry in std::fs::read_dir(own).into_iter().flatten().flatten() {
        directories.push(entry.path().join("lists"));
    }
    let line = format!("Package: {name}\n");
    let mut suites = BTreeSet::new();
    for directory in directories {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some((stem, _)) = file
                .split_once("_binary-")
                .filter(|(_, rest)| rest.contains("_Packages"))
            else {
                continue;
            };
            // HOST_dists_SUITE_COMPONENT: the release file lies beside it.
            let release = stem.rsplit_once('_').map_or(stem, |(release, _)| release);
            let Some(code_name) = code_name(&directory.join(format!("{release}_InRelease"))) else {
                continue;
            };
            let of_base = code_name.split('-').next().unwrap_or_default().to_owned();
            if of_base == suite || suites.contains(&of_base) {
                continue;
            }
            if cat_file(&entry.path())
                .is_some_and(|text| text.starts_with(&line) || text.contains(&format!("\n{line}")))
            {
                let _new = suites.insert(of_base);
            }
        }
    }
    suites.into_iter().collect()
}

fn code_name(release: &Path) -> Option<String> {
    let text = std::fs::read_to_string(release).ok()?;
    let text = signed_text(&text);
    let release = paragraphs(&text).next()?;
    release.get("Codename").map(str::to_owned)
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> UpdateError {
    let path = path.to_owned();
    move |source| UpdateError::File { path, source }
}
