//! Names to numbers: a machine's numbers are kept from generation to generation, whatever a root file system says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::declared::{Declared, Group, Ids, User};
use super::notice::Notice;

/// Numbers that mean "none" to the kernel (as 32 and as 16 bits).
const NONE: [u32; 2] = [u32::MAX, 65535];

/// Why accounts can't be numbered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdsError {
    /// A line of passwd or group doesn't parse.
    #[error("/etc/{file}, line {line}: {why}")]
    BadLine {
        /// `passwd` or `group`.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// No number is left.
    #[error("no number is left for the {kind} {name}: all of {from} to {to} are taken")]
    Exhausted {
        /// `user` or `group`.
        kind: &'static str,
        /// Who needs one.
        name: String,
        /// First number of the range.
        from: u32,
        /// Last number of the range.
        to: u32,
    },
}

/// passwd(5) as the accounts of a system, with the numbers of the root file system.
pub fn parse_passwd(bytes: &[u8]) -> Result<Vec<User>, IdsError> {
    lines("passwd", bytes, 7, |fields| {
        Some(User {
            name: fields.first()?.clone(),
            uid: number(fields.get(2)?)?,
            gid: number(fields.get(3)?)?,
            gecos: fields.get(4)?.clone(),
            home: fields.get(5)?.clone(),
            shell: fields.get(6)?.clone(),
            password_file: None,
            linger: false,
        })
    })
}

/// group(5) likewise.
pub fn parse_group(bytes: &[u8]) -> Result<Vec<Group>, IdsError> {
    lines("group", bytes, 4, |fields| {
        let members = fields.get(3)?.split(',').filter(|name| !name.is_empty());
        Some(Group {
            name: fields.first()?.clone(),
            gid: number(fields.get(2)?)?,
            members: members.map(str::to_owned).collect(),
        })
    })
}

/// Users of shadow(5) that have a password (or none at all, and could log in without): it is left out.
pub fn with_password(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (name, password) = (fields.next()?, fields.next()?);
            (!password.starts_with(['!', '*'])).then(|| name.to_owned())
        })
        .collect()
}

/// From the numbers of a root file system to those of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    /// Users.
    pub users: HashMap<u32, u32>,
    /// Groups.
    pub groups: HashMap<u32, u32>,
}

/// What [`assign`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// All names the machine ever had, to their numbers.
    pub ids: Ids,
    /// Numbers for the owners of files.
    pub numbering: Numbering,
    /// The accounts, with the machine's numbers.
    pub declared: Declared,
}

/// Numbers the accounts of a root file system: a name known in `previous` keeps its number, a new one gets that of the
/// root file system when it is free, else the lowest free one of its range.
pub fn assign(
    previous: &Ids,
    users: &[User],
    groups: &[Group],
    report: &mut dyn FnMut(Notice),
) -> Result<Assigned, IdsError> {
    let user_names: Vec<_> = users.iter().map(|user| (user.name.as_str(), user.uid)).collect();
    let group_names: Vec<_> = groups
        .iter()
        .map(|group| (group.name.as_str(), group.gid))
        .collect();
    let mut ids = previous.clone();
    let user_numbers = number_all("user", &mut ids.users, &user_names, report)?;
    let group_numbers = number_all("group", &mut ids.groups, &group_names, report)?;
    let numbering = Numbering {
        users: user_numbers,
        groups: group_numbers,
    };

    let mut declared = Declared::default();
    for user in users {
        let uid = ids.users.get(&user.name).copied().unwrap_or(user.uid);
        let gid = numbering.groups.get(&user.gid).copied().unwrap_or(user.gid);
        declared.users.push(User {
            uid,
            gid,
            ..user.clone()
        });
    }
    for group in groups {
        let gid = ids.groups.get(&group.name).copied().unwrap_or(group.gid);
        declared.groups.push(Group { gid, ..group.clone() });
    }
    declared
        .users
        .sort_by(|a, b| (a.uid, &a.name).cmp(&(b.uid, &b.name)));
    declared
        .groups
        .sort_by(|a, b| (a.gid, &a.name).cmp(&(b.gid, &b.name)));
    Ok(Assigned {
        ids,
        numbering,
        declared,
    })
}

fn number_all(
    kind: &'static str,
    known: &mut BTreeMap<String, u32>,
    names: &[(&str, u32)],
    report: &mut dyn FnMut(Notice),
) -> Result<HashMap<u32, u32>, IdsError> {
    let mut taken: BTreeSet<u32> = known.values().copied().collect();
    // A new name that must move may not take the number that another new name will ask for.
    let asked: BTreeSet<u32> = names.iter().map(|&(_, number)| number).collect();
    let mut numbers = HashMap::new();
    let mut in_order = names.to_vec();
    in_order.sort_by_key(|&(name, number)| (number, name.to_owned()));
    // Names that are known first: their numbers decide what files of a shared number belong to.
    in_order.sort_by_key(|&(name, _)| !known.contains_key(name));
    for (name, number) in in_order {
        // A second name of the same number (as toor is of root's) follows the first.
        let to = match known.get(name).or_else(|| numbers.get(&number)) {
            Some(&to) => to,
            None if !taken.contains(&number) => number,
            None => free(kind, name, number, &|n| {
                !taken.contains(&n) && !asked.contains(&n)
            })?,
        };
        if to != number {
            report(Notice::Renumbered {
                kind,
                name: name.to_owned(),
                from: number,
                to,
            });
        }
        let _new = taken.insert(to);
        let _old = known.insert(name.to_owned(), to);
        let _first = numbers.entry(number).or_insert(to);
    }
    Ok(numbers)
}

// System accounts 100 to 999, others 1000 to 59999: Debian policy, section 9.2.2.
fn free(kind: &'static str, name: &str, number: u32, is_free: &dyn Fn(u32) -> bool) -> Result<u32, IdsError> {
    let (from, to) = if number < 1000 { (100, 999) } else { (1000, 59999) };
    (from..=to)
        .find(|&n| is_free(n))
        .ok_or_else(|| IdsError::Exhausted {
            kind,
            name: name.to_owned(),
            from,
            to,
        })
}

fn lines<T>(
    file: &'static str,
    bytes: &[u8],
    count: usize,
    make: impl Fn(&[String]) -> Option<T>,
) -> Result<Vec<T>, IdsError> {
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    for (at, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let bad = |why| IdsError::BadLine {
            file,
            line: at + 1,
            why,
        };
        if line.is_empty() {
            continue;
        }
        let line = std::str::from_utf8(line).map_err(|_| bad("it is no UTF-8"))?;
        let fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        if fields.len() != count {
            return Err(bad("it has a wrong number of fields"));
        }
        let name = fields.first().cloned().unwrap_or_default();
        let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | ',');
        if name.is_empty() || name.len() > 255 || name.starts_with(['-', '+']) || name.contains(odd) {
            return Err(bad("it has no valid name"));
        }
        if line.contains(char::is_control) {
            return Err(bad("it holds control characters"));
        }
        if !names.insert(name) {
            return Err(bad("its name was there before"));
        }
        all.push(make(&fields).ok_or_else(|| bad("it has a bad number"))?);
    }
    Ok(all)
}

fn number(field: &str) -> Option<u32> {
    field.parse().ok().filter(|number| !NONE.contains(number))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;
    use proptest::prelude::*;

    fn group(name: &str, gid: u32) -> Group {
        Group {
            name: name.into(),
            gid,
            members: Vec::new(),
        }
    }

    fn assign_groups(previous: &[(&str, u32)], groups: &[(&str, u32)]) -> Assigned {
        let ids = Ids {
            users: BTreeMap::new(),
            groups: previous
                .iter()
                .map(|(name, gid)| ((*name).to_owned(), *gid))
                .collect(),
        };
        let groups: Vec<_> = groups.iter().map(|(name, gid)| group(name, *gid)).collect();
        assign(&ids, &[], &groups, &mut |_| {}).unwrap()
    }

    #[test]
    fn a_known_name_keeps_its_number_and_files_follow() {
        let assigned = assign_groups(
            &[("_ssh", 101), ("gone", 102)],
            &[("_ssh", 103), ("new", 102), ("more", 101)],
        );
        // "new" and "more" asked for numbers that the machine gave to others.
        assert_eq!(assigned.ids.groups["_ssh"], 101);
        assert_eq!(assigned.ids.groups["gone"], 102);
        assert_eq!(assigned.numbering.groups[&103], 101);
        let (new, more) = (assigned.ids.groups["new"], assigned.ids.groups["more"]);
        assert_eq!((more, new), (100, 104));
        assert_eq!(
            (assigned.numbering.groups[&101], assigned.numbering.groups[&102]),
            (more, new)
        );
    }

    #[test]
    fn a_moved_name_does_not_take_what_another_asks_for() {
        let assigned = assign_groups(&[("old", 200)], &[("a", 200), ("b", 100), ("c", 101)]);
        assert_eq!(
            (
                assigned.ids.groups["a"],
                assigned.ids.groups["b"],
                assigned.ids.groups["c"]
            ),
            (102, 100, 101)
        );
    }

    #[test]
    fn reads_passwd_and_group_and_refuses_damage() {
        let users = parse_passwd(b"root:x:0:0:root:/root:/bin/bash\nsvc:x:105:110::/:/bin/false\n").unwrap();
        assert_eq!(
            (users[1].name.as_str(), users[1].uid, users[1].gid),
            ("svc", 105, 110)
        );
        assert_eq!(parse_group(b"adm:x:4:a,b\n").unwrap()[0].members, ["a", "b"]);
        for (bytes, why) in [
            (&b"root:x:0\n"[..], "wrong number of fields"),
            (b"root:x:4294967295:0:::\n", "bad number"),
            (b"a:x:1:1:::\na:x:2:2:::\n", "was there before"),
            (b"a/b:x:1:1:::\n", "no valid name"),
            (b"\xff:x:1:1:::\n", "no UTF-8"),
        ] {
            assert!(
                parse_passwd(bytes).unwrap_err().to_string().contains(why),
                "{why}"
            );
        }
        assert_eq!(
            with_password(b"root:$y$x:1::\ndaemon:*:1\nlocked:!$y$:1\nopen::1\n"),
            ["root", "open"]
        );
    }

    proptest! {
        #[test]
        fn numbers_never_change_and_never_meet(
            first in proptest::collection::btree_map("[a-e]", 98u32..106, 0..5),
            second in proptest::collection::btree_map("[a-h]", 98u32..106, 0..8),
        ) {
            // Names of one root file system have numbers of their own.
            let distinct = |names: &BTreeMap<String, u32>| {
                let mut seen = BTreeSet::new();
                names.iter().filter(|(_, n)| seen.insert(**n)).map(|(s, n)| (s.clone(), *n)).collect::<Vec<_>>()
            };
            let first = distinct(&first);
            let second = distinct(&second);
            let as_refs = |v: &[(String, u32)]| v.iter().map(|(s, n)| (s.clone(), *n)).collect::<Vec<_>>();
            let before = assign_groups(&[], &as_refs(&first).iter().map(|(s, n)| (s.as_str(), *n)).collect::<Vec<_>>());
            let previous: Vec<_> = before.ids.groups.iter().map(|(s, n)| (s.as_str(), *n)).collect();
            let after = assign_groups(&previous, &second.iter().map(|(s, n)| (s.as_str(), *n)).collect::<Vec<_>>());
            for (name, number) in &before.ids.groups {
                prop_assert_eq!(after.ids.groups[name], *number);
            }
            let numbers: BTreeSet<_> = after.ids.groups.values().collect();
            prop_assert_eq!(numbers.len(), after.ids.groups.len());
            for (name, number) in &second {
                prop_assert_eq!(after.numbering.groups[number], after.ids.groups[name]);
            }
        }
    }
}
