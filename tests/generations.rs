//! `keel generations`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod rootfs;

use std::fs;

use rootfs::{Rootfs, Store, fails, run};

#[test]
fn generations_are_listed_with_what_they_are_and_what_they_miss() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let list = |arguments: &[&str]| {
        let out = run(&mut store.keel(&[&["generations"], arguments].concat()));
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(list(&[]).contains("has no generations"));
    let first = store.imported(rootfs.dir.path());
    rootfs.write("etc/hostname", b"other\n", 0o644);
    rootfs.settle();
    let second = store.imported(rootfs.dir.path());
    fs::remove_file(store.part(&first, "etc.cfs")).unwrap();

    let table = list(&[]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("GENERATION  CREATED (UTC)     LABEL"));
    assert!(
        lines[1].starts_with("         1  20") && lines[1].contains("damaged: /nix/store/"),
        "{table}"
    );
    assert!(lines[1].ends_with("-etc.cfs is missing"), "{table}");
    assert!(
        lines[2].contains("Debian GNU/Linux 13 (trixie), Linux 6.12.9  6.12.9         1  intact, profile"),
        "{table}"
    );
    // Columns are aligned.
    let column = |line: &str| line.find("Debian").unwrap();
    assert_eq!(column(lines[1]), column(lines[2]));
    assert_eq!(column(lines[1]), lines[0].find("LABEL").unwrap());

    let rows: serde_json::Value = serde_json::from_str(&list(&["--json"])).unwrap();
    assert_eq!(rows[0]["intact"], false);
    assert_eq!(rows[1]["system"], second);
    assert_eq!(
        (&rows[1]["profile"], &rows[1]["running"]),
        (&true.into(), &false.into())
    );
    assert_eq!(rows[1]["kernel"], "6.12.9");

    assert!(list(&["--profile", "none"]).contains("The profile none has no generations"));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&list(&["--json", "--profile", "none"])).unwrap(),
        serde_json::json!([])
    );
}

#[test]
fn a_store_that_is_not_there_is_named() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keel"));
    let said = fails(command.args(["generations", "--store", "/no/such/root"]), 1);
    assert!(
        said.starts_with("keel: generations: /no/such/root: No such file"),
        "{said}"
    );
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keel"));
    let said = fails(command.arg("generations").env("NIX_STORE_DIR", "store/../x"), 1);
    assert!(
        said.contains("NIX_STORE_DIR=store/../x: an absolute path"),
        "{said}"
    );
}

#[test]
fn nix_store_dir_and_nix_state_dir_move_the_store() {
    let (rootfs, place) = (Rootfs::new(), tempfile::tempdir().unwrap());
    let (store, state) = (place.path().join("a/store"), place.path().join("b/nix"));
    let keel = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keel"));
        command
            .args(arguments)
            .env("NIX_STORE_DIR", &store)
            .env("NIX_STATE_DIR", &state);
        String::from_utf8(run(&mut command).stdout).unwrap()
    };
    let out = keel(&[
        "import",
        "--keel",
        "/bin/true",
        "host",
        "--no-initrd",
        "--rootfs",
        rootfs.dir.path().to_str().unwrap(),
    ]);
    assert!(out.starts_with(store.to_str().unwrap()));
    assert!(keel(&["generations"]).contains("intact, profile"));
    assert!(place.path().join("b/keel/objects/complete").is_dir());
    let out = run(std::process::Command::new("nix-store")
        .args(["--verify", "--check-contents"])
        .env("NIX_STORE_DIR", &store)
        .env("NIX_STATE_DIR", &state));
    assert!(!String::from_utf8_lossy(&out.stderr).contains("error"));
}

#[test]
fn a_reader_that_is_gone_is_no_fault() {
    let store = Store::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut keel = store.keel(&["generations"]);
    let out = keel.stdout(writer.try_clone().unwrap()).output().unwrap();
    assert_eq!(out.status.code(), Some(128 + libc::SIGPIPE));
    assert_eq!(String::from_utf8(out.stderr).unwrap(), "");

    let mut keel = store.keel(&["import", "name", "--no-initrd", "--rootfs", "/nonexistent"]);
    let status = keel.stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
