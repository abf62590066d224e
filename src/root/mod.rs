//! One way to assemble a root: for the initrd, `install`, soft reboot and the live switch.
//!
//! The root file system holds state only. `/usr` and `/etc` of a system are composefs images: an EROFS image with
//! names, owners and modes, over a data-only layer with the contents (Linux, Documentation/filesystems/overlayfs.rst,
//! "Data-only lower layers").

mod assemble;
mod identity;
mod images;
mod kernel;
mod layout;
mod live;
mod local;
mod mountinfo;
mod namespace;
mod stale;

pub use assemble::{AssembleError, Assembled, Request, assemble_root};
pub use identity::{Identity, IdentityWarning, settle};
pub use images::ImageError;
pub use kernel::{modules_for_running_kernel, running_kernel};
pub use live::{LiveError, replace_live};
pub use local::{LocalChange, LocalKind, UPPER, differs, local_changes, take_away, trees_differ};
pub use mountinfo::{Mount, parse as parse_mounts, processes};
pub use namespace::{Namespaces, Unmended};
pub use stale::{unit_of_cgroup, units_on_replaced_trees};
