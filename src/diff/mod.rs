//! What differs between two systems: packages, units, files of `/etc`, kernel, accounts, and what it costs in the store.
//!
//! [`between`] looks at two systems in a store; everything that decides is pure and stands beside: [`packages`],
//! [`units`], [`etc`], [`accounts`], and [`version`] for the order of Debian's versions.

pub mod accounts;
pub mod boot;
pub mod etc;
pub mod packages;
pub mod side;
pub mod units;
pub mod version;

mod between;

pub use between::{Closure, Diff, DiffError, between};
pub use side::{Side, SideError};
