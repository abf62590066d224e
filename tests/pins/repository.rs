//! A repository of packages, made by Debian's own tools and signed with a key of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// What every machine needs, and what the configuration of [`super::Machine`] does.
const BASE: &str = "apt ca-certificates dbus debian-archive-keyring fdisk iproute2 kmod libnss-systemd libpam-systemd login mount \
                    netbase passwd procps systemd-sysv udev util-linux e2fsprogs e2fsck-static systemd-boot-efi";

pub(crate) struct Repository {
    top: tempfile::TempDir,
    gpg: tempfile::TempDir,
}

impl Repository {
    /// One with the packages of the base.
    pub(crate) fn new() -> Self {
        let repository = Self {
            top: readable(),
            // The agent's socket is here: its path has to be short.
            gpg: tempfile::Builder::new().prefix("k").tempdir_in("/tmp").unwrap(),
        };
        repository.gpg_run(&[
            "--batch",
            "--passphrase",
            "",
            "--quick-generate-key",
            "keel test",
            "ed25519",
            "sign",
            "0",
        ]);
        let key = repository.gpg_run(&["--armor", "--export"]);
        fs::write(repository.key(), key).unwrap();
        for name in BASE.split(' ') {
            repository.add(name, "1", "");
        }
        repository.add("bash", "5", "Essential: yes\nDescription: shell");
        repository.add("linux-image-amd64", "6", "Depends: linux-image-6.12");
        repository.add(
            "linux-image-6.12",
            "6",
            "Depends: initramfs-tools | linux-initramfs-tool",
        );
        repository.add("initramfs-tools", "1", "");
        repository
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.top.path().join("debian")
    }

    /// The public key.
    pub(crate) fn key(&self) -> PathBuf {
        self.top.path().join("key.asc")
    }

    fn gpg_run(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .arg("--homedir")
            .arg(self.gpg.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("gpg (Debian: package gnupg)");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Builds a package; `fields` are further lines of its control file.
    pub(crate) fn add(&self, name: &str, version: &str, fields: &str) {
        let tree = self.top.path().join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let description = if fields.contains("Description:") {
            ""
        } else {
            "Description: for a test\n"
        };
        let fields = if fields.is_empty() {
            String::new()
        } else {
            format!("{fields}\n")
        };
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n{fields}{description}"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let pool = self.directory().join("pool");
        fs::create_dir_all(&pool).unwrap();
        let file = pool.join(format!("{name}_{}_all.deb", version.replace(':', "")));
        let status = Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args([&tree, &file])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        fs::remove_dir_all(tree).unwrap();
    }

    /// A package's file.
    pub(crate) fn deb(&self, name: &str) -> PathBuf {
        let mut found = fs::read_dir(self.directory().join("pool"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with(&format!("{name}_"))
            });
        found.next().unwrap()
    }

    /// Writes and signs the indexes.
    pub(crate) fn publish(&self) {
        let output = Command::new("dpkg-scanpackages")
            .args(["--multiversion", "pool"])
            .current_dir(self.directory())
            .output()
            .expect("dpkg-scanpackages (Debian: package dpkg-dev)");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let index = "main/binary-amd64/Packages";
        let suite = self.suite();
        fs::create_dir_all(suite.join("main/binary-amd64")).unwrap();
        fs::write(suite.join(index), &output.stdout).unwrap();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let date = Command::new("date")
            .args(["--utc", "--rfc-email", "--date", &format!("@{seconds}")])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let digest: String = Sha256::digest(&output.stdout)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let release = format!(
            "Origin: Test\nLabel: Test\nSuite: trixie\nCodename: trixie\nDate: {}Architectures: all amd64\nComponents: main\n\
             SHA256:\n {digest} {} {index}\n",
            String::from_utf8(date.stdout).unwrap(),
            output.stdout.len()
        );
        fs::write(suite.join("Release"), release).unwrap();
        let _old = fs::remove_file(suite.join("InRelease"));
        let signed = self.gpg_run(&[
            "--clearsign",
            "--output",
            "-",
            suite.join("Release").to_str().unwrap(),
        ]);
        fs::write(suite.join("InRelease"), signed).unwrap();
        fs::remove_file(suite.join("Release")).unwrap();
    }

    pub(crate) fn suite(&self) -> PathBuf {
        self.directory().join("dists/trixie")
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _status = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.gpg.path())
            .args(["--kill", "all"])
            .status();
    }
}

/// A directory that apt's own user can read.
pub(crate) fn readable() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// The SHA-256 of a file, by sha256sum.
pub(crate) fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').next().unwrap().to_owned()
}
