//! A real systemd as PID 1 of its own namespaces, and the test's body run beside it, as on a machine of its own.
//!
//! Needs root, a mounted cgroup2 hierarchy that may be written to, and the programs of the Debian packages systemd, dbus
//! and util-linux. The machine sees the host's files read-only; its `/run`, `/dev`, `/etc/systemd` and the directory of
//! packaged units are new. Everything ends with the test: the PID namespace takes its processes along.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod steps;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use steps::{WAITS_FOR_GO, manager_with, outcome, refusal, soon, wait_until, write_unit};

/// In the environment of a test that runs inside of a machine: the test's name.
const INSIDE: &str = "KEEL_TEST_INSIDE_MACHINE";
/// Generous: the time limits decide nothing but when a broken machine is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// What makes the namespaces a machine. Host files can't be changed from inside, nor can the host's kernel settings.
const SETUP: &str = r"
set -e
mount -o remount,bind,ro /
mount -t tmpfs -o mode=755 run /run
mkdir /run/dev
for node in null zero full random urandom tty; do : >/run/dev/$node; mount --bind /dev/$node /run/dev/$node; done
mount --rbind /run/dev /dev
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /sys 2>/dev/null || true
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 units /etc/systemd
mkdir /etc/systemd/system
mount -t tmpfs -o mode=755 units /usr/lib/systemd/system
for directory in /usr/lib/systemd/system-generators /usr/lib/systemd/system-environment-generators; do
  [ ! -d $directory ] || mount -t tmpfs -o mode=755 none $directory
done
for target in default basic sysinit sockets shutdown; do
  printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' $target >/usr/lib/systemd/system/$target.target
done
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=keel-test /lib/systemd/systemd --system --show-status=no
";

/// Runs `body` beside a new systemd. `test` is the full name of the calling test: the machine runs this test program
/// again, with this test alone.
pub(crate) fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        body();
        return;
    }
    let machine = Machine::boot(test);
    let output = machine
        .enter()
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, test)
        .output()
        .expect("nsenter of the package util-linux");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "inside of the machine:\n{stdout}\n{stderr}\nits systemd said:\n{}",
        fs::read_to_string(machine.log_path()).unwrap_or_default()
    );
}

struct Machine {
    unshare: Child,
    init: u32,
    cgroup: PathBuf,
    directory: tempfile::TempDir,
}

impl Machine {
    fn boot(test: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test starts a systemd of its own: run it as root"
        );
        let cgroup = cgroup2_mount().join(format!("keel-test-{}-{test}", std::process::id()));
        fs::create_dir(&cgroup).expect("a cgroup2 hierarchy that may be written to");
        let directory = tempfile::tempdir().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        // When the test program is killed, setpriv's signal kills unshare, and unshare's kills the machine.
        let unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "sh", "-c"])
            .arg("echo $$ >\"$0/cgroup.procs\"; exec unshare --fork --kill-child --pid --mount --mount-proc --cgroup --ipc --uts --net -- sh -c \"$1\"")
            .arg(&cgroup)
            .arg(SETUP)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("setpriv of the package util-linux");
        let mut machine = Self {
            unshare,
            init: 0,
            cgroup,
            directory,
        };
        machine.wait_for("its first process", |machine| {
            let children = format!("/proc/{0}/task/{0}/children", machine.unshare.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            machine.init = children
                .split_whitespace()
                .next()
                .and_then(|pid| pid.parse().ok())
                .unwrap_or(0);
            machine.init != 0
        });
        machine.wait_for("its private socket", |machine| {
            Path::new(&format!("/proc/{}/root/run/systemd/private", machine.init)).exists()
        });
        machine
    }

    fn wait_for(&mut self, what: &str, mut is_there: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(self) {
            let ended = self.unshare.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the machine didn't get to {what} ({ended:?}):\n{}",
                fs::read_to_string(self.log_path()).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// A command that runs the rest of its arguments inside. The PID namespace matters: sd-bus refuses peers without a
    /// process number of its own.
    fn enter(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--pdeathsig",
                "KILL",
                "--",
                "nsenter",
                "--target",
                &self.init.to_string(),
            ])
            .args(["--pid", "--mount", "--ipc", "--uts", "--net", "--root", "--"]);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // unshare waits for its child with the signals blocked, and ends when that ends.
        if self.init != 0 {
            let init = nix::unistd::Pid::from_raw(self.init.cast_signed());
            let _gone = nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGKILL);
        } else {
            let _gone = self.unshare.kill();
        }
        let _status = self.unshare.wait();
        let deadline = Instant::now() + PATIENCE;
        while remove_cgroups(&self.cgroup).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Removes a cgroup and those below; it fails while a process is left in one.
fn remove_cgroups(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroups(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

fn cgroup2_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|mount| mount[2] == "cgroup2");
    PathBuf::from(mount.expect("a mounted cgroup2 hierarchy")[1])
}
