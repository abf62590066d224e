//! What caches have. A cache that can't be used is told of, and otherwise as good as an empty one: what it would have had
//! is built.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Event, Realise, Report};
use crate::store::StorePath;
use crate::store::cache::copy::{self, Fetch, Progress};
use crate::store::cache::{Cache, about, narinfo};
use crate::store::locks::TempRoots;

/// Questions at once: each takes as long as the way to the server and back.
const AT_ONCE: usize = 16;

/// Which of `paths` some cache has, signed by whom it must be.
pub(super) fn available(
    realise: &Realise<'_>,
    paths: &[StorePath],
    report: &dyn Report,
) -> BTreeSet<StorePath> {
    if paths.is_empty() || realise.caches.is_empty() {
        return BTreeSet::new();
    }
    let caches = usable(realise, report);
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(paths.len()) {
            let _worker = scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if caches.iter().any(|cache| has(realise, *cache, path, report)) {
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        let _new = found.insert(path.clone());
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The caches that are of this store.
fn usable<'a>(realise: &Realise<'a>, report: &dyn Report) -> Vec<&'a dyn Cache> {
    let of_this_store = |cache: &&dyn Cache| match about(*cache, realise.layout) {
        Ok(_) => true,
        Err(error) => {
            report.tell(Event::Warning(&format!("{error}; it isn't asked")));
            false
        }
    };
    realise
        .caches
        .iter()
        .map(AsRef::as_ref)
        .filter(of_this_store)
        .collect()
}

fn has(realise: &Realise<'_>, cache: &dyn Cache, path: &StorePath, report: &dyn Report) -> bool {
    match narinfo(cache, realise.layout, path) {
        Ok(Some(info)) if realise.trust.accepts(&info.info, realise.layout.store_dir()) => true,
        Ok(Some(_)) => {
            report.tell(Event::Warning(&format!(
                "{} of {} has no signature by a key that is trusted; it's built instead",
                path,
                cache.name()
            )));
            false
        }
        Ok(None) => false,
        Err(error) => {
            report.tell(Event::Warning(&error.to_string()));
            false
        }
    }
}

/// Copies `paths` and what they need, as far as it goes; returns what was copied.
pub(super) fn fetch(
    realise: &Realise<'_>,
    paths: &[StorePath],
    roots: &mut TempRoots,
    report: &dyn Report,
) -> Vec<StorePath> {
    let progress = Progress::default();
    let fetch = Fetch {
        layout: realise.layout,
        caches: realise.caches,
        trust: realise.trust,
        jobs: realise.jobs,
        progress: &progress,
    };
    let mut copied = Ok(Vec::new());
    report.fetching(&progress, &mut || {
        copied = copy::fetch(&fetch, paths, roots, &mut |lock| {
            report.tell(Event::Waiting(lock));
        });
    });
    let copied = copied.unwrap_or_else(|error| {
        report.tell(Event::Warning(&error.to_string()));
        Vec::new()
    });
    report.tell(Event::Fetched(&copied));
    copied
}
