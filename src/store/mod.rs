//! The immutable store in Nix's format: paths, archives, database, objects.

pub mod base32;
mod layout;
pub mod nar;
pub mod path;
pub mod references;
pub mod verity;

#[cfg(feature = "tools")]
mod add;
#[cfg(feature = "tools")]
pub mod cache;
#[cfg(feature = "tools")]
pub mod content;
#[cfg(feature = "tools")]
pub mod copy;
#[cfg(feature = "tools")]
pub mod db;
#[cfg(feature = "tools")]
pub mod derivation;
#[cfg(feature = "tools")]
pub mod files;
#[cfg(feature = "tools")]
pub mod gc;
#[cfg(feature = "tools")]
pub mod indirect;
#[cfg(feature = "tools")]
pub mod lock;
#[cfg(feature = "tools")]
pub mod locks;
#[cfg(feature = "tools")]
pub mod objects;
#[cfg(feature = "tools")]
pub mod optimise;
#[cfg(feature = "tools")]
pub mod pool;
#[cfg(feature = "tools")]
mod processes;
#[cfg(feature = "tools")]
pub mod repair;
#[cfg(feature = "tools")]
pub mod roots;
#[cfg(feature = "tools")]
pub mod settings;
#[cfg(feature = "tools")]
pub mod tree;
#[cfg(feature = "tools")]
pub mod verify;

#[cfg(feature = "tools")]
pub(crate) use add::failpoint;
#[cfg(feature = "tools")]
pub use add::{AddError, Addition, Prepared, SmallDirectory};
pub use layout::{Layout, LayoutError};
pub use path::StorePath;
