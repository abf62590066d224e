//! A volume group as its metadata text describes it, with every number checked.

use std::collections::BTreeMap;

use super::config::{self, ConfigError, Section, Value};

/// The largest extent that lvm makes is 4 GiB; more would only serve to overflow.
const LARGEST_EXTENT: u64 = 1 << 32;
/// lvm's limit for stripes is far below.
const MOST_STRIPES: usize = 128;

/// Why a metadata text can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The syntax.
    #[error("the metadata text can't be parsed: {0}")]
    Syntax(#[from] ConfigError),
    /// No volume group, or several.
    #[error("the metadata text describes no volume group, or more than one")]
    NotOneGroup,
    /// A value.
    #[error("the metadata of {place} is damaged: {reason}")]
    Value {
        /// Group, volume or segment.
        place: String,
        /// What doesn't fit.
        reason: &'static str,
    },
}

/// A volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeGroup {
    /// Name.
    pub name: String,
    /// UUID, 32 characters without dashes.
    pub id: String,
    /// Goes up with every change.
    pub seqno: u64,
    /// `RESIZEABLE`, `EXPORTED` and so on; older flags live in `status`, newer ones in `flags`.
    pub status: Vec<String>,
    /// The machine that owns the group, when one does.
    pub system_id: Option<String>,
    /// `sanlock`, `dlm`, when locks are needed.
    pub lock_type: Option<String>,
    /// Size of an extent, sectors of 512 bytes.
    pub extent_sectors: u64,
    /// Physical volumes by their name in the text (`pv0`).
    pub physical_volumes: BTreeMap<String, PhysicalVolumeRecord>,
    /// Logical volumes, hidden ones included.
    pub logical_volumes: Vec<LogicalVolume>,
}

/// What the metadata says about a physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysicalVolumeRecord {
    /// UUID, 32 characters without dashes.
    pub id: String,
    /// The device that it was on when the metadata was written; only a hint.
    pub device_hint: Option<String>,
    /// `ALLOCATABLE`, `MISSING` and so on.
    pub flags: Vec<String>,
    /// First sector of the first extent.
    pub first_extent_sector: u64,
    /// Number of extents.
    pub extents: u64,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalVolume {
    /// Name.
    pub name: String,
    /// UUID, 32 characters without dashes.
    pub id: String,
    /// `READ`, `WRITE`, `VISIBLE` and so on.
    pub status: Vec<String>,
    /// Older flags live in `status`, newer ones in `flags`.
    pub flags: Vec<String>,
    /// Segments by their first extent.
    pub segments: Vec<Segment>,
    /// The type of a segment of another volume that is built on this one: a snapshot on its origin, a pool on its data.
    /// Such a volume must not be used by itself: what is written to a snapshot's origin past the snapshot destroys it.
    pub part_of: Option<String>,
}

impl LogicalVolume {
    /// Whether it's a volume of its own rather than a part of another one.
    pub fn is_visible(&self) -> bool {
        self.has("VISIBLE")
    }

    /// Whether it only serves other volumes: a thin, cache or VDO pool.
    pub fn is_pool(&self) -> bool {
        let mut kinds = self.segments.iter().map(|segment| &segment.kind);
        kinds.any(|kind| matches!(kind, SegmentKind::Other(kind) if kind.split('+').next().is_some_and(|kind| kind.ends_with("-pool"))))
    }

    /// Whether it can be written to.
    pub fn is_writable(&self) -> bool {
        self.has("WRITE")
    }

    /// Whether it's to be activated without being asked for.
    pub fn is_activated_by_itself(&self) -> bool {
        !self.has("ACTIVATION_SKIP") && !self.has("NOAUTOACTIVATE")
    }

    /// A status that says more than keel knows: a volume that is being moved, merged or converted, or one that needs
    /// a newer version.
    pub fn unknown_status(&self) -> Option<&str> {
        const KNOWN: [&str; 6] = [
            "READ",
            "WRITE",
            "VISIBLE",
            "FIXED_MINOR",
            "ACTIVATION_SKIP",
            "NOAUTOACTIVATE",
        ];
        self.status
            .iter()
            .chain(&self.flags)
            .map(String::as_str)
            .find(|flag| !KNOWN.contains(flag))
    }

    fn has(&self, flag: &str) -> bool {
        self.status.iter().chain(&self.flags).any(|own| own == flag)
    }
}

/// A run of extents of a logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First extent within the logical volume.
    pub start_extent: u64,
    /// Number of extents.
    pub extents: u64,
    /// What serves it.
    pub kind: SegmentKind,
}

/// What serves a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Extents of physical volumes; one stripe is linear.
    Striped {
        /// Where the stripes are, in order.
        stripes: Vec<Stripe>,
        /// Sectors of 512 bytes that go to one stripe before the next one; 0 for linear.
        chunk_sectors: u64,
    },
    /// Every access fails.
    Error,
    /// Reads give zeros.
    Zero,
    /// A type that keel leaves to lvm.
    Other(String),
}

/// Where a stripe is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// The physical volume's name in the text.
    pub physical_volume: String,
    /// First extent on it.
    pub start_extent: u64,
}

impl VolumeGroup {
    /// Whether its volumes are to be activated without being asked for.
    pub fn is_activated_by_itself(&self) -> bool {
        !self.status.iter().any(|flag| flag == "NOAUTOACTIVATE")
    }

    /// Reads a metadata text.
    pub fn parse(text: &[u8]) -> Result<VolumeGroup, MetadataError> {
        let root = config::parse(text)?;
        let mut groups = root.sections.iter();
        let (Some((name, section)), None) = (groups.next(), groups.next()) else {
            return Err(MetadataError::NotOneGroup);
        };
        let place = format!("volume group {name}");
        let fault = |reason| MetadataError::Value {
            place: place.clone(),
            reason,
        };
        check_name(name, &place)?;
        let extent_sectors = section
            .number("extent_size")
            .ok_or_else(|| fault("no extent size"))?;
        if extent_sectors == 0 || extent_sectors > LARGEST_EXTENT / 512 {
            return Err(fault("its extent size is impossible"));
        }
        let mut physical_volumes = BTreeMap::new();
        for (key, record) in section
            .sections
            .get("physical_volumes")
            .map(|found| &found.sections)
            .into_iter()
            .flatten()
        {
            let _ = physical_volumes.insert(key.clone(), physical_volume(key, record, name)?);
        }
        let mut logical_volumes: Vec<LogicalVolume> = Vec::new();
        for (key, record) in section
            .sections
            .get("logical_volumes")
            .map(|found| &found.sections)
            .into_iter()
            .flatten()
        {
            logical_volumes.push(logical_volume(key, record, name)?);
        }
        let parts = parts(section);
        for volume in &mut logical_volumes {
            volume.part_of = parts.get(&volume.name).cloned();
        }
        Ok(VolumeGroup {
            name: name.clone(),
            id: uuid(section, &place)?,
            seqno: section
                .number("seqno")
                .ok_or_else(|| fault("no sequence number"))?,
            status: owned([section.texts("status"), section.texts("flags")].concat()),
            system_id: section
                .text("system_id")
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            lock_type: section
                .text("lock_type")
                .filter(|kind| *kind != "none")
                .map(str::to_owned),
            extent_sectors,
            physical_volumes,
            logical_volumes,
        })
    }
}

/// Volumes that segments of other types name, with the type: `origin = "root"` in a segment of type `snapshot`.
fn parts(group: &Section) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    let volumes = group.sections.get("logical_volumes").map(|found| &found.sections);
    for segment in volumes
        .into_iter()
        .flatten()
        .flat_map(|(_, volume)| volume.sections.values())
    {
        let kind = segment.text("type").unwrap_or_default();
        if matches!(kind, "striped" | "error" | "zero") {
            continue;
        }
        for key in segment.values.keys() {
            for name in segment.texts(key) {
                let _ = parts.insert(name.to_owned(), kind.to_owned());
            }
        }
    }
    parts
}

fn physical_volume(key: &str, section: &Section, group: &str) -> Result<PhysicalVolumeRecord, MetadataError> {
    let place = format!("physical volume {key} of {group}");
    let fault = |reason| MetadataError::Value {
        place: place.clone(),
        reason,
    };
    Ok(PhysicalVolumeRecord {
        id: uuid(section, &place)?,
        device_hint: section.text("device").map(str::to_owned),
        flags: owned(
            section
                .texts("flags")
                .into_iter()
                .chain(section.texts("status"))
                .collect(),
        ),
        first_extent_sector: section
            .number("pe_start")
            .ok_or_else(|| fault("no start of its extents"))?,
        extents: section
            .number("pe_count")
            .ok_or_else(|| fault("no number of extents"))?,
    })
}

fn logical_volume(name: &str, section: &Section, group: &str) -> Result<LogicalVolume, MetadataError> {
    let place = format!("logical volume {group}/{name}");
    let fault = |reason| MetadataError::Value {
        place: place.clone(),
        reason,
    };
    check_name(name, &place)?;
    let count = section
        .number("segment_count")
        .ok_or_else(|| fault("no number of segments"))?;
    let mut segments = Vec::new();
    for (key, record) in &section.sections {
        if key.starts_with("segment") {
            segments.push(segment(record, &format!("{place}, {key}"))?);
        }
    }
    if segments.len() as u64 != count {
        return Err(fault("its number of segments doesn't fit"));
    }
    segments.sort_by_key(|segment| segment.start_extent);
    let mut next = 0_u64;
    for segment in &segments {
        if segment.start_extent != next || segment.extents == 0 {
            return Err(fault("its segments don't follow on each other"));
        }
        next = next
            .checked_add(segment.extents)
            .ok_or_else(|| fault("its size is impossible"))?;
    }
    Ok(LogicalVolume {
        name: name.to_owned(),
        id: uuid(section, &place)?,
        status: owned(section.texts("status")),
        flags: owned(section.texts("flags")),
        segments,
        part_of: None,
    })
}

fn segment(section: &Section, place: &str) -> Result<Segment, MetadataError> {
    let fault = |reason| MetadataError::Value {
        place: place.to_owned(),
        reason,
    };
    // `striped+FLAG`: a flag that older versions must not ignore; none is known here (lvm2, lib/format_text/flags.c).
    let kind = section.text("type").ok_or_else(|| fault("no type"))?;
    let kind = match kind {
        "striped" => striped(section, place)?,
        "error" => SegmentKind::Error,
        "zero" => SegmentKind::Zero,
        other => SegmentKind::Other(other.to_owned()),
    };
    Ok(Segment {
        start_extent: section.number("start_extent").ok_or_else(|| fault("no start"))?,
        extents: section.number("extent_count").ok_or_else(|| fault("no length"))?,
        kind,
    })
}

fn striped(section: &Section, place: &str) -> Result<SegmentKind, MetadataError> {
    let fault = |reason| MetadataError::Value {
        place: place.to_owned(),
        reason,
    };
    let count = section
        .number("stripe_count")
        .ok_or_else(|| fault("no number of stripes"))?;
    let list = section
        .list("stripes")
        .ok_or_else(|| fault("no list of stripes"))?;
    let mut stripes = Vec::new();
    for pair in list.chunks(2) {
        let [Value::Text(name), Value::Integer(extent)] = pair else {
            return Err(fault("its list of stripes isn't one of names and extents"));
        };
        let start_extent = u64::try_from(*extent).map_err(|_| fault("a stripe starts below zero"))?;
        stripes.push(Stripe {
            physical_volume: name.clone(),
            start_extent,
        });
    }
    if stripes.is_empty() || stripes.len() > MOST_STRIPES || stripes.len() as u64 != count {
        return Err(fault("its number of stripes doesn't fit"));
    }
    let chunk_sectors = section.number("stripe_size").unwrap_or(0);
    if stripes.len() > 1 && (chunk_sectors == 0 || !chunk_sectors.is_power_of_two()) {
        return Err(fault("its stripe size is impossible"));
    }
    Ok(SegmentKind::Striped {
        stripes,
        chunk_sectors,
    })
}

/// A UUID without its dashes.
fn uuid(section: &Section, place: &str) -> Result<String, MetadataError> {
    let id: String = section
        .text("id")
        .unwrap_or_default()
        .chars()
        .filter(|c| *c != '-')
        .collect();
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(id)
    } else {
        Err(MetadataError::Value {
            place: place.to_owned(),
            reason: "its UUID is missing or malformed",
        })
    }
}

/// Names become parts of paths below /dev.
fn check_name(name: &str, place: &str) -> Result<(), MetadataError> {
    let usable = !name.is_empty()
        && name.len() <= 127
        && name != "."
        && name != ".."
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte));
    if usable {
        Ok(())
    } else {
        Err(MetadataError::Value {
            place: place.to_owned(),
            reason: "its name isn't allowed",
        })
    }
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}
