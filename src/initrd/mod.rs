//! Building initrd images: a newc archive with keel-init, the modules that a machine needs, and a table of them.
//!
//! An image is a pure function of what goes in: sorted, without times, owners or inode numbers of the machine that built
//! it. The same modules and binaries give the same bytes.

mod builder;
mod cpio;
mod elf;
mod microcode;
mod modules;
mod sets;

pub use builder::{BuildError, Image, Recipe, build};
pub use cpio::{Archive, CpioError};
pub use modules::{ModuleTree, ResolveError};
pub use sets::ModuleSet;
