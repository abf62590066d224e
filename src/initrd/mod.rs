//! Building initrd images: a newc archive with keel-init, the modules that a machine needs, and a table of them.
//!
//! An image is a pure function of what goes in: sorted, without times, owners or inode numbers of the machine that built
//! it. The same modules and binaries give the same bytes.

mod attached;
mod beside_systemd;
mod builder;
mod cpio;
mod depmod;
mod elf;
mod firmware;
pub(crate) mod host;
pub mod keymap;
mod kmod_index;
mod lvm;
mod microcode;
mod modinfo;
mod modprobe_d;
mod needed;
mod plan;
mod read;
mod resolve;
mod sets;
mod system_tree;
mod tree;

pub(crate) use attached::drivers;
pub use builder::{Image, build};
pub use cpio::{Archive, CpioError};
pub use host::{Host, Machine, Need};
pub use lvm::{LvmToolsError, root_needs};
pub use plan::{BuildError, Plan, PlanEntry, Recipe, SystemFiles, SystemPart, plan};
pub use read::{ReadError, file_of_image};
pub use resolve::{Origin, Reason, Resolved, Wish};
pub use sets::ModuleSet;
pub use tree::{ModuleTree, ResolveError};
