//! Accounts: those of the packages, and over them `[users]` and `[groups]`. Names become numbers by what the lock knows;
//! new names get new numbers, which go into the lock.

use std::collections::{BTreeMap, BTreeSet};

use super::people::{group_of, home_of};
use crate::config::{Config, User as Wanted};
use crate::system::declared::{Declared, Group, Ids, User};
use crate::system::ids::Assigned;

/// Numbers of people's accounts: Debian policy, section 9.2.2.
const ORDINARY: (u32, u32) = (1000, 59_999);
/// Numbers of the system's own accounts that are given as they come.
const SYSTEM: (u32, u32) = (100, 999);
/// Where the initial password of a user is looked for that names no file.
pub const PASSWORDS: &str = "/var/lib/keel/passwords";

/// Accounts that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The number is somebody else's.
    #[error(
        "{option}: the number {number} belongs to {owner} on this machine; leave the number out, or take a free one"
    )]
    Taken {
        /// `users.x.uid`.
        option: String,
        /// What is asked for.
        number: u32,
        /// Whose it is.
        owner: String,
    },
    /// The name has another number.
    #[error(
        "{option} is {number}, but the lock knows the name by the number {known}, and files may belong to it: numbers never \
         change"
    )]
    Moved {
        /// `users.x.uid`.
        option: String,
        /// What is asked for.
        number: u32,
        /// What it has.
        known: u32,
    },
    /// No number is left.
    #[error("{option}: no number from {from} to {to} is free")]
    Exhausted {
        /// `users.x`.
        option: String,
        /// First number of the range.
        from: u32,
        /// Last number.
        to: u32,
    },
    /// A primary group that isn't there.
    #[error(
        "users.{user}.group: there is no group {group}; declare it ([groups.{group}]) or install what brings it"
    )]
    NoGroup {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
}

/// The accounts of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// For `accounts.json`.
    pub declared: Declared,
    /// Every name that the machine ever had.
    pub ids: Ids,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Puts the configuration's accounts over those of the packages.
pub fn declare(config: &Config, packages: &Assigned) -> Result<Accounts, AccountError> {
    let mut work = Work {
        ids: packages.ids.clone(),
        users: by_name(&packages.declared.users, |user| &user.name),
        groups: by_name(&packages.declared.groups, |group| &group.name),
        notes: Vec::new(),
    };
    for (name, group) in &config.groups {
        let range = if group.system { SYSTEM } else { ORDINARY };
        let _gid = work.group(name, group.gid, &format!("groups.{name}.gid"), range)?;
    }
    for (name, user) in &config.users {
        work.user(name, user)?;
    }
    for (name, group) in &config.groups {
        work.join(name, &group.members);
    }
    for (name, user) in &config.users {
        for group in &user.groups {
            if work.groups.contains_key(group) {
                work.join(group, std::slice::from_ref(name));
            } else {
                work.notes.push(format!(
                    "users.{name}.groups: there is no group {group}, so {name} isn't in it; declare it ([groups.{group}]) or \
                     install what brings it"
                ));
            }
        }
    }
    Ok(work.finish())
}

fn by_name<T: Clone>(all: &[T], name: impl Fn(&T) -> &String) -> BTreeMap<String, T> {
    all.iter().map(|one| (name(one).clone(), one.clone())).collect()
}

struct Work {
    ids: Ids,
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, Group>,
    notes: Vec<String>,
}

impl Work {
    fn group(
        &mut self,
        name: &str,
        asked: Option<u32>,
        option: &str,
        range: (u32, u32),
    ) -> Result<u32, AccountError> {
        let gid = number(&self.ids.groups, name, asked, (option, range))?;
        let _same = self.ids.groups.insert(name.to_owned(), gid);
        let _known = self.groups.entry(name.to_owned()).or_insert_with(|| Group {
            name: name.to_owned(),
            gid,
            members: Vec::new(),
        });
        Ok(gid)
    }

    fn user(&mut self, name: &str, wanted: &Wanted) -> Result<(), AccountError> {
        let known = self.users.get(name).cloned();
        let option = format!("users.{name}.uid");
        let range = if wanted.normal { ORDINARY } else { SYSTEM };
        let uid = match known.as_ref().map(|user| user.uid) {
            // Several names of one number are the packages' affair.
            Some(uid) if wanted.uid.is_none_or(|asked| asked == uid) => uid,
            _ => number(&self.ids.users, name, wanted.uid, (&option, range))?,
        };
        let _same = self.ids.users.insert(name.to_owned(), uid);
        let gid = match (&wanted.group, &known) {
            (None, Some(user)) => user.gid,
            (Some(group), _) if self.groups.contains_key(group) => {
                self.groups.get(group).map_or(uid, |group| group.gid)
            }
            (Some(group), _) => {
                return Err(AccountError::NoGroup {
                    user: name.to_owned(),
                    group: group.clone(),
                });
            }
            (None, None) => {
                // The group of the same name has the same number when it can.
                let group = group_of(name, wanted);
                let free =
                    !self.ids.groups.contains_key(group) && !self.ids.groups.values().any(|&gid| gid == uid);
                self.group(group, free.then_some(uid), &format!("users.{name}"), range)?
            }
        };
        let default_shell = if wanted.normal {
            "/bin/bash"
        } else {
            "/usr/sbin/nologin"
        };
        let given = |given: Option<&String>, known: Option<&String>, default: String| {
            given.or(known).cloned().unwrap_or(default)
        };
        let description = Some(&wanted.description).filter(|text| !text.is_empty());
        let user = User {
            name: name.to_owned(),
            uid,
            gid,
            gecos: given(description, known.as_ref().map(|user| &user.gecos), String::new()),
            home: given(
                wanted.home.as_ref(),
                known.as_ref().map(|user| &user.home),
                home_of(name, wanted),
            ),
            shell: given(
                wanted.shell.as_ref(),
                known.as_ref().map(|user| &user.shell),
                default_shell.to_owned(),
            ),
            password_file: wanted
                .hashed_password_file
                .clone()
                .or_else(|| (wanted.normal || name == "root").then(|| format!("{PASSWORDS}/{name}"))),
            linger: wanted.linger,
        };
        let _old = self.users.insert(name.to_owned(), user);
        Ok(())
    }

    fn join(&mut self, group: &str, members: &[String]) {
        if let Some(group) = self.groups.get_mut(group) {
            group.members.extend(members.iter().cloned());
            let mut seen = BTreeSet::new();
            group.members.retain(|member| seen.insert(member.clone()));
        }
    }

    fn finish(self) -> Accounts {
        let mut declared = Declared {
            users: self.users.into_values().collect(),
            groups: self.groups.into_values().collect(),
        };
        declared
            .users
            .sort_by(|a, b| (a.uid, &a.name).cmp(&(b.uid, &b.name)));
        declared
            .groups
            .sort_by(|a, b| (a.gid, &a.name).cmp(&(b.gid, &b.name)));
        Accounts {
            declared,
            ids: self.ids,
            notes: self.notes,
        }
    }
}

fn number(
    known: &BTreeMap<String, u32>,
    name: &str,
    asked: Option<u32>,
    (option, (from, to)): (&str, (u32, u32)),
) -> Result<u32, AccountError> {
    match (known.get(name), asked) {
        (Some(&known), Some(asked)) if known != asked => Err(AccountError::Moved {
            option: option.to_owned(),
            number: asked,
            known,
        }),
        (Some(&known), _) => Ok(known),
        (None, Some(asked)) => match known.iter().find(|&(_, &number)| number == asked) {
            Some((owner, _)) => Err(AccountError::Taken {
                option: option.to_owned(),
                number: asked,
                owner: owner.clone(),
            }),
            None => Ok(asked),
        },
        (None, None) => {
            let taken: BTreeSet<u32> = known.values().copied().collect();
            (from..=to)
                .find(|number| !taken.contains(number))
                .ok_or_else(|| AccountError::Exhausted {
                    option: option.to_owned(),
                    from,
                    to,
                })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn packages() -> Assigned {
        let group = |name: &str, gid| Group {
            name: name.into(),
            gid,
            members: Vec::new(),
        };
        let root = User {
            name: "root".into(),
            uid: 0,
            gid: 0,
            home: "/root".into(),
            shell: "/bin/bash".into(),
            ..User::default()
        };
        let mut ids = Ids::default();
        ids.users
            .extend([("root".to_owned(), 0), ("gone".to_owned(), 1000)]);
        ids.groups.extend([
            ("root".to_owned(), 0),
            ("sudo".to_owned(), 27),
            ("video".to_owned(), 1001),
        ]);
        Assigned {
            ids,
            numbering: crate::system::ids::Numbering::default(),
            declared: Declared {
                users: vec![root],
                groups: vec![group("root", 0), group("sudo", 27), group("video", 1001)],
            },
        }
    }

    fn declared(text: &str) -> Result<Accounts, AccountError> {
        declare(&toml::from_str(text).unwrap(), &packages())
    }

    #[test]
    fn a_person_gets_a_number_a_group_a_home_and_memberships() {
        let made =
            declared("[users.kirans]\nnormal = true\ngroups = [\"sudo\", \"sudo\", \"none\"]\n").unwrap();
        let user = made
            .declared
            .users
            .iter()
            .find(|user| user.name == "kirans")
            .unwrap();
        // 1000 was somebody's once; the group 1001 is the packages'.
        assert_eq!((user.uid, user.gid), (1001, 1000));
        assert_eq!(
            (user.home.as_str(), user.shell.as_str()),
            ("/home/kirans", "/bin/bash")
        );
        assert_eq!(
            user.password_file.as_deref(),
            Some("/var/lib/keel/passwords/kirans")
        );
        let sudo = made
            .declared
            .groups
            .iter()
            .find(|group| group.name == "sudo")
            .unwrap();
        assert_eq!(sudo.members, ["kirans"]);
        assert_eq!(made.ids.users["kirans"], 1001);
        assert!(
            made.notes[0].contains("there is no group none"),
            "{:?}",
            made.notes
        );
        // The lock knows the numbers from now on: once more gives the same.
        let mut later = packages();
        later.ids = made.ids.clone();
        let again = declare(
            &toml::from_str("[users.kirans]\nnormal = true\n[users.a]\nnormal = true\n").unwrap(),
            &later,
        );
        let again = again.unwrap();
        assert_eq!((again.ids.users["kirans"], again.ids.users["a"]), (1001, 1002));
    }

    #[test]
    fn accounts_of_packages_change_only_where_the_configuration_says_so() {
        let made = declared("[users.root]\nshell = \"/bin/sh\"\nhashed_password_file = \"/etc/rootpw\"\n[groups.video]\nmembers = [\"root\"]\n")
            .unwrap();
        let root = &made.declared.users[0];
        assert_eq!(
            (root.uid, root.home.as_str(), root.shell.as_str()),
            (0, "/root", "/bin/sh")
        );
        assert_eq!(root.password_file.as_deref(), Some("/etc/rootpw"));
        assert_eq!(made.declared.users.len(), 1);
        let video = made
            .declared
            .groups
            .iter()
            .find(|group| group.name == "video")
            .unwrap();
        assert_eq!(video.members, ["root"]);
    }

    #[test]
    fn system_users_and_chosen_numbers() {
        let made = declared(
            "[users.svc]\nsystem = true\n[users.max]\nnormal = true\nuid = 1500\ngroup = \"staff\"\n[groups.staff]\ngid = 50\n",
        )
        .unwrap();
        let find = |name: &str| made.declared.users.iter().find(|user| user.name == name).unwrap();
        assert_eq!(
            (find("svc").uid, find("svc").shell.as_str()),
            (100, "/usr/sbin/nologin")
        );
        assert_eq!((find("max").uid, find("max").gid), (1500, 50));
        assert_eq!(find("svc").password_file, None);
    }

    #[test]
    fn numbers_that_cannot_be_are_told() {
        for (text, part) in [
            (
                "[users.a]\nuid = 1000\n",
                "users.a.uid: the number 1000 belongs to gone",
            ),
            (
                "[users.gone]\nuid = 1005\n",
                "the lock knows the name by the number 1000",
            ),
            (
                "[groups.x]\ngid = 27\n",
                "groups.x.gid: the number 27 belongs to sudo",
            ),
            ("[users.a]\ngroup = \"x\"\n", "users.a.group: there is no group x"),
        ] {
            let error = declared(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
