//! Debian's packages, from this machine's mirror, and packages of our own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::run;

const SUITE: &str = "trixie";
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];
/// What is installed beside what is essential: ssl-cert makes a key of the machine's own, tree is a package to add.
const PACKAGES: [&str; 3] = ["adduser", "ssl-cert", "tree"];

/// The real packages, kept from run to run.
pub(crate) fn of_debian() -> Vec<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trixie-debs");
    // Tests of one program run side by side; the first of them downloads.
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !kept.exists() {
        let partial = kept.with_extension(std::process::id().to_string());
        let _ = fs::remove_dir_all(&partial);
        download(&partial);
        // Another run may have been faster.
        let _ = fs::rename(partial.join("var/cache/apt/archives"), &kept);
        let _ = fs::remove_dir_all(&partial);
    }
    let mut debs: Vec<_> = fs::read_dir(&kept)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some("deb".as_ref()))
        .collect();
    debs.sort();
    assert!(
        debs.len() > 40,
        "{} holds too few packages: remove it",
        kept.display()
    );
    debs
}

/// apt with a root of its own: of this machine it takes the mirror alone.
fn download(root: &Path) {
    for directory in [
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg",
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let status = root.join("var/lib/dpkg/status");
    fs::write(&status, "").unwrap();
    let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists()).unwrap();
    let source = format!("deb [signed-by={keyring}] {} {SUITE} main\n", mirror());
    fs::write(root.join("etc/apt/sources.list"), source).unwrap();
    let apt = |tool: &str, arguments: &[&str]| {
        let out = run(Command::new(tool)
            .args(["-q", "-o", &format!("Dir={}", root.display())])
            .args(["-o", &format!("Dir::State::status={}", status.display())])
            .args([
                "-o",
                "APT::Architecture=amd64",
                "-o",
                "APT::Install-Recommends=false",
            ])
            .args(["-o", "APT::Sandbox::User=root"])
            .args(arguments));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    apt("apt-get", &["update"]);
    let all = apt("apt-cache", &["dumpavail"]);
    let essential = all
        .split("\n\n")
        .filter(|stanza| stanza.lines().any(|line| line == "Essential: yes"))
        .filter_map(|stanza| stanza.lines().find_map(|line| line.strip_prefix("Package: ")));
    let mut arguments = vec!["-y", "-d", "install"];
    arguments.extend(essential.chain(PACKAGES));
    apt("apt-get", &arguments);
}

fn mirror() -> String {
    let format = "$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)";
    let list = || {
        let out =
            run(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]));
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix("Debian Debian main ").map(str::to_owned))
    };
    list().unwrap_or_else(|| {
        run(Command::new("apt-get").args(["-q", "update"]));
        list().expect("apt has no source of Debian packages")
    })
}

/// A package of our own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Own<'a> {
    pub(crate) name: &'a str,
    /// Further lines of the control file.
    pub(crate) control: &'a str,
    pub(crate) files: &'a [(&'a str, &'a str)],
    pub(crate) postinst: &'a str,
}

impl Own<'_> {
    pub(crate) fn make(&self, directory: &Path) -> PathBuf {
        let tree = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str, mode| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            std::os::unix::fs::PermissionsExt::set_mode(
                &mut fs::metadata(&path).unwrap().permissions(),
                mode,
            );
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        };
        let control = format!(
            "Package: {}\nVersion: 1.0\nArchitecture: amd64\nMaintainer: keel <keel@localhost>\nDescription: a test\n{}",
            self.name, self.control
        );
        write("DEBIAN/control", &control, 0o644);
        if !self.postinst.is_empty() {
            write(
                "DEBIAN/postinst",
                &format!("#!/bin/sh\nset -e\n{}\n", self.postinst),
                0o755,
            );
        }
        for (path, text) in self.files {
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            write(path, text, mode);
        }
        let deb = directory.join(format!("{}_1.0_amd64.deb", self.name));
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "-b"])
            .arg(tree.path())
            .arg(&deb)
            .env("SOURCE_DATE_EPOCH", "1700000000"));
        deb
    }
}
