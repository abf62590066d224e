//! Objects of images: what of them is missing or damaged is named, and mended from the trees that hold their contents.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod rootfs;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rootfs::{Rootfs, Store, run};

fn objects(store: &Store) -> Vec<PathBuf> {
    let out = run(Command::new("find").arg(store.at("nix/var/keel/objects")).args([
        "-mindepth",
        "2",
        "-type",
        "f",
        "-path",
        "*/??/*",
    ]));
    let text = String::from_utf8(out.stdout).unwrap();
    let mut all: Vec<_> = text.lines().map(PathBuf::from).collect();
    all.sort();
    all
}

#[test]
fn a_missing_and_a_damaged_object_are_named_and_mended_from_their_trees() {
    let rootfs = Rootfs::new();
    for number in 0..3 {
        rootfs.write(
            &format!("usr/bin/one-{number}"),
            format!("{number}").repeat(200).as_bytes(),
            0o755,
        );
    }
    rootfs.settle();
    let store = Store::new();
    store.imported(rootfs.dir.path());
    run(&mut store.keel(&["store", "verify"]));
    let all = objects(&store);
    let (missing, damaged) = (&all[0], &all[1]);
    fs::remove_file(missing).unwrap();
    // A file of its own: the one that it was a link to is whole.
    fs::remove_file(damaged).unwrap();
    fs::write(damaged, "something else").unwrap();
    let out = store.keel(&["store", "verify"]).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(1), "{said}");
    for (object, what) in [(missing, "is missing, and an image of"), (damaged, "was changed")] {
        let line = said
            .lines()
            .find(|line| line.contains(object.to_str().unwrap()))
            .expect(&said);
        assert!(line.contains(what), "{line}");
    }
    assert!(said.contains("2 faults"), "{said}");
    let cache = store.at("cache");
    fs::create_dir(&cache).unwrap();
    let url = format!("file://{}", cache.display());
    let said = String::from_utf8(run(&mut store.keel(&["store", "repair", "--from", &url])).stdout).unwrap();
    assert_eq!(
        said.lines().filter(|line| line.starts_with("mended ")).count(),
        2,
        "{said}"
    );
    assert_eq!(objects(&store), all);
    run(&mut store.keel(&["store", "verify"]));
}
