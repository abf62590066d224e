//! What a system declares about accounts: `accounts.json` and `ids.json`. No passwords: the store is readable by all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `accounts.json`: the users and groups that a system declares, numbers already taken from [`Ids`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// In the order of their numbers.
    pub users: Vec<User>,
    /// In the order of their numbers.
    pub groups: Vec<Group>,
}

/// A line of passwd(5) without its password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
    /// Full name and so on (GECOS).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gecos: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// A file of the machine's that holds the hashed password (crypt(5)). It's read when the account is made, and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// Whether its services run while it isn't logged in (loginctl(1), `enable-linger`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub linger: bool,
}

/// A line of group(5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Group name.
    pub name: String,
    /// Group number.
    pub gid: u32,
    /// Supplementary members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

/// `ids.json`: names to numbers, the same in every generation of a machine. Only ever appended to: a number that a
/// name once had is on files of `/var` and `/home`, and must never come to mean somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// User names to user numbers.
    pub users: BTreeMap<String, u32>,
    /// Group names to group numbers.
    pub groups: BTreeMap<String, u32>,
}
