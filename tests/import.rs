//! `keel import` on a small root file system, judged by Nix's own tools and by the kernel.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod rootfs;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use rootfs::{Rootfs, SECRET, Store, fails, run};

#[test]
fn store_paths_are_those_that_nix_store_add_gives() {
    let (rootfs, store, other) = (Rootfs::new(), Store::new(), Store::new());
    let system = store.imported(rootfs.dir.path());
    let scratch = tempfile::tempdir().unwrap();
    for path in store.read(&format!("{system}/closure")).lines() {
        let name = &path["/nix/store/".len() + 33..];
        let copy = scratch.path().join(name);
        run(Command::new("cp").arg("-a").arg(store.at(path)).arg(&copy));
        let out = run(Command::new("nix-store")
            .arg("--store")
            .arg(other.dir.path())
            .arg("--add")
            .arg(copy));
        assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), path);
    }
}

#[test]
fn nix_finds_every_content_and_every_content_address_right() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let system = store.imported(rootfs.dir.path());
    store.nix_verifies();
    store.nothing_half();
    let nix = |arguments: &[&str]| {
        let mut command = Command::new("nix");
        command
            .args(["--extra-experimental-features", "nix-command", "--store"])
            .arg(store.dir.path());
        String::from_utf8(run(command.args(arguments)).stdout).unwrap()
    };
    // Without signatures only content-addressed paths are trusted: the system itself included, which names itself.
    nix(&["store", "verify", "--all"]);
    let info: serde_json::Value = serde_json::from_str(&nix(&["path-info", "--json", &system])).unwrap();
    let mut references: Vec<_> = info[0]["references"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap().to_owned())
        .collect();
    references.retain(|path| *path != system);
    references.sort();
    let closure = store.read(&format!("{system}/closure"));
    assert_eq!(references, closure.lines().collect::<Vec<_>>());
    assert!(info[0]["ca"].as_str().unwrap().starts_with("fixed:r:sha256:"));
    let count = closure.lines().count() + 1;
    assert_eq!(
        store.query("select count(*) from ValidPaths"),
        format!("[Integer({count})]\n")
    );
    assert_eq!(store.query("pragma integrity_check"), "[Text(\"ok\")]\n");
    assert_eq!(store.query("pragma foreign_key_check"), "");
    assert_eq!(store.query("pragma journal_mode"), "[Text(\"wal\")]\n");
}

#[test]
fn a_store_made_by_nix_is_added_to_and_collected_by_nix() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let nix = |arguments: &[&str]| {
        let out = run(Command::new("nix-store")
            .arg("--store")
            .arg(store.dir.path())
            .args(arguments));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let theirs = nix(&["--add", rootfs.path("etc/hostname").to_str().unwrap()]);
    let system = store.imported(rootfs.dir.path());
    store.nix_verifies();
    assert_eq!(nix(&["--query", "--hash", &theirs]).len(), "sha256:".len() + 52);
    // The profile is a root: the garbage is theirs, the system stays, and is whole.
    nix(&["--gc"]);
    assert!(!store.at(&theirs).exists());
    store.nix_verifies();
    assert!(store.at(&system).exists());
    let list = run(&mut store.keel(&["generations"]));
    assert!(
        String::from_utf8(list.stdout)
            .unwrap()
            .contains("intact, profile")
    );
}

#[test]
fn schema_and_tables_are_those_that_nix_creates() {
    let (rootfs, ours, theirs) = (Rootfs::new(), Store::new(), Store::new());
    ours.imported(rootfs.dir.path());
    run(Command::new("nix-store")
        .arg("--store")
        .arg(theirs.dir.path())
        .arg("--add")
        .arg(rootfs.path("etc/hostname")));
    let schema =
        |store: &Store| store.query("select type, name, tbl_name, sql from sqlite_master order by name");
    assert_eq!(schema(&ours), schema(&theirs));
    assert_eq!(
        ours.read("nix/var/nix/db/schema"),
        theirs.read("nix/var/nix/db/schema")
    );
}

#[test]
fn a_directory_and_every_kind_of_archive_give_the_same_system() {
    let rootfs = Rootfs::new();
    let scratch = tempfile::tempdir().unwrap();
    let expected = Store::new().imported(rootfs.dir.path());
    let kinds: [&[&str]; 5] = [&[], &["--format=gnu"], &["--zstd"], &["--xz"], &["--gzip"]];
    for kind in kinds {
        // Only pax archives hold capabilities.
        let kind: Vec<_> = kind
            .iter()
            .map(|&k| if k == "--format=gnu" { "--format=posix" } else { k })
            .collect();
        let tar = scratch.path().join("rootfs");
        rootfs.tar(&tar, &kind);
        let store = Store::new();
        assert_eq!(store.imported(&tar), expected, "{kind:?}");
        store.nix_verifies();
    }
}

#[test]
fn no_secret_and_nothing_of_one_machine_reaches_the_store_and_each_is_named() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let out = run(&mut store.import(rootfs.dir.path()));
    let found = Command::new("grep")
        .arg("-rlaF")
        .arg(SECRET)
        .arg(store.dir.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let said = String::from_utf8(out.stderr).unwrap();
    for path in [
        "/etc/passwd",
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/subuid",
        "/etc/machine-id",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssl/private/ssl-cert-snakeoil.key",
        "/etc/app/tls.key",
        "/etc/resolv.conf",
        "/var/lib/systemd/random-seed",
        "/root/.bash_history",
    ] {
        assert!(said.contains(&format!("left out: {path} (")), "{path}: {said}");
    }
    for text in [
        "the password of root is left out",
        "/var/lib/pipe is a device node or fifo",
        "modules of another kernel",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
}

#[test]
fn pages_are_those_of_the_program_that_is_given_by_a_bare_name() {
    let (rootfs, store, scratch) = (Rootfs::new(), Store::new(), tempfile::tempdir().unwrap());
    let program = scratch.path().join("given-keel");
    fs::write(
        &program,
        "#!/bin/sh\necho '{\"share/man/man8/given.8\": \"its page\"}'\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let place = rootfs.dir.path().to_str().unwrap();
    let mut keel = store.keel(&[
        "import",
        "--keel",
        "given-keel",
        "host",
        "--no-initrd",
        "--rootfs",
        place,
    ]);
    let out = run(keel.current_dir(scratch.path()));
    let system = String::from_utf8(out.stdout).unwrap();
    let usr = store.part(system.lines().next().unwrap(), "usr");
    let page = fs::read_link(usr.join("share/man/man8/given.8")).unwrap();
    assert!(page.ends_with("share/man/man8/given.8"), "{}", page.display());
}

#[test]
fn the_system_holds_what_boot_and_comparison_need() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let initrd = rootfs.path("initrd");
    fs::write(&initrd, "initrd").unwrap();
    let place = rootfs.dir.path().to_str().unwrap();
    let given = initrd.to_str().unwrap();
    let out = run(&mut store.keel(&[
        "import",
        "--keel",
        "/bin/true",
        "host",
        "--kernel-param",
        "quiet",
        "--rootfs",
        place,
        "--initrd",
        given,
    ]));
    let system = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let spec = store.json(&format!("{system}/boot.json"));
    let v1 = &spec["org.nixos.bootspec.v1"];
    assert_eq!(v1["toplevel"], system);
    assert_eq!(v1["label"], "Debian GNU/Linux 13 (trixie), Linux 6.12.9");
    assert_eq!(v1["kernelParams"], serde_json::json!(["quiet"]));
    assert_eq!(
        fs::read_to_string(store.part(&system, "kernel")).unwrap(),
        "kernel 6.12.9"
    );
    assert_eq!(
        fs::read_to_string(store.part(&system, "initrd")).unwrap(),
        "initrd"
    );
    assert_eq!(spec["io.keel.system.v1"]["kernelVersion"], "6.12.9");
    assert!(
        store
            .part(&system, "modules")
            .join("lib/modules/6.12.9/kernel/ext4.ko")
            .exists()
    );
    assert!(!store.part(&system, "usr").join("lib/modules").exists());
    let units = store.json(&format!("{system}/units.json"));
    assert_eq!(units["version"], 1);
    let app = &units["units"]["app.service"];
    assert_eq!(app["code"], serde_json::json!(["/usr/lib/systemd/systemd"]));
    assert_eq!(app["configuration"], serde_json::json!(["/etc/app/app.conf"]));
    for path in ["/usr/lib/systemd/systemd", "/etc/app/app.conf"] {
        assert_eq!(units["files"][path].as_str().map(str::len), Some(64), "{path}");
    }
    assert_eq!(
        store.json(&format!("{system}/packages.json"))["packages"],
        serde_json::json!([{ "name": "base-files", "architecture": "amd64", "version": "13", "size": 3072 }])
    );
    let accounts = store.json(&format!("{system}/accounts.json"));
    assert_eq!(accounts["users"][1]["name"], "svc");
    assert_eq!(
        accounts["groups"][4],
        serde_json::json!({ "name": "dialers", "gid": 112, "members": ["svc"] })
    );
    let usr = store.part(&system, "usr");
    assert_eq!(
        fs::read_link(usr.join("local")).unwrap().to_str(),
        Some("../var/usrlocal")
    );
    assert!(usr.join("lib/sysimage/dpkg/status").exists() && !usr.join("lib/sysimage/dpkg/lock").exists());
    let lines = fs::read_to_string(usr.join("lib/tmpfiles.d/keel-var.conf")).unwrap();
    for line in [
        "d /var/lib/svc 2750 svc svc - -",
        "C /var/lib/svc/data 0640 svc svc - -",
        "C /opt/app/bin/run 0644 root root - -",
        "C /root/.bashrc 0644 root root - -",
        "C /var/usrlocal/bin/tool 0644 root root - -",
        "L+ /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg",
    ] {
        assert!(lines.lines().any(|l| l == line), "{line}: {lines}");
    }
    // Packages make these by themselves; caches stay behind.
    assert!(!lines.contains("d /var 0755") && !lines.contains("L /var/run") && !lines.contains("pkgcache"));
    assert_eq!(
        fs::read_to_string(usr.join("share/factory/var/lib/svc/data")).unwrap(),
        "data of a service\n"
    );
    let preset = store
        .part(&system, "etc")
        .join("systemd/system-preset/00-keel.preset");
    assert!(fs::read_to_string(preset).unwrap().ends_with("\ndisable *\n"));
}

#[test]
fn a_system_has_the_pages_and_the_completion_of_its_own_keel() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let rootfs = rootfs.dir.path().to_str().unwrap();
    let out = run(&mut store.keel(&["import", "--no-initrd", "host", "--rootfs", rootfs]));
    let system = String::from_utf8(out.stdout).unwrap();
    let usr = store.part(system.lines().next().unwrap(), "usr");
    let text = |place: &str| {
        let link = fs::read_link(usr.join(place)).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert!(link.starts_with("/nix/store"), "{}", link.display());
        fs::read_to_string(store.at(link.to_str().unwrap())).unwrap()
    };
    for (name, place) in [
        ("bash", "share/bash-completion/completions/keel"),
        ("zsh", "share/zsh/vendor-completions/_keel"),
        ("fish", "share/fish/vendor_completions.d/keel.fish"),
    ] {
        let said = run(Command::new(env!("CARGO_BIN_EXE_keel")).args(["completion", name])).stdout;
        assert_eq!(text(place), String::from_utf8(said).unwrap(), "{name}");
    }
    assert!(text("share/man/man1/keel.1").contains("keel\\-check(1)"));
    assert!(text("share/man/man5/keel-system.toml.5").contains("allowed_tcp_ports"));
    store.nix_verifies();
}

#[test]
fn objects_are_links_to_files_of_the_store_and_shared_by_generations() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let first = store.imported(rootfs.dir.path());
    rootfs.write("usr/share/doc/new", &[b'n'; 100], 0o644);
    rootfs.settle();
    let second = store.imported(rootfs.dir.path());
    assert_ne!(first, second);
    let inode = |path: std::path::PathBuf| fs::metadata(path).unwrap().ino();
    let su = |system: &str| inode(store.part(system, "usr").join("bin/su"));
    assert_eq!(su(&first), su(&second));
    let mut inodes = Vec::new();
    for directory in fs::read_dir(store.at("nix/var/keel/objects")).unwrap() {
        let directory = directory.unwrap();
        if directory.file_name() != "complete" {
            inodes.extend(
                fs::read_dir(directory.path())
                    .unwrap()
                    .map(|file| file.unwrap().metadata().unwrap()),
            );
        }
    }
    assert!(
        inodes
            .iter()
            .all(|object| object.nlink() > 1 && matches!(object.mode() & 0o7777, 0o444 | 0o555))
    );
    assert!(inodes.iter().any(|object| object.ino() == su(&first)));
    // One content, executable and not: one object.
    let sizes = inodes
        .iter()
        .filter(|object| object.len() == fs::metadata(rootfs.path("usr/bin/su")).unwrap().len());
    assert_eq!(sizes.count(), 1);
    for system in [first, second] {
        assert!(
            store
                .at("nix/var/keel/objects/complete")
                .join(&system["/nix/store/".len()..])
                .exists()
        );
    }
    store.nix_verifies();
}

#[test]
fn the_same_root_file_system_makes_no_second_generation() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    store.imported(rootfs.dir.path());
    let out = run(&mut store.import(rootfs.dir.path()));
    assert!(
        String::from_utf8(out.stdout)
            .unwrap()
            .contains("unchanged: generation 1 of profile system")
    );
    assert_eq!(
        fs::read_link(store.at("nix/var/nix/profiles/system"))
            .unwrap()
            .to_str(),
        Some("system-1-link")
    );
}

#[test]
fn later_times_become_source_date_epoch() {
    let (rootfs, store, other) = (Rootfs::new(), Store::new(), Store::new());
    let with_epoch = |store: &Store| {
        let out = run(store
            .import(rootfs.dir.path())
            .env("SOURCE_DATE_EPOCH", "1600000000"));
        String::from_utf8(out.stdout)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    let first = with_epoch(&store);
    run(Command::new("touch")
        .args(["-d", "@1650000000"])
        .arg(rootfs.path("usr/bin/dial")));
    assert_eq!(with_epoch(&other), first);
    assert_ne!(Store::new().imported(rootfs.dir.path()), first);
}

#[test]
fn names_keep_the_numbers_they_have_on_the_machine() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    store.imported(rootfs.dir.path());
    // The next build numbers its groups in another order, and has one more.
    rootfs.write(
        "etc/group",
        b"root:x:0:\nshadow:x:42:\nmail:x:8:\nsvc:x:112:\ndialers:x:110:svc\nnew:x:111:\n",
        0o644,
    );
    rootfs.write(
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/bash\nother:x:105:111::/:/bin/false\nsvc:x:106:112:Service:/var/lib/svc:/bin/false\n",
        0o644,
    );
    rootfs.own("usr/bin/dial", 106, 110, 0o4750);
    rootfs.settle();
    let out = run(&mut store.import(rootfs.dir.path()));
    let system = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(
        said.contains("group dialers is number 112 on this machine, not 110"),
        "{said}"
    );
    let ids = store.json(&format!("{system}/ids.json"));
    assert_eq!(
        ids["users"],
        serde_json::json!({ "root": 0, "svc": 105, "other": 100 })
    );
    assert_eq!(
        ids["groups"],
        serde_json::json!({ "root": 0, "shadow": 42, "mail": 8, "svc": 110, "dialers": 112, "new": 111 })
    );
    let users = &store.json(&format!("{system}/accounts.json"))["users"];
    assert_eq!(
        (&users[2]["name"], &users[2]["uid"], &users[2]["gid"]),
        (&"svc".into(), &105.into(), &110.into())
    );
    let image = Image::open(&store, &system, "usr.cfs");
    assert_eq!(image.owner("bin/dial"), (105, 112));
}

#[test]
fn an_image_shows_what_the_root_file_system_was() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let system = store.imported(rootfs.dir.path());
    let image = Image::open(&store, &system, "usr.cfs");
    for (path, mode, owner) in [
        ("bin/su", 0o104_755, (0, 0)),
        ("sbin/expiry", 0o102_755, (0, 42)),
        ("bin/dial", 0o104_750, (0, 112)),
        ("share/doc/su", 0o100_644, (0, 0)),
        ("share/factory/var/lib/svc/data", 0o100_640, (105, 110)),
    ] {
        assert_eq!(image.mode(path), mode, "{path}");
        assert_eq!(image.owner(path), owner, "{path}");
    }
    assert_eq!(image.mtime("bin/su"), 1_700_000_000);
    for path in ["bin/ping", "bin/ping6"] {
        assert!(
            image.capability(path).contains("cap_dac_override,cap_fowner=ep"),
            "{path}"
        );
    }
    assert_eq!(image.capability("bin/su"), "");
    for path in [
        "bin/su",
        "lib/big",
        "bin/su-link",
        "lib/os-release",
        "lib/modules/6.12.9/kernel/ext4.ko",
    ] {
        assert_eq!(
            image.read(path),
            fs::read(rootfs.path("usr").join(path)).unwrap(),
            "{path}"
        );
    }
    let etc = Image::open(&store, &system, "etc.cfs");
    assert_eq!(etc.read("ssh/sshd_config"), b"PermitRootLogin no\n");
    assert!(!etc.exists("shadow") && !etc.exists("machine-id"));
}

#[test]
fn killed_at_any_point_it_leaves_the_old_generation_and_nothing_half() {
    let rootfs = Rootfs::new();
    for point in [
        "before-sync",
        "before-rename",
        "between-renames",
        "before-register",
        "after-register",
        "before-objects",
        "after-objects",
        "before-profile",
    ] {
        let store = Store::new();
        let old = store.imported(rootfs.dir.path());
        let new_rootfs = Rootfs::new();
        new_rootfs.write(
            "usr/bin/added",
            format!("{}{point}", "x".repeat(200)).as_bytes(),
            0o755,
        );
        new_rootfs.settle();
        let killed = store
            .import(new_rootfs.dir.path())
            .env("KEEL_TEST_FAILPOINT", point)
            .output()
            .unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&killed.status),
            Some(9),
            "{point}"
        );
        assert_eq!(
            fs::read_link(store.at("nix/var/nix/profiles/system"))
                .unwrap()
                .to_str(),
            Some("system-1-link")
        );
        store.nix_verifies();
        let table = String::from_utf8(run(&mut store.keel(&["generations"])).stdout).unwrap();
        assert!(table.contains("intact, profile"), "{point}: {table}");

        let new = store.imported(new_rootfs.dir.path());
        assert_ne!(old, new);
        store.nix_verifies();
        store.nothing_half();
        let table = run(&mut store.keel(&["generations", "--json"]));
        let rows: serde_json::Value = serde_json::from_slice(&table.stdout).unwrap();
        let numbers: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (&row["generation"], &row["intact"]))
            .collect();
        assert_eq!(
            numbers,
            [(&1.into(), &true.into()), (&2.into(), &true.into())],
            "{point}"
        );
        assert_eq!(rows[1]["system"], new);
        // The objects are the files of the trees, also when the trees were there before the objects.
        let image = Image::open(&store, &new, "usr.cfs");
        assert_eq!(
            image.read("bin/added"),
            fs::read(new_rootfs.path("usr/bin/added")).unwrap()
        );
        let added = fs::metadata(store.part(&new, "usr").join("bin/added")).unwrap();
        assert_eq!(added.nlink(), 2, "{point}");
    }
}

#[test]
fn what_is_no_debian_root_file_system_is_refused_by_name_and_changes_nothing() {
    type Change = fn(&Rootfs);
    let cases: [(Change, &str); 8] = [
        (
            |r| {
                fs::remove_file(r.path("lib")).unwrap();
                fs::create_dir(r.path("lib")).unwrap();
            },
            "/lib is not a link to usr/lib",
        ),
        (
            |r| fs::remove_file(r.path("etc/passwd")).unwrap(),
            "there is no /etc/passwd",
        ),
        (
            |r| fs::remove_file(r.path("var/lib/dpkg/status")).unwrap(),
            "there is no /var/lib/dpkg/status",
        ),
        (
            |r| fs::remove_dir_all(r.path("usr/lib/modules")).unwrap(),
            "no kernel with its modules: kernels in /boot: 6.1.0",
        ),
        (
            |r| r.write("etc/group", b"root:x\n", 0o644),
            "/etc/group, line 1: it has a wrong number of fields",
        ),
        (
            |r| r.write("etc/passwd", b"root:x:-1:0:::\n", 0o644),
            "/etc/passwd, line 1: it has a bad number",
        ),
        (
            |r| {
                fs::remove_dir_all(r.path("etc")).unwrap();
                symlink("usr/etc", r.path("etc")).unwrap();
            },
            "there is no /etc/passwd",
        ),
        (
            |r| fs::create_dir_all(r.path(&format!("usr/{}", "d/".repeat(300)))).unwrap(),
            "nested deeper than 256 directories",
        ),
    ];
    let store = Store::new();
    for (change, text) in cases {
        let rootfs = Rootfs::new();
        change(&rootfs);
        let said = fails(&mut store.import(rootfs.dir.path()), 1);
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with("keel: import: ") && last.contains(text),
            "{text}: {said}"
        );
    }
    store.nothing_half();
    assert_eq!(
        fs::read_dir(store.at("nix/store")).unwrap().count(),
        1,
        "only .links"
    );
}

#[test]
fn damaged_archives_and_wrong_arguments_give_one_clear_line() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let tar = store.at("rootfs.tar");
    rootfs.tar(&tar, &[]);
    let whole = fs::read(&tar).unwrap();
    for (bytes, text) in [
        (&whole[..whole.len() / 2 / 512 * 512], "cut short"),
        (&whole[..1000], "cut short"),
        (b"hello, this is no archive", "cut short after 'the start'"),
        (&[b'x'; 2048], "no tar header after 'the start'"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0], "rootfs.tar"),
    ] {
        fs::write(&tar, bytes).unwrap();
        let said = fails(&mut store.import(&tar), 1);
        assert!(said.lines().last().unwrap().contains(text), "{text}: {said}");
    }
    let refused = |arguments: &[&str], code, text: &str| {
        let said = fails(&mut store.keel(arguments), code);
        assert!(said.contains(text), "{text}: {said}");
    };
    refused(
        &["import", "a/b", "--rootfs", "/nowhere"],
        1,
        "'a/b' can't name a system",
    );
    refused(
        &["import", "a", "--rootfs", "/nowhere"],
        1,
        "/nowhere: No such file",
    );
    refused(
        &["import", "a", "--rootfs", "/", "--profile", "../x"],
        1,
        "'../x' can't name a profile",
    );
    refused(
        &["import", "a", "--rootfs", "/", "--kernel-param", "a b"],
        1,
        "give each parameter by itself",
    );
    refused(&["import", "a"], 2, "--rootfs");
}

#[test]
fn two_imports_at_once_wait_for_each_other() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let spawn = || {
        store
            .import(rootfs.dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let both = [spawn(), spawn()];
    for mut child in both {
        assert!(child.wait().unwrap().success());
    }
    store.nix_verifies();
    assert_eq!(
        fs::read_link(store.at("nix/var/nix/profiles/system"))
            .unwrap()
            .to_str(),
        Some("system-1-link")
    );
}

#[test]
fn a_damaged_object_and_an_unregistered_path_are_made_anew() {
    let (rootfs, store) = (Rootfs::new(), Store::new());
    let system = store.imported(rootfs.dir.path());
    let su = fs::metadata(store.part(&system, "usr").join("bin/su")).unwrap();
    let objects = run(Command::new("find")
        .arg(store.at("nix/var/keel/objects"))
        .args(["-inum", &su.ino().to_string()]));
    let object = String::from_utf8(objects.stdout).unwrap().trim().to_owned();
    fs::remove_file(&object).unwrap();
    fs::write(&object, "cut short").unwrap();
    // A tree that was left half by something else, under the name of a path that isn't registered.
    rootfs.write("usr/bin/added", &[b'x'; 300], 0o755);
    rootfs.settle();
    let probe = Store::new();
    let coming = probe.part(&probe.imported(rootfs.dir.path()), "usr");
    let half = store.at("nix/store").join(coming.file_name().unwrap());
    fs::create_dir(&half).unwrap();
    fs::write(half.join("junk"), "junk").unwrap();
    fs::set_permissions(&half, fs::Permissions::from_mode(0o555)).unwrap();

    let second = store.imported(rootfs.dir.path());
    store.nix_verifies();
    assert!(!half.join("junk").exists());
    let image = Image::open(&store, &second, "usr.cfs");
    assert_eq!(image.read("bin/su"), fs::read(rootfs.path("usr/bin/su")).unwrap());
}

/// A mounted image.
struct Image {
    dir: tempfile::TempDir,
}

impl Image {
    fn open(store: &Store, system: &str, name: &str) -> Self {
        let image = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let (erofs, root) = (image.dir.path().join("erofs"), image.dir.path().join("root"));
        for dir in [&erofs, &root] {
            fs::create_dir(dir).unwrap();
        }
        run(Command::new("mount")
            .args(["-t", "erofs", "-o", "ro"])
            .arg(store.part(system, name))
            .arg(&erofs));
        let objects = store.at("nix/var/keel/objects");
        let options = format!(
            "ro,metacopy=on,redirect_dir=on,lowerdir={}::{}",
            erofs.display(),
            objects.display()
        );
        run(Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(&root));
        run(Command::new("umount").arg(&erofs));
        image
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn metadata(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn exists(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    fn mode(&self, path: &str) -> u32 {
        self.metadata(path).mode()
    }

    fn owner(&self, path: &str) -> (u32, u32) {
        (self.metadata(path).uid(), self.metadata(path).gid())
    }

    fn mtime(&self, path: &str) -> i64 {
        self.metadata(path).mtime()
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn capability(&self, path: &str) -> String {
        let out = run(Command::new("getcap").arg(self.at(path)));
        String::from_utf8(out.stdout).unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _result = Command::new("umount").arg(self.dir.path().join("root")).status();
    }
}
