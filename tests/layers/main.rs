//! Layers of real packages, built in sandboxes, and the parts of a system that come of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod beside;
mod debs;
mod store;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use debs::Own;
use keel::layers::{LayersError, Replacement, With};
use keel::system::packages_parts::Tree;
use store::Store;

/// What must never be found in a store.
const SECRET: &str = "s3cr3t-of-one-installation";

fn run(command: &mut Command) -> Output {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

/// A kernel that is no kernel: it asks for a generator of initrds, and runs the scripts of others, one of which fails.
const KERNEL: Own<'_> = Own {
    name: "linux-image-6.12.0-test",
    control: "Depends: initramfs-tools (>= 0.120) | linux-initramfs-tool\n",
    files: &[
        ("boot/vmlinuz-6.12.0-test", "kernel"),
        ("usr/lib/modules/6.12.0-test/kernel/ext4.ko", "module"),
    ],
    postinst: "run-parts --exit-on-error --arg=6.12.0-test /etc/kernel/postinst.d",
};
const HOOK: Own<'_> = Own {
    name: "boot-loader",
    control: "",
    files: &[("etc/kernel/postinst.d/zz-boot-loader", "#!/bin/sh\nexit 1\n")],
    postinst: "",
};
/// What makes secrets, an account, a capability, files of now, and says who it is.
const SERVICE: Own<'_> = Own {
    name: "service",
    control: "Depends: adduser\n",
    files: &[
        ("usr/bin/service", "#!/bin/sh\necho service\n"),
        (
            "usr/lib/systemd/system/service.service",
            "[Service]\nExecStart=/usr/bin/service\n",
        ),
        ("etc/service.conf", "a = 1\n"),
    ],
    postinst: concat!(
        "adduser --system --group --home /var/lib/service --quiet _service\n",
        "mkdir -p /var/lib/service /etc/ssh /etc/service\n",
        "chown _service:_service /var/lib/service\n",
        "echo s3cr3t-of-one-installation-$(head -c 9 /dev/urandom | base64) > /etc/ssh/ssh_host_rsa_key\n",
        "(echo '-----BEGIN PRIVATE KEY-----'; head -c 99 /dev/urandom | base64; echo s3cr3t-of-one-installation) > /etc/service/key\n",
        "date > /var/log/service.log; date > /var/cache/service; head -c 9 /dev/urandom > /etc/machine-id\n",
        "echo made > /usr/lib/service.made\n",
        "chmod 4755 /usr/bin/service; chown root:_service /usr/bin/service; chmod 4755 /usr/bin/service\n",
        "echo s3cr3t-of-one-installation | sha512sum > /var/lib/dpkg/status-old\n",
        "usermod -p '$y$j9T$s3cr3t-of-one-installation' _service\n",
        "if [ -e /sys/class ] || [ \"$(hostname 2>/dev/null || cat /proc/sys/kernel/hostname)\" != localhost ]; then exit 9; fi\n",
    ),
};

#[test]
fn the_same_lock_gives_the_same_parts_in_two_stores_and_no_secret_in_any() {
    let directory = tempfile::tempdir().unwrap();
    let own: Vec<_> = [KERNEL, HOOK, SERVICE]
        .iter()
        .map(|own| own.make(directory.path()))
        .collect();
    let make = || {
        let mut store = Store::new();
        let mut base = debs::of_debian();
        base.push(own[0].clone());
        store.layer(0, &base);
        store.layer(1, &own[1..]);
        let parts = store.realise().unwrap();
        (store, parts)
    };
    let (first, parts) = make();
    let (second, again) = make();
    for (one, other) in first.layer_hashes().iter().zip(second.layer_hashes()) {
        assert_eq!(*one, other);
    }
    assert_eq!(parts.path, again.path);
    first.nix_verifies();

    // Found again without anything being built or read, whatever names the machine knows beside the packages'.
    let mut ids = parts.accounts.ids.clone();
    ids.users.insert("alice".into(), 1000);
    ids.groups.insert("alice".into(), 1000);
    let found = first.find(&ids).expect("they are there");
    assert_eq!(found.path, parts.path);
    assert_eq!(found.accounts.declared, parts.accounts.declared);
    assert_eq!(found.accounts.ids, ids);

    // What the layers hold is compressed: look into them as well.
    for number in 0..2 {
        let text = run(Command::new("zstd").arg("-dc").arg(first.layer_file(number))).stdout;
        let holds = text
            .windows(SECRET.len())
            .filter(|window| *window == SECRET.as_bytes())
            .count();
        // The script that makes it, in dpkg's database.
        assert_eq!(holds, if number == 0 { 0 } else { 4 });
    }
    for absent in [
        "ssl/private/ssl-cert-snakeoil.key",
        "ssh/ssh_host_rsa_key",
        "service/key",
        "machine-id",
        "passwd",
    ] {
        assert!(!first.at(&parts.etc).join(absent).exists(), "{absent}");
    }
    let usr = first.tree(&parts, Tree::Usr);
    let program = usr["bin/service"].clone();
    let group = parts.accounts.ids.groups["_service"];
    assert_eq!((program.mode, program.uid, program.gid), (0o4755, 0, group));
    assert_eq!(usr["lib/service.made"].mtime, store::DATE);
    assert!(usr.contains_key("lib/sysimage/dpkg/info/service.list"));
    assert!(!usr.contains_key("share/factory/var/cache/service"));
    assert!(!usr.contains_key("share/factory/var/cache/debconf/config.dat"));
    assert_eq!(
        usr["bin/dpkg"].target.as_deref(),
        usr["bin/keel"].target.as_deref()
    );
    assert!(usr.contains_key("lib/keel/tools/dpkg"));
    // What is excluded isn't left by the bootstrap either.
    assert!(usr.contains_key("bin/bash") && !usr.keys().any(|path| path.starts_with("share/doc/bash")));
    assert_eq!(parts.kernel_version, "6.12.0-test");
    let names: Vec<_> = parts
        .packages
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert!(names.contains(&"service") && names.contains(&"keel-initramfs") && names.contains(&"libc6"));
    let units = String::from_utf8(parts.units(&first.layout).unwrap()).unwrap();
    assert!(units.contains("service.service"));

    programs_run(&first, &parts);
    one_package_more_is_built_upon_what_is_there(first, &own, directory.path());
}

/// The image's programs are those of the packages: they run.
fn programs_run(store: &Store, parts: &keel::system::packages_parts::Parts) {
    let root = tempfile::tempdir().unwrap();
    for name in ["usr", "bin", "lib", "lib64"] {
        let (target, link) = match name {
            "usr" => (
                store.at(&parts.usr).display().to_string(),
                root.path().join("usr"),
            ),
            other => (format!("usr/{other}"), root.path().join(other)),
        };
        if name == "usr" {
            run(Command::new("cp").args(["-a", &target]).arg(&link));
        } else {
            std::os::unix::fs::symlink(target, link).unwrap();
        }
    }
    let out = run(Command::new("chroot")
        .arg(root.path())
        .args(["/usr/bin/tree", "--version"]));
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("tree v"));
}

fn one_package_more_is_built_upon_what_is_there(
    mut store: Store,
    own: &[std::path::PathBuf],
    directory: &Path,
) {
    let before = store.layer_hashes();
    let bad = Own {
        name: "bad",
        postinst: "echo first words; echo last words >&2; exit 3",
        ..Own::default()
    };
    let mut broken = store.again();
    broken.layer(2, &[bad.make(directory)]);
    let error = broken.realise().unwrap_err();
    let LayersError::Layer { layer: 2, what } = &error else {
        panic!("{error}");
    };
    for text in [
        "package bad: installed bad package post-installation script",
        "exit status 3",
        "first words",
        "last words",
    ] {
        assert!(what.contains(text), "{text}: {what}");
    }
    assert!(what.contains("keel store log"), "{what}");

    let more = Own {
        name: "more",
        files: &[("usr/bin/more-of-it", "#!/bin/sh\n")],
        ..Own::default()
    };
    store.layer(2, &[more.make(directory)]);
    // The packages of the layers below aren't needed any more.
    store.forget_debs(&[0, 1]);
    // In the place of a package another one; and files of a path of the store.
    let other = Own {
        files: &[("usr/bin/more-of-it", "#!/bin/sh\necho other\n")],
        ..more
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let other = store.add(&other.make(elsewhere.path()));
    let tree = elsewhere.path().join("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::write(tree.join("bin/tree"), "#!/bin/sh\necho overlaid\n").unwrap();
    let tree = store.add(&tree);
    store.overlays = vec![
        Replacement {
            package: "more".into(),
            with: With::Deb(other),
        },
        Replacement {
            package: "tree".into(),
            with: With::Files(tree.clone()),
        },
    ];
    store.setuid.remove = vec!["/usr/bin/service".into()];
    let parts = store.realise().unwrap();
    assert_eq!(store.layer_hashes()[..2], before[..]);
    let read = |path: &str| fs::read_to_string(store.at(&parts.usr).join(path)).unwrap();
    assert_eq!(read("bin/more-of-it"), "#!/bin/sh\necho other\n");
    assert_eq!(read("bin/tree"), "#!/bin/sh\necho overlaid\n");
    assert!(parts.closure(&store.layout).unwrap().contains(&tree));
    assert_eq!(store.tree(&parts, Tree::Usr)["bin/service"].mode, 0o755);
    assert_eq!(own.len(), 3);
}

#[test]
fn tools_that_would_change_packages_say_how_it_is_done() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["apt", "apt-get", "dpkg"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keel"), directory.path().join(name)).unwrap();
    }
    let said = |name: &str, arguments: &[&str]| {
        let out = Command::new(directory.path().join(name))
            .args(arguments)
            .output()
            .unwrap();
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (code, text) = said("apt", &["install", "-y", "htop"]);
    assert_eq!(code, Some(100));
    assert!(
        text.contains("install = [\"htop\"]") && text.contains("keel update && keel switch"),
        "{text}"
    );
    let (code, text) = said("dpkg", &["-i", "./htop_1.deb"]);
    assert!(
        code == Some(100) && text.contains("deb = \"./htop_1.deb\""),
        "{text}"
    );
    // Everything else is the real program's, which lies elsewhere on a machine that keel built.
    let (code, text) = said("dpkg", &["--compare-versions", "1", "lt", "2"]);
    assert!(
        code == Some(100) && text.contains("/usr/lib/keel/tools/dpkg can't be executed"),
        "{text}"
    );
}

/// What `packages_parts` lists of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) target: Option<String>,
}

pub(crate) type Listing = BTreeMap<String, Listed>;
