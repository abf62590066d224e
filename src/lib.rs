//! keel: declarative generations for Debian.
//!
//! Dependencies point one way: `cli → activate → {rehearse, profile, system, boot, initrd} → {root, store, block, systemd} → sys`. `init`
//! uses `block`, `root`, `sys` and the pure parts of `system`. What needs a database, a compressor written in C or an argument
//! parser stands behind the feature `tools`, which `keel-init` is built without.

pub mod block;
pub mod init;
pub mod root;
pub mod store;
pub mod sys;
pub mod system;

#[cfg(feature = "tools")]
pub mod activate;
#[cfg(feature = "tools")]
pub mod boot;
#[cfg(feature = "tools")]
pub mod build;
#[cfg(feature = "tools")]
pub mod cli;
#[cfg(feature = "tools")]
pub mod config;
#[cfg(feature = "tools")]
pub mod diff;
#[cfg(feature = "tools")]
pub mod generate;
#[cfg(feature = "tools")]
pub mod generations;
#[cfg(feature = "tools")]
pub mod initrd;
#[cfg(feature = "tools")]
pub mod layers;
#[cfg(feature = "tools")]
mod nearest;
#[cfg(feature = "tools")]
pub mod pins;
#[cfg(feature = "tools")]
pub mod profile;
#[cfg(feature = "tools")]
pub mod rehearse;
#[cfg(feature = "tools")]
pub mod systemd;
