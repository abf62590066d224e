//! A physical volume as its device describes it.

use super::area::{self, AreaError};
use super::label::{self, LabelError, Region};
use super::metadata::{MetadataError, VolumeGroup};
use crate::block::ReadAt;

/// Why a device can't be used as a physical volume.
#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    /// The label.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Every metadata area is damaged.
    #[error("no metadata area can be used: {0}; `vgcfgrestore` writes a backup back")]
    NoMetadata(String),
}

/// What one device says.
#[derive(Debug, Clone)]
pub struct PhysicalVolumeOnDisk {
    /// UUID, 32 characters without dashes.
    pub id: String,
    /// Size of the device now, bytes.
    pub size: u64,
    /// The newest volume group that its metadata areas describe. `None` when they are empty, ignored, or none.
    pub metadata: Option<VolumeGroup>,
    /// Areas that are damaged while another one is whole.
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Area(#[from] AreaError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Reads label and metadata of a device. `None` when it has no label.
pub fn read_physical_volume(device: &dyn ReadAt) -> Result<Option<PhysicalVolumeOnDisk>, LvmError> {
    let Some(label) = label::read(device)? else {
        return Ok(None);
    };
    let size = device.size().map_err(LabelError::from)?;
    let mut metadata: Option<VolumeGroup> = None;
    let mut faults = Vec::new();
    let mut read = 0;
    for area in &label.metadata_areas {
        match read_group(device, *area) {
            Ok(group) => {
                read += 1;
                if let Some(group) = group
                    && metadata.as_ref().is_none_or(|known| known.seqno < group.seqno)
                {
                    metadata = Some(group);
                }
            }
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    if read == 0 && !faults.is_empty() {
        return Err(LvmError::NoMetadata(faults.join("; ")));
    }
    Ok(Some(PhysicalVolumeOnDisk {
        id: label.id,
        size,
        metadata,
        warnings: faults,
    }))
}

fn read_group(device: &dyn ReadAt, area: Region) -> Result<Option<VolumeGroup>, Fault> {
    match area::read_text(device, area)? {
        Some(text) => Ok(Some(VolumeGroup::parse(&text)?)),
        None => Ok(None),
    }
}
