//! A store of its own, and a lock in it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use keel::build::realise::{Event, Realise, Report, Settings};
use keel::config::Setuid;
use keel::layers::{Layers, LayersError, Replacement, Request, realise};
use keel::pins::{Lock, Pin};
use keel::store::cache::Trust;
use keel::store::content::Method;
use keel::store::db::Database;
use keel::store::locks::TempRoots;
use keel::store::pool::Pool;
use keel::store::tree::Node;
use keel::store::{Addition, Layout, StorePath};
use keel::system::declared::Ids;
use keel::system::own::{self, Programs};
use keel::system::packages_parts::{Parts, Tree};

use crate::{Listed, Listing, run};

/// 2025-10-09.
pub(crate) const DATE: i64 = 1_760_000_000;

pub(crate) struct Store {
    directory: std::rc::Rc<tempfile::TempDir>,
    pub(crate) layout: Layout,
    lock: Lock,
    debs: Vec<StorePath>,
    pub(crate) overlays: Vec<Replacement>,
    pub(crate) setuid: Setuid,
}

impl Store {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let layout = Layout::below(directory.path());
        let mut addition = Addition::begin(&layout, &mut |_| {}).unwrap();
        let pool = addition.pool().unwrap();
        let keel = Path::new(env!("CARGO_BIN_EXE_keel"));
        let tree = own::programs(&Programs { keel, init: None }, &pool).unwrap();
        let place = addition.temporary();
        let prepared = Addition::prepare(place, &tree, &pool).unwrap();
        let keel = addition.adopt("keel", prepared).unwrap();
        addition.commit().unwrap();
        let mut lock = Lock {
            version: 1,
            programs: BTreeMap::from([("keel".to_owned(), keel.absolute(layout.store_dir()))]),
            ..Lock::default()
        };
        lock.request.date = DATE;
        Self {
            directory: directory.into(),
            layout,
            lock,
            debs: Vec::new(),
            overlays: Vec::new(),
            setuid: Setuid::default(),
        }
    }

    /// The same store, with a lock that goes its own way.
    pub(crate) fn again(&self) -> Self {
        Self {
            directory: std::rc::Rc::clone(&self.directory),
            layout: self.layout.clone(),
            lock: self.lock.clone(),
            debs: self.debs.clone(),
            overlays: Vec::new(),
            setuid: Setuid::default(),
        }
    }

    /// Adds a layer of packages.
    pub(crate) fn layer(&mut self, layer: u32, debs: &[PathBuf]) {
        let mut addition = Addition::begin(&self.layout, &mut |_| {}).unwrap();
        for deb in debs {
            let name = deb
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .replace(['%', '~', ':'], "-");
            let method = Method {
                flat: true,
                ..Method::SOURCE
            };
            let path = addition.copy(deb, &name, method).unwrap();
            let (package, _) = name.split_once('_').unwrap();
            self.lock.packages.push(Pin {
                name: package.to_owned(),
                version: "1".into(),
                architecture: "amd64".into(),
                size: 0,
                sha256: "0".repeat(64),
                place: name.clone(),
                layer,
            });
            self.debs.push(path);
        }
        addition.commit().unwrap();
    }

    pub(crate) fn add(&self, path: &Path) -> StorePath {
        let mut addition = Addition::begin(&self.layout, &mut |_| {}).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let added = addition.copy(path, name, Method::SOURCE).unwrap();
        addition.commit().unwrap();
        added
    }

    fn request(&self) -> Request<'_> {
        Request {
            lock: &self.lock,
            debs: &self.debs,
            exclude: &EXCLUDE,
            setuid: &self.setuid,
            overlays: &self.overlays,
            locales: &[],
        }
    }

    pub(crate) fn realise(&self) -> Result<Parts, LayersError> {
        let settings = Settings {
            program: env!("CARGO_BIN_EXE_keel").into(),
            ..Settings::default()
        };
        let trust = Trust::default();
        let how = Realise {
            layout: &self.layout,
            caches: &[],
            trust: &trust,
            jobs: 1,
            settings: &settings,
        };
        let mut roots = TempRoots::new(&self.layout).unwrap();
        realise(&how, &self.request(), &mut roots, &Show, &mut |_| {})
    }

    pub(crate) fn find(&self, ids: &Ids) -> Option<Parts> {
        let lock = Lock {
            ids: ids.clone(),
            ..self.lock.clone()
        };
        let layers = Layers::new(&self.layout, &self.request()).unwrap();
        assert!(!layers.must_be_built(&self.layout).unwrap());
        layers.find(&self.layout, &lock).unwrap()
    }

    pub(crate) fn at(&self, path: &StorePath) -> PathBuf {
        self.layout.physical_path(path)
    }

    fn layers(&self) -> Vec<StorePath> {
        let roots = self.layout.physical("/nix/var/nix/gcroots/keel-layers");
        let mut links: Vec<_> = std::fs::read_dir(roots)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        links.sort();
        let target = |link: &PathBuf| std::fs::read_link(link).unwrap().to_str().unwrap().to_owned();
        links
            .iter()
            .map(|link| StorePath::from_absolute("/nix/store", &target(link)).unwrap())
            .collect()
    }

    pub(crate) fn layer_file(&self, number: usize) -> PathBuf {
        self.at(&self.layers()[number])
    }

    /// Store paths and hashes.
    pub(crate) fn layer_hashes(&self) -> Vec<(StorePath, (String, u64))> {
        let database = self.database();
        let layers = self.layers().into_iter();
        layers
            .map(|path| (path.clone(), database.nar(&path).unwrap().unwrap()))
            .collect()
    }

    fn database(&self) -> Database {
        Database::open(&self.layout.physical(&self.layout.database_dir()), "/nix/store").unwrap()
    }

    /// Deletes the packages of some layers.
    pub(crate) fn forget_debs(&self, layers: &[u32]) {
        let pins = self.lock.packages.iter().zip(&self.debs);
        for (_, deb) in pins.filter(|(pin, _)| layers.contains(&pin.layer)) {
            keel::store::files::remove_tree(&self.at(deb)).unwrap();
        }
    }

    pub(crate) fn nix_verifies(&self) {
        run(Command::new("nix-store")
            .args(["--store", self.directory.path().to_str().unwrap()])
            .args(["--verify", "--check-contents"]));
    }

    pub(crate) fn tree(&self, parts: &Parts, tree: Tree) -> Listing {
        let scratch = tempfile::tempdir_in(self.directory.path()).unwrap();
        let pool = Pool::new(scratch.path().join("pool"), scratch.path().join("objects")).unwrap();
        let root = parts.tree(&self.layout, tree, &pool).unwrap();
        let mut listing = Listing::new();
        root.walk(Path::new(""), &mut |path, node| {
            let meta = node.meta();
            let listed = Listed {
                mode: meta.mode,
                uid: meta.uid,
                gid: meta.gid,
                mtime: meta.mtime,
                target: match node {
                    Node::Symlink(_, target) => Some(target.to_str().unwrap().to_owned()),
                    _ => None,
                },
            };
            listing.insert(path.to_str().unwrap().to_owned(), listed);
        });
        listing
    }
}

static EXCLUDE: std::sync::LazyLock<Vec<String>> =
    std::sync::LazyLock::new(|| vec!["/usr/share/doc/*".into(), "/usr/share/locale/*".into()]);

/// Shows what fails.
struct Show;

impl Report for Show {
    fn tell(&self, event: Event<'_>) {
        if let Event::Failed(failure) = event {
            println!("{failure}: {:?}", failure.last);
        }
    }
}
