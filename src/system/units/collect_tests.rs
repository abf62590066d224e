#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
use super::*;
use crate::system::units::sources::InDirectory;
use std::fs;
use std::os::unix::fs::symlink;

const FILES: &[(&str, &str)] = &[
    (
        "usr/lib/systemd/system/ssh.service",
        "[Unit]\nConditionPathExists=!/etc/ssh/not_to_be_run\n[Service]\nEnvironmentFile=-/etc/default/ssh\n\
         ExecStartPre=/usr/sbin/sshd -t\nExecStart=/usr/sbin/sshd -D $OPTS\nExecReload=/bin/kill -HUP $MAINPID\n",
    ),
    ("usr/lib/systemd/system/ssh.socket", "[Socket]\nListenStream=22\n"),
    (
        "usr/lib/systemd/system/script.service",
        "[Service]\nExecStart=/usr/bin/script\nExecStop=sh -c 'exec /usr/lib/helper --conf=/etc/helper.conf'\n",
    ),
    (
        "usr/lib/systemd/system/t@.service",
        "[Service]\nExecStart=/usr/bin/%p %i\n",
    ),
    (
        "etc/systemd/system/t@x.service.d/a.conf",
        "[Service]\nLoadCredential=key:/etc/t/key\nX-Restart-Triggers=/etc/t/trigger\n",
    ),
    (
        "usr/lib/systemd/system/masked.service",
        "[Service]\nExecStart=/usr/sbin/sshd\n",
    ),
    (
        "usr/lib/systemd/system/systemd-logd.service",
        "[Service]\nExecStart=/usr/lib/logd\n",
    ),
    ("usr/lib/logd", "program"),
    ("etc/systemd/logd.conf", "[Logd]\n"),
    ("usr/sbin/sshd", "program"),
    ("usr/bin/kill", "program"),
    ("usr/bin/dash", "program"),
    ("usr/lib/helper", "#!/usr/bin/env dash\n"),
    ("usr/bin/script", "#!/bin/sh -e\n"),
    ("etc/default/ssh", "OPTS=\n"),
    ("etc/helper.conf", ""),
    ("etc/t/key", "k"),
    ("etc/t/trigger", "t"),
    ("etc/ssh/sshd_config", "Port 22\n"),
    ("etc/ssh/sshd_config.dpkg-old", ""),
    ("etc/ssh/sshd_config.d/10-mine.conf", ""),
    ("etc/ssh/ssh_config", ""),
    ("etc/ssh/ssh_config.d/proxy.conf", ""),
    ("etc/ssh/sshd_config.d/20-other-package.conf", ""),
    ("etc/ssh/mine/keys", ""),
    (
        "usr/lib/sysimage/dpkg/info/openssh-client.list",
        "/etc\n/etc/ssh\n/etc/ssh/ssh_config\n/etc/ssh/ssh_config.d\n/etc/ssh/ssh_config.d/proxy.conf\n",
    ),
    (
        "usr/lib/sysimage/dpkg/info/other.list",
        "/etc\n/etc/ssh\n/etc/ssh/sshd_config.d\n/etc/ssh/sshd_config.d/20-other-package.conf\n",
    ),
    ("etc/pam.d/sshd", ""),
    ("etc/init.d/ssh", ""),
    (
        "usr/lib/sysimage/dpkg/info/openssh-server.list",
        "/.\n/etc\n/etc/ssh\n/etc/ssh/sshd_config.d\n/etc/default\n/etc/default/ssh\n/etc/init.d\n/etc/init.d/ssh\n/etc/pam.d/sshd\n\
         /lib/systemd/system/ssh.service\n/usr/lib/systemd/system/ssh.socket\n",
    ),
];

fn root() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for (target, link) in [
        ("usr/bin", "bin"),
        ("usr/lib", "lib"),
        ("dash", "usr/bin/sh"),
        ("/dev/null", "etc/systemd/system/masked.service"),
        (
            "/usr/lib/systemd/system/ssh.service",
            "etc/systemd/system/sshd.service",
        ),
    ] {
        symlink(target, dir.path().join(link)).unwrap();
    }
    dir
}

#[test]
fn a_unit_is_recorded_with_what_it_runs_and_reads() {
    let dir = root();
    let record = collect(&InDirectory::open(dir.path()).unwrap()).unwrap();
    let unit = |name: &str| &record.units[name];
    let ssh = unit("ssh.service");
    assert_eq!(ssh.fragment, "/usr/lib/systemd/system/ssh.service");
    assert_eq!(ssh.aliases, ["sshd.service"]);
    assert_eq!(ssh.code, ["/usr/bin/kill", "/usr/sbin/sshd"]);
    assert_eq!(
        ssh.configuration,
        [
            "/etc/default/ssh",
            "/etc/ssh/mine/keys",
            "/etc/ssh/sshd_config",
            "/etc/ssh/sshd_config.d/10-mine.conf",
            "/etc/ssh/sshd_config.d/20-other-package.conf"
        ]
    );
    assert!(unit("ssh.socket").configuration.is_empty());
    assert_eq!(
        unit("script.service").code,
        ["/usr/bin/dash", "/usr/bin/script", "/usr/lib/helper"]
    );
    assert_eq!(unit("script.service").configuration, ["/etc/helper.conf"]);
    // A name with a specifier is nobody's.
    assert!(unit("t@.service").code.is_empty());
    assert_eq!(
        unit("t@x.service").configuration,
        ["/etc/t/key", "/etc/t/trigger"]
    );
    assert_eq!(unit("t@x.service").drop_ins.len(), 1);
    assert!(unit("masked.service").masked && unit("masked.service").code.is_empty());
    assert_eq!(
        unit("systemd-logd.service").configuration,
        ["/etc/systemd/logd.conf"]
    );
    for path in record
        .units
        .values()
        .flat_map(|unit| unit.code.iter().chain(&unit.configuration))
    {
        assert!(record.files.contains_key(path), "{path}");
    }
}

#[test]
fn the_record_is_the_same_each_time_and_another_when_a_file_is() {
    let dir = root();
    let record = || collect(&InDirectory::open(dir.path()).unwrap()).unwrap();
    let before = record();
    assert_eq!(before.to_json(), record().to_json());
    assert_eq!(UnitsRecord::parse(&before.to_json()).unwrap(), before);
    fs::write(dir.path().join("etc/ssh/sshd_config"), "Port 23\n").unwrap();
    fs::write(
        dir.path().join("usr/lib/systemd/system/ssh.socket"),
        "[Socket]\nListenStream=23\n",
    )
    .unwrap();
    let after = record();
    let found = super::super::quick_compare(&before, &after);
    assert_eq!(
        found.keys().copied().collect::<Vec<_>>(),
        ["ssh.service", "ssh.socket"]
    );
}

// The machine that runs the tests has programs, libraries and units of its own.
#[test]
fn libraries_are_those_that_the_loader_finds() {
    let machine = InDirectory::open(std::path::Path::new("/")).unwrap();
    let mut programs = Programs::new(&machine);
    for program in ["sh", "/bin/ls", "/usr/bin/find"] {
        let Some(path) = programs.run(program).pop() else {
            continue;
        };
        let output = std::process::Command::new("ldd").arg(&path).output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let real = |path: &str| fs::canonicalize(path).unwrap().to_str().unwrap().to_owned();
        let mut expected: Vec<_> = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .map(real)
            .collect();
        expected.sort();
        assert_eq!(programs.closure(&path), expected, "{path}");
    }
}
