//! A root file system like Debian's in two dozen files, and the real tools to look at what was made of it.
#![allow(
    dead_code,
    clippy::new_without_default,
    reason = "each test file uses a part of it"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What must never be found in a store.
pub(crate) const SECRET: &str = "s3cr3t-of-this-machine";

const KO: &str = "a module of some length, longer than what is kept in the image itself";
const STATUS: &str = "Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 13\nInstalled-Size: 3\n\n";

const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nsvc:x:105:110:Service:/var/lib/svc:/bin/false\n",
    ),
    (
        "etc/group",
        "root:x:0:\nshadow:x:42:\nmail:x:8:\nsvc:x:110:\ndialers:x:112:svc\n",
    ),
    (
        "etc/shadow",
        "root:$y$s3cr3t-of-this-machine:1::::::\nsvc:!:1::::::\n",
    ),
    ("etc/gshadow", "root:s3cr3t-of-this-machine::\n"),
    ("etc/subuid", "joe:100000:65536\n"),
    ("etc/machine-id", "s3cr3t-of-this-machine\n"),
    (
        "etc/ssh/ssh_host_ed25519_key",
        "-----BEGIN OPENSSH PRIVATE KEY-----\ns3cr3t-of-this-machine\n",
    ),
    ("etc/ssh/sshd_config", "PermitRootLogin no\n"),
    ("etc/ssl/private/ssl-cert-snakeoil.key", "s3cr3t-of-this-machine"),
    (
        "etc/app/tls.key",
        "-----BEGIN PRIVATE KEY-----\ns3cr3t-of-this-machine\n",
    ),
    (
        "etc/resolv.conf",
        "nameserver 192.0.2.1 # s3cr3t-of-this-machine\n",
    ),
    ("etc/hostname", "host\n"),
    (
        "usr/lib/os-release",
        "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n",
    ),
    ("usr/lib/systemd/systemd", "#!init\n"),
    (
        "usr/lib/systemd/system/app.service",
        "[Service]\nEnvironmentFile=/etc/app/app.conf\nExecStart=/lib/systemd/systemd\n",
    ),
    ("etc/app/app.conf", "A=1\n"),
    (
        "usr/lib/tmpfiles.d/var.conf",
        "d /var 0755 - - -\nL /var/run - - - - ../run\n",
    ),
    ("usr/lib/modules/6.12.9/kernel/ext4.ko", KO),
    ("usr/lib/modules/6.1.0/kernel/ext4.ko", "an old module"),
    ("boot/vmlinuz-6.12.9", "kernel 6.12.9"),
    ("boot/vmlinuz-6.1.0", "kernel 6.1.0"),
    ("boot/vmlinuz-6.99", "a kernel without modules"),
    ("var/lib/dpkg/status", STATUS),
    ("var/lib/dpkg/lock", ""),
    ("var/lib/systemd/random-seed", "s3cr3t-of-this-machine"),
    ("var/lib/svc/data", "data of a service\n"),
    ("var/cache/apt/pkgcache.bin", "s3cr3t-of-this-machine"),
    ("root/.bashrc", "alias ls=ls\n"),
    ("root/.bash_history", "s3cr3t-of-this-machine\n"),
    ("opt/app/bin/run", "#!/bin/sh\n"),
    ("usr/local/bin/tool", "#!/bin/sh\n"),
];

pub(crate) struct Rootfs {
    pub(crate) dir: tempfile::TempDir,
}

impl Rootfs {
    /// Times are fixed: the tree is the same in every run.
    pub(crate) fn new() -> Self {
        let rootfs = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::set_permissions(rootfs.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (path, text) in FILES {
            rootfs.write(path, text.as_bytes(), 0o644);
        }
        let long = "a line of a program\n".repeat(400);
        rootfs.write("usr/bin/su", long.as_bytes(), 0o4755);
        // The same content, not executable: another inode of the store, the same object.
        rootfs.write("usr/share/doc/su", long.as_bytes(), 0o644);
        rootfs.write("usr/sbin/expiry", format!("{long}expiry").as_bytes(), 0o2755);
        rootfs.write("usr/bin/dial", format!("{long}dial").as_bytes(), 0o4750);
        rootfs.write("usr/bin/ping", format!("{long}ping").as_bytes(), 0o755);
        // Longer than what passes through memory at once.
        rootfs.write("usr/lib/big", &vec![b'b'; (4 << 20) + 5], 0o644);
        for link in ["bin", "sbin", "lib"] {
            symlink(format!("usr/{link}"), rootfs.path(link)).unwrap();
        }
        symlink("../run", rootfs.path("var/run")).unwrap();
        symlink("su", rootfs.path("usr/bin/su-link")).unwrap();
        fs::hard_link(rootfs.path("usr/bin/ping"), rootfs.path("usr/bin/ping6")).unwrap();
        rootfs.own("usr/sbin/expiry", 0, 42, 0o2755);
        rootfs.own("usr/bin/dial", 0, 112, 0o4750);
        rootfs.own("var/lib/svc", 105, 110, 0o2750);
        rootfs.own("var/lib/svc/data", 105, 110, 0o640);
        run(Command::new("setcap")
            .arg("cap_dac_override,cap_fowner=ep")
            .arg(rootfs.path("usr/bin/ping")));
        run(Command::new("mkfifo").arg(rootfs.path("var/lib/pipe")));
        rootfs.settle();
        rootfs
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn own(&self, name: &str, uid: u32, gid: u32, mode: u32) {
        chown(self.path(name), Some(uid), Some(gid)).unwrap();
        // Giving a file away takes its setuid bit.
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Gives everything one time, so that imports can be compared.
    pub(crate) fn settle(&self) {
        let touch = ["-exec", "touch", "-h", "-d", "@1700000000", "{}", "+"];
        run(Command::new("find").arg(self.dir.path()).args(touch));
    }

    pub(crate) fn tar(&self, to: &Path, how: &[&str]) {
        run(Command::new("tar")
            .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-C"])
            .arg(self.dir.path())
            .args(how)
            .arg("-cf")
            .arg(to)
            .arg("."));
    }
}

/// A store of its own.
pub(crate) struct Store {
    pub(crate) dir: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn keel(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keel"));
        command
            .args(arguments)
            .arg("--store")
            .arg(self.dir.path())
            .env_remove("SOURCE_DATE_EPOCH");
        command
    }

    pub(crate) fn import(&self, rootfs: &Path) -> Command {
        let rootfs = rootfs.to_str().unwrap();
        self.keel(&[
            "import",
            "host",
            "--no-initrd",
            // This very program would be hashed by every test, and it is large in a debug build.
            "--keel",
            "/bin/true",
            "--kernel-param",
            "quiet",
            "--rootfs",
            rootfs,
        ])
    }

    /// Imports, and returns the system's path below the root.
    pub(crate) fn imported(&self, rootfs: &Path) -> String {
        let out = run(&mut self.import(rootfs));
        String::from_utf8(out.stdout)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    }

    /// Where a path of the machine is physically.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(path)).unwrap()
    }

    /// Follows a link of a system to the physical store path.
    pub(crate) fn part(&self, system: &str, name: &str) -> PathBuf {
        self.at(fs::read_link(self.at(system).join(name))
            .unwrap()
            .to_str()
            .unwrap())
    }

    /// What an SQL query on the store's database says, a line a row.
    pub(crate) fn query(&self, sql: &str) -> String {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database =
            rusqlite::Connection::open_with_flags(self.at("nix/var/nix/db/db.sqlite"), flags).unwrap();
        let mut statement = database.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cells: Result<Vec<_>, _> = (0..columns)
                .map(|n| row.get::<_, rusqlite::types::Value>(n))
                .collect();
            Ok(format!("{:?}\n", cells?))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Nix's own judgement.
    pub(crate) fn nix_verifies(&self) {
        let out = run(Command::new("nix-store")
            .arg("--store")
            .arg(self.dir.path())
            .args(["--verify", "--check-contents"]));
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            !["error", "disappeared", "modified"]
                .iter()
                .any(|bad| text.contains(bad)),
            "{text}"
        );
    }

    /// That no temporary name is left anywhere.
    pub(crate) fn nothing_half(&self) {
        let out = run(Command::new("find")
            .arg(self.dir.path())
            .args(["-name", "*keel-tmp*"]));
        assert_eq!(String::from_utf8_lossy(&out.stdout), "");
    }
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let out = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

/// Runs a command that must fail with `code`; returns what it says.
pub(crate) fn fails(command: &mut Command, code: i32) -> String {
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{command:?}: {text}");
    text
}
