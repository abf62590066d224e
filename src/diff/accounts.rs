//! Declared accounts that differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::packages::Kind as PackageKind;
use crate::system::declared::{Declared, Group, User};

/// What happened to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// It's new.
    Added,
    /// It isn't declared any more.
    Removed,
    /// It's declared otherwise.
    Changed,
}

/// An account that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountChange {
    /// `user alice`, `group wheel`.
    pub account: String,
    /// What happened.
    pub change: Kind,
    /// In words: `shell /bin/sh -> /bin/bash`, `+ member alice`.
    pub details: Vec<String>,
}

impl From<Kind> for PackageKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Added => PackageKind::Added,
            Kind::Removed => PackageKind::Removed,
            Kind::Changed => PackageKind::Rebuilt,
        }
    }
}

/// Compares what two systems declare: users first, then groups, in the order of names.
pub fn compare(old: &Declared, new: &Declared) -> Vec<AccountChange> {
    let mut changes = pairs(&old.users, &new.users, "user", |user| &user.name, of_user);
    changes.extend(pairs(
        &old.groups,
        &new.groups,
        "group",
        |group| &group.name,
        of_group,
    ));
    changes
}

fn pairs<T>(
    old: &[T],
    new: &[T],
    what: &str,
    name: impl Fn(&T) -> &str,
    details: impl Fn(&T, &T) -> Vec<String>,
) -> Vec<AccountChange> {
    let mut all: BTreeMap<&str, (Option<&T>, Option<&T>)> = BTreeMap::new();
    for one in old {
        all.entry(name(one)).or_default().0 = Some(one);
    }
    for one in new {
        all.entry(name(one)).or_default().1 = Some(one);
    }
    let change = |(name, (before, after)): (&str, (Option<&T>, Option<&T>))| {
        let (change, details) = match (before, after) {
            (Some(before), Some(after)) => (Kind::Changed, details(before, after)),
            (Some(_), None) => (Kind::Removed, Vec::new()),
            _ => (Kind::Added, Vec::new()),
        };
        (change != Kind::Changed || !details.is_empty()).then(|| AccountChange {
            account: format!("{what} {name}"),
            change,
            details,
        })
    };
    all.into_iter().filter_map(change).collect()
}

fn of_user(old: &User, new: &User) -> Vec<String> {
    let mut details = Vec::new();
    for (what, before, after) in [
        ("number", &old.uid.to_string(), &new.uid.to_string()),
        ("primary group", &old.gid.to_string(), &new.gid.to_string()),
        ("full name", &old.gecos, &new.gecos),
        ("home", &old.home, &new.home),
        ("shell", &old.shell, &new.shell),
    ] {
        if before != after {
            details.push(format!("{what} {before} -> {after}"));
        }
    }
    details
}

fn of_group(old: &Group, new: &Group) -> Vec<String> {
    let mut details = Vec::new();
    if old.gid != new.gid {
        details.push(format!("number {} -> {}", old.gid, new.gid));
    }
    let members = |group: &Group| -> BTreeSet<String> { group.members.iter().cloned().collect() };
    let (before, after) = (members(old), members(new));
    details.extend(after.difference(&before).map(|name| format!("+ member {name}")));
    details.extend(before.difference(&after).map(|name| format!("- member {name}")));
    details
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn users_groups_and_memberships_are_compared() {
        let user = |name: &str, shell: &str| json!({"name": name, "uid": 1000, "gid": 1000, "home": format!("/home/{name}"), "shell": shell});
        let group = |name: &str, members: &[&str]| json!({"name": name, "gid": 27, "members": members});
        let declared = |users: &[Value], groups: &[Value]| -> Declared {
            serde_json::from_value(json!({"users": users, "groups": groups})).unwrap()
        };
        let old = declared(
            &[user("a", "/bin/sh"), user("b", "/bin/sh")],
            &[group("sudo", &["a", "x"]), group("same", &["a"])],
        );
        let new = declared(
            &[user("a", "/bin/bash"), user("c", "/bin/sh")],
            &[group("sudo", &["c", "a"]), group("same", &["a"])],
        );
        let told: Vec<_> = compare(&old, &new)
            .into_iter()
            .map(|change| format!("{:?} {} {:?}", change.change, change.account, change.details))
            .collect();
        assert_eq!(
            told,
            [
                r#"Changed user a ["shell /bin/sh -> /bin/bash"]"#,
                "Removed user b []",
                "Added user c []",
                r#"Changed group sudo ["+ member c", "- member x"]"#,
            ]
        );
        assert!(compare(&old, &old).is_empty());
    }
}
