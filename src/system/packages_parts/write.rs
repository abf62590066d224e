//! Making parts of the packages' root file system.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::cache::{Key, remember};
use super::{About, FORMAT, Files, NAME, Parts, PartsError, listing, number, overlay, setuid};
use crate::config::Setuid;
use crate::store::objects;
use crate::store::pool::Pool;
use crate::store::tree::{Meta, Node};
use crate::store::{AddError, Addition, Layout, SmallDirectory, StorePath};
use crate::system::compose::{self, ComposeError};
use crate::system::declared::{Declared, Ids};
use crate::system::import::{joined, with_modules};
use crate::system::notice::Notice;
use crate::system::units::sources::{InTree, Mounted};
use crate::system::units::{self, UnitsRecord};
use crate::system::{ids, images, own, rootfs};

/// What parts are made of.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// Where the store is.
    pub layout: &'a Layout,
    /// The root file system: a directory or an archive.
    pub rootfs: &'a Path,
    /// The machine's numbers of accounts.
    pub ids: &'a Ids,
    /// keel's own programs, valid in the store.
    pub keel: Option<&'a StorePath>,
    /// What keeps a setuid bit.
    pub setuid: &'a Setuid,
    /// What takes the place of packages: paths of the store.
    pub overlays: &'a [StorePath],
    /// Later times become this.
    pub clamp: Option<i64>,
}

/// Makes parts, and remembers them under `key`.
pub fn make(making: &Making<'_>, key: &Key, report: &mut dyn FnMut(Notice)) -> Result<Parts, PartsError> {
    let layout = making.layout;
    let mut addition = Addition::begin(layout, &mut |_| {})?;
    let pool = addition.pool()?;
    let mut rootfs = rootfs::read(making.rootfs, &pool, making.clamp, report)?;
    setuid::apply(making.setuid, &mut rootfs.tree, report);
    forget_caches(&mut rootfs.tree);
    let declared = declared(&rootfs.accounts)?;
    let mut parts = compose::divide(rootfs, &pool, making.ids, report)?;
    for path in making.overlays {
        let place = layout.physical_path(path);
        overlay::lay(&place, &mut parts.usr, &mut parts.etc, &pool)?;
    }
    if let Some(keel) = making.keel {
        let pages = own::pages_at(&layout.physical_path(keel))?;
        let keel = keel.absolute(layout.store_dir());
        own::take_over(&mut parts.usr, &keel)?;
        own::install(&mut parts.usr, &keel, &pages, &pool, report)?;
    }
    let version = parts.kernel_version.clone();
    let kernel = Node::File(Meta::root(0o444, 0), parts.kernel);
    let trees = [
        ("usr".to_owned(), &parts.usr),
        ("etc".to_owned(), &parts.etc),
        (format!("modules-{version}"), &parts.modules),
        (format!("kernel-{version}"), &kernel),
    ];
    let places = [(); 4].map(|()| addition.temporary());
    let shared = &pool;
    let (prepared, usr_image, etc_image, units) = std::thread::scope(|scope| {
        let hashers: Vec<_> = trees
            .iter()
            .zip(&places)
            .map(|((_, tree), place)| scope.spawn(move || Addition::prepare(place.clone(), tree, shared)))
            .collect();
        let usr_image = scope.spawn(|| images::compose(&with_modules(&parts.usr, &parts.modules), shared));
        let etc_image = images::compose(&parts.etc, shared);
        let units = record_units(&parts.usr, &parts.etc, shared);
        let prepared: Vec<_> = hashers.into_iter().map(joined).collect();
        (prepared, joined(usr_image), etc_image, units)
    });
    let mut adopted = Vec::new();
    for ((name, _), prepared) in trees.iter().zip(prepared) {
        adopted.push(addition.adopt(name, prepared.map_err(AddError::Thread)??)?);
    }
    let usr_image = addition.add_file("usr.cfs", &usr_image.map_err(AddError::Thread)??)?;
    let etc_image = addition.add_file("etc.cfs", &etc_image?)?;
    let missing = || AddError::Thread("a tree");
    let [usr, etc, modules, kernel] = <[StorePath; 4]>::try_from(adopted).map_err(|_| missing())?;
    let mut made = Parts {
        path: usr.clone(),
        usr,
        etc,
        modules,
        kernel,
        usr_image,
        etc_image,
        keel: making.keel.cloned(),
        overlays: making.overlays.to_vec(),
        kernel_version: version,
        os_name: parts.os_name.clone(),
        packages: parts.packages.clone(),
        accounts: number(making.ids, &declared)?,
    };
    let listed = |name: &str, tree: &Node| {
        listing::write(tree, &pool)
            .map(String::into_bytes)
            .map_err(|source| PartsError::File {
                path: name.into(),
                source,
            })
    };
    let files: Files = [
        ("usr.list", listed("usr.list", &parts.usr)?),
        ("etc.list", listed("etc.list", &parts.etc)?),
        ("units.json", units?.to_json()),
        ("packages.json", json(&parts.packages)),
        ("accounts.json", json(&declared)),
        ("parts.json", json(&about(&made, layout))),
    ]
    .map(|(name, bytes)| (PathBuf::from(name), bytes))
    .into();
    made.path = add(&mut addition, &made, &files)?;
    addition.commit()?;
    let trees = [
        (&made.usr, &parts.usr),
        (&made.etc, &parts.etc),
        (&made.modules, &parts.modules),
    ];
    let _new = objects::link_all(layout, &pool, &trees, &made.path)?;
    remember(layout, key, &declared, &made.accounts, &made.path)?;
    Ok(made)
}

fn add(addition: &mut Addition, made: &Parts, files: &Files) -> Result<StorePath, PartsError> {
    let store = addition.layout().store_dir().to_owned();
    let linked = [
        ("usr", Some(&made.usr)),
        ("etc", Some(&made.etc)),
        ("modules", Some(&made.modules)),
        ("kernel", Some(&made.kernel)),
        ("usr.cfs", Some(&made.usr_image)),
        ("etc.cfs", Some(&made.etc_image)),
        ("keel", made.keel.as_ref()),
    ];
    let given = linked.iter().filter_map(|(name, path)| Some((*name, (*path)?)));
    let links: BTreeMap<PathBuf, PathBuf> = given
        .clone()
        .map(|(name, path)| (name.into(), path.absolute(&store).into()))
        .collect();
    let candidates: Vec<StorePath> = given
        .map(|(_, path)| path)
        .chain(&made.overlays)
        .cloned()
        .collect();
    Ok(addition.add_referring(NAME, &candidates, &|_| SmallDirectory {
        files: files.clone(),
        links: links.clone(),
        ..SmallDirectory::default()
    })?)
}

fn about(made: &Parts, layout: &Layout) -> About {
    About {
        format: FORMAT,
        kernel_version: made.kernel_version.clone(),
        os_name: made.os_name.clone(),
        overlays: made
            .overlays
            .iter()
            .map(|path| path.absolute(layout.store_dir()))
            .collect(),
    }
}

// Made again by whoever needs them. debconf's answers served the layers above.
fn forget_caches(tree: &mut Node) {
    let caches = tree
        .entries_mut()
        .and_then(|entries| entries.get_mut(OsStr::new("var")));
    let caches = caches
        .and_then(Node::entries_mut)
        .and_then(|entries| entries.get_mut(OsStr::new("cache")));
    for node in caches
        .and_then(Node::entries_mut)
        .into_iter()
        .flat_map(BTreeMap::values_mut)
    {
        only_directories(node);
    }
}

fn only_directories(node: &mut Node) {
    if let Some(entries) = node.entries_mut() {
        entries.retain(|_, node| node.entries().is_some());
        entries.values_mut().for_each(only_directories);
    }
}

fn declared(files: &BTreeMap<String, Vec<u8>>) -> Result<Declared, PartsError> {
    let file = |name: &str, shown| files.get(name).ok_or(ComposeError::Missing(shown));
    Ok(Declared {
        users: ids::parse_passwd(file("passwd", "/etc/passwd")?)?,
        groups: ids::parse_group(file("group", "/etc/group")?)?,
    })
}

fn record_units(usr: &Node, etc: &Node, pool: &Pool) -> Result<UnitsRecord<'static>, units::CollectError> {
    let (usr, etc) = (InTree::new(usr, pool), InTree::new(etc, pool));
    units::collect(&Mounted::new().with("usr", &usr).with("etc", &etc))
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Only maps with keys that are no strings could fail.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
