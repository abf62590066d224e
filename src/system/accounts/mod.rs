//! The merge of accounts: the files of the machine, what this system declares, what the last merge declared.
//!
//! passwd(5) and its companions belong to the machine: passwords, numbers and an administrator's own accounts live
//! there and in no generation. A generation only declares what it needs, and [`merge`] works out the difference;
//! [`apply`] does the same with the files of an `/etc`. Nothing here asks libc for a name: early boot has no NSS, and
//! the `/etc` in question is not the running one.

mod apply;
mod files;
mod merge;
#[cfg(test)]
mod properties;
mod removal;
mod shadow;
mod subid;
#[cfg(test)]
mod tests;

pub use apply::{AccountsError, Applied, apply};
pub use files::{Entry, File, Table, Texts};
pub use merge::{Plan, Step, merge, merge_with};

/// Numbers below are the system's own (`SYS_UID_MAX` + 1 of login.defs(5) on Debian).
pub const FIRST_ORDINARY: u32 = 1000;

/// First number that is not an ordinary account's (`UID_MAX` is 59999 in the Debian policy, section 9.2.2).
pub const END_ORDINARY: u32 = 60000;
