//! From caches into the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::order::{in_order, run};
use super::{CopyError, Progress};
use crate::store::cache::narinfo::NarInfo;
use crate::store::cache::stream::{Checked, Resumed, decompressed};
use crate::store::cache::{Cache, CacheError, Trust, narinfo};
use crate::store::db::{Database, PathInfo};
use crate::store::locks::TempRoots;
use crate::store::{Addition, Layout, Prepared, StorePath};

/// What is copied, and how.
#[derive(Clone, Copy)]
pub struct Fetch<'a> {
    /// The store.
    pub layout: &'a Layout,
    /// Asked in this order.
    pub caches: &'a [Box<dyn Cache>],
    /// Whose word is taken.
    pub trust: &'a Trust,
    /// How many paths at once.
    pub jobs: usize,
    /// How far it has come.
    pub progress: &'a Progress,
}

/// A path to copy, and where from.
struct Wanted<'a> {
    info: NarInfo,
    cache: &'a dyn Cache,
}

/// Copies `paths` and all that they need, as far as it isn't valid yet, and returns what was copied. The paths stay until
/// `roots` is dropped. `waiting` is told of locks that others hold.
///
/// # Errors
/// The first fault. What was copied until then is valid, and stays.
pub fn fetch(
    fetch: &Fetch<'_>,
    paths: &[StorePath],
    roots: &mut TempRoots,
    waiting: &mut dyn FnMut(&Path),
) -> Result<Vec<StorePath>, CopyError> {
    let wanted = find(fetch, paths, roots)?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let index: BTreeMap<&StorePath, usize> = wanted
        .iter()
        .enumerate()
        .map(|(index, wanted)| (&wanted.info.info.path, index))
        .collect();
    let needs: Vec<Vec<usize>> = wanted
        .iter()
        .map(|wanted| {
            let info = &wanted.info.info;
            let others = info.references.iter().filter(|path| **path != info.path);
            others.filter_map(|path| index.get(path).copied()).collect()
        })
        .collect();
    let order = in_order(&needs).map_err(|index| CopyError::Circle(path_of(&wanted, index)))?;
    let bytes = wanted
        .iter()
        .map(|wanted| wanted.info.file_size.unwrap_or(wanted.info.info.nar.size))
        .sum();
    fetch.progress.begin(wanted.len(), bytes);

    let mut addition = Addition::begin(fetch.layout, waiting)?;
    let temporaries: Vec<_> = wanted.iter().map(|_| addition.temporary()).collect();
    let work = |index: usize| -> Result<Prepared, CopyError> {
        match (wanted.get(index), temporaries.get(index)) {
            (Some(wanted), Some(temporary)) => receive(fetch, wanted, temporary),
            _ => Err(CopyError::Circle(path_of(&wanted, index))),
        }
    };
    let mut copied = Vec::new();
    run(&order, &needs, fetch.jobs, &work, &mut |batch| {
        for (index, prepared) in batch {
            if let Some(wanted) = wanted.get(index) {
                addition.adopt_as(wanted.info.info.clone(), prepared)?;
                copied.push(wanted.info.info.path.clone());
            }
            fetch.progress.path();
        }
        Ok(addition.commit()?)
    })?;
    Ok(copied)
}

fn path_of(wanted: &[Wanted<'_>], index: usize) -> StorePath {
    let path = wanted.get(index).or_else(|| wanted.first());
    // There is one: the index is of this list.
    path.map_or_else(StorePath::stand_in, |wanted| wanted.info.info.path.clone())
}

fn receive(fetch: &Fetch<'_>, wanted: &Wanted<'_>, temporary: &Path) -> Result<Prepared, CopyError> {
    let failed = |source| CopyError::File {
        path: wanted.info.info.path.clone(),
        cache: wanted.cache.name().to_owned(),
        source,
    };
    let seen = |count| fetch.progress.bytes(count);
    let stream = Resumed::new(wanted.cache, &wanted.info.url);
    let mut file = Checked::new(stream, &wanted.info, &seen);
    let received = decompressed(wanted.info.compression, &mut file)
        .map_err(failed)
        .and_then(|mut archive| {
            Ok(Addition::receive(
                temporary.to_owned(),
                &wanted.info.info,
                &mut archive,
            )?)
        });
    // A fault of the file tells more than what came of it in the archive.
    match (received, file.finish()) {
        (Ok(prepared), Ok(())) => Ok(prepared),
        (_, Err(source)) => Err(failed(source)),
        (Err(error), Ok(())) => Err(error),
    }
}

/// Receives a path that is valid already at `temporary`: the one that `info` tells of, whatever a cache says.
///
/// # Errors
/// When no cache has it, or what it has is something else.
pub fn receive_again(
    layout: &Layout,
    caches: &[Box<dyn Cache>],
    trust: &Trust,
    info: &PathInfo,
    temporary: &Path,
) -> Result<(), CopyError> {
    let fetch = Fetch {
        layout,
        caches,
        trust,
        jobs: 1,
        progress: &Progress::default(),
    };
    let mut wanted = ask_one(&fetch, &info.path, None)?;
    // Built twice, a path may come out in two ways: another one than this doesn't mend it.
    wanted.info.info.nar = info.nar;
    let _prepared = receive(&fetch, &wanted, temporary)?;
    Ok(())
}

/// The paths that aren't valid yet, and what the caches tell about them.
fn find<'a>(
    fetch: &Fetch<'a>,
    paths: &[StorePath],
    roots: &mut TempRoots,
) -> Result<Vec<Wanted<'a>>, CopyError> {
    let database = Database::open(
        &fetch.layout.physical(&fetch.layout.database_dir()),
        fetch.layout.store_dir(),
    )?;
    for cache in fetch.caches {
        let _about = crate::store::cache::about(cache.as_ref(), fetch.layout)?;
    }
    let mut known: BTreeSet<StorePath> = BTreeSet::new();
    let mut wanted: Vec<Wanted<'a>> = Vec::new();
    let mut asked: Vec<(StorePath, Option<StorePath>)> =
        paths.iter().map(|path| (path.clone(), None)).collect();
    while !asked.is_empty() {
        asked.retain(|(path, _)| known.insert(path.clone()));
        let new: Vec<_> = asked.iter().map(|(path, _)| path.clone()).collect();
        roots.add_all(&new).map_err(|source| CopyError::Store {
            path: fetch.layout.physical(fetch.layout.state_dir()).join("temproots"),
            source,
        })?;
        let mut missing = Vec::new();
        for (path, referrer) in std::mem::take(&mut asked) {
            if !database.is_valid(&path)? {
                missing.push((path, referrer));
            }
        }
        for found in ask(fetch, &missing)? {
            let info = &found.info.info;
            asked.extend(
                info.references
                    .iter()
                    .map(|reference| (reference.clone(), Some(info.path.clone()))),
            );
            wanted.push(found);
        }
    }
    Ok(wanted)
}

/// Asks for many at once: each answer takes as long as the way to the server and back.
fn ask<'a>(
    fetch: &Fetch<'a>,
    paths: &[(StorePath, Option<StorePath>)],
) -> Result<Vec<Wanted<'a>>, CopyError> {
    const AT_ONCE: usize = 16;
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(paths.len()) {
            let _worker = scope.spawn(|| {
                while let Some((path, referrer)) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = ask_one(fetch, path, referrer.as_ref());
                    found.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.into_iter().collect()
}

fn ask_one<'a>(
    fetch: &Fetch<'a>,
    path: &StorePath,
    referrer: Option<&StorePath>,
) -> Result<Wanted<'a>, CopyError> {
    let mut untrusted: Option<String> = None;
    let mut broken: Option<CacheError> = None;
    for cache in fetch.caches {
        match narinfo(cache.as_ref(), fetch.layout, path) {
            Ok(Some(info)) if fetch.trust.accepts(&info.info, fetch.layout.store_dir()) => {
                return Ok(Wanted {
                    info,
                    cache: cache.as_ref(),
                });
            }
            Ok(Some(_)) => untrusted = Some(cache.name().to_owned()),
            Ok(None) => {}
            Err(error) => broken = Some(error),
        }
    }
    if let Some(cache) = untrusted {
        return Err(CopyError::Untrusted {
            path: path.clone(),
            cache,
        });
    }
    Err(match (broken, referrer) {
        (Some(error), _) => error.into(),
        (None, None) => CopyError::Absent(path.clone()),
        (None, Some(referrer)) => CopyError::AbsentReference {
            path: path.clone(),
            referrer: referrer.clone(),
        },
    })
}
