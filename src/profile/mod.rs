//! Profiles of packages: generations of link farms, which Nix's own tools read and switch.

pub mod age;
mod change;
pub mod diff;
pub mod edit;
pub mod farm;
mod history;
pub mod item;
pub mod locate;
pub mod manifest;
mod package_name;
pub mod recipe;
mod trees;

pub use change::{ChangeError, Changed, change};
pub use history::{Generation, History, HistoryError};
pub use manifest::{Element, Manifest, PRIORITY_DEFAULT};
pub use package_name::PackageName;
