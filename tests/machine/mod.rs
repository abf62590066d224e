//! A real systemd as PID 1 of its own namespaces, and the test's body run beside it, as on a machine of its own.
//!
//! Needs what [`namespaces`] needs, and the programs of the Debian packages systemd and dbus. The machine sees the host's
//! files read-only; its `/run`, `/dev`, `/etc/systemd` and the directory of packaged units are new.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod namespaces;
mod steps;

use std::path::Path;

use namespaces::Machine;
pub(crate) use steps::{WAITS_FOR_GO, manager_with, outcome, refusal, soon, wait_until, write_unit};

/// In the environment of a test that runs inside of a machine: the test's name.
const INSIDE: &str = "KEEL_TEST_INSIDE_MACHINE";

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
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let machine = Machine::boot(test, Path::new("/"), SETUP, &log).unwrap_or_else(|error| panic!("{error}"));
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
        machine.log()
    );
}
