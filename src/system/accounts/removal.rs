//! What the last declaration had and this one hasn't.

use std::collections::{BTreeMap, BTreeSet};

use super::FIRST_ORDINARY;
use super::files::Table;
use super::merge::{Merge, text};
use super::shadow;

const GONE: &str = "no longer declared";

impl Merge<'_> {
    pub(super) fn remove_users(&mut self) {
        let kept: BTreeSet<&str> = self.declared.users.iter().map(|u| u.name.as_str()).collect();
        for old in &self.previous.users {
            let name = old.name.as_bytes();
            if kept.contains(old.name.as_str()) {
                continue;
            }
            let Some(entry) = self.passwd.find(name) else {
                continue;
            };
            let uid = entry.number(2).unwrap_or(0);
            if uid >= FIRST_ORDINARY {
                self.warnings.push(format!(
                    "user {} ({uid}) is no longer declared; ordinary users are never removed, `userdel {}` does it",
                    old.name, old.name
                ));
                continue;
            }
            let unchanged = uid != 0
                && uid == old.uid
                && entry.number(3) == Some(old.gid)
                && entry.get(4) == old.gecos.as_bytes()
                && entry.get(5) == old.home.as_bytes()
                && entry.get(6) == old.shell.as_bytes()
                && shadow::is_locked(shadow::password(entry, &self.shadow))
                && has_once(&self.passwd, name);
            if !unchanged {
                self.warnings.push(format!(
                    "user {} ({uid}) is no longer declared but was changed on this machine; it stays, `userdel {}` removes it",
                    old.name, old.name
                ));
                continue;
            }
            self.passwd.remove(name);
            self.shadow.remove(name);
            self.step(format!("remove user {} ({uid})", old.name), GONE);
            self.remove_from_groups(&old.name);
        }
    }

    /// A removed user leaves all groups: whoever gets the name next must not inherit them.
    fn remove_from_groups(&mut self, user: &str) {
        let declared: BTreeSet<&[u8]> = self
            .declared
            .groups
            .iter()
            .filter(|group| group.members.iter().any(|member| member == user))
            .map(|group| group.name.as_bytes())
            .collect();
        let mut left = Vec::new();
        for entry in self.group.entries_mut() {
            if !declared.contains(entry.name()) && entry.list_remove(3, user.as_bytes()) {
                left.push(text(entry.name()));
            }
        }
        for entry in self.gshadow.entries_mut() {
            if !declared.contains(entry.name()) {
                let _ = entry.list_remove(2, user.as_bytes());
                let _ = entry.list_remove(3, user.as_bytes());
            }
        }
        for group in left {
            self.step(format!("remove {user} from group {group}"), "the user is removed");
        }
    }

    pub(super) fn remove_members(&mut self) {
        let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for group in &self.declared.groups {
            wanted
                .entry(&group.name)
                .or_default()
                .extend(group.members.iter().map(String::as_str));
        }
        for old in &self.previous.groups {
            let name = old.name.as_bytes();
            for member in &old.members {
                let stays = wanted
                    .get(old.name.as_str())
                    .is_some_and(|members| members.contains(member.as_str()));
                if stays {
                    continue;
                }
                let mut removed = false;
                for table in [&mut self.group, &mut self.gshadow] {
                    if let Some(entry) = table.find_mut(name) {
                        removed |= entry.list_remove(3, member.as_bytes());
                    }
                }
                if removed {
                    self.step(format!("remove {member} from group {}", old.name), GONE);
                }
            }
        }
    }

    pub(super) fn remove_groups(&mut self) {
        let kept: BTreeSet<&str> = self
            .declared
            .groups
            .iter()
            .map(|group| group.name.as_str())
            .collect();
        for old in &self.previous.groups {
            let name = old.name.as_bytes();
            if kept.contains(old.name.as_str()) {
                continue;
            }
            let Some(entry) = self.group.find(name) else {
                continue;
            };
            let gid = entry.number(2).unwrap_or(0);
            if gid >= FIRST_ORDINARY {
                self.warnings.push(format!(
                    "group {} ({gid}) is no longer declared; ordinary groups are never removed, `groupdel {}` does it",
                    old.name, old.name
                ));
                continue;
            }
            // The number once more, under another name or as somebody's primary group: it is in use.
            let in_use = self.passwd.entries().any(|user| user.number(3) == Some(gid))
                || self.declared.users.iter().any(|user| user.gid == gid)
                || self
                    .group
                    .entries()
                    .filter(|group| group.number(2) == Some(gid))
                    .count()
                    > 1;
            let has_admins = self
                .gshadow
                .find(name)
                .is_some_and(|line| !line.get(2).is_empty());
            let unchanged = gid != 0
                && gid == old.gid
                && entry.list(3).next().is_none()
                && !has_admins
                && shadow::is_locked(shadow::password(entry, &self.gshadow))
                && has_once(&self.group, name);
            if in_use || !unchanged {
                let why = if in_use {
                    "is still in use"
                } else {
                    "was changed on this machine"
                };
                self.warnings.push(format!(
                    "group {} ({gid}) is no longer declared but {why}; it stays, `groupdel {}` removes it",
                    old.name, old.name
                ));
                continue;
            }
            self.group.remove(name);
            self.gshadow.remove(name);
            self.step(format!("remove group {} ({gid})", old.name), GONE);
        }
    }
}

fn has_once(table: &Table, name: &[u8]) -> bool {
    table.entries().filter(|entry| entry.name() == name).count() == 1
}
