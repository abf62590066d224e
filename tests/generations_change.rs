//! `keel generations pin`, `tag`, `show`, `diff` and `delete` on temporary stores.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod rootfs;

use std::fs;
use std::os::unix::fs::symlink;

use rootfs::{Rootfs, Store, fails, run};
use serde_json::{Value, json};

const SYSTEMD_BOOT: &str = "MZ...#### LoaderInfo: systemd-boot 257 ####";

/// A store with so many generations, all of them bootable; their systems' paths.
fn generations(count: usize) -> (Store, Vec<String>) {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    rootfs.write(
        "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
        SYSTEMD_BOOT.as_bytes(),
        0o644,
    );
    fs::write(store.dir.path().join("initrd"), "an initrd").unwrap();
    let mut systems = Vec::new();
    for number in 1..=count {
        rootfs.write("etc/hostname", format!("host{number}\n").as_bytes(), 0o644);
        rootfs.settle();
        let (root, initrd) = (rootfs.dir.path(), store.dir.path().join("initrd"));
        let out = run(&mut store.keel(&[
            "import",
            "host",
            "--keel",
            "/bin/true",
            "--initrd",
            initrd.to_str().unwrap(),
            "--rootfs",
            root.to_str().unwrap(),
        ]));
        systems.push(
            String::from_utf8(out.stdout)
                .unwrap()
                .lines()
                .next()
                .unwrap()
                .to_owned(),
        );
    }
    (store, systems)
}

fn keel(store: &Store, arguments: &[&str]) -> String {
    let out = run(&mut store.keel(&[&["generations"], arguments].concat()));
    String::from_utf8(out.stdout).unwrap()
}

fn rows(store: &Store) -> Vec<Value> {
    serde_json::from_str(&keel(store, &["list", "--json"])).unwrap()
}

fn numbers(store: &Store) -> Vec<u64> {
    rows(store)
        .iter()
        .map(|row| row["generation"].as_u64().unwrap())
        .collect()
}

#[test]
fn pins_and_tags_are_remembered_shown_and_taken_back() {
    let (store, systems) = generations(2);
    assert_eq!(
        keel(&store, &["pin", "1", "newest"]),
        "generation 1: pinned\ngeneration 2: pinned\n"
    );
    assert_eq!(
        keel(&store, &["unpin", "2"]),
        "generation 2: not pinned any more\n"
    );
    assert_eq!(
        keel(&store, &["tag", "2", " for the fair "]),
        "generation 2: for the fair\n"
    );
    let list = rows(&store);
    assert_eq!(
        (&list[0]["pinned"], &list[1]["pinned"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&list[0]["tag"], &list[1]["tag"]),
        (&json!(null), &json!("for the fair"))
    );
    assert_eq!(list[0]["health"], json!({"state": "unknown"}));
    let table = keel(&store, &[]);
    assert!(
        table.lines().nth(1).unwrap().ends_with("intact, pinned"),
        "{table}"
    );
    assert!(
        table
            .lines()
            .nth(2)
            .unwrap()
            .ends_with("intact, profile, default, \u{201c}for the fair\u{201d}"),
        "{table}"
    );

    let shown = keel(&store, &["show", "2"]);
    for line in [
        "generation  2",
        "tag         for the fair",
        "kernel      6.12.9",
        "packages    1",
        "state       profile, default",
        "intact      yes",
        "health      never booted",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line}\n{shown}");
    }
    let shown: Value = serde_json::from_str(&keel(&store, &["show", "1", "--json"])).unwrap();
    assert_eq!(
        (&shown["system"], &shown["marks"]),
        (&json!(systems[0]), &json!(["pinned"]))
    );
    assert!(shown["closureBytes"].as_u64().unwrap() > 4 << 20);

    assert_eq!(keel(&store, &["tag", "2", "--remove"]), "generation 2: no tag\n");
    assert_eq!(rows(&store)[1]["tag"], json!(null));
    for (arguments, said) in [
        (&["pin", "1", "7"][..], "there is no generation 7"),
        (&["tag", "1", "a\nb"], "a tag is one line"),
        (&["tag", "1", " "], "a tag isn't empty"),
        (&["show", "7"], "there is no generation 7"),
    ] {
        let error = fails(&mut store.keel(&[&["generations"], arguments].concat()), 1);
        assert!(error.contains(said), "{error}");
    }
    let diff = keel(&store, &["diff", "1", "2"]);
    assert!(diff.contains("  C  /etc/hostname  contents"), "{diff}");
}

#[test]
fn what_is_deleted_is_what_the_selectors_mean_and_the_menu_follows() {
    let (store, systems) = generations(7);
    let esp = store.dir.path().join("esp");
    fs::create_dir(&esp).unwrap();
    run(&mut store.keel(&["boot", "update", "--esp", esp.to_str().unwrap()]));
    let entries = || fs::read_dir(esp.join("loader/entries")).unwrap().count();
    assert_eq!(entries(), 7);
    // As on a machine that runs the fifth, and whose menu starts the seventh.
    fs::create_dir(store.at("run")).unwrap();
    symlink(&systems[4], store.at("run/current-system")).unwrap();
    keel(&store, &["pin", "2"]);
    keel(&store, &["tag", "6", "try this"]);

    let delete = |arguments: &[&str]| {
        let esp = esp.to_str().unwrap();
        keel(&store, &[&["delete", "--esp", esp], arguments].concat())
    };
    let dry = delete(&["--keep", "2", "--dry-run"]);
    assert_eq!(
        dry,
        "would delete generation 1\nwould delete generation 3\nwould delete generation 4\n\
         kept generation 2 (pinned)\nkept generation 5 (running)\n"
    );
    assert_eq!((numbers(&store).len(), entries()), (7, 7));
    let said = delete(&["--pattern", "try*"]);
    assert_eq!(
        said,
        format!(
            "deleted generation 6\nthe boot menu on {} shows what is left\n",
            esp.display()
        )
    );
    assert_eq!((numbers(&store), entries()), (vec![1, 2, 3, 4, 5, 7], 6));
    let said: Value = serde_json::from_str(&delete(&["1..3", "--json"])).unwrap();
    assert_eq!(said["deleted"], json!([1, 3]));
    assert_eq!(said["kept"], json!([{"generation": 2, "reason": "pinned"}]));
    assert_eq!(numbers(&store), [2, 4, 5, 7]);
    // What they were remembered by is gone with them.
    let record: Value = serde_json::from_str(&store.read("var/lib/keel/generations.json")).unwrap();
    assert_eq!(record["systems"].as_object().unwrap().len(), 1);
    // Made a moment ago: none is older.
    assert_eq!(delete(&["--older-than", "1h"]), "no generation was deleted\n");
    delete(&["--keep", "3", "--keep-boot-menu"]);
    assert_eq!((numbers(&store), entries()), (vec![2, 4, 5, 7], 4));

    let refused = |arguments: &[&str], code| {
        fails(
            &mut store.keel(&[&["generations", "delete"], arguments].concat()),
            code,
        )
    };
    assert!(refused(&["4", "5"], 1).contains("generation 5 is never deleted, since it is running"));
    assert!(refused(&["7"], 1).contains("since it is what the profile leads to"));
    assert!(refused(&["4", "9"], 1).contains("there is no generation 9; nothing was deleted"));
    assert!(refused(&[], 1).contains("nothing says which generations"));
    assert!(refused(&["x"], 2).contains("a generation's number, or two with .. between them"));
    assert_eq!(numbers(&store), [2, 4, 5, 7]);
    store.nix_verifies();
}

#[test]
fn a_record_that_cannot_be_read_deletes_nothing() {
    let (store, _) = generations(2);
    fs::create_dir_all(store.at("var/lib/keel")).unwrap();
    fs::write(store.at("var/lib/keel/generations.json"), "{").unwrap();
    let said = fails(&mut store.keel(&["generations", "delete", "1"]), 1);
    assert!(
        said.contains("generations.json") && said.contains("so nothing was deleted"),
        "{said}"
    );
    let said = fails(&mut store.keel(&["generations", "pin", "1"]), 1);
    assert!(said.contains("nothing was changed: mend the file"), "{said}");
    let out = run(&mut store.keel(&["generations"]));
    assert!(String::from_utf8_lossy(&out.stderr).contains("pins, tags and health aren't known"));
    assert_eq!(numbers(&store), [1, 2]);
}
