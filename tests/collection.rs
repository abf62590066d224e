//! Collecting garbage beside Nix: the same roots, the same paths go, the same stay.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

mod nix_store;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix_store::{NixStore, fails, run};

/// Names in the store directory, without hidden ones and locks.
fn paths(store: &NixStore) -> BTreeSet<String> {
    fs::read_dir(store.path("store"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !name.ends_with(".lock"))
        .collect()
}

/// Names without their hashes: two stores have different ones.
fn names(store: &NixStore) -> Vec<String> {
    let mut names: Vec<_> = paths(store).iter().map(|name| name[33..].to_owned()).collect();
    names.sort();
    names
}

fn root(store: &NixStore, name: &str, path: &str) -> PathBuf {
    let link = store.path("var/nix/gcroots").join(name);
    symlink(path, &link).unwrap();
    link
}

/// Trees, derivations and outputs of every kind of liveness.
fn filled() -> (NixStore, Vec<String>) {
    let store = NixStore::new();
    let base = store.add("base", &[("file", "base\n"), ("same", "the same text\n")]);
    let middle = store.build(
        "middle",
        &[&base],
        &format!("mkdir $out; echo {base} >$out/needs"),
    );
    let top = store.build(
        "top",
        &[&middle],
        &format!("mkdir $out; echo {middle} >$out/needs"),
    );
    let dead = store.add("dead", &[("file", "dead\n"), ("same", "the same text\n")]);
    let dead_top = store.build(
        "dead-top",
        &[&middle],
        &format!("mkdir $out; echo {middle} >$out/needs"),
    );
    let behind = store.add("behind", &[("file", "behind a link\n")]);
    root(&store, "top", &top);
    // An indirect root, as `nix-build` makes it, and a stale one.
    symlink(&behind, store.path("result")).unwrap();
    fs::create_dir_all(store.path("var/nix/gcroots/auto")).unwrap();
    symlink(store.path("result"), store.path("var/nix/gcroots/auto/one")).unwrap();
    symlink(store.path("gone"), store.path("var/nix/gcroots/auto/two")).unwrap();
    store.nix("nix-store", &["--optimise"]);
    (store, vec![base, middle, top, dead, dead_top, behind])
}

#[test]
fn the_same_paths_go_as_with_nix() {
    for settings in ["", "keep-outputs = true\n", "keep-derivations = false\n"] {
        let (ours, kept) = filled();
        let (theirs, _) = filled();
        for store in [&ours, &theirs] {
            let conf = store.path("conf/nix.conf");
            let text = fs::read_to_string(&conf).unwrap() + settings;
            fs::write(conf, text).unwrap();
        }
        let dry = ours.json(&["gc", "--dry-run"]);
        let before = paths(&ours);
        let said = ours.json(&["gc"]);
        theirs.nix("nix-store", &["--gc"]);
        assert_eq!(names(&ours), names(&theirs), "{settings}");
        assert_eq!(dry["paths"], said["paths"], "{settings}");
        let gone: BTreeSet<_> = before.difference(&paths(&ours)).cloned().collect();
        let told: BTreeSet<_> = said["paths"]
            .as_array()
            .unwrap()
            .iter()
            .map(|path| {
                Path::new(path.as_str().unwrap())
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(gone, told, "{settings}");
        assert!(said["bytes"].as_u64().unwrap() > 0);
        for path in [&kept[0], &kept[1], &kept[2], &kept[5]] {
            assert!(Path::new(path).exists(), "{settings}: {path}");
        }
        assert!(
            !ours.path("var/nix/gcroots/auto/two").is_symlink(),
            "a stale root stays"
        );
        assert!(ours.path("var/nix/gcroots/auto/one").is_symlink());
        ours.nix_verifies();
        ours.nothing_half();
        // Nix finds nothing more, nor does keel in what Nix left.
        let left = paths(&ours);
        ours.nix("nix-store", &["--gc"]);
        assert_eq!(paths(&ours), left, "{settings}");
        assert_eq!(theirs.json(&["gc"])["paths"], serde_json::json!([]));
    }
}

#[test]
fn the_roots_are_those_of_nix() {
    let (store, all) = filled();
    // A process whose directory, and one whose open file, is in the store.
    let mut process = Command::new("sleep")
        .arg("60")
        .current_dir(&all[3])
        .stdin(Stdio::from(
            fs::File::open(Path::new(&all[4]).join("needs")).unwrap(),
        ))
        .spawn()
        .unwrap();
    let ours = store.json(&["store", "roots"]);
    let ours: BTreeSet<String> = ours
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["path"].as_str().unwrap().to_owned())
        .collect();
    let theirs = store.nix("nix-store", &["--gc", "--print-roots"]);
    let theirs: BTreeSet<String> = theirs
        .lines()
        .map(|line| line.split(" -> ").last().unwrap().to_owned())
        .filter(|path| Path::new(path).exists())
        .collect();
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(ours, theirs);
    assert!(
        ours.contains(&all[3]) && ours.contains(&all[4]) && ours.contains(&all[5]),
        "{ours:?}"
    );
}

#[test]
fn what_keeps_a_path_is_told_and_hinders_its_deletion() {
    let (store, all) = filled();
    let said = store.say(&["store", "why", &all[0]]);
    assert!(said.contains("gcroots/top") && said.contains(&all[1]), "{said}");
    let rows = store.json(&["store", "why", &all[0]]);
    let chain: Vec<_> = rows[0]["chain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap())
        .collect();
    assert_eq!(chain, [&all[2], &all[1], &all[0]]);
    assert!(store.say(&["store", "why", &all[3]]).contains("kept by no root"));

    for path in [&all[0], &all[2]] {
        let said = fails(&mut store.keel(&["store", "delete", path]));
        assert!(
            said.contains("can't be deleted") || said.contains("alive") || said.contains("keeps"),
            "{said}"
        );
        assert!(Path::new(path).exists());
    }
    store.say(&["store", "delete", "--dry-run", &all[3]]);
    assert!(Path::new(&all[3]).exists());
    store.say(&["store", "delete", &all[3]]);
    assert!(!Path::new(&all[3]).exists());
    store.nix_verifies();
}

#[test]
fn closures_and_referrers_are_those_of_nix() {
    let (store, all) = filled();
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for path in &all {
        for (ours, nix) in [
            (&["store", "closure"][..], "--requisites"),
            (&["store", "referrers"], "--referrers"),
            (&["store", "referrers", "--closure"], "--referrers-closure"),
        ] {
            let ours = sorted(store.say(&[ours, &[path.as_str()]].concat()));
            assert_eq!(
                ours,
                sorted(store.nix("nix-store", &["--query", nix, path])),
                "{nix} {path}"
            );
        }
    }
    let said = fails(&mut store.keel(&["store", "closure", "/nowhere"]));
    assert!(said.contains("no store path"), "{said}");
}

#[test]
fn a_collection_stops_once_enough_is_free() {
    let store = NixStore::new();
    let text = "x".repeat(100_000);
    for number in 0..6 {
        store.add(&format!("tree-{number}"), &[("file", &format!("{number}{text}"))]);
    }
    let said = store.json(&["gc", "--max-freed", "150K"]);
    let count = said["paths"].as_array().unwrap().len();
    assert!((1..6).contains(&count), "{said}");
    store.nix_verifies();
    store.say(&["gc"]);
    assert_eq!(paths(&store).len(), 0);
}

#[test]
fn old_generations_go_by_age_number_or_all() {
    let made = || {
        let store = NixStore::new();
        let trees: Vec<String> = (0..4)
            .map(|number| store.add(&format!("tree-{number}"), &[("file", &format!("{number}\n"))]))
            .collect();
        let profile = store.path("var/nix/profiles/mine");
        for path in &trees {
            store.nix(
                "nix-env",
                &["--profile", profile.to_str().unwrap(), "--set", path],
            );
        }
        (store, trees)
    };
    let left = |store: &NixStore, trees: &[String]| -> Vec<usize> {
        let _ = store;
        (0..trees.len())
            .filter(|&number| Path::new(&trees[number]).exists())
            .collect()
    };
    let (store, trees) = made();
    store.say(&["gc"]);
    assert_eq!(left(&store, &trees), [0, 1, 2, 3]);
    // Nothing is that old.
    store.say(&["gc", "--older-than", "1d"]);
    assert_eq!(left(&store, &trees), [0, 1, 2, 3]);
    store.say(&["gc", "--keep", "2", "--dry-run"]);
    assert_eq!(left(&store, &trees), [0, 1, 2, 3]);
    store.say(&["gc", "--keep", "2"]);
    assert_eq!(left(&store, &trees), [2, 3]);
    store.say(&["gc", "--delete-old"]);
    assert_eq!(left(&store, &trees), [3]);
    let listed = store.nix(
        "nix-env",
        &[
            "--profile",
            store.path("var/nix/profiles/mine").to_str().unwrap(),
            "--list-generations",
        ],
    );
    assert_eq!(listed.lines().count(), 1, "{listed}");
    store.nix_verifies();
}

#[test]
fn a_system_of_another_kind_is_listed_and_stays() {
    let store = NixStore::new();
    // As NixOS makes it, none of ours.
    let system = store.add(
        "nixos-system-host-24.05",
        &[
            ("nixos-version", "24.05\n"),
            ("init", "#!/bin/sh\n"),
            ("activate", "#!/bin/sh\n"),
            ("kernel", "kernel\n"),
        ],
    );
    let newer = store.add(
        "nixos-system-host-24.11",
        &[
            ("nixos-version", "24.11\n"),
            ("init", "#!/bin/sh\n"),
            ("kernel", "k\n"),
        ],
    );
    let profile = store.path("var/nix/profiles/system");
    for path in [&system, &newer] {
        store.nix(
            "nix-env",
            &["--profile", profile.to_str().unwrap(), "--set", path],
        );
    }
    let rows = store.json(&["store", "roots"]);
    assert!(
        rows.as_array().unwrap().iter().all(|row| row["foreign"] == true),
        "{rows}"
    );
    store.say(&["gc", "--delete-old"]);
    assert!(Path::new(&system).exists() && Path::new(&newer).exists());
}

#[test]
fn whoever_runs_keeps_its_temporary_roots() {
    let (store, all) = filled();
    // nix-build holds its outputs while it runs: here, while the builder waits.
    let gate = store.path("gate");
    run(Command::new("mkfifo").arg(&gate));
    let expression = format!(
        "derivation {{ name = \"waits\"; system = builtins.currentSystem; builder = \"/bin/sh\"; PATH = \"/usr/bin:/bin\"; \
         args = [ \"-c\" ''cat {} >/dev/null; cat ${{builtins.storePath \"{}\"}}/file >$out'' ]; }}",
        gate.display(),
        all[3]
    );
    let mut build = store
        .program("nix-build", &["--no-out-link", "-E", &expression])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The builder has begun once it opens the gate.
    let mut opened = fs::File::options().write(true).open(&gate).unwrap();
    store.say(&["gc"]);
    assert!(Path::new(&all[3]).exists(), "the input of a running build went");
    std::io::Write::write_all(&mut opened, b"go on\n").unwrap();
    drop(opened);
    assert!(build.wait().unwrap().success());
    store.say(&["gc"]);
    assert!(!Path::new(&all[3]).exists());
    store.nix_verifies();
}
