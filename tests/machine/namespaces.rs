//! A systemd as PID 1 of namespaces of its own: processes, mounts, network, host name and control groups are none of
//! the host's. The behaviour tests run beside one; the suite in `qemu-tests` includes this file and boots Debian in one.
//!
//! Needs root, a mounted cgroup2 hierarchy that may be written to, and the programs of the Debian package util-linux.
//! Everything ends with the value: the PID namespace takes its processes along.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Generous: the time limits decide nothing but when a broken machine is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it's looked whether something is there.
const EVERY: Duration = Duration::from_millis(20);

/// Enters a control group ($0) and runs the script ($1) in new namespaces.
const START: &str = "echo $$ >\"$0/cgroup.procs\"; exec unshare --fork --kill-child --pid --mount --mount-proc --cgroup \
                     --ipc --uts --net -- sh -c \"$1\"";

/// The machine.
pub(crate) struct Machine {
    unshare: Child,
    init: u32,
    cgroup: PathBuf,
    log: PathBuf,
}

impl Machine {
    /// Runs `setup`, a script for sh(1), in the directory `root` and in new namespaces. It has to make of them what it
    /// wants and to end by executing systemd. What is said goes to `log`. Returns when systemd can be talked to.
    pub(crate) fn boot(name: &str, root: &Path, setup: &str, log: &Path) -> io::Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(io::Error::other(
                "a systemd of its own can only be started by root",
            ));
        }
        let cgroup = cgroup2_mount()?.join(format!("keel-test-{}-{name}", std::process::id()));
        fs::create_dir(&cgroup).map_err(|error| {
            io::Error::other(format!(
                "{} can't be made: {error}; a cgroup2 hierarchy that may be written to is needed",
                cgroup.display()
            ))
        })?;
        let file = File::create(log)?;
        // When this program is killed, setpriv's signal kills unshare, and unshare's kills the machine.
        let unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "sh", "-c", START])
            .arg(&cgroup)
            .arg(setup)
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| io::Error::other(format!("setpriv of the package util-linux: {error}")))?;
        let mut machine = Self {
            unshare,
            init: 0,
            cgroup,
            log: log.to_owned(),
        };
        machine.wait_for("its first process", |machine| {
            let children = format!("/proc/{0}/task/{0}/children", machine.unshare.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            let first = children.split_whitespace().next();
            machine.init = first.and_then(|pid| pid.parse().ok()).unwrap_or(0);
            machine.init != 0
        })?;
        machine.wait_for("systemd's socket", |machine| {
            machine.root().join("run/systemd/private").exists()
        })?;
        Ok(machine)
    }

    fn wait_for(&mut self, what: &str, mut is_there: impl FnMut(&mut Self) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(self) {
            let ended = self.unshare.try_wait()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Err(io::Error::other(format!(
                    "the machine didn't get to {what} ({ended:?}):\n{}",
                    self.log()
                )));
            }
            thread::sleep(EVERY);
        }
        Ok(())
    }

    /// What was said on its console.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its root, as the host reaches it.
    pub(crate) fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init))
    }

    /// A command that runs the rest of its arguments inside. The PID namespace matters: sd-bus refuses peers without a
    /// process number of its own.
    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("setpriv");
        let _ = command
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
            let _gone = kill(Pid::from_raw(self.init.cast_signed()), Signal::SIGKILL);
        } else {
            let _gone = self.unshare.kill();
        }
        let _status = self.unshare.wait();
        let deadline = Instant::now() + PATIENCE;
        while remove_cgroups(&self.cgroup).is_err() && Instant::now() < deadline {
            thread::sleep(EVERY);
        }
    }
}

/// Removes a cgroup and those below; it fails while a process is left in one.
fn remove_cgroups(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroups(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

fn cgroup2_mount() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next() == Some("cgroup2")).then(|| PathBuf::from(point))
    });
    found.ok_or_else(|| {
        io::Error::other("no cgroup2 hierarchy is mounted (mount -t cgroup2 none /sys/fs/cgroup)")
    })
}
