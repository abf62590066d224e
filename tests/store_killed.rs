//! What changes the store, killed at the system calls that change files: whatever is valid afterwards is whole, and the same
//! command comes to its end then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

mod kills;
mod nix_store;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use nix_store::{NixStore, run};

/// A store that is brought back to how it was, in its place: paths in it name their directory.
struct Again {
    store: NixStore,
    kept: tempfile::TempDir,
}

impl Again {
    fn new(store: NixStore) -> Self {
        let kept = tempfile::tempdir().unwrap();
        for part in ["store", "var"] {
            run(Command::new("cp")
                .arg("-a")
                .arg(store.path(part))
                .arg(kept.path()));
        }
        Self { store, kept }
    }

    fn bring_back(&self) {
        for part in ["store", "var"] {
            run(Command::new("chmod")
                .args(["-R", "u+w"])
                .arg(self.store.path(part)));
            fs::remove_dir_all(self.store.path(part)).unwrap();
            run(Command::new("cp")
                .arg("-a")
                .arg(self.kept.path().join(part))
                .arg(self.store.dir.path()));
        }
    }

    /// What lies in the store's directory; hidden names left out, locks that nobody holds any more, and where killed builders
    /// worked.
    fn paths(&self) -> BTreeSet<String> {
        fs::read_dir(self.store.path("store"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.') && !name.ends_with(".lock") && !name.ends_with(".chroot"))
            .collect()
    }

    /// Kills `arguments` at each point; `look` is called on what is left.
    fn kill(&self, arguments: &[&str], look: &dyn Fn(&Self)) {
        let command = self.store.keel(arguments);
        let points = kills::points(&command);
        self.bring_back();
        run(&mut self.store.keel(arguments));
        let whole = self.paths();
        let mut killed = 0;
        for point in &points {
            self.bring_back();
            let kill = if arguments[0] == "build" {
                kills::kill_any_at
            } else {
                kills::kill_at
            };
            killed += usize::from(kill(&command, point));
            self.store.nix_verifies();
            let verified = self.store.keel(&["store", "verify"]).output().unwrap();
            assert!(
                verified.status.success(),
                "{point:?}: {}",
                nix_store::text(&verified.stdout)
            );
            look(self);
            let again = self.store.keel(arguments).output().unwrap();
            assert!(
                again.status.success(),
                "{point:?}: {}",
                nix_store::text(&again.stderr)
            );
            assert_eq!(self.paths(), whole, "{point:?}");
            // What a killed addition left is removed by the next one, which there need not be when all was there.
            let conf = self.store.path("conf");
            self.store.say(&["store", "add", conf.to_str().unwrap()]);
            self.store.nothing_half();
        }
        assert!(
            killed * 2 > points.len(),
            "{killed} of {} were killed: {points:?}",
            points.len()
        );
    }
}

/// A store with three trees, two of them kept by a root, one of which needs the other.
fn prepared() -> (Again, Vec<String>) {
    let store = NixStore::new();
    let needed = store.add("needed", &[("file", "the same text\n"), ("deep/file", "other\n")]);
    let kept = store.build(
        "kept",
        &[&needed],
        &format!("mkdir $out; echo {needed} >$out/needs"),
    );
    let dead = store.add("dead", &[("file", "the same text\n"), ("deep/more", "dead\n")]);
    symlink(&kept, store.path("var/nix/gcroots/kept")).unwrap();
    (Again::new(store), vec![needed, kept, dead])
}

fn is_there(path: &str) -> bool {
    PathBuf::from(path).symlink_metadata().is_ok()
}

#[test]
fn an_addition_killed_anywhere_leaves_nothing_half() {
    let (again, _) = prepared();
    let tree = again.store.path("scratch/tree");
    for number in 0..4 {
        let directory = tree.join(format!("d{number}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("file"), format!("{number}\n")).unwrap();
    }
    again.kill(&["store", "add", tree.to_str().unwrap()], &|_| {});
}

#[test]
fn a_collection_killed_anywhere_keeps_what_roots_need() {
    let (again, paths) = prepared();
    let (needed, kept, dead) = (&paths[0], &paths[1], &paths[2]);
    again.kill(&["gc"], &|_| {
        assert!(is_there(needed) && is_there(kept));
    });
    assert!(is_there(needed) && is_there(kept) && !is_there(dead));
}

#[test]
fn a_deduplication_killed_anywhere_leaves_every_file_whole() {
    let (again, paths) = prepared();
    again.kill(&["store", "optimise"], &|_| {
        assert!(paths.iter().all(|path| is_there(path)));
    });
}

#[test]
fn a_build_killed_anywhere_leaves_nothing_half_and_is_done_again() {
    let store = NixStore::new();
    fs::set_permissions(store.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let tools = store.shell();
    let expression = format!(
        "let tools = builtins.storePath \"{tools}\"; run = name: script: derivation {{ inherit name; \
         system = builtins.currentSystem; builder = \"${{tools}}/bin/sh\"; args = [ \"-c\" script ]; PATH = \"${{tools}}/bin\"; \
         outputs = [ \"out\" \"dev\" ]; }}; \
         in run \"second\" \"mkdir $out; echo ${{run \"first\" \"echo 1 >$out; echo 2 >$dev\"}} >$out/first; echo $out >$dev\""
    );
    let derivation = store.nix("nix-instantiate", &["-E", &expression]);
    let derivation = derivation.trim();
    symlink(derivation, store.path("var/nix/gcroots/derivation")).unwrap();
    let again = Again::new(store);
    again.kill(&["build", derivation], &|_| {});
    run(&mut again.store.keel(&["gc"]));
    let left = fs::read_dir(again.store.path("store")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().ends_with(".chroot")),
        "{left:?}"
    );
}

#[test]
fn a_profile_changed_and_killed_anywhere_is_the_old_or_the_new_one() {
    let (again, paths) = prepared();
    let profile = again.store.path("var/nix/profiles/tools");
    let profile = profile.to_str().unwrap();
    let install = |path: &str| {
        again
            .store
            .say(&["profile", "install", path, "--profile", profile]);
    };
    let lists = |store: &NixStore| -> BTreeSet<String> {
        let list = store.nix("nix", &["profile", "list", "--profile", profile]);
        let last = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
        list.lines().map(last).collect()
    };
    install(&paths[0]);
    let before = lists(&again.store);
    // What is brought back is the store with one generation.
    let Again { store, .. } = again;
    let again = Again::new(store);
    let arguments = ["profile", "install", &paths[1], "--profile", profile];
    let after = BTreeSet::from([paths[0].clone(), paths[1].clone()]);
    again.kill(&arguments, &|again| {
        let listed = lists(&again.store);
        assert!(listed == before || listed == after, "{listed:?}");
    });
    assert_eq!(lists(&again.store), after);
    let Again { store, .. } = again;
    let again = Again::new(store);
    again.kill(&["profile", "switch", "1", "--profile", profile], &|again| {
        let listed = lists(&again.store);
        assert!(listed == before || listed == after, "{listed:?}");
    });
    assert_eq!(lists(&again.store), before);
}

#[test]
fn an_addition_that_shares_files_killed_anywhere_leaves_nothing_half() {
    let (again, paths) = prepared();
    fs::write(
        again.store.path("conf/nix.conf"),
        "sandbox = false\nbuild-users-group =\nauto-optimise-store = true\n",
    )
    .unwrap();
    let tree = again.store.path("scratch/tree");
    for number in 0..3 {
        let directory = tree.join(format!("d{number}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("file"), "the same text\n").unwrap();
    }
    again.kill(&["store", "add", tree.to_str().unwrap()], &|_| {
        assert!(paths.iter().all(|path| is_there(path)));
    });
}
