//! keel's own programs as a part of the lock: what a machine is built with stays the same until it's updated.

use std::collections::BTreeMap;
use std::path::Path;

use super::update::UpdateError;
use crate::store::files;
use crate::store::{Addition, Layout, StorePath};
use crate::system::own::{self, Programs};

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
    let pool = addition.pool()?;
    let tree = own::programs(programs, &pool)?;
    let prepared = Addition::prepare(addition.temporary(), &tree, &pool)?;
    let path = addition.adopt(concat!("keel-", env!("CARGO_PKG_VERSION")), prepared)?;
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

fn keep(layout: &Layout, path: &StorePath, root: &str) -> Result<(), UpdateError> {
    let directory = layout.physical(&format!("{}/gcroots/keel-locks", layout.state_dir()));
    let link = directory.join(root);
    std::fs::create_dir_all(&directory)
        .and_then(|()| files::link_atomically(Path::new(&path.absolute(layout.store_dir())), &link))
        .map_err(|source| UpdateError::File { path: link, source })
}
