//! Debian with services, for what needs no kernel of its own: its systemd runs in namespaces of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::archive;
use crate::image_cache::{Cache, Key};
use crate::namespaces::Machine;
use crate::process::Tool;
use crate::rootfs::{self, write};

/// Packages with units of all kinds, services that are linked with many libraries, and needrestart(1), which says what
/// it would restart.
const PACKAGES: &[&str] = &[
    "cron",
    "dbus",
    "libpam-systemd",
    "login",
    "needrestart",
    "nginx",
    "openssh-server",
    "passwd",
    "postgresql",
    "systemd-sysv",
];
/// A tree without a kernel is no system; this one is never booted.
const KERNEL: &str = "no kernel, but the name of one\n";
/// Where all of systemd's own units are.
pub(crate) const UNITS: &str = "usr/lib/systemd/system";

/// The target that an idle machine has reached.
pub(crate) const IDLE: &str = "idle.target";

/// What becomes of the directory that the script finds itself in: the root of a machine that has nothing of this one's
/// but six device nodes. Its systemd has no capability to do anything to the kernel.
const SETUP: &str = "
set -e
mount --bind . .
cd \"$PWD\"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=755 dev dev
for node in null zero full random urandom tty; do : >dev/$node; mount --bind /dev/$node dev/$node; done
";
const START: &str = "
pivot_root . mnt
umount --lazy mnt
exec setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time,-syslog -- \\
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=keel-test /lib/systemd/systemd --system --show-status=no";

/// The tree, made or taken from the cache. Nothing may change it.
pub(crate) fn tree(cache: &Cache) -> Result<PathBuf> {
    let key = Key::of([archive::SUITE, KERNEL].iter().chain(PACKAGES));
    let made = cache.get("services", &key, |directory| {
        let (packed, tree) = (directory.join("root.tar"), directory.join("tree"));
        rootfs::install(PACKAGES, &packed, &[])?;
        rootfs::unpack(&packed, &tree)?;
        fs::remove_file(&packed).context("the archive can't be removed")?;
        write(&tree.join("boot/vmlinuz-0"), KERNEL)?;
        fs::create_dir_all(tree.join("usr/lib/modules/0")).context("the kernel's modules can't be made")
    })?;
    Ok(made.join("tree"))
}

/// Debian that runs.
pub(crate) struct Debian {
    machine: Machine,
}

impl Debian {
    /// Starts the systemd of `tree` without any of its units; the tree can't be written to. What [`IDLE`] wants is
    /// loaded and not started.
    pub(crate) fn idle(tree: &Path, log: &Path) -> Result<Debian> {
        let setup = format!(
            "{SETUP}mount -o remount,bind,ro .\n\
             for directory in {UNITS} usr/lib/systemd/system-generators etc/systemd/system; do\n\
             mount -t tmpfs -o mode=755 none $directory\ndone\nmkdir -p run/systemd/system\n\
             printf '[Unit]\\nDefaultDependencies=no\\n' >run/systemd/system/{IDLE}{START} --unit={IDLE}"
        );
        Debian::boot(tree, &setup, log)
    }

    /// Starts all that `tree` starts, with `store` as its `/nix`, and waits for it.
    pub(crate) fn with_services(tree: &Path, store: &Path, log: &Path) -> Result<Debian> {
        let store = store.to_str().context("the store's path isn't UTF-8")?;
        let setup = format!("{SETUP}mkdir -p nix\nmount --bind '{store}' nix{START}");
        let debian = Debian::boot(tree, &setup, log)?;
        let state = debian.run(&["systemctl", "is-system-running", "--wait"])?;
        if state.trim() != "running" {
            let failed = debian.run(&["systemctl", "--failed", "--no-legend", "--plain"])?;
            bail!("Debian in namespaces is {}: {failed}", state.trim());
        }
        Ok(debian)
    }

    fn boot(tree: &Path, setup: &str, log: &Path) -> Result<Debian> {
        let name = log.file_stem().unwrap_or_default().to_string_lossy();
        let machine = Machine::boot(&name, tree, setup, log)
            .map_err(|error| anyhow!("Debian can't be started in namespaces: {error}"))?;
        Ok(Debian { machine })
    }

    /// A path inside, as this machine reaches it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.machine.root().join(inside.trim_start_matches('/'))
    }

    /// Runs a program inside, and gives what it says on standard output, whatever its exit code: systemctl and keel tell
    /// states by them. What it says on standard error makes it fail when it says nothing else.
    pub(crate) fn run(&self, line: &[&str]) -> Result<String> {
        let mut command = self.machine.enter();
        let output = command
            .args([
                "env",
                "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL=C.UTF-8",
            ])
            .args(line)
            .output()
            .context("nsenter of the package util-linux can't be started")?;
        if output.stdout.is_empty() && !output.status.success() {
            bail!(
                "{} failed inside ({}): {}",
                line.join(" ").chars().take(200).collect::<String>(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A copy of the tree that may be changed.
pub(crate) fn copy(tree: &Path, to: &Path) -> Result<()> {
    Tool::new("cp")
        .args(["--archive", "--reflink=auto"])
        .arg(tree)
        .arg(to)
        .run()
}
