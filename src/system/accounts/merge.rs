//! The merge itself: a pure function of what is there, what is declared, and what was declared before.

use super::files::{FileName, Files};
use super::plan::{Field, Kind, Plan, Step, What};
use super::table::{Record, Table};
use super::{numbers, removal};
use crate::system::declared::{Declared, Group, User};

/// Numbers below this are system accounts (login.defs(5), `UID_MIN`).
pub(super) const FIRST_ORDINARY: u32 = 1000;

/// `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// The files while they are being changed.
#[derive(Debug)]
pub(super) struct State {
    pub(super) passwd: Table,
    pub(super) group: Table,
    pub(super) shadow: Table,
    pub(super) gshadow: Table,
    pub(super) subuid: Table,
    pub(super) subgid: Table,
    pub(super) steps: Vec<Step>,
}

/// Brings the accounts of the machine to what is declared.
///
/// - What is declared and absent is added: users of the system without any password, others locked.
/// - A number is never changed: files carry it. A name that has another number keeps it, with a warning.
/// - Home, shell, full name and primary group follow the declaration while they are what `previous`, the last
///   generation, declared; what somebody changed since stays.
/// - Memberships are added when declared, and removed when `previous` declared them and `declared` doesn't.
///   Memberships that the administrator added stay.
/// - Users and groups of the system that `previous` declared and `declared` doesn't are removed when nobody changed
///   them. (Their numbers stay theirs in `ids.json`.) Ordinary ones stay.
/// - Passwords are never changed. Lines that are not understood stay, and are reported.
///
/// Merging the result again changes nothing.
pub fn merge(current: &Files, declared: &Declared, previous: Option<&Declared>) -> Plan {
    let none = Declared::default();
    let (previous, _refused_then) = usable(previous.unwrap_or(&none));
    let previous = &previous;
    let mut state = State::read(current);
    let (usable, refused) = usable(declared);
    let usable = &usable;
    state.steps.extend(refused);
    state.report_damage();
    for group in &usable.groups {
        state.ensure_group(group, usable);
    }
    for user in &usable.users {
        state.ensure_user(user, usable, previous);
    }
    for group in &usable.groups {
        state.add_members(group);
    }
    // A declaration that was refused is still one: what it names is not removed.
    state.remove_members(declared, previous);
    removal::remove_users(&mut state, declared, previous);
    removal::remove_groups(&mut state, declared, previous);
    for user in &usable.users {
        numbers::ensure_ranges(&mut state, user);
    }
    state.finish()
}

impl State {
    fn read(current: &Files) -> Self {
        let table = |file| Table::parse(file, current.get(file));
        Self {
            passwd: table(FileName::Passwd),
            group: table(FileName::Group),
            shadow: table(FileName::Shadow),
            gshadow: table(FileName::Gshadow),
            subuid: table(FileName::Subuid),
            subgid: table(FileName::Subgid),
            steps: Vec::new(),
        }
    }

    fn finish(self) -> Plan {
        let mut files = Files::default();
        for table in [
            self.passwd,
            self.group,
            self.shadow,
            self.gshadow,
            self.subuid,
            self.subgid,
        ] {
            let file = table.file();
            *files.get_mut(file) = table.into_text();
        }
        Plan {
            steps: self.steps,
            files,
        }
    }

    pub(super) fn step(&mut self, what: What, reason: impl Into<String>) {
        self.steps.push(Step {
            what,
            reason: reason.into(),
        });
    }

    fn report_damage(&mut self) {
        let tables = [
            &self.passwd,
            &self.group,
            &self.shadow,
            &self.gshadow,
            &self.subuid,
            &self.subgid,
        ];
        let damaged: Vec<(FileName, usize)> = tables
            .iter()
            .flat_map(|table| table.damaged().into_iter().map(|line| (table.file(), line)))
            .collect();
        for (file, line) in damaged {
            self.step(
                What::KeepLine(file, line),
                "it isn't an entry; correct or delete it",
            );
        }
    }

    fn ensure_group(&mut self, group: &Group, declared: &Declared) {
        let name = group.name.as_bytes();
        if let Some(has) = self.group.find(name).and_then(|record| record.number(2)) {
            if has != group.gid {
                self.keep_number(Kind::Group, &group.name, (has, group.gid));
            }
        } else {
            let Some(gid) = numbers::number_for(self, Kind::Group, (&group.name, group.gid), declared) else {
                return;
            };
            self.group.add(vec![
                name.to_vec(),
                b"x".to_vec(),
                gid.to_string().into_bytes(),
                Vec::new(),
            ]);
            self.step(
                What::Add(Kind::Group, group.name.clone(), gid),
                "declared by this system",
            );
        }
        // Without a shadow entry `x` would mean that nobody looks at the password, or that every tool complains.
        let members = self
            .group
            .find(name)
            .filter(|record| record.get(1) == b"x")
            .map(|record| record.get(3).to_vec());
        if let Some(members) = members
            && self.gshadow.find(name).is_none()
        {
            self.gshadow
                .add(vec![name.to_vec(), no_password(group.gid), Vec::new(), members]);
            self.step(
                What::AddShadow(FileName::Gshadow, group.name.clone()),
                "it had no entry",
            );
        }
    }

    fn ensure_user(&mut self, user: &User, declared: &Declared, previous: &Declared) {
        let name = user.name.as_bytes();
        if let Some(has) = self.passwd.find(name).and_then(|record| record.number(2)) {
            if has != user.uid {
                self.keep_number(Kind::User, &user.name, (has, user.uid));
            }
            self.update_fields(user, declared, previous);
        } else {
            let Some(uid) = numbers::number_for(self, Kind::User, (&user.name, user.uid), declared) else {
                return;
            };
            let gid = self.gid_on_machine(user.gid, declared);
            let fields = [
                &user.name,
                "x",
                &uid.to_string(),
                &gid.to_string(),
                &user.gecos,
                &user.home,
                &user.shell,
            ];
            self.passwd
                .add(fields.iter().map(|field| field.as_bytes().to_vec()).collect());
            self.step(
                What::Add(Kind::User, user.name.clone(), uid),
                "declared by this system",
            );
        }
        let shadowed = self.passwd.find(name).is_some_and(|record| record.get(1) == b"x");
        if shadowed && self.shadow.find(name).is_none() {
            // No date of the last change: no ageing, and the same on every machine.
            let mut fields = vec![name.to_vec(), no_password(user.uid)];
            fields.resize(FileName::Shadow.fields(), Vec::new());
            self.shadow.add(fields);
            self.step(
                What::AddShadow(FileName::Shadow, user.name.clone()),
                "it had no entry",
            );
        }
    }

    fn keep_number(&mut self, kind: Kind, name: &str, (has, declared): (u32, u32)) {
        let what = What::KeepNumber {
            kind,
            name: name.to_owned(),
            has,
            declared,
        };
        self.step(
            what,
            format!("files carry {has}; files of this system that belong to {name} carry {declared}"),
        );
    }

    /// The number that the declared group of number `gid` has on this machine.
    pub(super) fn gid_on_machine(&self, gid: u32, declared: &Declared) -> u32 {
        let group = declared.groups.iter().find(|group| group.gid == gid);
        group
            .and_then(|group| self.group.find(group.name.as_bytes()))
            .and_then(|record| record.number(2))
            .unwrap_or(gid)
    }

    /// The fields that follow the declaration, with their places in passwd(5), as they stand on this machine.
    pub(super) fn declared_fields(&self, user: &User, declared: &Declared) -> [(Field, usize, String); 4] {
        [
            (
                Field::PrimaryGroup,
                3,
                self.gid_on_machine(user.gid, declared).to_string(),
            ),
            (Field::Gecos, 4, user.gecos.clone()),
            (Field::Home, 5, user.home.clone()),
            (Field::Shell, 6, user.shell.clone()),
        ]
    }

    fn update_fields(&mut self, user: &User, declared: &Declared, previous: &Declared) {
        let before = previous.users.iter().find(|before| before.name == user.name);
        let before = before.map(|before| self.declared_fields(before, previous));
        for (field, index, wanted) in self.declared_fields(user, declared) {
            let name = user.name.as_bytes();
            let is = self
                .passwd
                .find(name)
                .map_or(Vec::new(), |record| record.get(index).to_vec());
            if is == wanted.as_bytes() {
                continue;
            }
            let untouched = before.as_ref().is_some_and(|fields| {
                fields
                    .iter()
                    .any(|(f, _, value)| *f == field && value.as_bytes() == is)
            });
            let user = user.name.clone();
            if untouched {
                self.passwd.set(name, index, wanted.clone().into_bytes());
                self.step(
                    What::Set {
                        user,
                        field,
                        to: wanted,
                    },
                    "the declaration changed",
                );
            } else {
                let is = String::from_utf8_lossy(&is).into_owned();
                let what = What::KeepField {
                    user,
                    field,
                    is,
                    declared: wanted,
                };
                self.step(
                    what,
                    "it isn't what the last generation declared, so somebody set it on this machine",
                );
            }
        }
    }

    fn add_members(&mut self, group: &Group) {
        for member in &group.members {
            let joined = self.group.list_name(group.name.as_bytes(), 3, member.as_bytes());
            let shadow = self
                .gshadow
                .list_name(group.name.as_bytes(), 3, member.as_bytes());
            if joined || shadow {
                let what = What::Join {
                    user: member.clone(),
                    group: group.name.clone(),
                };
                self.step(what, "declared by this system");
            }
        }
    }

    fn remove_members(&mut self, declared: &Declared, previous: &Declared) {
        for group in &previous.groups {
            for member in &group.members {
                let still = |now: &Group| now.name == group.name && now.members.contains(member);
                if !declared.groups.iter().any(still) {
                    self.leave(member, &group.name, "no longer declared");
                }
            }
        }
    }

    pub(super) fn leave(&mut self, user: &str, group: &str, reason: &str) {
        let left = self.group.unlist_name(group.as_bytes(), 3, user.as_bytes());
        let shadow = self.gshadow.unlist_name(group.as_bytes(), 3, user.as_bytes());
        if left || shadow {
            self.step(
                What::Leave {
                    user: user.to_owned(),
                    group: group.to_owned(),
                },
                reason,
            );
        }
    }
}

/// The declaration without what would damage the files, and what is left out.
fn usable(declared: &Declared) -> (Declared, Vec<Step>) {
    let mut usable = Declared::default();
    let mut refused = Vec::new();
    let mut refuse = |kind, name: &str, fault: &str| {
        refused.push(Step {
            what: What::Refuse(kind, name.to_owned()),
            reason: fault.to_owned(),
        });
    };
    for group in &declared.groups {
        let known = usable.groups.iter().any(|other| other.name == group.name);
        match group_fault(group).or(known.then_some("it is declared twice")) {
            Some(fault) => refuse(Kind::Group, &group.name, fault),
            None => usable.groups.push(group.clone()),
        }
    }
    for user in &declared.users {
        let known = usable.users.iter().any(|other| other.name == user.name);
        match user_fault(user).or(known.then_some("it is declared twice")) {
            Some(fault) => refuse(Kind::User, &user.name, fault),
            None => usable.users.push(user.clone()),
        }
    }
    (usable, refused)
}

/// A password field that no password matches: `!*`, as systemd-sysusers(8) writes it, for the system's own; `!` for
/// people, which passwd(1) replaces.
fn no_password(number: u32) -> Vec<u8> {
    if number < FIRST_ORDINARY || number == NOBODY {
        b"!*".to_vec()
    } else {
        b"!".to_vec()
    }
}

/// Whether the password of a shadow entry can't be used to log in.
pub(super) fn is_locked(record: &Record) -> bool {
    matches!(record.get(1).first(), Some(b'!' | b'*'))
}

fn group_fault(group: &Group) -> Option<&'static str> {
    name_fault(&group.name)
        .or_else(|| number_fault(group.gid))
        .or_else(|| {
            let unusable = group.members.iter().any(|member| name_fault(member).is_some());
            unusable.then_some("a member has a name that can't stand in /etc/group")
        })
}

fn user_fault(user: &User) -> Option<&'static str> {
    let fields = [&user.gecos, &user.home, &user.shell];
    let separates = |c: char| c == ':' || c.is_control();
    name_fault(&user.name)
        .or_else(|| number_fault(user.uid))
        .or_else(|| number_fault(user.gid))
        .or_else(|| {
            let unusable = fields.iter().any(|field| field.contains(separates));
            unusable.then_some("its full name, home or shell holds a colon or a control character")
        })
        .or_else(|| {
            (!user.home.is_empty() && !user.home.starts_with('/'))
                .then_some("its home is not an absolute path")
        })
}

/// A declared name must not become a field, a line or an instruction of its own.
fn name_fault(name: &str) -> Option<&'static str> {
    let unusable = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | ',' | '/');
    if name.is_empty() || name.len() > 256 || name.contains(unusable) || name.starts_with(['+', '-', '#']) {
        return Some("this can't be the name of an account");
    }
    None
}

fn number_fault(number: u32) -> Option<&'static str> {
    // (uid_t) -1 means "no change" to chown(2) and setresuid(2).
    (number == u32::MAX).then_some("4294967295 is nobody's number")
}
