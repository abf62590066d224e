//! Commands that change the store, killed at system calls that change files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod kills;
mod rootfs;

use std::fs;
use std::process::Command;

use rootfs::{Rootfs, Store, run};

/// A copy of a store, with its hard links.
fn copy(of: &Store) -> Store {
    let store = Store::new();
    run(Command::new("cp")
        .arg("-a")
        .arg(of.dir.path().join("."))
        .arg(store.dir.path()));
    store
}

#[test]
fn an_import_killed_anywhere_leaves_the_old_generation_whole_and_the_next_one_succeeds() {
    let (first, second) = (Rootfs::new(), Rootfs::new());
    second.write("usr/bin/added", "x".repeat(200).as_bytes(), 0o755);
    second.settle();
    let prepared = Store::new();
    prepared.imported(first.dir.path());
    let other = copy(&prepared);
    let points = kills::points(&other.import(second.dir.path()));
    let whole = other.imported(second.dir.path());
    assert!(points.len() > 20, "{points:?}");

    let mut killed = 0;
    for point in &points {
        let store = copy(&prepared);
        killed += usize::from(kills::kill_at(&store.import(second.dir.path()), point));
        let current = fs::read_link(store.at("nix/var/nix/profiles/system")).unwrap();
        assert!(
            ["system-1-link", "system-2-link"].contains(&current.to_str().unwrap()),
            "{point:?}: {current:?}"
        );
        let table = String::from_utf8(run(&mut store.keel(&["generations"])).stdout).unwrap();
        assert!(table.contains("intact, profile"), "{point:?}: {table}");
        store.nix_verifies();
        // Its objects, too.
        run(&mut store.keel(&["store", "verify"]));

        assert_eq!(store.imported(second.dir.path()), whole, "{point:?}");
        store.nothing_half();
        store.nix_verifies();
        run(&mut store.keel(&["store", "verify"]));
    }
    assert!(
        killed * 2 > points.len(),
        "{killed} of {} were killed",
        points.len()
    );
}
