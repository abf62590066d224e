//! Device-mapper: tables, names, and devices made by ioctl (Linux, include/uapi/linux/dm-ioctl.h).

mod control;
mod message;
mod name;
mod node;

use std::fmt;

pub use control::{Control, CreateOptions, DmError};
pub use message::EncodeError;
pub use name::mangle;
pub use node::{UdevFlags, link_logical_volume, link_mapper, udev_entry, write_udev_entry};

/// A line of a table: a run of sectors and the target that serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// First sector of the device, in sectors of 512 bytes.
    pub start: u64,
    /// Length in sectors of 512 bytes.
    pub length: u64,
    /// Target type, such as `linear`.
    pub kind: String,
    /// The target's parameters.
    pub parameters: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.start, self.length, self.kind)?;
        if self.parameters.is_empty() {
            Ok(())
        } else {
            write!(f, " {}", self.parameters)
        }
    }
}

/// The table of a device. Displayed as `dmsetup table` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its lines, in order, without gaps.
    pub targets: Vec<Target>,
}

impl From<Vec<Target>> for Table {
    fn from(targets: Vec<Target>) -> Self {
        Table { targets }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, target) in self.targets.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{target}")?;
        }
        Ok(())
    }
}
