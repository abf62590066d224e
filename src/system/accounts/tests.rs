#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

use super::*;
use crate::system::declared::{Declared, Group, User};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Of a Debian 13 made by mmdebstrap, and `useradd -m kirans` there. The hash stands for a real one.
pub(super) fn debian() -> Files {
    Files {
        passwd: b"root:x:0:0:root:/root:/bin/bash\n\
            daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
            nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
            kirans:x:1000:1000::/home/kirans:/bin/sh\n"
            .to_vec(),
        group: b"root:x:0:\ndaemon:x:1:\nsudo:x:27:\nshadow:x:42:\nnogroup:x:65534:\nkirans:x:1000:\n"
            .to_vec(),
        shadow: b"root:*:20000:0:99999:7:::\n\
            daemon:*:20000:0:99999:7:::\n\
            nobody:*:20000:0:99999:7:::\n\
            kirans:$y$j9T$abc:20100:0:99999:7:::\n"
            .to_vec(),
        gshadow: b"root:*::\ndaemon:*::\nsudo:*::\nshadow:*::\nnogroup:*::\nkirans:!::\n".to_vec(),
        subuid: b"kirans:100000:65536\n".to_vec(),
        subgid: b"kirans:100000:65536\n".to_vec(),
    }
}

fn user(name: &str, uid: u32, gid: u32) -> User {
    let home = format!("/home/{name}");
    User {
        name: name.into(),
        uid,
        gid,
        gecos: String::new(),
        home,
        shell: "/bin/sh".into(),
    }
}

fn group(name: &str, gid: u32, members: &[&str]) -> Group {
    Group {
        name: name.into(),
        gid,
        members: members.iter().map(|member| (*member).into()).collect(),
    }
}

/// Steps as text; the merge must be settled after one round.
fn merged(current: &Files, declared: &Declared, previous: Option<&Declared>) -> (Files, Vec<String>) {
    let plan = merge(current, declared, previous);
    assert_eq!(
        texts(&merge(&plan.files, declared, previous).files),
        texts(&plan.files),
        "not settled"
    );
    (plan.files, plan.steps.iter().map(ToString::to_string).collect())
}

fn texts(files: &Files) -> Vec<String> {
    FileName::ALL
        .iter()
        .map(|file| String::from_utf8_lossy(files.get(*file)).into_owned())
        .collect()
}

fn line<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(text).unwrap();
    text.lines().find(|line| line.split(':').next() == Some(name))
}

#[test]
fn what_is_declared_and_absent_is_added_locked() {
    let declared = Declared {
        users: vec![
            User {
                shell: "/usr/sbin/nologin".into(),
                home: "/".into(),
                ..user("sshd", 997, 65534)
            },
            User {
                gecos: "Ann Ö".into(),
                ..user("ann", 1001, 1001)
            },
        ],
        groups: vec![group("sudo", 27, &["ann"]), group("ann", 1001, &[])],
    };
    let (files, steps) = merged(&debian(), &declared, None);
    let before = debian();
    for file in FileName::ALL
        .into_iter()
        .filter(|file| !matches!(file, FileName::Group | FileName::Gshadow))
    {
        assert!(files.get(file).starts_with(before.get(file)), "{file}");
    }
    assert_eq!(
        line(&files.passwd, "sshd"),
        Some("sshd:x:997:65534::/:/usr/sbin/nologin")
    );
    assert_eq!(
        line(&files.passwd, "ann"),
        Some("ann:x:1001:1001:Ann Ö:/home/ann:/bin/sh")
    );
    assert_eq!(line(&files.shadow, "sshd"), Some("sshd:!*:::::::"));
    assert_eq!(line(&files.shadow, "ann"), Some("ann:!:::::::"));
    assert_eq!(line(&files.group, "sudo"), Some("sudo:x:27:ann"));
    assert_eq!(line(&files.gshadow, "sudo"), Some("sudo:*::ann"));
    assert_eq!(line(&files.gshadow, "ann"), Some("ann:!::"));
    assert_eq!(line(&files.subuid, "ann"), Some("ann:165536:65536"));
    assert_eq!(line(&files.subgid, "ann"), Some("ann:165536:65536"));
    assert_eq!(line(&files.subuid, "sshd"), None);
    assert_eq!(
        steps,
        [
            "group ann added as 1001: declared by this system",
            "ann added to /etc/gshadow, locked: it had no entry",
            "user sshd added as 997: declared by this system",
            "sshd added to /etc/shadow, locked: it had no entry",
            "user ann added as 1001: declared by this system",
            "ann added to /etc/shadow, locked: it had no entry",
            "ann joins sudo: declared by this system",
            "ann given 65536 numbers from 165536 in /etc/subuid: user namespaces need them",
            "ann given 65536 numbers from 165536 in /etc/subgid: user namespaces need them",
        ]
    );
}

#[test]
fn from_nothing() {
    let declared = Declared {
        users: vec![
            User {
                home: "/root".into(),
                ..user("root", 0, 0)
            },
            user("nobody", 65534, 65534),
        ],
        groups: vec![group("root", 0, &[]), group("nogroup", 65534, &[])],
    };
    let (files, _) = merged(&Files::default(), &declared, None);
    assert_eq!(
        files.passwd,
        b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/home/nobody:/bin/sh\n"
    );
    assert_eq!(files.shadow, b"root:!*:::::::\nnobody:!*:::::::\n");
    assert_eq!(files.group, b"root:x:0:\nnogroup:x:65534:\n");
    assert_eq!(files.gshadow, b"root:!*::\nnogroup:!*::\n");
    assert_eq!((files.subuid.len(), files.subgid.len()), (0, 0));
}

#[test]
fn a_number_on_the_machine_stays() {
    let declared = Declared {
        users: vec![
            User {
                shell: "/bin/sh".into(),
                ..user("kirans", 1005, 1005)
            },
            user("bob", 1006, 1005),
        ],
        groups: vec![group("kirans", 1005, &[])],
    };
    let (files, steps) = merged(&debian(), &declared, None);
    assert_eq!(
        line(&files.passwd, "kirans"),
        Some("kirans:x:1000:1000::/home/kirans:/bin/sh")
    );
    // The primary group is meant by name: bob's number is the one that the group has here.
    assert_eq!(
        line(&files.passwd, "bob"),
        Some("bob:x:1006:1000::/home/bob:/bin/sh")
    );
    assert!(
        steps[0].starts_with("group kirans keeps number 1000, though 1005 is declared: "),
        "{steps:?}"
    );
    assert!(
        steps[1].starts_with("user kirans keeps number 1000, though 1005 is declared: "),
        "{steps:?}"
    );
}

#[test]
fn a_number_of_somebody_else_is_not_shared() {
    let declared = Declared {
        users: vec![user("web", 1, 1), user("ann", 1000, 1000)],
        groups: vec![group("ann", 1000, &[]), group("x", 999, &[])],
    };
    let (files, steps) = merged(&debian(), &declared, None);
    assert_eq!(line(&files.group, "ann"), Some("ann:x:1001:"));
    assert_eq!(line(&files.passwd, "web"), Some("web:x:998:1::/home/web:/bin/sh"));
    assert_eq!(
        line(&files.passwd, "ann"),
        Some("ann:x:1002:1001::/home/ann:/bin/sh")
    );
    let taken: Vec<&String> = steps
        .iter()
        .filter(|step| step.contains("can't have its number"))
        .collect();
    assert_eq!(taken.len(), 3);
    assert_eq!(
        taken[2],
        "user ann can't have its number 1000, which is kirans's: it gets 1002 here; files of this system that belong \
         to it carry 1000, and are kirans's"
    );
    // Two names of one number are as wanted when both are declared.
    let declared = Declared {
        users: vec![user("root", 0, 0), user("toor", 0, 0)],
        groups: vec![],
    };
    let (files, _) = merged(&debian(), &declared, None);
    assert_eq!(
        line(&files.passwd, "toor"),
        Some("toor:x:0:0::/home/toor:/bin/sh")
    );
}

#[test]
fn fields_follow_the_declaration_unless_somebody_set_them() {
    let before = Declared {
        users: vec![user("kirans", 1000, 1000)],
        groups: vec![],
    };
    let wanted = User {
        shell: "/bin/bash".into(),
        gecos: "K".into(),
        ..user("kirans", 1000, 1000)
    };
    let after = Declared {
        users: vec![wanted],
        groups: vec![],
    };
    let (files, steps) = merged(&debian(), &after, Some(&before));
    assert_eq!(
        line(&files.passwd, "kirans"),
        Some("kirans:x:1000:1000:K:/home/kirans:/bin/bash")
    );
    assert_eq!(
        steps,
        [
            "full name of kirans set to K: the declaration changed",
            "shell of kirans set to /bin/bash: the declaration changed"
        ]
    );
    // chsh and chfn
    let mut current = debian();
    current.passwd = String::from_utf8(current.passwd)
        .unwrap()
        .replace(
            "1000::/home/kirans:/bin/sh",
            "1000:Kiran,,,:/home/kirans:/bin/fish",
        )
        .into_bytes();
    let (files, steps) = merged(&current, &after, Some(&before));
    assert_eq!(texts(&files), texts(&current));
    assert!(
        steps[1].starts_with("shell of kirans stays /bin/fish, though /bin/bash is declared: "),
        "{steps:?}"
    );
    // Nothing known of the last generation: nothing is known to be its doing.
    assert_eq!(texts(&merged(&debian(), &after, None).0), texts(&debian()));
}

#[test]
fn memberships_that_are_no_longer_declared_go_others_stay() {
    let mut current = debian();
    current.group = b"sudo:x:27:ann,kirans,admins-friend\ndocker:x:990:kirans\n".to_vec();
    current.gshadow = b"sudo:*:kirans:ann,kirans,admins-friend\ndocker:!::kirans\n".to_vec();
    let before = Declared {
        users: vec![],
        groups: vec![
            group("sudo", 27, &["ann", "kirans"]),
            group("docker", 990, &["kirans"]),
        ],
    };
    let after = Declared {
        users: vec![],
        groups: vec![group("sudo", 27, &["ann"]), group("docker", 990, &[])],
    };
    let (files, steps) = merged(&current, &after, Some(&before));
    assert_eq!(files.group, b"sudo:x:27:ann,admins-friend\ndocker:x:990:\n");
    assert_eq!(files.gshadow, b"sudo:*:kirans:ann,admins-friend\ndocker:!::\n");
    assert_eq!(
        steps,
        [
            "kirans leaves sudo: no longer declared",
            "kirans leaves docker: no longer declared"
        ]
    );
}

#[test]
fn undeclared_system_accounts_go_when_nobody_changed_them() {
    let before = Declared {
        users: vec![
            user("web", 990, 990),
            user("kirans", 1000, 1000),
            user("root", 0, 0),
        ],
        groups: vec![
            group("web", 990, &[]),
            group("web-data", 989, &["web"]),
            group("kirans", 1000, &[]),
        ],
    };
    let (with, _) = merged(&debian(), &before, None);
    let nothing = Declared::default();
    let (files, steps) = merged(&with, &nothing, Some(&before));
    assert_eq!(texts(&files), texts(&debian()));
    assert_eq!(
        steps,
        [
            "web leaves web-data: no longer declared",
            "user web removed: no longer declared, and as it was declared",
            "user kirans stays: no longer declared, but people are never removed; use userdel if it is to go",
            "user root stays: root is never removed",
            "group web removed: no longer declared, and unused",
            "group web-data removed: no longer declared, and unused",
            "group kirans stays: no longer declared, but it is a user's primary group",
        ]
    );
    let replaced = |file: FileName, from: &str, to: &str| {
        let mut files = with.clone();
        let text = String::from_utf8(files.get(file).to_vec()).unwrap();
        assert!(text.contains(from), "{text}");
        *files.get_mut(file) = text.replace(from, to).into_bytes();
        files
    };
    let subuid = |text: &str| Files {
        subuid: [with.subuid.as_slice(), text.as_bytes()].concat(),
        ..with.clone()
    };
    for (current, why) in [
        (
            replaced(FileName::Passwd, "/home/web:/bin/sh", "/home/web:/bin/bash"),
            "it was changed on this machine",
        ),
        (
            replaced(FileName::Passwd, "web:x:990:990", "web:x:991:990"),
            "it has another number than declared",
        ),
        (
            replaced(FileName::Passwd, "web:x:990:990", "web:x:1990:990"),
            "people are never removed",
        ),
        (
            replaced(FileName::Shadow, "web:!*:", "web:$y$hash:"),
            "it has a password",
        ),
        (
            replaced(FileName::Shadow, "web:!*:", "web::"),
            "it has a password",
        ),
        (subuid("web:300000:65536\n"), "it was given subordinate numbers"),
    ] {
        let (files, steps) = merged(&current, &nothing, Some(&before));
        assert_eq!(files.passwd, current.passwd);
        assert_eq!(files.shadow, current.shadow);
        assert!(
            steps
                .iter()
                .any(|s| s.starts_with("user web stays: ") && s.contains(why)),
            "{why}: {steps:?}"
        );
        assert!(
            steps
                .iter()
                .any(|s| s.contains("group web stays") && s.contains("primary group")),
            "{steps:?}"
        );
    }
    for (current, why) in [
        (
            replaced(FileName::Group, "web-data:x:989:web", "web-data:x:989:web,kirans"),
            "members that were added",
        ),
        (
            replaced(FileName::Group, "web-data:x:989:web", "web-data:x:988:web"),
            "another number",
        ),
        (
            replaced(FileName::Gshadow, "web-data:!*::web", "web-data:$y$hash::web"),
            "a password",
        ),
        (
            replaced(FileName::Gshadow, "web-data:!*::web", "web-data:!*:kirans:web"),
            "administrators",
        ),
    ] {
        let (files, steps) = merged(&current, &nothing, Some(&before));
        assert!(line(&files.group, "web-data").is_some());
        assert!(
            steps
                .iter()
                .any(|s| s.starts_with("group web-data stays: ") && s.contains(why)),
            "{why}: {steps:?}"
        );
    }
}

#[test]
fn a_removed_account_comes_back_with_its_number() {
    let with = Declared {
        users: vec![user("web", 990, 990)],
        groups: vec![group("web", 990, &[])],
    };
    let without = Declared::default();
    let (one, _) = merged(&debian(), &with, None);
    let (two, _) = merged(&one, &without, Some(&with));
    let (three, _) = merged(&two, &with, Some(&without));
    assert_eq!(texts(&three), texts(&one));
}

#[test]
fn an_old_password_entry_is_kept_for_an_account_that_comes_back() {
    let mut current = debian();
    current.shadow.extend_from_slice(b"ann:$y$old:1::::::\n");
    let declared = Declared {
        users: vec![user("ann", 1001, 100)],
        groups: vec![],
    };
    let (files, _) = merged(&current, &declared, None);
    assert_eq!(files.shadow, current.shadow);
}

#[test]
fn odd_lines_stay_where_they_are() {
    let mut current = debian();
    current.passwd = b"# people\nroot:x:0:0:root:/root:/bin/sh\nbroken:line\nann:x:no:1::/:/bin/sh\n\n\
        caf\xe9:x:1003:100:Andr\xe9:/home/c:/bin/sh\n+@admins::::::\n-guest::::::\n"
        .to_vec();
    let declared = Declared {
        users: vec![user("ann", 1001, 100)],
        groups: vec![],
    };
    let (files, steps) = merged(&current, &declared, None);
    let expected = b"# people\nroot:x:0:0:root:/root:/bin/sh\nbroken:line\nann:x:no:1::/:/bin/sh\n\n\
        caf\xe9:x:1003:100:Andr\xe9:/home/c:/bin/sh\nann:x:1001:100::/home/ann:/bin/sh\n+@admins::::::\n-guest::::::\n";
    assert_eq!(
        String::from_utf8_lossy(&files.passwd),
        String::from_utf8_lossy(expected)
    );
    assert_eq!(files.passwd, expected);
    assert_eq!(
        steps[0],
        "line 3 of /etc/passwd stays as it is: it isn't an entry; correct or delete it"
    );
    assert_eq!(
        steps[1],
        "line 4 of /etc/passwd stays as it is: it isn't an entry; correct or delete it"
    );
}

#[test]
fn declarations_that_would_damage_the_files_are_refused() {
    let bad_names = ["", "a:b", "a\nroot::0:0::/:/bin/sh", "+x", "#x", "a b", "a,b"];
    let mut declared = Declared::default();
    declared.users.extend(bad_names.iter().map(|name| User {
        home: "/".into(),
        ..user(name, 900, 900)
    }));
    declared
        .groups
        .extend(bad_names.iter().map(|name| group(name, 900, &[])));
    declared.users.push(User {
        shell: "/bin/sh\nx::0:0::/:".into(),
        ..user("a", 901, 901)
    });
    declared.users.push(User {
        home: "home".into(),
        ..user("b", 902, 902)
    });
    declared.users.push(user("c", u32::MAX, 0));
    declared.groups.push(group("d", 903, &["x:y"]));
    // Refused, but still declared: what the last generation made of it stays.
    declared.users.push(User {
        gecos: "x:y".into(),
        ..user("daemon", 1, 1)
    });
    let before = Declared {
        users: vec![user("daemon", 1, 1)],
        groups: vec![],
    };
    let (files, steps) = merged(&debian(), &declared, Some(&before));
    assert_eq!(texts(&files), texts(&debian()));
    assert_eq!(steps.len(), declared.users.len() + declared.groups.len());
    assert!(
        steps
            .iter()
            .all(|step| step.contains(" left out: ") && !step.contains('\n'))
    );
}

#[test]
fn ranges_do_not_overlap() {
    let mut current = debian();
    current.subuid = b"kirans:100000:65536\n1007:200000:10\n".to_vec();
    current.subgid = b"other:150000:70000\n4294967295:4294967295:4294967295\n".to_vec();
    current
        .passwd
        .extend_from_slice(b"ldap:x:300000:100::/:/bin/sh\n");
    let users = [("kirans", 1000), ("a", 1001), ("b", 1002), ("c", 1007)];
    let users = users.iter().map(|(name, uid)| user(name, *uid, 100)).collect();
    let (files, _) = merged(
        &current,
        &Declared {
            users,
            groups: vec![],
        },
        None,
    );
    let subuid = String::from_utf8(files.subuid).unwrap();
    let subgid = String::from_utf8(files.subgid).unwrap();
    assert_eq!(
        subuid,
        "kirans:100000:65536\n1007:200000:10\na:300001:65536\nb:365537:65536\n"
    );
    assert!(
        subgid.contains("kirans:220000:65536\n") && subgid.contains("a:300001:65536\n"),
        "{subgid}"
    );
    assert!(subgid.ends_with("c:431073:65536\n"), "{subgid}");
}

#[test]
fn no_range_left_is_said() {
    let mut current = debian();
    current.subuid = b"all:0:4294967295\n".to_vec();
    let declared = Declared {
        users: vec![user("kirans", 1000, 1000)],
        groups: vec![],
    };
    let (files, steps) = merged(&current, &declared, None);
    assert_eq!(files.subuid, current.subuid);
    assert!(
        steps[0].starts_with("kirans gets no subordinate numbers: "),
        "{steps:?}"
    );
}

fn declared_strategy() -> impl Strategy<Value = Declared> {
    let name = || prop::sample::select(vec!["root", "daemon", "web", "ann", "kirans", "sudo", "bad:name"]);
    let number = || prop::sample::select(vec![0, 1, 27, 100, 990, 998, 999, 1000, 1001]);
    let shell = prop::sample::select(vec!["/bin/sh", "/bin/bash"]);
    let users = prop::collection::vec((name(), number(), number(), shell), 0..5);
    let groups = prop::collection::vec((name(), number(), prop::collection::vec(name(), 0..3)), 0..5);
    (users, groups).prop_map(|(users, groups)| Declared {
        users: users
            .into_iter()
            .map(|(n, u, g, s)| User {
                shell: s.into(),
                ..user(n, u, g)
            })
            .collect(),
        groups: groups.into_iter().map(|(n, g, m)| group(n, g, &m)).collect(),
    })
}

fn files_strategy() -> impl Strategy<Value = Files> {
    let line = "(root|daemon|web|ann|kirans|sudo|\\+|# x|):(x|\\*||\\$y\\$h):(0|1|27|990|1000|100000|x)(:(0|1|990|1000|kirans,ann|65536)){0,2}(:[a-z/]{0,4}){0,6}\n?";
    let text = prop::collection::vec(line, 0..8).prop_map(|lines| lines.concat().into_bytes());
    let any = prop::collection::vec(text, 6).prop_map(|mut texts| Files {
        passwd: texts.pop().unwrap(),
        group: texts.pop().unwrap(),
        shadow: texts.pop().unwrap(),
        gshadow: texts.pop().unwrap(),
        subuid: texts.pop().unwrap(),
        subgid: texts.pop().unwrap(),
    });
    prop_oneof![any, Just(debian()), Just(Files::default())]
}

/// Name to password, of the first entry of each name.
fn passwords(file: FileName, text: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let table = table::Table::parse(file, text);
    let mut passwords = BTreeMap::new();
    for record in table.records() {
        passwords
            .entry(record.name().to_vec())
            .or_insert_with(|| record.get(1).to_vec());
    }
    passwords
}

proptest! {
    #[test]
    fn merging_again_changes_nothing(current in files_strategy(), before in declared_strategy(), after in declared_strategy()) {
        let once = merge(&current, &after, Some(&before));
        let twice = merge(&once.files, &after, Some(&before));
        prop_assert_eq!(texts(&twice.files), texts(&once.files));
        prop_assert!(twice.of_weight(Weight::Change).next().is_none(), "{:?}", twice.steps);
        // And the next boot of the same generation has nothing to do either.
        let next = merge(&once.files, &after, Some(&after));
        prop_assert_eq!(texts(&next.files), texts(&once.files));
        // Texts change exactly when a step says so.
        let changes = once.of_weight(Weight::Change).next().is_some();
        prop_assert_eq!(once.files == current, !changes, "{:?}", once.steps);
    }

    #[test]
    fn passwords_never_change(current in files_strategy(), before in declared_strategy(), after in declared_strategy()) {
        let plan = merge(&current, &after, Some(&before));
        for file in [FileName::Passwd, FileName::Shadow, FileName::Group, FileName::Gshadow] {
            let old = passwords(file, current.get(file));
            let new = passwords(file, plan.files.get(file));
            for (name, password) in &new {
                match old.get(name) {
                    Some(before) => prop_assert_eq!(password, before),
                    None => prop_assert!(password == b"x" || password.starts_with(b"!")),
                }
            }
            for (name, password) in &old {
                let gone = !new.contains_key(name);
                let usable = matches!(file, FileName::Shadow) && !password.starts_with(b"!") && !password.starts_with(b"*");
                prop_assert!(!(gone && usable), "a usable password is gone");
            }
        }
    }

    #[test]
    fn lines_that_are_no_entries_survive_in_order(current in files_strategy(), before in declared_strategy(), after in declared_strategy()) {
        let plan = merge(&current, &after, Some(&before));
        for file in FileName::ALL {
            let others = |text: &[u8]| -> Vec<String> {
                let text = String::from_utf8_lossy(text).into_owned();
                let lines = text.strip_suffix('\n').unwrap_or(&text).split('\n').map(str::to_owned);
                lines.filter(|line| !line.is_empty() && table::Table::parse(file, line.as_bytes()).records().next().is_none()).collect()
            };
            prop_assert_eq!(others(plan.files.get(file)), others(current.get(file)));
        }
    }

    #[test]
    fn numbers_of_accounts_never_change_and_root_stays(current in files_strategy(), before in declared_strategy(), after in declared_strategy()) {
        let plan = merge(&current, &after, Some(&before));
        for file in [FileName::Passwd, FileName::Group] {
            let (old, new) = (table::Table::parse(file, current.get(file)), table::Table::parse(file, plan.files.get(file)));
            for record in old.records() {
                if let Some(now) = new.find(record.name()) {
                    prop_assert_eq!(now.number(2), old.find(record.name()).unwrap().number(2));
                } else {
                    prop_assert!(record.number(2).unwrap() < 1000 && record.number(2) != Some(0));
                }
            }
        }
    }
}
