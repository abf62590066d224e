//! Whether what lies on the disk is what the database says: paths by the hashes of their archives, objects by their names.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::db::{Database, DbError};
use super::nar::{self, Archiver, NarHash, pipeline};
use super::objects;
use super::path::{StorePath, hex};
use super::verity::Verity;
use super::{Layout, base32};

/// Paths that are larger are read with several threads when there are fewer of them than processors.
const LARGE: u64 = 16 << 20;

/// Something that isn't as it should be.
#[derive(Debug)]
pub enum Fault {
    /// A valid path of which nothing is there.
    Missing(StorePath),
    /// A valid path with other contents.
    Changed {
        /// Which one.
        path: StorePath,
        /// What the database says.
        should: NarHash,
        /// What lies there.
        is: NarHash,
    },
    /// A valid path that can't be read.
    Unreadable(StorePath, nar::NarError),
    /// An object that isn't what its name says, or can't be read: an image that refers to it would show the wrong contents.
    Object(PathBuf, String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{path} is valid, but isn't there"),
            Self::Changed { path, should, is } => write!(
                f,
                "{path} was changed: its archive has sha256:{} and {} bytes instead of sha256:{} and {}",
                base32::encode(&is.sha256),
                is.size,
                base32::encode(&should.sha256),
                should.size,
            ),
            Self::Unreadable(path, error) => write!(f, "{path} can't be read: {error}"),
            Self::Object(path, why) => write!(f, "the object {} {why}", path.display()),
        }
    }
}

/// What was looked at, and found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many paths.
    pub paths: usize,
    /// How many objects.
    pub objects: usize,
    /// Bytes of their archives.
    pub bytes: u64,
    /// In the order of paths, objects last.
    pub faults: Vec<Fault>,
}

/// Looks at `paths`, with all processors. One that becomes invalid meanwhile is passed over. `progress` is told the bytes
/// that were looked at, from several threads.
///
/// # Errors
/// When the database can't be read.
pub fn verify(
    layout: &Layout,
    database: &Database,
    paths: &[StorePath],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Report, DbError> {
    let mut infos = Vec::with_capacity(paths.len());
    for path in paths {
        infos.extend(database.content(path)?);
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    // The largest first: the last thread isn't left alone with it.
    infos.sort_by_key(|(_, nar)| std::cmp::Reverse(nar.size));
    let large = infos.iter().take_while(|(_, nar)| nar.size >= LARGE).count();
    let alone = if large < processors { large } else { 0 };
    let (first, rest) = infos.split_at(alone);
    let mut faults = Vec::new();
    for (path, nar) in first {
        faults.extend(look_at(layout, path, nar, &mut |place| {
            nar::hash_written(&mut |_| {}, |sink| {
                pipeline::write(place, sink, processors, &pipeline::Only)
            })
        }));
        progress(nar.size);
    }
    faults.extend(in_parallel(rest, processors, &|(path, nar), archiver| {
        let fault = look_at(layout, path, nar, &mut |place| archiver.hash(place));
        progress(nar.size);
        fault
    }));
    // Whatever was deleted meanwhile is no fault.
    let mut kept = Vec::new();
    for fault in faults {
        let path = match &fault {
            Fault::Missing(path) | Fault::Changed { path, .. } | Fault::Unreadable(path, _) => path,
            Fault::Object(..) => continue,
        };
        if database.is_valid(path)? {
            kept.push((path.clone(), fault));
        }
    }
    kept.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Report {
        paths: infos.len(),
        objects: 0,
        bytes: infos.iter().map(|(_, nar)| nar.size).sum(),
        faults: kept.into_iter().map(|(_, fault)| fault).collect(),
    })
}

fn look_at(
    layout: &Layout,
    path: &StorePath,
    should: &NarHash,
    hash: &mut dyn FnMut(&Path) -> Result<NarHash, nar::NarError>,
) -> Option<Fault> {
    let place = layout.physical_path(path);
    if place.symlink_metadata().is_err() {
        return Some(Fault::Missing(path.clone()));
    }
    match hash(&place) {
        // Nix has registered paths without a size.
        Ok(is) if is.sha256 == should.sha256 && (is.size == should.size || should.size == 0) => None,
        Ok(is) => Some(Fault::Changed {
            path: path.clone(),
            should: *should,
            is,
        }),
        Err(error) => Some(Fault::Unreadable(path.clone(), error)),
    }
}

/// Looks at every object, and whether all are there that images of valid systems name.
///
/// # Errors
/// When they can't be listed.
pub fn verify_objects(layout: &Layout, report: &mut Report) -> io::Result<()> {
    let objects = layout.physical(&layout.objects_dir());
    let mut all = Vec::new();
    for prefix in list(&objects)? {
        let is_prefix = prefix.file_name().is_some_and(|name| name.len() == 2);
        if is_prefix {
            all.extend(list(&prefix)?);
        }
    }
    all.sort_unstable();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let faults = in_parallel(&all, processors, &|path: &PathBuf, _| {
        object_fault(path).map(|why| (path.clone(), why))
    });
    report.objects = all.len();
    let mut faults: Vec<_> = faults;
    let missing = missing_objects(layout, &all)?;
    faults.extend(
        missing
            .into_iter()
            .map(|(path, system)| (path, format!("is missing, and an image of {system} refers to it"))),
    );
    faults.sort();
    report
        .faults
        .extend(faults.into_iter().map(|(path, why)| Fault::Object(path, why)));
    Ok(())
}

/// Objects that images name and that aren't among `all`, which is sorted; each with a system that it is needed by. An image
/// that can't be read is a fault of its path, which is told elsewhere.
fn missing_objects(layout: &Layout, all: &[PathBuf]) -> io::Result<BTreeMap<PathBuf, StorePath>> {
    let directory = layout.physical(&layout.objects_dir());
    let mut missing = BTreeMap::new();
    for system in objects::stamped(layout)? {
        // Neither has one that was deleted meanwhile any images.
        for image in objects::images(layout, &system).unwrap_or_default() {
            for name in objects::names_in(&fs::read(image).unwrap_or_default()) {
                let object = directory.join(name);
                if all.binary_search(&object).is_err() {
                    let _other = missing.insert(object, system.clone());
                }
            }
        }
    }
    // One that was linked meanwhile is there now.
    missing.retain(|object, _| object.symlink_metadata().is_err());
    Ok(missing)
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn object_fault(path: &Path) -> Option<String> {
    let digest = pipeline::open(path).and_then(|mut file| {
        let mut verity = Verity::default();
        let mut buffer = vec![0; nar::BUFFER];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(verity.finish().0),
                Ok(count) => verity.update(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    });
    let named = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let name = named(path.parent().and_then(Path::file_name)).unwrap_or_default()
        + &named(path.file_name()).unwrap_or_default();
    match digest {
        Ok(digest) if hex(&digest) == name => None,
        Ok(digest) => Some(format!(
            "was changed: its contents have the digest {}",
            hex(&digest)
        )),
        // Collected meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("can't be read: {error}")),
    }
}

/// What `work` finds in the items, in no order.
fn in_parallel<T: Sync, F: Send>(
    items: &[T],
    threads: usize,
    work: &(dyn Fn(&T, &mut Archiver) -> Option<F> + Sync),
) -> Vec<F> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            let _worker = scope.spawn(|| {
                let mut archiver = Archiver::default();
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(one) = work(item, &mut archiver) {
                        found.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
