//! Ten processes work on one store at once: they add, copy, build and collect, some of them Nix's own. Nothing that a root
//! names is lost, and nothing half is left. `KEEL_SOAK` says for how many seconds.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

mod nix_store;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix_store::{NixStore, run, text};

/// Seconds when nobody says how long.
const SECONDS: u64 = 15;
/// Trees that are added again and again; every second one is kept by a root.
const TREES: usize = 24;
/// Derivations that are built.
const BUILDS: usize = 6;

/// The store, and what the workers share.
struct Soak {
    store: NixStore,
    /// Trees outside of the store, and the paths that they become.
    trees: Vec<(PathBuf, String)>,
    derivations: Vec<PathBuf>,
    /// A cache that holds all trees.
    cache: String,
    until: Instant,
    /// What went wrong, by worker.
    faults: Mutex<Vec<String>>,
    /// Pieces of work done, by worker.
    done: Mutex<BTreeMap<String, usize>>,
}

impl Soak {
    fn new(seconds: u64) -> Self {
        let store = NixStore::new();
        // The ids of keel's sandboxes reach what everybody does.
        fs::set_permissions(store.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let trees: Vec<_> = (0..TREES)
            .map(|number| {
                let tree = store.path("scratch").join(format!("tree-{number}"));
                fill(&tree, number);
                let path = store.say(&["store", "add", tree.to_str().unwrap()]);
                (tree, path.trim().to_owned())
            })
            .collect();
        let cache = format!("file://{}", store.path("cache").display());
        for (_, path) in &trees {
            store.say(&["copy", "--to", &cache, path]);
        }
        let tools = store.shell();
        // Kept; what is built of them isn't.
        let derivations: Vec<_> = (0..BUILDS)
            .map(|number| {
                let derivation = derivation(&store, &tools, number);
                let root = store.path(&format!("var/nix/gcroots/derivation-{number}"));
                symlink(&derivation, root).unwrap();
                derivation
            })
            .collect();
        store.say(&["gc"]);
        let roots = store.path("var/nix/gcroots");
        for (number, (_, path)) in trees.iter().enumerate().step_by(2) {
            assert!(!Path::new(path).exists(), "{path} is still there");
            symlink(path, roots.join(format!("tree-{number}"))).unwrap();
        }
        Self {
            store,
            trees,
            derivations,
            cache,
            until: Instant::now() + Duration::from_secs(seconds),
            faults: Mutex::default(),
            done: Mutex::default(),
        }
    }

    /// Does the same piece of work until the time is over.
    fn work(&self, name: &str, work: impl Fn(usize) -> Option<Command>) {
        for step in 0.. {
            if Instant::now() > self.until {
                return;
            }
            let Some(mut command) = work(step) else { continue };
            let out = command.output().unwrap();
            if !out.status.success() {
                let fault = format!("{name}: {command:?}: {}", text(&out.stderr));
                self.faults.lock().unwrap().push(fault);
                return;
            }
            *self.done.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        }
    }

    /// Adds trees, and looks that those with a root are there from then on.
    fn add(&self, program: &str, name: &str, first: usize) {
        self.work(name, |step| {
            let (tree, _) = &self.trees[(first + step * 5) % TREES];
            if let Some(lost) = self.lost() {
                self.faults
                    .lock()
                    .unwrap()
                    .push(format!("{name}: {lost} is lost"));
            }
            let tree = tree.to_str().unwrap();
            let command = match program {
                "keel" => self.store.keel(&["store", "add", tree]),
                _ => self.store.program("nix-store", &["--add", tree]),
            };
            Some(command)
        });
    }

    /// A path that was there with its root, and isn't any more.
    fn lost(&self) -> Option<&str> {
        static SEEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());
        let mut seen = SEEN.lock().unwrap();
        for (number, (_, path)) in self.trees.iter().enumerate().step_by(2) {
            let is_there = Path::new(path).symlink_metadata().is_ok();
            match (is_there, seen.contains(&number)) {
                // Valid, not only present: an addition that is cut off leaves a path that isn't.
                (true, false) if self.is_valid(path) => seen.push(number),
                (false, true) => return Some(path),
                _ => {}
            }
        }
        None
    }

    fn is_valid(&self, path: &str) -> bool {
        let mut command = self.store.program("nix-store", &["--check-validity", path]);
        command.output().unwrap().status.success()
    }
}

/// A tree with files of its own, and some that all trees have.
fn fill(tree: &Path, number: usize) {
    fs::create_dir_all(tree.join("share")).unwrap();
    for file in 0..8 {
        fs::write(tree.join(format!("share/same-{file}")), vec![b'x'; 3000 + file]).unwrap();
        fs::write(tree.join(format!("own-{file}")), format!("{number} {file}\n")).unwrap();
    }
    symlink("own-1", tree.join("link")).unwrap();
}

fn derivation(store: &NixStore, tools: &str, number: usize) -> PathBuf {
    let expression = format!(
        "derivation {{ name = \"soak-{number}\"; system = builtins.currentSystem; \
         builder = \"${{builtins.storePath \"{tools}\"}}/bin/sh\"; args = [ \"-c\" \"echo {number} >$out\" ]; }}"
    );
    PathBuf::from(store.nix("nix-instantiate", &["-E", &expression]).trim())
}

#[test]
fn many_work_on_one_store_at_once() {
    let seconds = std::env::var("KEEL_SOAK")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS);
    let soak = Soak::new(seconds);
    std::thread::scope(|scope| {
        scope.spawn(|| soak.add("keel", "keel adds", 0));
        scope.spawn(|| soak.add("keel", "keel adds, too", 7));
        scope.spawn(|| soak.add("nix-store", "nix adds", 3));
        scope.spawn(|| {
            soak.work("keel copies from a cache", |step| {
                let (_, path) = &soak.trees[step * 7 % TREES];
                let mut command = soak
                    .store
                    .keel(&["copy", "--no-check-signatures", "--from", &soak.cache]);
                command.arg(path);
                Some(command)
            });
        });
        scope.spawn(|| {
            let other = format!("file://{}", soak.store.path("other-cache").display());
            soak.work("keel copies to a cache", |step| {
                // Only what a root keeps can't go away before it's read.
                let (_, path) = &soak.trees[step * 2 % TREES];
                soak.is_valid(path)
                    .then(|| soak.store.keel(&["copy", "--to", &other, path]))
            });
        });
        // Both of them all: they meet on one derivation now and then.
        for builder in ["nix", "keel"] {
            let soak = &soak;
            scope.spawn(move || {
                soak.work(&format!("{builder} builds"), |step| {
                    let derivation = soak.derivations[step % BUILDS].to_str().unwrap();
                    Some(match builder {
                        "nix" => soak.store.program("nix-store", &["--realise", derivation]),
                        _ => soak.store.keel(&["build", "--no-caches", derivation]),
                    })
                });
            });
        }
        scope.spawn(|| soak.work("keel collects", |_| Some(soak.store.keel(&["gc"]))));
        scope.spawn(|| {
            soak.work("keel collects a little", |_| {
                Some(soak.store.keel(&["gc", "--max-freed", "20K"]))
            });
        });
        scope.spawn(|| {
            soak.work("nix collects", |_| {
                Some(soak.store.program("nix-store", &["--gc"]))
            });
        });
    });
    let done = soak.done.into_inner().unwrap();
    eprintln!("{done:#?}");
    assert_eq!(soak.faults.into_inner().unwrap(), Vec::<String>::new());
    assert_eq!(done.len(), 10, "somebody did nothing: {done:?}");
    soak.store.nix_verifies();
    run(&mut soak.store.keel(&["store", "verify"]));
    soak.store.nothing_half();
}
