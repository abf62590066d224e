//! `keel generate-config`: a first configuration, from what a machine is.
//!
//! [`scan()`] looks at a machine, or at a root file system that is mounted on it; [`hardware`] and [`system`] write the two
//! files from what was seen, and look at nothing.

mod blocks;
mod files;
mod machine;
mod scan;
mod write;

pub use files::{FilesError, Outcome, Plan};
pub use machine::{Account, FileSystem, Luks, Machine, Swap};
pub use scan::{Place, ScanError, scan};
pub use write::{hardware, system};
