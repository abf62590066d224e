//! From segments to device-mapper tables, as lvm2 loads them (lib/striped/striped.c, libdm's `_emit_segment_line`).

use std::collections::BTreeMap;

use super::metadata::{LogicalVolume, Segment, SegmentKind, Stripe, VolumeGroup};
use crate::block::DeviceNumber;
use crate::block::dm::{Table, Target};

/// Why a logical volume can't be activated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LvError {
    /// A type that keel leaves to lvm.
    #[error(
        "logical volume {volume} has segments of type {kind}, which keel-init leaves to lvm, and this initrd has none; `keel initrd --lvm` puts it in"
    )]
    Unsupported {
        /// `VG/LV`.
        volume: String,
        /// The type.
        kind: String,
    },
    /// Another volume is built on it.
    #[error(
        "logical volume {volume} isn't activated: a segment of type {kind} is built on it, and writing past that would destroy data; an initrd with lvm (`keel initrd --lvm`) activates both"
    )]
    PartOf {
        /// `VG/LV`.
        volume: String,
        /// The type of what is built on it.
        kind: String,
    },
    /// A status that isn't known.
    #[error(
        "logical volume {volume} has status {status}, which keel-init doesn't know; start another system, and look at it with lvs"
    )]
    Status {
        /// `VG/LV`.
        volume: String,
        /// The status.
        status: String,
    },
    /// A physical volume hasn't appeared.
    #[error("logical volume {volume} needs physical volume {id}, which hasn't appeared{hint}")]
    Missing {
        /// `VG/LV`.
        volume: String,
        /// UUID of the physical volume.
        id: String,
        /// Where it was last seen.
        hint: String,
    },
    /// A physical volume is there, but its group was changed while it wasn't: its data may be old.
    #[error(
        "logical volume {volume} isn't activated: physical volume {id} was missing when the group was last changed; if its data is current, `vgextend --restoremissing` takes it back"
    )]
    Returned {
        /// `VG/LV`.
        volume: String,
        /// UUID of the physical volume.
        id: String,
    },
    /// The metadata contradicts itself or the disk.
    #[error("logical volume {volume} can't be used: {reason}")]
    Damaged {
        /// `VG/LV`.
        volume: String,
        /// What doesn't fit.
        reason: String,
    },
}

/// Devices by the name of their physical volume in the text, with their size in sectors of 512 bytes.
pub(super) type Devices<'a> = BTreeMap<&'a str, (DeviceNumber, u64)>;

pub(super) fn build(
    group: &VolumeGroup,
    volume: &LogicalVolume,
    devices: &Devices<'_>,
) -> Result<Table, LvError> {
    if let Some(kind) = &volume.part_of {
        let name = format!("{}/{}", group.name, volume.name);
        return Err(LvError::PartOf {
            volume: name,
            kind: kind.clone(),
        });
    }
    if let Some(status) = volume.unknown_status() {
        let name = format!("{}/{}", group.name, volume.name);
        return Err(LvError::Status {
            volume: name,
            status: status.to_owned(),
        });
    }
    let builder = Builder {
        group,
        volume,
        devices,
    };
    if volume.segments.is_empty() {
        return Err(builder.damaged("it has no segments"));
    }
    volume
        .segments
        .iter()
        .map(|segment| builder.target(segment))
        .collect::<Result<Vec<_>, _>>()
        .map(Table::from)
}

struct Builder<'a> {
    group: &'a VolumeGroup,
    volume: &'a LogicalVolume,
    devices: &'a Devices<'a>,
}

impl Builder<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.group.name, self.volume.name)
    }

    fn damaged(&self, reason: impl Into<String>) -> LvError {
        LvError::Damaged {
            volume: self.name(),
            reason: reason.into(),
        }
    }

    fn sectors(&self, extents: u64) -> Result<u64, LvError> {
        extents
            .checked_mul(self.group.extent_sectors)
            .ok_or_else(|| self.damaged("a size overflows"))
    }

    fn target(&self, segment: &Segment) -> Result<Target, LvError> {
        let start = self.sectors(segment.start_extent)?;
        let length = self.sectors(segment.extents)?;
        let (kind, parameters) = match &segment.kind {
            SegmentKind::Striped {
                stripes,
                chunk_sectors,
            } => self.striped(stripes, *chunk_sectors, segment.extents)?,
            SegmentKind::Error => ("error", String::new()),
            SegmentKind::Zero => ("zero", String::new()),
            SegmentKind::Other(kind) => {
                return Err(LvError::Unsupported {
                    volume: self.name(),
                    kind: kind.clone(),
                });
            }
        };
        Ok(Target {
            start,
            length,
            kind: kind.to_owned(),
            parameters,
        })
    }

    fn striped(
        &self,
        stripes: &[Stripe],
        chunk_sectors: u64,
        extents: u64,
    ) -> Result<(&'static str, String), LvError> {
        let count = stripes.len() as u64;
        if count == 0 || !extents.is_multiple_of(count) {
            return Err(self.damaged("a segment doesn't divide into its stripes"));
        }
        let places = stripes
            .iter()
            .map(|stripe| self.place(stripe, extents / count))
            .collect::<Result<Vec<_>, _>>()?
            .join(" ");
        if count == 1 {
            return Ok(("linear", places));
        }
        Ok(("striped", format!("{count} {chunk_sectors} {places}")))
    }

    /// `MAJOR:MINOR OFFSET` of a stripe.
    fn place(&self, stripe: &Stripe, extents: u64) -> Result<String, LvError> {
        let record = self
            .group
            .physical_volumes
            .get(&stripe.physical_volume)
            .ok_or_else(|| {
                self.damaged(format!(
                    "it refers to {}, which isn't there",
                    stripe.physical_volume
                ))
            })?;
        let Some((device, device_sectors)) = self.devices.get(stripe.physical_volume.as_str()) else {
            let hint = record
                .device_hint
                .as_ref()
                .map_or_else(String::new, |hint| format!(" (it was {hint})"));
            return Err(LvError::Missing {
                volume: self.name(),
                id: record.id.clone(),
                hint,
            });
        };
        if record.flags.iter().any(|flag| flag == "MISSING") {
            return Err(LvError::Returned {
                volume: self.name(),
                id: record.id.clone(),
            });
        }
        let end = stripe
            .start_extent
            .checked_add(extents)
            .filter(|end| *end <= record.extents);
        let end = end.ok_or_else(|| self.damaged(format!("it reaches beyond {}", stripe.physical_volume)))?;
        let sector = |extent| {
            self.sectors(extent)?
                .checked_add(record.first_extent_sector)
                .ok_or_else(|| self.damaged("a place overflows"))
        };
        if sector(end)? > *device_sectors {
            return Err(self.damaged(format!(
                "it reaches beyond the end of device {device}, which has shrunk"
            )));
        }
        Ok(format!("{device} {}", sector(stripe.start_extent)?))
    }
}
