//! Users and groups.

use std::collections::BTreeMap;

use super::{Outcome, View};
use crate::config::Config;
use crate::config::check::{GROUPS, USERS};
use crate::config::place::Remark;
use crate::nearest::nearest;

/// What other systems call the group whose members may become root, and what Debian calls it.
const WHEEL: &str = "wheel";
const SUDO: &str = "sudo";

/// Numbers of people (Debian's policy, section 9.2).
const PEOPLE: std::ops::RangeInclusive<u32> = 1000..=59_999;

pub(super) fn check(view: &View<'_>, config: &mut Config, outcome: &mut Outcome) {
    wheel(view, config, outcome);
    numbers(view, config, outcome);
    for name in config.users.keys() {
        user(view, config, name, outcome);
    }
    groups(view, config, outcome);
}

fn wheel(view: &View<'_>, config: &mut Config, outcome: &mut Outcome) {
    if config.groups.contains_key(WHEEL) {
        return;
    }
    for (name, user) in &mut config.users {
        let Some(index) = user.groups.iter().position(|group| group == WHEEL) else {
            continue;
        };
        let place = view.place(&["users", name, "groups", &index.to_string()]);
        if user.groups.iter().any(|group| group == SUDO) {
            user.groups.retain(|group| group != WHEEL);
        } else if let Some(group) = user.groups.get_mut(index) {
            SUDO.clone_into(group);
        }
        outcome.note(
            place,
            format!("{WHEEL} is called {SUDO} on Debian: {name} is put into {SUDO}"),
        );
    }
}

/// No two with one number.
fn numbers(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    let users = config.users.iter().map(|(name, user)| (name.as_str(), user.uid));
    let groups = config
        .groups
        .iter()
        .map(|(name, group)| (name.as_str(), group.gid));
    same_number(view, ("users", "uid"), users, outcome);
    same_number(view, ("groups", "gid"), groups, outcome);
}

fn same_number<'a>(
    view: &View<'_>,
    (table, key): (&str, &str),
    accounts: impl Iterator<Item = (&'a str, Option<u32>)>,
    outcome: &mut Outcome,
) {
    let mut known: BTreeMap<u32, &str> = BTreeMap::new();
    for (name, number) in accounts {
        let Some(number) = number else { continue };
        let place = view.place(&[table, name, key]);
        if (number == 0) != (name == "root") {
            outcome.problem(
                place,
                format!("{table}.{name}.{key} is {number}: 0 is root's, and root's is 0"),
            );
            continue;
        }
        match known.get(&number) {
            Some(other) => outcome.problems.push(
                Remark::new(
                    place,
                    format!("{table}.{name} and {table}.{other} have the same {key}, {number}"),
                )
                .also(format!("{other}'s is at"), view.place(&[table, other, key])),
            ),
            None => {
                let _new = known.insert(number, name);
            }
        }
    }
}

fn user(view: &View<'_>, config: &Config, name: &str, outcome: &mut Outcome) {
    let Some(user) = config.users.get(name) else {
        return;
    };
    if user.normal && user.system {
        outcome.problems.push(
            Remark::new(
                view.place(&["users", name, "normal"]),
                format!("users.{name} is both normal and system"),
            )
            .also("system is at", view.place(&["users", name, "system"])),
        );
    }
    let path = ["users", name];
    if !user.normal && !user.system && !USERS.contains(&name) && !view.is_broken(&path) {
        outcome.notes.push(
            Remark::new(
                view.place(&path),
                format!("users.{name} is neither normal nor system: it's taken for one that a package makes"),
            )
            .help("normal = true makes it a person's"),
        );
    }
    if let Some(uid) = user.uid.filter(|uid| *uid != 0) {
        let place = || view.place(&["users", name, "uid"]);
        if user.normal && !PEOPLE.contains(&uid) {
            outcome.problem(
                place(),
                format!(
                    "users.{name}.uid: {uid} isn't between {} and {}, where people are",
                    PEOPLE.start(),
                    PEOPLE.end()
                ),
            );
        } else if user.system && uid >= *PEOPLE.start() {
            outcome.problem(
                place(),
                format!(
                    "users.{name}.uid: {uid} isn't below {}, where the system's are",
                    PEOPLE.start()
                ),
            );
        }
    }
    if let Some(file) = &user.hashed_password_file
        && file.starts_with("/nix/store/")
    {
        outcome.problem(
            view.place(&["users", name, "hashed_password_file"]),
            format!("users.{name}.hashed_password_file: the store is readable by all"),
        );
    }
    let memberships = user.groups.iter().enumerate().map(|(index, group)| {
        let index = index.to_string();
        (view.place(&["users", name, "groups", &index]), group)
    });
    let primary = user
        .group
        .iter()
        .map(|group| (view.place(&["users", name, "group"]), group));
    for (place, group) in memberships.chain(primary) {
        unknown_group(config, place, group, outcome);
    }
}

fn unknown_group(config: &Config, place: crate::config::Place, group: &str, outcome: &mut Outcome) {
    let declared = || {
        config
            .groups
            .keys()
            .chain(config.users.keys())
            .map(String::as_str)
    };
    if GROUPS.contains(&group) || declared().any(|name| name == group) {
        return;
    }
    let remark = Remark::new(
        place,
        format!("nobody declares the group {group}, and Debian itself has none: a package has to make it"),
    );
    outcome
        .notes
        .push(match nearest(group, GROUPS.iter().copied().chain(declared())) {
            Some(near) => remark.help(format!("did you mean {near}? [groups.{group}] declares it")),
            None => remark.help(format!("[groups.{group}] declares it")),
        });
}

fn groups(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    for (name, group) in &config.groups {
        for (index, member) in group.members.iter().enumerate() {
            if !config.users.contains_key(member) && !USERS.contains(&member.as_str()) {
                outcome.note(
                    view.place(&["groups", name, "members", &index.to_string()]),
                    format!("nobody declares the user {member}: a package has to make it"),
                );
            }
        }
        if let Some(gid) = group.gid
            && group.system
            && gid >= *PEOPLE.start()
        {
            outcome.problem(
                view.place(&["groups", name, "gid"]),
                format!(
                    "groups.{name}.gid: {gid} isn't below {}, where the system's are",
                    PEOPLE.start()
                ),
            );
        }
    }
}
