#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::system::declared::{Declared, Group, User};

fn user(name: &str, uid: u32, gid: u32) -> User {
    User {
        name: name.into(),
        uid,
        gid,
        gecos: String::new(),
        home: "/".into(),
        shell: "/usr/sbin/nologin".into(),
        ..User::default()
    }
}

fn group(name: &str, gid: u32, members: &[&str]) -> Group {
    Group {
        name: name.into(),
        gid,
        members: members.iter().map(|member| (*member).into()).collect(),
    }
}

fn declared(users: &[User], groups: &[Group]) -> Declared {
    Declared {
        users: users.to_vec(),
        groups: groups.to_vec(),
    }
}

fn texts(pairs: &[(File, &str)]) -> Texts {
    pairs
        .iter()
        .map(|(file, text)| (*file, text.as_bytes().to_vec()))
        .collect()
}

fn get(plan: &Plan, file: File) -> &str {
    plan.files
        .get(&file)
        .map_or("", |text| std::str::from_utf8(text).unwrap())
}

#[test]
fn adds_what_is_absent() {
    let wanted = declared(
        &[
            user("root", 0, 0),
            user("sshd", 990, 990),
            user("alice", 1000, 1000),
        ],
        &[
            group("root", 0, &[]),
            group("sshd", 990, &[]),
            group("video", 44, &["alice"]),
            group("alice", 1000, &[]),
        ],
    );
    let plan = merge(&Texts::new(), &wanted, None);
    assert_eq!(
        get(&plan, File::Passwd),
        "root:x:0:0::/:/usr/sbin/nologin\nsshd:x:990:990::/:/usr/sbin/nologin\nalice:x:1000:1000::/:/usr/sbin/nologin\n"
    );
    assert_eq!(
        get(&plan, File::Shadow),
        "root:*:::::::\nsshd:!*:::::::\nalice:!:::::::\n"
    );
    assert_eq!(
        get(&plan, File::Group),
        "root:x:0:\nsshd:x:990:\nvideo:x:44:alice\nalice:x:1000:\n"
    );
    assert_eq!(
        get(&plan, File::Gshadow),
        "root:*::\nsshd:!*::\nvideo:!*::alice\nalice:!::\n"
    );
    assert_eq!(get(&plan, File::Subuid), "alice:100000:65536\n");
    assert_eq!(get(&plan, File::Subgid), "alice:100000:65536\n");
    assert_eq!(plan.warnings, Vec::<String>::new());
}

#[test]
fn nothing_declared_on_nothing_is_nothing() {
    assert_eq!(merge(&Texts::new(), &Declared::default(), None), Plan::default());
}

#[test]
fn numbers_belong_to_the_machine() {
    let current = texts(&[
        (
            File::Passwd,
            "a:x:940:940::/:/bin/sh\nstranger:x:960:0::/:/bin/sh\ndamaged:x:970:0\n",
        ),
        (File::Group, "root:x:0:\na:x:940:\nstrangers:x:961:\n"),
    ]);
    let wanted = declared(
        &[
            user("a", 950, 950),
            user("b", 960, 0),
            user("c", 951, 950),
            user("d", 952, 961),
            user("e", 970, 0),
        ],
        &[group("a", 950, &[]), group("d", 961, &[])],
    );
    let plan = merge(&current, &wanted, None);
    assert_eq!(
        get(&plan, File::Passwd),
        "a:x:940:940::/:/bin/sh\nstranger:x:960:0::/:/bin/sh\ndamaged:x:970:0\nc:x:951:940::/:/usr/sbin/nologin\n"
    );
    assert_eq!(
        plan.warnings,
        [
            "passwd line 3: 4 fields instead of 7; kept as it is, mend it with vipw",
            "group a keeps its number 940 on this machine, 950 is declared",
            "group d is not added: its number 961 belongs to strangers",
            "user a keeps its number 940 on this machine, 950 is declared",
            "user b is not added: its number 960 belongs to stranger",
            "user d is not added: its group 961 could not be added",
            "user e is not added: its number 970 belongs to a damaged line",
        ]
    );
}

#[test]
fn fields_follow_until_the_administrator_changes_them() {
    let old = declared(&[user("a", 900, 0)], &[]);
    let mut new = old.clone();
    new.users[0].home = "/new".into();
    new.users[0].shell = "/bin/new".into();
    new.users[0].gecos = "New".into();
    let current = texts(&[
        (File::Passwd, "a:x:900:0::/:/bin/own\n"),
        (File::Shadow, "a:!*:::::::\n"),
    ]);
    let plan = merge(&current, &new, Some(&old));
    assert_eq!(get(&plan, File::Passwd), "a:x:900:0:New:/new:/bin/own\n");
    assert_eq!(plan.steps.len(), 2);
    // Without a previous declaration nobody knows whose the values are.
    let plan = merge(&current, &new, None);
    assert_eq!(get(&plan, File::Passwd), "a:x:900:0::/:/bin/own\n");
}

#[test]
fn members_come_and_go_with_the_declaration() {
    let current = texts(&[
        (File::Group, "g:x:900:own,old,both\n"),
        (File::Gshadow, "g:$6$secret:adm:own,old,both\n"),
    ]);
    let old = declared(&[], &[group("g", 900, &["old", "both"])]);
    let new = declared(&[], &[group("g", 900, &["both", "new"])]);
    let plan = merge(&current, &new, Some(&old));
    assert_eq!(get(&plan, File::Group), "g:x:900:own,both,new\n");
    assert_eq!(get(&plan, File::Gshadow), "g:$6$secret:adm:own,both,new\n");
    let what: Vec<&str> = plan.steps.iter().map(|step| step.what.as_str()).collect();
    assert_eq!(what, ["remove old from group g", "add new to group g"]);
}

#[test]
fn only_unchanged_system_accounts_are_removed() {
    let line = "gone:x:900:900::/:/usr/sbin/nologin\n";
    let cases = [
        (line, "gone:!*:::::::\n", true),
        (line, "", true),
        (line, "gone:$y$secret:::::::\n", false),
        (line, "gone::::::::\n", false),
        ("gone:x:900:900::/:/bin/sh\n", "gone:!*:::::::\n", false),
        ("gone:x:901:900::/:/usr/sbin/nologin\n", "gone:!*:::::::\n", false),
        (
            "gone:x:1900:900::/:/usr/sbin/nologin\n",
            "gone:!*:::::::\n",
            false,
        ),
    ];
    let old = declared(&[user("gone", 900, 900)], &[group("gone", 900, &[])]);
    for (passwd, shadow, removed) in cases {
        let current = texts(&[
            (File::Passwd, passwd),
            (File::Shadow, shadow),
            (File::Group, "gone:x:900:\nadm:x:4:own,gone\n"),
            (File::Gshadow, "gone:!*::\nadm:*:gone:own,gone\n"),
        ]);
        let plan = merge(&current, &Declared::default(), Some(&old));
        if removed {
            assert_eq!(get(&plan, File::Passwd), "");
            assert_eq!(get(&plan, File::Shadow), "");
            assert_eq!(get(&plan, File::Group), "adm:x:4:own\n");
            assert_eq!(get(&plan, File::Gshadow), "adm:*::own\n");
            assert_eq!(plan.warnings, Vec::<String>::new());
        } else {
            assert_eq!(get(&plan, File::Passwd), passwd);
            assert!(get(&plan, File::Group).starts_with("gone:x:900:\n"));
            assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
        }
    }
}

#[test]
fn what_is_not_understood_survives_in_its_place() {
    let passwd = "# comment\nroot:x:0:0:R\u{f6}\u{f6}t:/root:/bin/bash\n\nbroken\nodd:x:-1:0::/:\n+@netgroup::::::\n+::::::";
    let current = texts(&[(File::Passwd, passwd), (File::Shadow, "root:$y$s:1::::::")]);
    let plan = merge(&current, &declared(&[], &[]), None);
    assert_eq!(get(&plan, File::Passwd), passwd);
    assert_eq!(get(&plan, File::Shadow), "root:$y$s:1::::::");
    let plan = merge(&current, &declared(&[user("a", 900, 0)], &[]), None);
    let expected = passwd.replace("+@netgroup", "a:x:900:0::/:/usr/sbin/nologin\n+@netgroup");
    assert_eq!(get(&plan, File::Passwd), expected);
    assert_eq!(get(&plan, File::Shadow), "root:$y$s:1::::::\na:!*:::::::\n");
    assert_eq!(plan.warnings.len(), 3);
}

#[test]
fn what_would_break_a_line_is_refused() {
    for name in [
        "", "a:b", "a\nb", "+", "-a", "#a", "a,b", "a b", "a/b", "12", "a\0",
    ] {
        let wanted = declared(
            &[user(name, 900, 0)],
            &[group(name, 900, &[]), group("ok", 901, &[name])],
        );
        let plan = merge(&Texts::new(), &wanted, None);
        assert_eq!(get(&plan, File::Group), "ok:x:901:\n", "{name:?}");
        assert_eq!(get(&plan, File::Passwd), "", "{name:?}");
        assert_eq!(plan.warnings.len(), 3, "{name:?}");
        assert!(plan.warnings.iter().all(|line| !line.contains('\n')));
    }
    for value in ["a:b", "a\nroot2::0:0::/:/bin/sh", "a\0", "a\r"] {
        for field in 0..3 {
            let mut bad = user("a", 900, 0);
            *[&mut bad.gecos, &mut bad.home, &mut bad.shell][field] = value.into();
            let plan = merge(&Texts::new(), &declared(&[bad], &[]), None);
            assert_eq!(plan.files, Texts::new());
            assert_eq!(plan.warnings.len(), 1);
        }
    }
}

#[test]
fn ranges_do_not_overlap() {
    let current = texts(&[
        (
            File::Passwd,
            "bob:x:1001:0::/:/bin/sh\nhuge:x:165530:0::/:/bin/sh\n",
        ),
        (File::Subuid, "1001:231100:65536\nother:4294967295:4294967295\n"),
        (File::Subgid, "x:100000:1\n"),
    ]);
    let wanted = declared(&[user("bob", 1001, 0), user("eve", 1002, 0)], &[]);
    let plan = merge(&current, &wanted, None);
    // 100000 is taken in subgid, 165530 is a user, 231100 is bob's by number.
    assert_eq!(
        get(&plan, File::Subgid),
        "x:100000:1\nbob:165531:65536\neve:296636:65536\n"
    );
    assert_eq!(
        get(&plan, File::Subuid),
        "1001:231100:65536\nother:4294967295:4294967295\neve:296636:65536\n"
    );
    let full = texts(&[(File::Subuid, "x:100000:4000000000\n")]);
    let plan = merge(&full, &declared(&[user("eve", 1002, 0)], &[]), None);
    assert!(plan.warnings.iter().any(|line| line.contains("subordinate")));
}

/// A passwd as base-passwd(8) installs it, passwords (`*`) in it.
fn debian(etc: &Path) -> bool {
    let master = Path::new("/usr/share/base-passwd");
    if !master.join("passwd.master").exists() {
        return false;
    }
    fs::copy(master.join("passwd.master"), etc.join("passwd")).unwrap();
    fs::copy(master.join("group.master"), etc.join("group")).unwrap();
    true
}

pub(super) fn typical() -> Declared {
    let mut alice = user("alice", 1000, 1000);
    alice.gecos = "Alice Liddell,,,".into();
    alice.shell = "/bin/bash".into();
    declared(
        &[user("sshd", 990, 65534), user("messagebus", 991, 991), alice],
        &[
            group("messagebus", 991, &[]),
            group("video", 44, &["alice"]),
            group("alice", 1000, &[]),
        ],
    )
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn debian_base_satisfies_pwck_and_grpck() {
    let etc = tempfile::tempdir().unwrap();
    if !is_root() || !debian(etc.path()) {
        return;
    }
    let applied = apply(etc.path(), &typical(), None).unwrap();
    assert_eq!(applied.warnings, Vec::<String>::new());
    for (tool, files) in [
        ("/usr/sbin/pwck", ["passwd", "shadow"]),
        ("/usr/sbin/grpck", ["group", "gshadow"]),
    ] {
        if !Path::new(tool).exists() {
            continue;
        }
        let output = Command::new(tool)
            .args(["-r"])
            .args(files.map(|file| etc.path().join(file)))
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        // pwck looks at this machine's homes, shells and groups; none of that is in the files.
        // grpck looks for members among this machine's users.
        let complaints: Vec<&str> = said
            .lines()
            .filter(|line| {
                !line.is_empty()
                    && !line.contains("directory '")
                    && !line.contains("program '")
                    && !line.contains("no group ")
                    && !line.contains("no user ")
                    && !line.contains("delete member")
                    && !line.contains("no changes")
            })
            .collect();
        assert_eq!(complaints, Vec::<&str>::new(), "{tool}: {said}");
    }
    let second = apply(etc.path(), &typical(), Some(&typical())).unwrap();
    assert_eq!(second, Applied::default());
}

#[test]
fn files_are_replaced_with_their_modes_and_backups() {
    let etc = tempfile::tempdir().unwrap();
    if !is_root() {
        return;
    }
    let at = |name: &str| etc.path().join(name);
    fs::write(at("group"), "root:x:0:\nshadow:x:42:\n").unwrap();
    fs::write(at(".passwd.keel"), "left over").unwrap();
    apply(etc.path(), &typical(), None).unwrap();
    for (name, mode, gid) in [
        ("passwd", 0o644, 0),
        ("group", 0o644, 0),
        ("group-", 0o644, 0),
        ("shadow", 0o640, 42),
        ("gshadow", 0o640, 42),
        ("subuid", 0o644, 0),
        ("subgid", 0o644, 0),
        (".pwd.lock", 0o600, 0),
    ] {
        let found = fs::metadata(at(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!((found.uid(), found.gid()), (0, gid), "{name}");
    }
    assert_eq!(
        fs::read_to_string(at("group-")).unwrap(),
        "root:x:0:\nshadow:x:42:\n"
    );
    assert!(!at("passwd-").exists());
    let inode = fs::metadata(at("passwd")).unwrap().ino();
    let again = apply(etc.path(), &typical(), Some(&typical())).unwrap();
    assert_eq!(again.steps, []);
    assert_eq!(fs::metadata(at("passwd")).unwrap().ino(), inode);
    let names = fs::read_dir(etc.path()).unwrap().count();
    assert_eq!(names, 8);
}

#[test]
fn errors_are_one_line_with_file_and_advice() {
    if !is_root() {
        return;
    }
    let etc = tempfile::tempdir().unwrap();
    symlink("/etc/passwd", etc.path().join("passwd")).unwrap();
    let error = apply(etc.path(), &typical(), None).unwrap_err().to_string();
    assert!(error.contains("/passwd: not a regular file"), "{error}");
    fs::remove_file(etc.path().join("passwd")).unwrap();
    nix::unistd::mkfifo(&etc.path().join("passwd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = apply(etc.path(), &typical(), None).unwrap_err().to_string();
    assert!(error.contains("/passwd: not a regular file"), "{error}");
    let error = apply(&etc.path().join("none"), &typical(), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("none/.pwd.lock: cannot open"), "{error}");
    assert!(error.contains("the directory must exist"), "{error}");
}

/// A full file system leaves the old files and nothing beside them.
#[test]
fn full_disk_changes_nothing() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let etc = tempfile::tempdir().unwrap();
    let mounted = is_root()
        && mount(
            Some("tmpfs"),
            etc.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=16k"),
        )
        .is_ok();
    if !mounted {
        return;
    }
    let group = "root:x:0:\n";
    fs::write(etc.path().join("group"), group).unwrap();
    fs::write(etc.path().join("ballast"), vec![0; 8192]).unwrap();
    let result = apply(etc.path(), &typical(), None);
    let mut names: Vec<_> = fs::read_dir(etc.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let kept = fs::read_to_string(etc.path().join("group")).unwrap();
    umount2(etc.path(), MntFlags::MNT_DETACH).unwrap();
    let error = result.unwrap_err().to_string();
    assert!(error.contains("the file system is full"), "{error}");
    assert_eq!(names, [".pwd.lock", "ballast", "group"]);
    assert_eq!(kept, group);
}

/// Holds the lock of the file named by its argument until its input ends. The packing is `struct flock` of 64-bit Linux.
const HOLDER: &str = r#"use Fcntl; open(my $f, "+>", $ARGV[0]) or die;
my $l = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0); fcntl($f, F_SETLK, $l) or die $!;
$| = 1; print "locked\n"; <STDIN>;"#;

#[test]
fn the_lock_of_another_program_is_respected() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let etc = tempfile::tempdir().unwrap();
    let path = etc.path().join(".pwd.lock");
    let child = Command::new("perl")
        .args(["-e", HOLDER])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return };
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "locked\n");
    let error = super::apply::lock(&path, std::time::Duration::ZERO).unwrap_err();
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(error.to_string().contains("another program"), "{error}");
    super::apply::lock(&path, std::time::Duration::ZERO).unwrap();
}

#[test]
fn a_password_seeded_before_the_first_boot_is_no_former_users() {
    let wanted = declared(
        &[user("root", 0, 0), user("alice", 1000, 1000)],
        &[group("root", 0, &[]), group("alice", 1000, &[])],
    );
    let seeded = "root:$y$x:1::::::\nalice:$y$x:1::::::\n";
    let plan = merge(&texts(&[(File::Shadow, seeded)]), &wanted, None);
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert_eq!(get(&plan, File::Shadow), seeded);
    let passwd = "root:x:0:0::/:/bin/sh\n";
    let plan = merge(
        &texts(&[(File::Passwd, passwd), (File::Shadow, seeded)]),
        &wanted,
        None,
    );
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("former user")),
        "{:?}",
        plan.warnings
    );
}

/// The file is read when the account is made; a later one, or another password that somebody set, stays what it is.
#[test]
fn a_first_password_is_read_once_and_only_a_hash_is_taken() {
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc");
    let passwords = root.path().join("passwords");
    fs::create_dir(&etc).unwrap();
    fs::create_dir(&passwords).unwrap();
    let with_file = |name: &str, uid| User {
        password_file: Some(format!("/passwords/{name}")),
        ..user(name, uid, 0)
    };
    let wanted = declared(
        &[
            user("root", 0, 0),
            with_file("alice", 1000),
            with_file("bob", 1001),
            with_file("carol", 1002),
        ],
        &[group("root", 0, &[])],
    );
    fs::write(passwords.join("alice"), "$y$j9T$salt$hash\n").unwrap();
    fs::write(passwords.join("bob"), "secret\n").unwrap();
    let applied = apply(&etc, &wanted, None).unwrap();
    let shadow = || fs::read_to_string(etc.join("shadow")).unwrap();
    assert!(
        shadow().contains("alice:$y$j9T$salt$hash:::::::\n"),
        "{}",
        shadow()
    );
    assert!(shadow().contains("bob:!:") && shadow().contains("carol:!:"));
    let [warning] = &applied.warnings[..] else {
        panic!("{:?}", applied.warnings)
    };
    assert!(
        warning.contains("user bob gets no password: /passwords/bob holds no hashed one")
            && !warning.contains("secret"),
        "{warning}"
    );
    fs::write(passwords.join("alice"), "$y$j9T$other$hash\n").unwrap();
    let again = apply(&etc, &wanted, Some(&wanted)).unwrap();
    assert_eq!(again, Applied::default());
    assert!(shadow().contains("alice:$y$j9T$salt$hash:"));
}
