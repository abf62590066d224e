//! One way to assemble a root: for the initrd, `install`, soft reboot and the live switch.
//!
//! The root file system holds state only. `/usr` and `/etc` of a system are composefs images: an EROFS image with
//! names, owners and modes, over a data-only layer with the contents (Linux, Documentation/filesystems/overlayfs.rst,
//! "Data-only lower layers").

mod assemble;
mod identity;
mod images;
mod layout;

pub use assemble::{AssembleError, Assembled, Request, assemble_root};
pub use identity::IdentityWarning;
pub use images::ImageError;
