//! keel's own programs as a part of the lock: what a machine is built with stays the same until it's updated.

use std::collections::BTreeMap;
use std::path::Path;

use super::fetch::{Fetch, FetchError};
use super::lock::Lock;
use super::update::UpdateError;
use crate::store::cache::copy::{self, CopyError, Progress};
use crate::store::db::Database;
use crate::store::files;
use crate::store::locks::TempRoots;
use crate::store::{AddError, Addition, Layout, StorePath};
use crate::system::own::{self, OwnError, Programs};

/// The name in a lock of the administrator's command; its program is `bin/keel` below the path.
pub const KEEL: &str = "keel";
/// The name in a lock of the initrd's program: `bin/keel-init` below the path.
pub const KEEL_INIT: &str = "keel-init";

/// Adds the programs to the store, and returns what a lock says of them. They stay while `root` (a name in the store's `gcroots`)
/// points at them.
pub(super) fn add(
    layout: &Layout,
    programs: &Programs<'_>,
    root: &str,
    waiting: &mut dyn FnMut(&Path),
) -> Result<BTreeMap<String, String>, UpdateError> {
    let mut addition = Addition::begin(layout, waiting)?;
    let path = stage::<UpdateError>(&mut addition, programs)?;
    // Before it's valid: a collection between the two would take it.
    keep(layout, &path, root)?;
    addition.commit()?;
    let absolute = path.absolute(layout.store_dir());
    let mut all = BTreeMap::from([(KEEL.to_owned(), absolute.clone())]);
    if programs.init.is_some() {
        let _none = all.insert(KEEL_INIT.to_owned(), absolute);
    }
    Ok(all)
}

fn stage<E>(addition: &mut Addition, programs: &Programs<'_>) -> Result<StorePath, E>
where
    E: From<OwnError> + From<AddError>,
{
    let pool = addition.pool()?;
    let tree = own::programs(programs, &pool)?;
    let prepared = Addition::prepare(addition.temporary(), &tree, &pool)?;
    Ok(addition.adopt(concat!("keel-", env!("CARGO_PKG_VERSION")), prepared)?)
}

/// Makes the programs that `lock` pins valid, for a lock that another machine made: they are `own`, or a cache has them. They stay
/// until `roots` is dropped.
///
/// # Errors
/// [`FetchError::Programs`] when they're nowhere.
pub fn provide(
    fetch: &Fetch<'_>,
    lock: &Lock,
    own: &Programs<'_>,
    roots: &mut TempRoots,
    waiting: &mut dyn FnMut(&Path),
) -> Result<(), FetchError> {
    let layout = fetch.layout;
    let mut missing = Vec::new();
    for path in lock.programs.values() {
        let path = StorePath::from_absolute(layout.store_dir(), path)?;
        if !missing.contains(&path) {
            missing.push(path);
        }
    }
    let temproots = layout.physical(layout.state_dir()).join("temproots");
    roots.add_all(&missing).map_err(|source| FetchError::File {
        path: temproots,
        source,
    })?;
    let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
    let valid = database.valid_of(&missing)?;
    missing.retain(|path| !valid.contains(path));
    if missing.is_empty() {
        return Ok(());
    }
    // Dropped without a commit when they're others.
    let mut addition = Addition::begin(layout, waiting)?;
    if missing.contains(&stage::<FetchError>(&mut addition, own)?) {
        addition.commit()?;
        missing.retain(|path| !layout.physical_path(path).exists());
    }
    drop(addition);
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let copying = copy::Fetch {
        layout,
        caches: fetch.caches,
        trust: fetch.trust,
        jobs: fetch.jobs,
        progress: &Progress::default(),
    };
    match copy::fetch(&copying, &missing, roots, waiting) {
        Ok(_copied) => Ok(()),
        Err(CopyError::Absent(_)) => Err(FetchError::Programs(first.absolute(layout.store_dir()))),
        Err(error) => Err(error.into()),
    }
}

fn keep(layout: &Layout, path: &StorePath, root: &str) -> Result<(), UpdateError> {
    let directory = layout.physical(&format!("{}/gcroots/keel-locks", layout.state_dir()));
    let link = directory.join(root);
    std::fs::create_dir_all(&directory)
        .and_then(|()| files::link_atomically(Path::new(&path.absolute(layout.store_dir())), &link))
        .map_err(|source| UpdateError::File { path: link, source })
}
