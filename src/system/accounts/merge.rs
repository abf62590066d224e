//! The merge itself: texts in, texts out.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{Entry, File, Table, Texts};
use super::{END_ORDINARY, FIRST_ORDINARY, shadow, subid};
use crate::system::declared::{Declared, Group, User};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done: `add user alice (1000)`.
    pub what: String,
    /// Why: `declared`.
    pub reason: String,
}

/// What a merge comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in the order in which they were decided.
    pub steps: Vec<Step>,
    /// The new texts. A file that didn't exist and isn't needed is absent.
    pub files: Texts,
    /// What could not be done, or was left to the administrator. One sentence each.
    pub warnings: Vec<String>,
}

/// Merges what is declared into the machine's files.
///
/// - Declared users and groups that are absent are added, locked. One whose number belongs to another name is not.
/// - A name that exists keeps its number: files carry it.
/// - Full name, home and shell follow the declaration as long as they are what `previous` said.
/// - Members of groups come and go with the declaration; members that the administrator added stay.
/// - The system's own users and groups (numbers below 1000) that only `previous` has are removed if nobody changed
///   them. Ordinary ones are never removed.
/// - Passwords never change.
///
/// `previous` is what was declared at the last merge, if there was one.
pub fn merge(current: &Texts, declared: &Declared, previous: Option<&Declared>) -> Plan {
    merge_with(current, declared, previous, &BTreeMap::new())
}

/// The same, with hashed passwords for users that are added: one that is there keeps the password that it has.
pub fn merge_with(
    current: &Texts,
    declared: &Declared,
    previous: Option<&Declared>,
    passwords: &BTreeMap<String, String>,
) -> Plan {
    let table = |file| Table::parse(file, current.get(&file).map_or(&[], Vec::as_slice));
    let previous = previous.map(first_of_each_name).unwrap_or_default();
    let mut merge = Merge {
        declared,
        previous: &previous,
        passwords,
        passwd: table(File::Passwd),
        group: table(File::Group),
        shadow: table(File::Shadow),
        gshadow: table(File::Gshadow),
        subuid: table(File::Subuid),
        subgid: table(File::Subgid),
        steps: Vec::new(),
        warnings: Vec::new(),
        is_new_machine: false,
    };
    merge.is_new_machine = merge.passwd.entries().next().is_none();
    merge.report_damages();
    let users = merge.accepted_users();
    let groups = merge.accepted_groups();
    merge.remove_users();
    merge.remove_members();
    merge.remove_groups();
    merge.merge_groups(&groups);
    merge.merge_users(&users);
    merge.add_members(&groups);
    merge.complete_shadows();
    merge.give_ranges(&users);
    merge.finish(current)
}

pub(super) struct Merge<'a> {
    pub(super) declared: &'a Declared,
    pub(super) previous: &'a Declared,
    passwords: &'a BTreeMap<String, String>,
    pub(super) passwd: Table,
    pub(super) group: Table,
    pub(super) shadow: Table,
    pub(super) gshadow: Table,
    subuid: Table,
    subgid: Table,
    pub(super) steps: Vec<Step>,
    pub(super) warnings: Vec<String>,
    /// No account is there yet.
    is_new_machine: bool,
}

impl<'a> Merge<'a> {
    pub(super) fn step(&mut self, what: String, reason: impl Into<String>) {
        self.steps.push(Step {
            what,
            reason: reason.into(),
        });
    }

    fn report_damages(&mut self) {
        for table in [
            &self.passwd,
            &self.group,
            &self.shadow,
            &self.gshadow,
            &self.subuid,
            &self.subgid,
        ] {
            self.warnings.extend(table.damages());
        }
    }

    /// The declared users that can be written as a line, each name once.
    fn accepted_users(&mut self) -> Vec<&'a User> {
        let mut seen = BTreeSet::new();
        let mut accepted = Vec::new();
        for user in &self.declared.users {
            let fields = [
                ("full name", &user.gecos),
                ("home", &user.home),
                ("shell", &user.shell),
            ];
            let bad = fields.iter().find(|(_, value)| !is_field(value));
            let why = if !seen.insert(&user.name) {
                Some("the name is declared twice, the first one counts")
            } else if !is_name(&user.name) {
                Some("this is no name for a user")
            } else if !is_number(user.uid) || !is_number(user.gid) {
                Some("4294967295 and 65535 mean \"nobody at all\" to the kernel")
            } else {
                None
            };
            if let Some(why) = why {
                let warning = format!("user {:?} is ignored: {why}", user.name);
                self.warnings.push(warning);
            } else if let Some((field, _)) = bad {
                self.warnings.push(format!(
                    "user {} is ignored: its {field} has a colon or a control character",
                    user.name
                ));
            } else {
                accepted.push(user);
            }
        }
        accepted
    }

    fn accepted_groups(&mut self) -> Vec<&'a Group> {
        let mut seen = BTreeSet::new();
        let mut accepted = Vec::new();
        for group in &self.declared.groups {
            let why = if !seen.insert(&group.name) {
                "the name is declared twice, the first one counts"
            } else if !is_name(&group.name) {
                "this is no name for a group"
            } else if !is_number(group.gid) {
                "4294967295 and 65535 mean \"nobody at all\" to the kernel"
            } else {
                accepted.push(group);
                continue;
            };
            let warning = format!("group {:?} is ignored: {why}", group.name);
            self.warnings.push(warning);
        }
        accepted
    }

    fn merge_groups(&mut self, groups: &[&Group]) {
        for group in groups {
            if let Some(entry) = self.group.find(group.name.as_bytes()) {
                if let Some(gid) = entry.number(2).filter(|gid| *gid != group.gid) {
                    self.warnings.push(format!(
                        "group {} keeps its number {gid} on this machine, {} is declared",
                        group.name, group.gid
                    ));
                }
            } else if let Some(owner) = owner(&self.group, group.gid, group.name.as_bytes()) {
                self.warnings.push(format!(
                    "group {} is not added: its number {} belongs to {owner}",
                    group.name, group.gid
                ));
            } else {
                self.group
                    .add(Entry::new(&[&group.name, "x", &group.gid.to_string(), ""]));
                self.step(format!("add group {} ({})", group.name, group.gid), DECLARED);
            }
        }
    }

    fn merge_users(&mut self, users: &[&User]) {
        let old: BTreeMap<&str, &User> = self
            .previous
            .users
            .iter()
            .map(|user| (user.name.as_str(), user))
            .collect();
        for user in users {
            if self.passwd.find(user.name.as_bytes()).is_some() {
                self.follow(user, old.get(user.name.as_str()).copied());
            } else if let Some(owner) = owner(&self.passwd, user.uid, user.name.as_bytes()) {
                self.warnings.push(format!(
                    "user {} is not added: its number {} belongs to {owner}",
                    user.name, user.uid
                ));
            } else {
                self.add_user(user);
            }
        }
    }

    /// The number on this machine of the primary group: the declared number means the declared group of that number,
    /// which may have another number here. None: that group isn't here, and its number belongs to a stranger.
    fn primary(&self, user: &User) -> Option<u32> {
        let group = self.declared.groups.iter().find(|group| group.gid == user.gid);
        match group {
            Some(group) => self.group.find(group.name.as_bytes())?.number(2),
            None => Some(user.gid),
        }
    }

    fn add_user(&mut self, user: &User) {
        let Some(gid) = self.primary(user) else {
            self.warnings.push(format!(
                "user {} is not added: its group {} could not be added",
                user.name, user.gid
            ));
            return;
        };
        if !self.group.entries().any(|group| group.number(2) == Some(gid)) {
            self.warnings.push(format!(
                "user {} is in the group {gid}, which no group has as its number",
                user.name
            ));
        }
        let password = self.shadow.find(user.name.as_bytes()).map(|line| line.get(1));
        // Without any account there can't have been a former user: whoever made the machine set the password.
        if !self.is_new_machine && !shadow::is_locked(password) {
            self.warnings.push(format!(
                "user {} gets the password that shadow has for a former user of this name; `passwd -l {}` locks it",
                user.name, user.name
            ));
        }
        let (uid, gid) = (user.uid.to_string(), gid.to_string());
        self.passwd.add(Entry::new(&[
            &user.name,
            "x",
            &uid,
            &gid,
            &user.gecos,
            &user.home,
            &user.shell,
        ]));
        self.step(format!("add user {} ({uid})", user.name), DECLARED);
        if let Some(password) = self.passwords.get(&user.name)
            && self.shadow.find(user.name.as_bytes()).is_none()
        {
            let fields: [&str; 9] = [&user.name, password, "", "", "", "", "", "", ""];
            self.shadow.add(Entry::new(&fields));
            self.step(format!("give user {} its first password", user.name), DECLARED);
        }
    }

    fn follow(&mut self, user: &User, old: Option<&User>) {
        let gid = self.primary(user);
        let Some(entry) = self.passwd.find_mut(user.name.as_bytes()) else {
            return;
        };
        if let Some(uid) = entry.number(2).filter(|uid| *uid != user.uid) {
            self.warnings.push(format!(
                "user {} keeps its number {uid} on this machine, {} is declared",
                user.name, user.uid
            ));
        }
        if let (Some(here), Some(gid)) = (entry.number(3), gid)
            && here != gid
        {
            self.warnings.push(format!(
                "user {} keeps its group {here} on this machine, {gid} is declared",
                user.name
            ));
        }
        let Some(old) = old else { return };
        let fields = [
            (4, "full name", &old.gecos, &user.gecos),
            (5, "home", &old.home, &user.home),
            (6, "shell", &old.shell, &user.shell),
        ];
        for (index, what, before, now) in fields {
            if before != now && entry.get(index) == before.as_bytes() {
                entry.set(index, now.as_bytes());
                self.steps.push(Step {
                    what: format!("change the {what} of user {} to {now:?}", user.name),
                    reason: format!("declared; was {before:?}, as declared before"),
                });
            }
        }
    }

    fn add_members(&mut self, groups: &[&Group]) {
        for group in groups {
            for member in &group.members {
                if !is_name(member) {
                    self.warnings.push(format!(
                        "member {member:?} of group {} is ignored: this is no name for a user",
                        group.name
                    ));
                    continue;
                }
                let name = group.name.as_bytes();
                let Some(entry) = self.group.find_mut(name) else {
                    continue;
                };
                let mut added = entry.list_add(3, member.as_bytes());
                if let Some(entry) = self.gshadow.find_mut(name) {
                    added |= entry.list_add(3, member.as_bytes());
                }
                if added {
                    self.step(format!("add {member} to group {}", group.name), DECLARED);
                }
            }
        }
    }

    fn complete_shadows(&mut self) {
        let steps = shadow::complete(&mut self.passwd, &mut self.shadow, false);
        self.steps.extend(steps);
        let steps = shadow::complete(&mut self.group, &mut self.gshadow, true);
        self.steps.extend(steps);
    }

    /// The same range in both files where both lack one: a container's `id` then shows the same numbers twice.
    fn give_ranges(&mut self, users: &[&User]) {
        for user in users {
            let name = user.name.as_bytes();
            let Some(uid) = self.passwd.find(name).and_then(|entry| entry.number(2)) else {
                continue;
            };
            if !(FIRST_ORDINARY..END_ORDINARY).contains(&uid) {
                continue;
            }
            let no_uids = !subid::has_range(&self.subuid, name, uid);
            let no_gids = !subid::has_range(&self.subgid, name, uid);
            if !no_uids && !no_gids {
                continue;
            }
            let tables = [&self.subuid, &self.subgid];
            let numbers = self.passwd.entries().chain(self.group.entries());
            let start = subid::free_start(&tables, numbers.filter_map(|entry| entry.number(2)));
            let Some(start) = start else {
                self.warnings.push(format!(
                    "user {} has no range of subordinate numbers: none of 65536 is free in subuid and subgid",
                    user.name
                ));
                continue;
            };
            for (lacks, is_group) in [(no_uids, false), (no_gids, true)] {
                if lacks {
                    let (table, file) = if is_group {
                        (&mut self.subgid, File::Subgid)
                    } else {
                        (&mut self.subuid, File::Subuid)
                    };
                    table.add(subid::line(&user.name, start));
                    self.step(
                        format!("add the range from {start} for {} to {file}", user.name),
                        "an ordinary user without a range cannot run containers",
                    );
                }
            }
        }
    }

    fn finish(self, current: &Texts) -> Plan {
        let tables = [
            (File::Passwd, self.passwd),
            (File::Group, self.group),
            (File::Shadow, self.shadow),
            (File::Gshadow, self.gshadow),
            (File::Subuid, self.subuid),
            (File::Subgid, self.subgid),
        ];
        let files = tables
            .into_iter()
            .map(|(file, table)| (file, table.render()))
            .filter(|(file, text)| !text.is_empty() || current.contains_key(file))
            .collect();
        Plan {
            steps: self.steps,
            files,
            warnings: self.warnings,
        }
    }
}

const DECLARED: &str = "declared";

pub(super) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Who has the number: a name, or a damaged line (other than a damaged line of `name` itself, which is what the new
/// line replaces for libc's readers).
fn owner(table: &Table, number: u32, name: &[u8]) -> Option<String> {
    let entry = table.entries().find(|entry| entry.number(2) == Some(number));
    if let Some(entry) = entry {
        return Some(text(entry.name()));
    }
    table
        .damaged_numbers(2, name)
        .any(|used| used == number)
        .then(|| "a damaged line".into())
}

/// What a merge of `declared` went by: of a name declared twice, the first one.
fn first_of_each_name(declared: &Declared) -> Declared {
    let mut first = declared.clone();
    let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
    first.users.retain(|user| users.insert(user.name.clone()));
    first.groups.retain(|group| groups.insert(group.name.clone()));
    first
}

/// A name that stays a name in all six files and on a command line: no separator of theirs, nothing that makes the line
/// a comment or NIS's, not only digits (which would be read as a number).
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && !name.starts_with(['-', '+', '#', '~', '.'])
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/'))
        && !name.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_field(value: &str) -> bool {
    !value.chars().any(|c| c.is_control() || c == ':')
}

fn is_number(number: u32) -> bool {
    number != u32::MAX && number != 65535
}
