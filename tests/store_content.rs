//! What enters the store and leaves it, beside Nix's own tools on the same store.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

mod nix_store;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix_store::{NixStore, fails, run, text};

/// A tree with everything that an archive can hold.
fn tree(store: &NixStore, name: &str) -> PathBuf {
    let tree = store.path("scratch").join(name);
    fs::create_dir_all(tree.join("deep/er/empty")).unwrap();
    for (file, size) in [
        ("none", 0),
        ("a", 7),
        ("a.b", 8),
        ("a-b", 70_000),
        ("deep/large", 3_000_001),
    ] {
        fs::write(tree.join(file), vec![b'x'; size]).unwrap();
    }
    fs::write(tree.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("../nowhere", tree.join("deep/link")).unwrap();
    tree
}

#[test]
fn added_trees_have_the_paths_that_nix_gives_them() {
    let ours = NixStore::new();
    let theirs = NixStore::new();
    let tree = tree(&ours, "tree");
    let file = tree.join("run");
    let link = tree.join("deep/link");
    for source in [&tree, &file, &link] {
        let source = source.to_str().unwrap();
        let path = ours.say(&["store", "add", source]);
        // The same store directory, so that paths can be compared.
        let nix = run(ours
            .program("nix-store", &["--add", source])
            .env("NIX_STATE_DIR", theirs.path("var/nix")));
        assert_eq!(path, text(&nix.stdout), "{source}");
    }
    ours.nix_verifies();
    ours.nothing_half();
    // In Nix's canonical form.
    let path = PathBuf::from(ours.say(&["store", "add", tree.to_str().unwrap()]).trim());
    for (name, mode) in [
        ("", 0o555),
        ("run", 0o555),
        ("a", 0o444),
        ("deep/er/empty", 0o555),
    ] {
        let metadata = path.join(name).symlink_metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (mode, 1), "{name}");
    }
}

#[test]
fn fixed_paths_are_those_of_nix() {
    let store = NixStore::new();
    let tree = tree(&store, "tree");
    let file = tree.join("run");
    for algorithm in ["md5", "sha1", "sha256", "sha512"] {
        for (flat, source) in [(true, &file), (false, &file), (false, &tree)] {
            let source = source.to_str().unwrap();
            let (mut ours, mut nix) = (vec!["store", "add", "--hash", algorithm], vec!["--add-fixed"]);
            if flat {
                ours.push("--flat");
            } else {
                nix.push("--recursive");
            }
            let path = store.say(&[&ours[..], &[source]].concat());
            let info = store.json(&["store", "path-info", path.trim()]);
            let again = store.nix("nix-store", &[&nix[..], &[algorithm, source]].concat());
            assert_eq!(path, again, "{algorithm} {flat} {source}");
            // What is registered is what Nix registers, in a store of its own.
            let theirs = NixStore::new();
            let path = theirs.nix("nix-store", &[&nix[..], &[algorithm, source]].concat());
            let nix_info = theirs.json(&["store", "path-info", path.trim()]);
            for key in ["narHash", "narSize", "ca", "references"] {
                assert_eq!(
                    info[0][key], nix_info[0][key],
                    "{algorithm} {flat} {source}: {key}"
                );
            }
        }
    }
    store.nix_verifies();
}

#[test]
fn only_a_file_is_named_by_its_bytes() {
    let store = NixStore::new();
    let tree = tree(&store, "tree");
    let said = fails(&mut store.keel(&["store", "add", "--flat", tree.to_str().unwrap()]));
    assert!(said.contains("tree: not a file"), "{said}");
    store.nothing_half();
}

#[test]
fn dumps_and_restored_trees_are_those_of_nix() {
    let store = NixStore::new();
    let tree = tree(&store, "tree");
    let ours = run(&mut store.keel(&["store", "dump", tree.to_str().unwrap()])).stdout;
    let nix = run(&mut store.program("nix-store", &["--dump", tree.to_str().unwrap()])).stdout;
    assert!(ours == nix);
    let archive = store.path("archive.nar");
    fs::write(&archive, nix).unwrap();
    let (one, other) = (store.path("one"), store.path("other"));
    for command in [
        &mut store.keel(&["store", "restore", one.to_str().unwrap()]),
        &mut store.program("nix-store", &["--restore", other.to_str().unwrap()]),
    ] {
        run(command.stdin(Stdio::from(fs::File::open(&archive).unwrap())));
    }
    assert_eq!(NixStore::listing(&one), NixStore::listing(&other));
    run(Command::new("diff")
        .args(["--recursive", "--no-dereference"])
        .arg(&one)
        .arg(&other));
    // Half an archive leaves nothing.
    let half = fs::File::open(&archive).unwrap();
    fs::File::options()
        .write(true)
        .open(&archive)
        .unwrap()
        .set_len(5000)
        .unwrap();
    let target = store.path("half");
    let said = fails(
        store
            .keel(&["store", "restore", target.to_str().unwrap()])
            .stdin(Stdio::from(half)),
    );
    assert!(said.contains("ends after"), "{said}");
    assert!(!target.exists());
}

#[test]
fn verify_names_what_was_changed_what_is_missing_and_nothing_else() {
    let store = NixStore::new();
    let paths: Vec<String> = (0..5)
        .map(|number| store.add(&format!("tree-{number}"), &[("file", &format!("{number}\n"))]))
        .collect();
    let large = store.path("scratch/large");
    fs::write(&large, vec![7; 20 << 20]).unwrap();
    let large = store.say(&["store", "add", large.to_str().unwrap()]);
    let said = store.say(&["store", "verify"]);
    assert!(
        said.contains("6 paths") && said.contains("all as they should be"),
        "{said}"
    );

    let change = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, "changed\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
    };
    change(&Path::new(&paths[1]).join("file"));
    change(Path::new(large.trim()));
    run(Command::new("rm").arg("-r").arg(&paths[3]));
    let out = store.keel(&["store", "verify", "--json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let mut found: Vec<(String, String)> = report["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| {
            let of = |key: &str| fault[key].as_str().unwrap().to_owned();
            (of("kind"), of("path"))
        })
        .collect();
    found.sort();
    let mut expected = vec![
        ("changed".to_owned(), paths[1].clone()),
        ("changed".to_owned(), large.trim().to_owned()),
        ("missing".to_owned(), paths[3].clone()),
    ];
    expected.sort();
    assert_eq!(found, expected);
    // One path by itself.
    let said = store.say(&["store", "verify", &paths[0]]);
    assert!(said.starts_with("1 paths"), "{said}");
}

#[test]
fn equal_files_become_one_as_with_nix() {
    let made = || {
        let store = NixStore::new();
        for number in 0..3 {
            store.add(
                &format!("tree-{number}"),
                &[
                    ("same", "the same text\n"),
                    ("deep/same", "the same text\n"),
                    ("own", &format!("{number}\n")),
                    ("empty", ""),
                ],
            );
        }
        store
    };
    let (ours, theirs) = (made(), made());
    ours.say(&["store", "optimise"]);
    theirs.nix("nix-store", &["--optimise"]);
    let links = |store: &NixStore| {
        let mut names: Vec<_> = fs::read_dir(store.path("store/.links"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (
                    entry.file_name().into_string().unwrap(),
                    entry.metadata().unwrap().nlink(),
                )
            })
            .filter(|(_, links)| *links > 1)
            .collect();
        names.sort();
        names
    };
    let without_empty: Vec<_> = links(&theirs)
        .into_iter()
        .filter(|(name, _)| links(&ours).iter().any(|(own, _)| own == name))
        .collect();
    assert_eq!(links(&ours), without_empty);
    assert!(
        links(&ours).iter().any(|(_, count)| *count == 7),
        "{:?}",
        links(&ours)
    );
    ours.nix_verifies();
    ours.nothing_half();
    // A second time there's nothing to do, for either.
    let said = ours.say(&["store", "optimise"]);
    assert!(said.starts_with("0 files"), "{said}");
    let again = run(&mut ours.program("nix-store", &["--optimise"]));
    assert!(
        text(&again.stderr).contains("0.00 MiB") || !text(&again.stderr).contains("freed by hard-linking"),
        "{}",
        text(&again.stderr)
    );
}

#[test]
fn what_is_added_shares_equal_files_when_keel_or_nix_is_told_so() {
    for (file, text) in [
        ("keel.toml", "[store]\ndeduplicate = true\n"),
        (
            "conf/nix.conf",
            "auto-optimise-store = true\nbuild-users-group =\n",
        ),
    ] {
        let store = NixStore::new();
        store.nix("nix-store", &["--init"]);
        let add = |name: &str| {
            let tree = tree(&store, name);
            let mut command = store.keel(&["store", "add", tree.to_str().unwrap()]);
            command.env("KEEL_SETTINGS", store.path("keel.toml"));
            PathBuf::from(nix_store::text(&run(&mut command).stdout).trim())
        };
        let files = |path: &PathBuf| {
            let out = run(Command::new("find").arg(path).args([
                "-type",
                "f",
                "-size",
                "+0",
                "-printf",
                "%i %n %P\n",
            ]));
            let mut lines: Vec<_> = nix_store::text(&out.stdout).lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let apart = add("apart");
        assert!(
            files(&apart).iter().all(|line| line.contains(" 1 ")),
            "{:?}",
            files(&apart)
        );
        fs::write(store.path(file), text).unwrap();
        let (one, other) = (add("one"), add("other"));
        assert_ne!(one, other);
        assert_eq!(files(&one), files(&other));
        assert!(files(&one).len() > 1 && files(&one) != files(&apart));
        store.nix_verifies();
        store.nothing_half();
        // Nix finds nothing that could become a link but what was added before.
        let said = nix_store::text(&run(&mut store.program("nix-store", &["--optimise"])).stderr);
        assert_eq!(files(&one), files(&other), "{said}");
        store.nix_verifies();
    }
}

#[test]
fn a_damaged_file_does_not_become_a_part_of_what_is_added() {
    use std::os::unix::fs::PermissionsExt;
    let store = NixStore::new();
    let settings = store.path("keel.toml");
    fs::write(&settings, "[store]\ndeduplicate = true\n").unwrap();
    let add = |name: &str| {
        let file = store.path("scratch").join(name);
        fs::write(&file, "the same text\n").unwrap();
        let mut command = store.keel(&["store", "add", file.to_str().unwrap()]);
        PathBuf::from(nix_store::text(&run(command.env("KEEL_SETTINGS", &settings)).stdout).trim())
    };
    let damaged = add("first");
    // As long as before, and read only again.
    fs::set_permissions(&damaged, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&damaged, "the sane text\n").unwrap();
    fs::set_permissions(&damaged, fs::Permissions::from_mode(0o444)).unwrap();
    let second = add("second");
    assert_eq!(fs::read_to_string(&second).unwrap(), "the same text\n");
    let third = add("third");
    assert_eq!(
        fs::metadata(&second).unwrap().nlink(),
        1,
        "its link was damaged, and went"
    );
    assert_eq!(
        fs::metadata(&third).unwrap().nlink(),
        2,
        "the first one of a new link"
    );
}
