//! A builder that tries to reach what isn't its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keel::build::{Ended, IdRange, Input, Limits, Sandbox, run};

const LIMITS: Limits = Limits {
    time: Duration::from_mins(2),
    silence: Duration::from_mins(1),
    log_bytes: 1 << 20,
};

struct Lab {
    directory: tempfile::TempDir,
    ids: IdRange,
}

impl Lab {
    fn new() -> Lab {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let ids = IdRange::take(directory.path()).unwrap();
        for (name, id) in [("root", 0), ("build", 1000)] {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            chown(&path, Some(ids.first() + id), Some(ids.first() + id)).unwrap();
        }
        Lab { directory, ids }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A sandbox with busybox as its only input, which runs a script.
    fn sandbox(&self, script: &str) -> Sandbox {
        Sandbox {
            root: self.at("root"),
            build_directory: self.at("build"),
            store_dir: "/nix/store".into(),
            inputs: vec![Input {
                source: "/usr/bin/busybox".into(),
                target: "/bin/sh".into(),
            }],
            builder: b"/bin/sh".to_vec(),
            arguments: vec![b"-c".to_vec(), script.as_bytes().to_vec()],
            environment: vec![(b"PATH".to_vec(), b"/path-not-set".to_vec())],
            first_id: self.ids.first(),
            is_root: false,
            has_network: false,
            output_bytes_max: 1 << 20,
            memory_bytes_max: None,
        }
    }

    fn run(sandbox: &Sandbox, limits: Limits) -> (Ended, String) {
        let mut log = Vec::new();
        let ended = run(Path::new(env!("CARGO_BIN_EXE_keel")), sandbox, limits, &mut log).unwrap();
        (ended, String::from_utf8_lossy(&log).into_owned())
    }

    fn script(&self, script: &str) -> (Ended, String) {
        Lab::run(&self.sandbox(script), LIMITS)
    }
}

#[test]
fn a_builder_leaves_its_output_and_its_exit_code() {
    let lab = Lab::new();
    let (ended, log) = lab.script("echo said; echo also >&2; echo made > /nix/store/out; pwd; exit 3");
    assert_eq!((ended, log.as_str()), (Ended::Exited(3), "said\nalso\n/build\n"));
    let made = lab.at("root/nix/store/out");
    assert_eq!(fs::read_to_string(&made).unwrap(), "made\n");
    assert_eq!(fs::metadata(&made).unwrap().uid(), lab.ids.first() + 1000);
}

#[test]
fn a_hostile_builder_reaches_nothing_of_the_host() {
    let secret = tempfile::tempdir().unwrap();
    let host_file = secret.path().join("secret");
    fs::write(&host_file, "secret of the host").unwrap();
    let name = host_file.display();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pid = std::process::id();
    let socket = format!("keel-sandbox-test-{pid}");
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&socket).unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let key = keel::sys::keyring::add_logon_key(&format!("keel:{socket}"), b"secret").unwrap();
    // Each must fail; what succeeds says so.
    let attempts = [
        format!("cat {name}"),
        "cat /etc/shadow".into(),
        format!("cat /proc/1/root{name}"),
        format!("cat /proc/{pid}/environ"),
        format!("kill -0 {pid}"),
        format!("nc -w 2 127.0.0.1 {port} </dev/null"),
        "ip link | grep -v -e LOOPBACK -e loopback | grep ': '".into(),
        "ls /dev/mem || ls /dev/kmsg || ls /dev/sda || ls /dev/vda || ls /dev/loop0".into(),
        "mknod /build/disk b 8 0".into(),
        "mount -t tmpfs none /build".into(),
        "mount -o remount,rw /bin/sh".into(),
        "umount /proc".into(),
        "chroot / true".into(),
        "echo x > /bin/sh".into(),
        "rm /bin/sh".into(),
        "echo x > /etc/passwd".into(),
        "echo x > /proc/sys/kernel/hostname".into(),
        "echo b > /proc/sysrq-trigger".into(),
        "hostname other".into(),
        "date -s 2001-01-01 >/dev/null; date | grep 2001".into(),
        "dmesg | grep .".into(),
        "cd /proc/self/fd && for i in 3 4 5 6 7 8 9; do [ ! -e $i ] || ls -l $i; done | grep -v /build | grep -e ' /' -e socket".into(),
        "su -c true root".into(),
        "chown 0 /build".into(),
        "ls -d /sys/class /home /root /usr /var".into(),
        "ipcs -m | grep 0x".into(),
        "cat /proc/1/environ | grep -a USER".into(),
        "dd if=/dev/zero of=/build/large bs=1M count=3".into(),
        // Sockets without a file, and keys, of whoever started the build.
        format!("grep {socket} /proc/net/unix"),
        format!("grep {socket} /proc/keys"),
        // The kernel's memory, another process's, and this machine's log.
        "head -c 1 /proc/kcore".into(),
        "head -c 1 /dev/mem".into(),
        format!("echo x > /proc/{pid}/mem"),
        // Other builds and their outputs: the store holds what it was shown, and that is nothing here.
        "ls /nix/store | grep .".into(),
        "ls -d /proc/[0-9]* | wc -l | grep -E '^[0-9]{2,}$'".into(),
        // An output that is another name of a file of the host's, which would change with it.
        "ln /bin/sh /nix/store/out".into(),
        "mv /bin/sh /nix/store/out".into(),
        // Namespaces within: what is root there is still nobody here.
        "unshare -r -m mount -o remount,bind,rw /bin/sh && unshare -r -m sh -c 'echo x > /bin/sh'".into(),
        format!("unshare -r -m sh -c 'umount -l /; cat {name}'"),
        "unshare -r chroot /proc/1/root sh -c 'ls /home /usr'".into(),
        "nsenter -t 1 -m ls /home".into(),
        "modprobe loop || insmod /dev/null".into(),
        "swapon /build/said || losetup /dev/loop0 /build/said".into(),
        "renice -n -20 1".into(),
        format!("ln -s {name} /build/link && cat /build/link"),
        "echo 1 > /proc/sys/vm/drop_caches".into(),
    ];
    let lab = Lab::new();
    for attempt in &attempts {
        let sandbox = lab.sandbox(&format!(
            "if ({attempt}) >/build/said 2>&1; then echo REACHED; cat /build/said; fi"
        ));
        let (ended, log) = Lab::run(&sandbox, LIMITS);
        assert!(
            ended == Ended::Exited(0) && !log.contains("REACHED"),
            "{attempt}: {ended:?}, {log}"
        );
        fs::remove_dir_all(lab.at("root")).unwrap();
        fs::create_dir(lab.at("root")).unwrap();
        chown(lab.at("root"), Some(lab.ids.first()), Some(lab.ids.first())).unwrap();
    }
    assert!(attempts.len() >= 20);
    drop(key);
}

#[test]
fn root_of_a_range_of_ids_is_nobody_outside_of_it() {
    let secret = tempfile::tempdir().unwrap();
    let host_file = secret.path().join("secret");
    fs::write(&host_file, "secret of the host").unwrap();
    let name = host_file.display();
    let pid = std::process::id();
    let busybox = fs::read("/usr/bin/busybox").unwrap();
    let attempts = [
        format!("cat {name}"),
        format!("cat /proc/1/root{name}"),
        format!("kill -0 {pid}"),
        "mount -o remount,bind,rw /bin/sh; echo x >> /bin/sh".into(),
        // What lies below is the sandbox's own; the host's busybox is looked at afterwards.
        "umount -l /bin/sh; chmod 777 /bin/sh; echo x >> /bin/sh; false".into(),
        "mknod /build/disk b 8 0".into(),
        "mknod /build/memory c 1 1".into(),
        "umount -l /proc; ls -d /home /usr /root".into(),
        "mkdir /build/x; chroot /build/x / 2>/dev/null; cd ../../../..; ls -d home usr root".into(),
        "date -s 2001-01-01 >/dev/null; date | grep 2001".into(),
        "dmesg | grep .".into(),
        "echo x > /proc/sys/kernel/core_pattern".into(),
        "echo 1 > /proc/sys/vm/drop_caches".into(),
        "insmod /dev/null".into(),
        "ip link | grep -v -e LOOPBACK -e loopback | grep ': '".into(),
        "mkdir /build/s; mount -t sysfs none /build/s && echo x > /build/s/power/state".into(),
        "chown 70000 /build".into(),
        "head -c 1 /proc/kcore".into(),
        "swapon /build/said".into(),
        "losetup /dev/loop0 /build/said".into(),
    ];
    let lab = Lab::new();
    for attempt in &attempts {
        let mut sandbox = lab.sandbox(&format!(
            "if ({attempt}) >/build/said 2>&1; then echo REACHED; cat /build/said; fi"
        ));
        sandbox.is_root = true;
        let (ended, log) = Lab::run(&sandbox, LIMITS);
        assert!(
            ended == Ended::Exited(0) && !log.contains("REACHED"),
            "{attempt}: {ended:?}, {log}"
        );
        for (name, id) in [("root", 0), ("build", 1000)] {
            fs::remove_dir_all(lab.at(name)).unwrap();
            fs::create_dir(lab.at(name)).unwrap();
            chown(
                lab.at(name),
                Some(lab.ids.first() + id),
                Some(lab.ids.first() + id),
            )
            .unwrap();
        }
    }
    assert!(fs::read("/usr/bin/busybox").unwrap() == busybox);
}

#[test]
fn what_a_builder_leaves_running_is_gone_with_it() {
    let lab = Lab::new();
    let (ended, _) = lab
        .script("setsid sleep 86425 >/dev/null 2>&1 </dev/null & (sleep 86425 >/dev/null 2>&1 &) & exit 0");
    assert_eq!(ended, Ended::Exited(0));
    let left = fs::read_dir("/proc")
        .unwrap()
        .filter_map(Result::ok)
        .any(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x0086425"))
        });
    assert!(!left);
}

#[test]
fn loopback_and_what_a_build_needs_work() {
    let lab = Lab::new();
    let (ended, log) = lab.script(
        "set -e; ip addr show lo | grep -q 127.0.0.1; test -c /dev/null; \
         head -c 4 /dev/urandom | wc -c; echo x > /tmp/file; test -r /proc/self/status; id -u; id -g; hostname; \
         touch /dev/shm/x; echo x > /dev/null; echo end",
    );
    assert_eq!(ended, Ended::Exited(0), "{log}");
    assert_eq!(
        log.lines().take(4).collect::<Vec<_>>(),
        ["4", "1000", "100", "localhost"],
        "{log}"
    );
}

#[test]
fn with_uid_range_the_builder_is_root_of_its_own_ids_only() {
    let lab = Lab::new();
    let script = "set -e; id -u; touch /build/x; chown 65534:42 /build/x; chmod 4755 /build/x; \
                  if mknod /build/d b 8 0 2>/dev/null; then echo REACHED; fi";
    let mut sandbox = lab.sandbox(script);
    sandbox.is_root = true;
    let (ended, log) = Lab::run(&sandbox, LIMITS);
    assert_eq!((ended, log.as_str()), (Ended::Exited(0), "0\n"));
    let metadata = fs::metadata(lab.at("build/x")).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.gid()),
        (lab.ids.first() + 65534, lab.ids.first() + 42)
    );
}

#[test]
fn what_takes_too_long_says_nothing_or_too_much_is_killed_with_its_children() {
    let lab = Lab::new();
    let short = Duration::from_millis(500);
    let time = Limits {
        time: short,
        ..LIMITS
    };
    let script = "sleep 86423 & while true; do echo x; sleep 0.1; done";
    let (ended, _) = Lab::run(&lab.sandbox(script), time);
    assert_eq!(ended, Ended::OutOfTime(short));
    let lab = Lab::new();
    let silence = Limits {
        silence: short,
        ..LIMITS
    };
    let (ended, _) = Lab::run(&lab.sandbox("sleep 86423"), silence);
    assert_eq!(ended, Ended::Silent(short));
    let lab = Lab::new();
    let bytes = Limits {
        log_bytes: 10_000,
        ..LIMITS
    };
    let (ended, log) = Lab::run(&lab.sandbox("yes"), bytes);
    assert_eq!(ended, Ended::LogTooLong(10_000));
    assert!(log.len() < 100_000);
    let left = fs::read_dir("/proc")
        .unwrap()
        .filter_map(Result::ok)
        .any(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x0086423"))
        });
    assert!(!left);
}

#[test]
fn what_is_killed_before_it_has_read_what_to_do_is_out_of_time() {
    let lab = Lab::new();
    let none = Limits {
        time: Duration::ZERO,
        ..LIMITS
    };
    for _ in 0..20 {
        let (ended, log) = Lab::run(&lab.sandbox("true"), none);
        assert_eq!((ended, log.as_str()), (Ended::OutOfTime(Duration::ZERO), ""));
    }
}

#[test]
fn processes_that_use_too_much_memory_together_are_killed() {
    let lab = Lab::new();
    // Each has 12 MiB and is allowed 32. The last command of a shell would replace it, and its memory.
    let one = "X=$(head -c 12000000 /dev/zero | tr '\\0' x); sleep 86427; true";
    let mut sandbox = lab.sandbox(&format!(
        "for i in 1 2 3 4; do sh -c \"{}\" & done; wait",
        one.replace('$', "\\$")
    ));
    sandbox.memory_bytes_max = Some(32 << 20);
    let (ended, log) = Lab::run(&sandbox, LIMITS);
    assert_eq!(ended, Ended::OutOfMemory(32 << 20), "{log}");
}

#[test]
fn outputs_that_are_too_large_together_are_ended_while_they_grow() {
    let lab = Lab::new();
    // No file is larger than the limit, and the builder wouldn't end for a day.
    let (ended, log) = lab.script(
        "mkdir /nix/store/out; for i in 1 2 3; do head -c 500000 /dev/urandom >/nix/store/out/$i; done; sleep 86428",
    );
    assert_eq!(ended, Ended::OutputTooLarge(1 << 20), "{log}");
    // What isn't an output isn't counted.
    let lab = Lab::new();
    let (ended, log) = lab.script("for i in 1 2 3; do head -c 500000 /dev/urandom >/build/$i; done; sleep 2");
    assert_eq!(ended, Ended::Exited(0), "{log}");
}

#[test]
fn a_deep_output_takes_no_more_of_the_stack_than_a_flat_one() {
    let lab = Lab::new();
    let (ended, log) = lab.script(
        "mkdir /nix/store/out; cd /nix/store/out; i=0; while [ $i -lt 1900 ]; do mkdir d; cd d; i=$((i+1)); done; sleep 2",
    );
    assert_eq!(ended, Ended::Exited(0), "{log}");
}

#[test]
fn a_builder_that_is_absent_is_named() {
    let lab = Lab::new();
    let mut sandbox = lab.sandbox("");
    sandbox.builder = b"/nix/store/none/bin/sh".to_vec();
    // Told apart from a builder that ends with 1.
    let program = Path::new(env!("CARGO_BIN_EXE_keel"));
    let error = run(program, &sandbox, LIMITS, &mut Vec::new())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nix/store/none/bin/sh can't be executed: No such file"),
        "{error}"
    );
}
