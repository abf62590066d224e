//! The rules that tie the objects of the metadata together (LUKS2 on-disk format 1.1, sections 2.3 and 3).

use super::{JsonError, Keyslot, KeyslotKind, Metadata, Segment, invalid};

const HEADER_SIZES: std::ops::RangeInclusive<u64> = 0x4000..=0x40_0000;
const KEYSLOTS_SIZE_MAX: u64 = 128 << 20;

/// Checks everything that needs more than one object. `area_len` is the length of the JSON area in bytes.
pub(super) fn check(metadata: &Metadata, area_len: u64) -> Result<(), JsonError> {
    check_references(metadata)?;
    check_segments(metadata)?;
    check_config(metadata, area_len)?;
    check_areas(metadata)?;
    check_keyslots(metadata)
}

/// What tokens and digests refer to must exist.
fn check_references(metadata: &Metadata) -> Result<(), JsonError> {
    let keyslot_exists = |id: &u32| metadata.keyslots.iter().any(|keyslot| keyslot.id == *id);
    let segment_exists = |id: &u32| metadata.segments.iter().any(|segment| segment.id == *id);
    for token in &metadata.tokens {
        if let Some(id) = token.keyslots.iter().find(|id| !keyslot_exists(id)) {
            return Err(invalid(
                &format!("token {}", token.id),
                format!("there is no keyslot {id}"),
            ));
        }
    }
    for digest in &metadata.digests {
        let object = format!("digest {}", digest.id);
        if let Some(id) = digest.keyslots.iter().find(|id| !keyslot_exists(id)) {
            return Err(invalid(&object, format!("there is no keyslot {id}")));
        }
        if let Some(id) = digest.segments.iter().find(|id| !segment_exists(id)) {
            return Err(invalid(&object, format!("there is no segment {id}")));
        }
    }
    Ok(())
}

fn check_segments(metadata: &Metadata) -> Result<(), JsonError> {
    let segments = &metadata.segments;
    if segments.is_empty() {
        return Err(invalid("segments", "there are none"));
    }
    let mut backup = false;
    for (expected, segment) in (0_u32..).zip(segments) {
        let object = format!("segment {}", segment.id);
        if segment.id != expected {
            return Err(invalid("segments", format!("segment {expected} is missing")));
        }
        if !segment.is_backup() && backup {
            return Err(invalid(&object, "it is behind a backup segment"));
        }
        backup = segment.is_backup();
        if expected == 0 && backup {
            return Err(invalid("segments", "there is no regular one"));
        }
        check_segment(metadata, segment, &object)?;
    }
    let regular: Vec<&Segment> = segments.iter().filter(|segment| !segment.is_backup()).collect();
    for (i, segment) in regular.iter().enumerate() {
        if segment.size.is_none() && i + 1 < regular.len() {
            return Err(invalid(
                &format!("segment {}", segment.id),
                "only the last one can be dynamic",
            ));
        }
        for other in regular.iter().skip(i + 1) {
            let apart = |first: &Segment, second: &Segment| {
                first
                    .size
                    .and_then(|size| first.offset.checked_add(size))
                    .is_some_and(|end| end <= second.offset)
            };
            if !apart(segment, other) && !apart(other, segment) {
                return Err(invalid(
                    &format!("segment {}", segment.id),
                    format!("it overlaps segment {}", other.id),
                ));
            }
        }
    }
    Ok(())
}

fn check_segment(metadata: &Metadata, segment: &Segment, object: &str) -> Result<(), JsonError> {
    if segment.size == Some(0) {
        return Err(invalid(object, "its size is 0"));
    }
    let size = segment.size.unwrap_or(0);
    if !segment.offset.is_multiple_of(512) || !size.is_multiple_of(512) {
        return Err(invalid(object, "offset or size is no multiple of 512"));
    }
    if segment.offset.checked_add(size).is_none() {
        return Err(invalid(object, "it ends beyond 2^64 bytes"));
    }
    let Some(crypt) = &segment.crypt else {
        return Ok(());
    };
    if crypt.sector_size == 0 || !crypt.sector_size.is_multiple_of(512) {
        return Err(invalid(
            object,
            format!("a sector size of {} bytes", crypt.sector_size),
        ));
    }
    if !size.is_multiple_of(u64::from(crypt.sector_size)) {
        return Err(invalid(object, "its size is no multiple of its sector size"));
    }
    if !metadata
        .digests
        .iter()
        .any(|digest| digest.segments.contains(&segment.id))
    {
        return Err(invalid(object, "it belongs to no digest"));
    }
    Ok(())
}

fn check_config(metadata: &Metadata, area_len: u64) -> Result<(), JsonError> {
    let header_size = metadata.header_size();
    if metadata.json_size != area_len {
        return Err(invalid(
            "config",
            format!(
                "json_size is {}, the area has {area_len} bytes",
                metadata.json_size
            ),
        ));
    }
    if !HEADER_SIZES.contains(&header_size) || !header_size.is_power_of_two() {
        return Err(invalid("config", format!("a header of {header_size} bytes")));
    }
    let keyslots_size = metadata.keyslots_size;
    if !keyslots_size.is_multiple_of(4096) || keyslots_size > KEYSLOTS_SIZE_MAX {
        return Err(invalid(
            "config",
            format!("a keyslots area of {keyslots_size} bytes"),
        ));
    }
    // 0 means a detached header, which no data follows.
    let first = metadata
        .segments
        .iter()
        .filter(|segment| !segment.is_backup())
        .map(|segment| segment.offset);
    match first.min() {
        Some(offset) if offset > 0 && offset < metadata.total_size() => Err(invalid(
            "config",
            format!("the keyslots area runs into the data at byte {offset}"),
        )),
        _ => Ok(()),
    }
}

/// Keyslot areas lie between the headers and the end of the keyslots area, and apart from each other.
fn check_areas(metadata: &Metadata) -> Result<(), JsonError> {
    let range = metadata.header_size().saturating_mul(2)..metadata.total_size();
    let mut areas: Vec<(u64, u64, &Keyslot)> = Vec::with_capacity(metadata.keyslots.len());
    for keyslot in &metadata.keyslots {
        let object = format!("keyslot {}", keyslot.id);
        let (offset, size) = (keyslot.area.offset, keyslot.area.size);
        if offset < range.start {
            return Err(invalid(
                &object,
                format!("its area at byte {offset} lies in the header"),
            ));
        }
        if size == 0 {
            return Err(invalid(&object, "its area is empty"));
        }
        match offset.checked_add(size) {
            Some(end) if end <= range.end => areas.push((offset, end, keyslot)),
            _ => {
                let why = format!(
                    "its area (byte {offset}, {size} bytes) ends behind the keyslots area ({})",
                    range.end
                );
                return Err(invalid(&object, why));
            }
        }
    }
    areas.sort_by_key(|&(offset, _, _)| offset);
    for pair in areas.windows(2) {
        if let [(_, end, first), (offset, _, second)] = pair
            && end > offset
        {
            return Err(invalid(
                &format!("keyslot {}", first.id),
                format!("its area overlaps that of keyslot {}", second.id),
            ));
        }
    }
    Ok(())
}

fn check_keyslots(metadata: &Metadata) -> Result<(), JsonError> {
    for keyslot in &metadata.keyslots {
        let object = format!("keyslot {}", keyslot.id);
        match &keyslot.kind {
            KeyslotKind::Luks2(_) => {
                let digests = metadata
                    .digests
                    .iter()
                    .filter(|digest| digest.keyslots.contains(&keyslot.id));
                match digests.count() {
                    1 => {}
                    count => {
                        return Err(invalid(
                            &object,
                            format!("it belongs to {count} digests, not to one"),
                        ));
                    }
                }
            }
            KeyslotKind::Other(kind) if kind == "reencrypt" => {
                if !metadata
                    .requirements
                    .iter()
                    .any(|flag| flag.starts_with("online-reencrypt"))
                {
                    return Err(invalid(
                        &object,
                        "it is for a reencryption that the requirements don't name",
                    ));
                }
            }
            KeyslotKind::Other(_) => {}
        }
    }
    Ok(())
}
