//! A layer beside what mmdebstrap makes of the same packages.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use keel::layers::stub;
use keel::system::packages;
use sha2::{Digest, Sha256};

use crate::debs;
use crate::store::{DATE, Store};
use crate::{KERNEL, run};

/// What only mmdebstrap's tree has, or has otherwise (docs/layers.md): its own configuration and that of the machine that built,
/// locks and copies, what belongs to one machine, logs and caches. Accounts have other numbers, compared by name.
const APART: [&str; 28] = [
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "etc/.pwd.lock",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/preferences.d",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/fstab",
    "etc/group",
    "etc/gshadow",
    "etc/hostname",
    "etc/machine-id",
    "etc/passwd",
    "etc/resolv.conf",
    "etc/shadow",
    "etc/security/opasswd",
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg/arch",
    "var/lib/dpkg/available",
    "var/lib/dpkg/status",
    "var/log",
];

#[test]
fn a_layer_equals_what_mmdebstrap_makes_of_the_same_packages() {
    let directory = tempfile::tempdir().unwrap();
    let mut debs = debs::of_debian();
    debs.push(KERNEL.make(directory.path()));
    let mut store = Store::new();
    store.layer(0, &debs);
    store.realise().unwrap();
    let ours = directory.path().join("ours");
    fs::create_dir(&ours).unwrap();
    let tar = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-C"];
    run(Command::new("tar")
        .args(tar)
        .arg(&ours)
        .arg("-xf")
        .arg(store.layer_file(0)));

    let repository = repository(directory.path(), &debs);
    let theirs = directory.path().join("theirs");
    let names: Vec<String> = debs.iter().map(|deb| name_of(deb)).collect();
    run(Command::new("mmdebstrap")
        .env("SOURCE_DATE_EPOCH", DATE.to_string())
        .args(["--variant=custom", "--format=directory", "--architectures=amd64"])
        .args([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
        ])
        .args([
            "--dpkgopt=force-unsafe-io",
            "--aptopt=APT::Install-Recommends \"false\"",
        ])
        .arg(format!("--include={},{}", names.join(","), stub::NAME))
        .args(["trixie".as_ref(), theirs.as_os_str()])
        .arg(format!("deb [trusted=yes] copy:{} ./", repository.display())));

    let packages = |root: &Path| {
        let status = fs::read(root.join("var/lib/dpkg/status")).unwrap();
        packages::from_dpkg_status(&status)
    };
    assert_eq!(packages(&ours), packages(&theirs));
    let (ours, theirs) = (Listed::of(&ours), Listed::of(&theirs));
    let mut differences = Vec::new();
    for (path, one) in &ours {
        match theirs.get(path) {
            None => differences.push(format!("only here: {path}")),
            Some(other) if other != one => differences.push(format!("{path}: {one:?}, {other:?}")),
            Some(_) => {}
        }
    }
    differences.extend(
        theirs
            .keys()
            .filter(|path| !ours.contains_key(*path))
            .map(|path| format!("only there: {path}")),
    );
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(ours.len() > 2000);
}

fn name_of(deb: &Path) -> String {
    let name = deb.file_name().unwrap().to_str().unwrap();
    name.split('_').next().unwrap().to_owned()
}

fn repository(directory: &Path, debs: &[PathBuf]) -> PathBuf {
    let repository = directory.join("repository");
    fs::create_dir(&repository).unwrap();
    for deb in debs {
        // Its name may hold escapes that a URI would have, too.
        let name = deb.file_name().unwrap().to_str().unwrap().replace('%', "_");
        fs::copy(deb, repository.join(name)).unwrap();
    }
    fs::write(repository.join("stub.deb"), stub::deb().unwrap()).unwrap();
    let out = run(Command::new("dpkg-scanpackages")
        .arg(".")
        .current_dir(&repository));
    fs::write(repository.join("Packages"), out.stdout).unwrap();
    repository
}

/// A file, owners by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    mode: u32,
    user: String,
    group: String,
    /// A link's target, a file's hash.
    content: String,
}

impl Listed {
    fn of(root: &Path) -> BTreeMap<String, Listed> {
        let mut all = BTreeMap::new();
        let names = (
            accounts(&root.join("etc/passwd")),
            accounts(&root.join("etc/group")),
        );
        walk(root, Path::new(""), &names, &mut all);
        all
    }
}

type Names = BTreeMap<u32, String>;

fn accounts(path: &Path) -> Names {
    let text = fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields[2].parse().unwrap(), fields[0].to_owned())
    };
    text.lines().map(line).collect()
}

fn walk(root: &Path, below: &Path, names: &(Names, Names), all: &mut BTreeMap<String, Listed>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        let text = path.to_str().unwrap().to_owned();
        // `passwd-` and `status-old` are copies of what was there before.
        let is_copy = text.ends_with("-old") || (text.starts_with("etc/") && text.ends_with('-'));
        let is_lock = text.starts_with("var/lib/dpkg/lock") || text == "var/lib/dpkg/triggers/Lock";
        if is_copy || is_lock || APART.iter().any(|apart| path.starts_with(apart)) {
            continue;
        }
        let full = root.join(&path);
        let metadata = full.symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            fs::read_link(&full).unwrap().to_str().unwrap().to_owned()
        } else if metadata.is_file() {
            keel::store::path::hex(&Sha256::digest(fs::read(&full).unwrap()))
        } else {
            String::new()
        };
        // The hash link of the machine's own certificate.
        if content == "ssl-cert-snakeoil.pem" {
            continue;
        }
        let name = |names: &Names, id: u32| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
        let listed = Listed {
            mode: metadata.mode(),
            user: name(&names.0, metadata.uid()),
            group: name(&names.1, metadata.gid()),
            content,
        };
        all.insert(text, listed);
        if metadata.is_dir() {
            walk(root, &path, names, all);
        }
    }
}
