//! LVM2: labels, metadata, volume groups, read only. Follows lvm2's lib/format_text and lib/label sources; there is no
//! separate specification.
//!
//! A device is read by [`read_physical_volume`]; [`Groups`] joins what several devices say, and gives the
//! device-mapper tables of linear and striped logical volumes.

mod area;
mod config;
mod crc;
mod groups;
mod label;
mod metadata;
mod name;
mod physical;
mod table;

pub use area::AreaError;
pub use config::ConfigError;
pub use groups::{Group, Groups, Missing, Refusal};
pub use label::{LabelError, PvLabel, Region};
pub use metadata::{
    LogicalVolume, MetadataError, PhysicalVolumeRecord, Segment, SegmentKind, Stripe, VolumeGroup,
};
pub use name::{dm_name, dm_uuid};
pub use physical::{LvmError, PhysicalVolumeOnDisk, read_physical_volume};
pub use table::LvError;

#[cfg(test)]
pub(crate) mod tests;
