//! What the last generation declared and this one doesn't.

use super::merge::{FIRST_ORDINARY, State, is_locked};
use super::plan::{Kind, What};
use crate::system::declared::{Declared, Group, User};

pub(super) fn remove_users(state: &mut State, declared: &Declared, previous: &Declared) {
    for user in &previous.users {
        let name = user.name.as_bytes();
        if declared.users.iter().any(|now| now.name == user.name) || state.passwd.find(name).is_none() {
            continue;
        }
        if let Some(reason) = reason_to_keep_user(state, user, previous) {
            state.step(What::KeepUndeclared(Kind::User, user.name.clone()), reason);
            continue;
        }
        let groups: Vec<String> = state
            .group
            .records()
            .chain(state.gshadow.records())
            .filter(|group| group.lists(3, name))
            .filter_map(|group| String::from_utf8(group.name().to_vec()).ok())
            .collect();
        for group in groups {
            state.leave(&user.name, &group, "the user is removed");
        }
        state.passwd.remove(name);
        state.shadow.remove(name);
        state.step(
            What::Remove(Kind::User, user.name.clone()),
            "no longer declared, and as it was declared",
        );
    }
}

fn reason_to_keep_user(state: &State, user: &User, previous: &Declared) -> Option<&'static str> {
    let name = user.name.as_bytes();
    let record = state.passwd.find(name)?;
    if user.uid == 0 || record.number(2) == Some(0) {
        return Some("root is never removed");
    }
    if user.uid >= FIRST_ORDINARY || record.number(2).is_some_and(|uid| uid >= FIRST_ORDINARY) {
        return Some("no longer declared, but people are never removed; use userdel if it is to go");
    }
    if record.number(2) != Some(user.uid) {
        return Some("no longer declared, but it has another number than declared");
    }
    let mut fields = state.declared_fields(user, previous).into_iter();
    if !fields.all(|(_, index, declared)| record.get(index) == declared.as_bytes()) {
        return Some("no longer declared, but it was changed on this machine");
    }
    let shadow = state.shadow.find(name);
    // `x` refers to the shadow entry; without one nobody can log in.
    let locked = if record.get(1) == b"x" {
        shadow.is_none_or(is_locked)
    } else {
        is_locked(record)
    };
    if !locked {
        return Some("no longer declared, but it has a password");
    }
    let has_range = state.subuid.find(name).is_some() || state.subgid.find(name).is_some();
    has_range.then_some("no longer declared, but it was given subordinate numbers")
}

pub(super) fn remove_groups(state: &mut State, declared: &Declared, previous: &Declared) {
    for group in &previous.groups {
        let name = group.name.as_bytes();
        if declared.groups.iter().any(|now| now.name == group.name) || state.group.find(name).is_none() {
            continue;
        }
        if let Some(reason) = reason_to_keep_group(state, group) {
            state.step(What::KeepUndeclared(Kind::Group, group.name.clone()), reason);
            continue;
        }
        state.group.remove(name);
        state.gshadow.remove(name);
        state.step(
            What::Remove(Kind::Group, group.name.clone()),
            "no longer declared, and unused",
        );
    }
}

fn reason_to_keep_group(state: &State, group: &Group) -> Option<&'static str> {
    let record = state.group.find(group.name.as_bytes())?;
    let gid = record.number(2)?;
    if gid == 0 {
        return Some("root's group is never removed");
    }
    if state.passwd.holder(3, gid).is_some() {
        return Some("no longer declared, but it is a user's primary group");
    }
    if gid >= FIRST_ORDINARY || group.gid >= FIRST_ORDINARY {
        return Some(
            "no longer declared, but groups of people are never removed; use groupdel if it is to go",
        );
    }
    if gid != group.gid {
        return Some("no longer declared, but it has another number than declared");
    }
    if record.list(3).next().is_some() {
        return Some("no longer declared, but it has members that were added on this machine");
    }
    let unlocked = state.gshadow.find(group.name.as_bytes()).is_some_and(|shadow| {
        !(shadow.get(1).is_empty() || is_locked(shadow))
            || shadow.list(2).chain(shadow.list(3)).next().is_some()
    });
    unlocked.then_some("no longer declared, but it has a password, administrators or members of its own")
}
