//! `keel diff` between systems that `keel import` made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod rootfs;

use std::fs;

use rootfs::{Rootfs, Store, fails, run};
use serde_json::json;

const STATUS: &str = "Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 13.1\nInstalled-Size: 5\n\n\
                      Package: vim\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2:9.1\nInstalled-Size: 4096\n\n";

/// A store with two generations that differ in everything that is compared.
fn two() -> (Rootfs, Store, [String; 2]) {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let first = store.imported(rootfs.dir.path());
    rootfs.write("var/lib/dpkg/status", STATUS.as_bytes(), 0o644);
    rootfs.write("etc/ssh/sshd_config", b"PermitRootLogin yes\n", 0o600);
    rootfs.write("etc/new.conf", b"new\n", 0o644);
    rootfs.write(
        "usr/lib/systemd/system/app.service",
        b"[Service]\nEnvironmentFile=/etc/app/app.conf\nExecStart=/lib/systemd/systemd --other\n",
        0o644,
    );
    rootfs.write(
        "usr/lib/systemd/system/extra.service",
        b"[Service]\nExecStart=/lib/systemd/systemd\n",
        0o644,
    );
    rootfs.write("usr/lib/extra", &vec![b'e'; 1 << 20], 0o644);
    fs::write(
        rootfs.path("etc/group"),
        "root:x:0:\nshadow:x:42:svc\nmail:x:8:\nsvc:x:110:\ndialers:x:112:svc\nnewcomers:x:120:\n",
    )
    .unwrap();
    rootfs.settle();
    let mut import = store.import(rootfs.dir.path());
    let out = run(import.args(["--kernel-param", "splash"]));
    let second = String::from_utf8(out.stdout).unwrap();
    let second = second.lines().next().unwrap().to_owned();
    (rootfs, store, [first, second])
}

fn diff(store: &Store, arguments: &[&str]) -> String {
    let out = run(&mut store.keel(&[&["diff"], arguments].concat()));
    assert_eq!(String::from_utf8(out.stderr).unwrap(), "");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn packages_units_files_accounts_and_sizes_are_told() {
    let (_rootfs, store, [first, second]) = two();
    let text = diff(&store, &["1", "2"]);
    let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    has("generation 1 -> generation 2");
    has("Packages: 1 upgraded, 1 added (+4.0 MiB installed)");
    has("  U  base-files  13 -> 13.1     +2.0 KiB");
    has("  A  vim               2:9.1    +4.0 MiB");
    has("  parameter  + splash");
    has("  C  app.service    [Service] ExecStart changed");
    has("  A  extra.service");
    has("  A  /etc/new.conf");
    has("  C  /etc/ssh/sshd_config  contents, mode 0644 -> 0600");
    has("  A  group newcomers");
    has("  C  group shadow     + member svc");
    assert!(text.contains("  contents   1.0 MiB new, "), "{text}");
    assert!(!text.contains('\x1b') && !text.contains("warning"), "{text}");

    let value: serde_json::Value = serde_json::from_str(&diff(&store, &["1", "2", "--json"])).unwrap();
    assert_eq!(value["from"], json!({"system": first, "generation": 1}));
    assert_eq!(value["to"]["system"], second);
    assert_eq!(
        value["packages"][0],
        json!({"name": "base-files", "architecture": "amd64", "change": "upgraded",
               "from": {"version": "13", "size": 3072}, "to": {"version": "13.1", "size": 5120}})
    );
    assert_eq!(value["boot"]["addedParameters"], json!(["splash"]));
    // What the database says, added up by itself.
    let sum = |system: &str| -> u64 {
        let closure = store.read(&format!("{system}/closure"));
        let all = closure.lines().chain([system]);
        let size = |path: &str| {
            let row = store.query(&format!("select narSize from ValidPaths where path = '{path}'"));
            row.chars()
                .filter(char::is_ascii_digit)
                .collect::<String>()
                .parse::<u64>()
                .unwrap()
        };
        all.map(size).sum()
    };
    assert_eq!(value["closure"]["beforeBytes"], sum(&first));
    assert_eq!(value["closure"]["afterBytes"], sum(&second));
    assert_eq!(value["warnings"], json!([]));

    // The other way round.
    let text = diff(&store, &["2", "1"]);
    assert!(
        text.contains("  D  base-files  13.1  -> 13") && text.contains("  R  vim "),
        "{text}"
    );
    assert!(
        text.contains("  parameter  - splash") && text.contains("  R  /etc/new.conf"),
        "{text}"
    );
}

#[test]
fn a_system_has_many_names() {
    let (_rootfs, store, [first, second]) = two();
    let same = diff(&store, &["1", "2"]);
    assert_eq!(diff(&store, &[&first, "newest"]), same);
    assert_eq!(diff(&store, &[store.at(&first).to_str().unwrap(), &second]), same);
    fs::create_dir(store.at("run")).unwrap();
    std::os::unix::fs::symlink(&first, store.at("run/current-system")).unwrap();
    assert_eq!(diff(&store, &[]), same);
    assert_eq!(diff(&store, &["running", "default"]), same);
    let nothing = diff(&store, &["2", &second]);
    assert!(
        nothing.contains("generation 2 -> generation 2\nnothing differs\n"),
        "{nothing}"
    );

    let refused = |arguments: &[&str]| fails(&mut store.keel(&[&["diff"], arguments].concat()), 1);
    assert!(refused(&["3", "2"]).contains("there is no generation 3; `keel generations` lists them"));
    assert!(refused(&["booted", "2"]).contains("'booted' leads to no system here (/run/booted-system: "));
    assert!(refused(&["nonsense", "2"]).contains("nor one of running, booted, default, newest"));
}

#[test]
fn a_damaged_system_is_named_and_an_image_that_is_gone_is_a_warning() {
    let (_rootfs, store, [first, second]) = two();
    fs::remove_file(store.part(&first, "etc.cfs")).unwrap();
    let text = diff(&store, &["1", "2"]);
    assert!(
        text.contains("warning: /nix/store/") && text.contains("-etc.cfs can't be read"),
        "{text}"
    );
    assert!(text.contains("  U  base-files"), "{text}");
    fs::remove_file(store.at(&second).join("boot.json")).unwrap();
    let said = fails(&mut store.keel(&["diff", "1", "2"]), 1);
    assert!(
        said.contains(&format!("{second} can't be compared")) && said.contains("boot.json"),
        "{said}"
    );
}
