//! What is on a disk: superblock probes, LUKS, LVM, device-mapper tables. Parsers never open a file: they read
//! through [`ReadAt`], so that the initrd, `keel rehearse` and the tests share them.

pub mod dm;
pub mod gpt;
pub mod luks;
pub mod lvm;
pub mod partition;
pub mod probe;
mod read_at;

pub use read_at::{DeviceNumber, ReadAt};
