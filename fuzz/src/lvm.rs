//! LVM: labels, metadata areas, metadata texts, and the tables that come of them.

use keel::block::DeviceNumber;
use keel::block::lvm::{Groups, PhysicalVolumeOnDisk, VolumeGroup, read_physical_volume};

use super::image::Image;
use super::input::check_line;

const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const AREA_HEADER: usize = 512;
/// More is not summed up anew: a text of a few kilobytes is what the tools write.
const TEXT_MAX: u64 = 32 << 10;

/// A physical volume, in pieces. Checksums of label, area and text are made right first.
pub(crate) fn label(data: &[u8]) {
    let mut image = Image::decode(data);
    // lvm's own areas are below 2 MiB; a longer text would only cost time.
    image.size = image.size.min(4 << 20);
    seal(&mut image);
    match read_physical_volume(&image) {
        Ok(None) => {}
        Ok(Some(volume)) => {
            volume.warnings.iter().for_each(check_line);
            assert!(volume.id.len() == 32 && volume.size == image.size);
            let mut groups = Groups::default();
            groups.add(number(0), volume);
            check(&groups, &[image.size]);
        }
        Err(error) => check_line(&error),
    }
}

/// A metadata text, with devices for its physical volumes: one that is as large as the text says, one too small, one
/// that is missing, and so on.
pub(crate) fn metadata(data: &[u8]) {
    let group = match VolumeGroup::parse(data) {
        Ok(group) => group,
        Err(error) => return check_line(&error),
    };
    let mut groups = Groups::default();
    let mut sizes = Vec::new();
    for record in group.physical_volumes.values().take(64) {
        let end = record.extents.saturating_mul(group.extent_sectors);
        let end = end.saturating_add(record.first_extent_sector).saturating_mul(512);
        let size = match record.id.bytes().next() {
            Some(b'0') => continue,
            Some(b'1') => end.saturating_sub(512),
            _ => end,
        };
        groups.add(
            number(sizes.len()),
            PhysicalVolumeOnDisk {
                id: record.id.clone(),
                size,
                metadata: Some(group.clone()),
                warnings: Vec::new(),
            },
        );
        sizes.push(size);
    }
    check(&groups, &sizes);
}

fn number(index: usize) -> DeviceNumber {
    DeviceNumber {
        major: 7,
        minor: u32::try_from(index).expect("few devices"),
    }
}

/// No table reaches beyond a device, none has gaps.
fn check(groups: &Groups, sizes: &[u64]) {
    for group in groups.groups() {
        if let Some(refusal) = group.refusal() {
            check_line(&refusal);
        }
        assert_eq!(group.is_complete(), group.missing().is_empty());
        for volume in &group.metadata().logical_volumes {
            let table = match group.table(volume) {
                Ok(table) => table,
                Err(error) => {
                    check_line(&error);
                    continue;
                }
            };
            assert!(group.has_parts_of(volume), "a table of what isn't there");
            assert!(!table.targets.is_empty());
            let mut next = 0;
            for target in &table.targets {
                assert!(target.start == next && target.length > 0, "a gap in {table}");
                next = target
                    .start
                    .checked_add(target.length)
                    .expect("a table that ends");
                check_places(&target.kind, target.length, &target.parameters, sizes);
            }
        }
    }
}

fn check_places(kind: &str, length: u64, parameters: &str, sizes: &[u64]) {
    let words: Vec<&str> = parameters.split(' ').collect();
    let (stripes, places) = match kind {
        "error" | "zero" => return assert_eq!(parameters, ""),
        "linear" => (1, words.as_slice()),
        "striped" => (words[0].parse().expect("a number of stripes"), &words[2..]),
        _ => panic!("a target of kind {kind:?}"),
    };
    assert_eq!(places.len() as u64, 2 * stripes);
    assert!(length.is_multiple_of(stripes));
    for place in places.chunks(2) {
        let minor = place[0]
            .strip_prefix("7:")
            .and_then(|minor| minor.parse::<usize>().ok());
        let size = sizes[minor.expect("one of the devices")];
        let start: u64 = place[1].parse().expect("a sector");
        let end = start.checked_add(length / stripes).expect("a place that ends");
        assert!(
            end <= size / 512,
            "{kind} {parameters} of {length} sectors on {size} bytes"
        );
    }
}

/// Makes the checksums right: of the texts first, since the areas' headers hold them.
fn seal(image: &mut Image) {
    for at in (0..image.size.min(64 << 10)).step_by(512) {
        let Some(mut sector) = image.bytes(at, 512) else {
            return;
        };
        if sector.starts_with(b"LABELONE") {
            image.write(at + 16, &checksum(&sector[20..]).to_le_bytes());
        } else if sector[4..20] == *AREA_MAGIC {
            if let Some(text) = text(image, at, &sector) {
                sector[56..60].copy_from_slice(&checksum(&text).to_le_bytes());
            }
            let sum = checksum(&sector[4..]);
            sector[..4].copy_from_slice(&sum.to_le_bytes());
            image.write(at, &sector);
        }
    }
}

/// The text of the ring buffer behind an area's header (lvm2, lib/format_text/layout.h).
fn text(image: &Image, area: u64, header: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| header[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let (size, offset, length) = (number(32)?, number(40)?, number(48)?);
    if length > TEXT_MAX || offset < AREA_HEADER as u64 || offset >= size {
        return None;
    }
    let first = length.min(size - offset);
    let mut text = image.bytes(area.checked_add(offset)?, first as usize)?;
    text.extend(image.bytes(area + AREA_HEADER as u64, (length - first) as usize)?);
    Some(text)
}

/// CRC-32 as lvm computes it (lvm2, lib/misc/crc.c): other start, no inversion at the end.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 * (sum & 1))
        })
    })
}
