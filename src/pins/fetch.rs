//! The `.deb`s of a lock come into the store: each a path whose name follows from its hash, so that it doesn't matter where the
//! bytes come from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::download::{Download, DownloadError};
use super::lock::{Lock, Pin};
use super::mirror::{Mirror, MirrorError};
use crate::store::cache::copy::{self, CopyError, Progress};
use crate::store::cache::{Cache, Trust};
use crate::store::content::Method;
use crate::store::db::{Database, DbError, PathInfo};
use crate::store::derivation::Algorithm;
use crate::store::lock::{self, Access};
use crate::store::locks::TempRoots;
use crate::store::nar::NarHash;
use crate::store::path::PathError;
use crate::store::{AddError, Addition, Layout, Prepared, StorePath, files};
use crate::system::own::OwnError;

/// How a `.deb` is addressed: by the hash that Debian's indexes have.
pub const METHOD: Method = Method {
    algorithm: Algorithm::Sha256,
    flat: true,
};
/// Where apt keeps what it downloaded.
pub const APT_ARCHIVES: &str = "/var/cache/apt/archives";
/// Downloads at once, when nobody says how many.
pub const JOBS: usize = 4;

/// Why packages didn't come. What came until then stays, and need not come again.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No source has some of them as the lock names them.
    #[error("{} of {all} packages can't be fetched: {}", failed.len(), shown(failed))]
    Failed {
        /// Which ones, and why.
        failed: Vec<(String, String)>,
        /// How many there were to fetch.
        all: usize,
    },
    /// A mirror that nothing can be fetched from.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// A file of keel's own.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store can't take them.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The store's database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A name that the store doesn't allow.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A hash that is none.
    #[error("the lock's hash of {0} is none")]
    Hash(String),
    /// keel's own programs, as the lock pins them, are nowhere.
    #[error(
        "the lock pins keel's own programs as {0}, which is neither this keel nor in a cache: copy it here (`keel copy`), or pin this \
         one (`keel update`)"
    )]
    Programs(String),
    /// keel's own programs can't be read.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// A cache has something else.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

// The first ones: a mirror that is away misses all of them for the same reason.
fn shown(failed: &[(String, String)]) -> String {
    const SHOWN: usize = 3;
    let mut text: Vec<String> = failed
        .iter()
        .take(SHOWN)
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    if failed.len() > SHOWN {
        text.push(format!("and {} more", failed.len() - SHOWN));
    }
    text.join("; ")
}

/// Where packages are fetched from, and how.
#[derive(Clone, Copy)]
pub struct Fetch<'a> {
    /// The store.
    pub layout: &'a Layout,
    /// Mirrors beside those of the lock, asked before them.
    pub mirrors: &'a [String],
    /// Directories that may hold the `.deb`s, such as [`APT_ARCHIVES`].
    pub deb_dirs: &'a [PathBuf],
    /// Binary caches: asked for what no mirror has any more.
    pub caches: &'a [Box<dyn Cache>],
    /// Whose word is taken of those.
    pub trust: &'a Trust,
    /// How many packages at once.
    pub jobs: usize,
    /// How far it has come.
    pub progress: &'a Progress,
}

/// The store path of a package.
///
/// # Errors
/// [`FetchError::Hash`], [`FetchError::Path`]: not for a lock that was parsed.
pub fn path_of(pin: &Pin, store_dir: &str) -> Result<StorePath, FetchError> {
    Ok(METHOD.path(store_dir, &hash_of(pin)?, &pin.store_name())?.0)
}

fn hash_of(pin: &Pin) -> Result<[u8; 32], FetchError> {
    let mut hash = [0; 32];
    let digits = pin.sha256.as_bytes().chunks(2);
    let mut count = 0;
    for (byte, pair) in hash.iter_mut().zip(digits) {
        let digit = std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        *byte = digit.ok_or_else(|| FetchError::Hash(pin.name.clone()))?;
        count += 1;
    }
    if count != hash.len() || pin.sha256.len() != 2 * hash.len() {
        return Err(FetchError::Hash(pin.name.clone()));
    }
    Ok(hash)
}

/// Makes all packages of `lock` valid paths, and returns them in the lock's order. They stay until `roots` is dropped. `waiting`
/// is told of locks that others hold.
///
/// # Errors
/// See [`FetchError`]. Whatever came is kept for the next time.
pub fn fetch(
    fetch: &Fetch<'_>,
    lock: &Lock,
    roots: &mut TempRoots,
    waiting: &mut dyn FnMut(&Path),
) -> Result<Vec<StorePath>, FetchError> {
    let layout = fetch.layout;
    let paths: Vec<StorePath> = lock
        .packages
        .iter()
        .map(|pin| path_of(pin, layout.store_dir()))
        .collect::<Result<_, _>>()?;
    let temproots = layout.physical(layout.state_dir()).join("temproots");
    roots.add_all(&paths).map_err(at(&temproots))?;
    let missing = missing(layout, lock, &paths)?;
    if missing.is_empty() {
        return Ok(paths);
    }
    let directory = layout.physical(&format!("{}/debs", layout.keel_dir()));
    std::fs::create_dir_all(&directory).map_err(at(&directory))?;
    let place = directory.join(".lock");
    let _held = lock::take(&place, Access::Exclusive, waiting).map_err(at(&place))?;

    let bytes = missing.iter().map(|(pin, _)| pin.size).sum();
    fetch.progress.begin(missing.len(), bytes);
    let mirrors = fetch
        .mirrors
        .iter()
        .chain(&lock.mirrors)
        .map(|uri| Mirror::open(uri))
        .collect::<Result<Vec<_>, _>>()?;
    let download = Download {
        directory: &directory,
        mirrors: &mirrors,
        deb_dirs: fetch.deb_dirs,
        progress: fetch.progress,
    };
    let got = download_all(&download, &missing, fetch.jobs);
    let mut failed = Vec::new();
    let mut came = Vec::new();
    for ((pin, path), result) in missing.iter().zip(got) {
        match result {
            Ok(file) => came.push((*pin, *path, file)),
            Err(error) => failed.push((*pin, *path, error)),
        }
    }
    add(layout, &came, waiting)?;
    tidy(&directory);
    if !failed.is_empty() {
        from_caches(fetch, &failed, missing.len(), roots, waiting)?;
    }
    Ok(paths)
}

type Wanted<'a> = (&'a Pin, &'a StorePath);

fn missing<'a>(
    layout: &Layout,
    lock: &'a Lock,
    paths: &'a [StorePath],
) -> Result<Vec<Wanted<'a>>, FetchError> {
    let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
    let valid = database.valid_of(paths)?;
    let mut seen = BTreeSet::new();
    Ok(lock
        .packages
        .iter()
        .zip(paths)
        .filter(|(_, path)| !valid.contains(path) && seen.insert((*path).clone()))
        .collect())
}

/// A file that lies ready, and the hash of its archive.
struct Ready {
    file: PathBuf,
    nar: NarHash,
}

fn download_all(
    download: &Download<'_>,
    missing: &[Wanted<'_>],
    jobs: usize,
) -> Vec<Result<Ready, DownloadError>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, missing.len()) {
            let _worker = scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((pin, _)) = missing.get(index) else {
                        break;
                    };
                    let result = download.get(pin).and_then(|file| {
                        let nar = crate::store::nar::hash(&file, &mut |_| {})
                            .map_err(|error| DownloadError(error.to_string()))?;
                        Ok(Ready { file, nar })
                    });
                    download.progress.path();
                    results
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn add(
    layout: &Layout,
    came: &[(&Pin, &StorePath, Ready)],
    waiting: &mut dyn FnMut(&Path),
) -> Result<(), FetchError> {
    if came.is_empty() {
        return Ok(());
    }
    let mut addition = Addition::begin(layout, waiting)?;
    for (pin, path, ready) in came {
        let temporary = addition.temporary();
        move_file(&ready.file, &temporary).map_err(at(&ready.file))?;
        let (_, address) = METHOD.path(layout.store_dir(), &hash_of(pin)?, &pin.store_name())?;
        let info = PathInfo {
            ca: Some(address),
            ..PathInfo::new((*path).clone(), ready.nar, Vec::new())
        };
        addition.adopt_as(info, Prepared::new(temporary, ready.nar))?;
    }
    Ok(addition.commit()?)
}

// Into the store in canonical form; state and store may be different file systems.
fn move_file(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
            let _bytes = std::fs::copy(from, to)?;
            std::fs::remove_file(from)?;
        }
        other => other?,
    }
    files::canonicalise_file(&std::fs::File::open(to)?, false)
}

/// Asks the caches for what didn't come from elsewhere.
fn from_caches(
    fetch: &Fetch<'_>,
    failed: &[(&Pin, &StorePath, DownloadError)],
    all: usize,
    roots: &mut TempRoots,
    waiting: &mut dyn FnMut(&Path),
) -> Result<(), FetchError> {
    let told = || FetchError::Failed {
        failed: failed
            .iter()
            .map(|(pin, _, error)| (format!("{} {}", pin.name, pin.version), error.to_string()))
            .collect(),
        all,
    };
    if fetch.caches.is_empty() {
        return Err(told());
    }
    let copying = copy::Fetch {
        layout: fetch.layout,
        caches: fetch.caches,
        trust: fetch.trust,
        jobs: fetch.jobs,
        progress: &Progress::default(),
    };
    let paths: Vec<StorePath> = failed.iter().map(|(_, path, _)| (*path).clone()).collect();
    match copy::fetch(&copying, &paths, roots, waiting) {
        Ok(_copied) => {}
        // What the mirrors said tells more than that no cache has it either.
        Err(CopyError::Absent(_)) => return Err(told()),
        Err(error) => return Err(error.into()),
    }
    // The caches vouch for archives; the lock names the file.
    for (pin, path, _) in failed {
        let file = fetch.layout.physical_path(path);
        let hash = METHOD.hash(&file).map_err(AddError::from)?;
        if hash != hash_of(pin)? {
            return Err(FetchError::Failed {
                failed: vec![(
                    pin.name.clone(),
                    "a cache has another file of this name".to_owned(),
                )],
                all,
            });
        }
    }
    Ok(())
}

/// Removes pieces that nobody has gone on with for a week.
fn tidy(directory: &Path) {
    const KEPT: std::time::Duration = std::time::Duration::from_hours(7 * 24);
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT));
        let is_piece = Path::new(&entry.file_name()).extension() == Some("part".as_ref());
        if old && is_piece {
            // One that can't be removed only takes space.
            let _ignored = std::fs::remove_file(entry.path());
        }
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::File { path, source }
}
