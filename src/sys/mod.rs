//! System calls that no safe crate offers. The only place for `unsafe`: each block states why it is sound.
#![allow(unsafe_code)]

#[cfg(feature = "tools")]
pub mod descriptors;
pub mod dm;
pub mod immutable;
pub mod keyring;
#[cfg(feature = "tools")]
pub mod loopback;
pub mod memory;
pub mod module;
pub mod mount;
pub mod open_in_root;
pub mod pidfd;
#[cfg(feature = "tools")]
pub mod random;
#[cfg(feature = "tools")]
pub mod reflink;
pub mod session;
pub mod term;
pub mod uevent;
pub mod vt;
pub mod xattr;
