//! A file on a FAT file system, as sticks have it (Microsoft's "FAT: General Overview of On-Disk Format", 1.03; long names
//! as in Linux, fs/fat/dir.c). Only as much as finds a keyfile or a detached header.

use std::io;
use std::path::{Component, Path};

use super::device::Device;

/// Bytes of an entry of a directory.
const ENTRY: usize = 32;
/// No directory of a stick is longer.
const DIRECTORY_MAX: usize = 16 << 20;

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FatError {
    /// The device.
    #[error("it can't be read: {0}")]
    Read(#[from] io::Error),
    /// Fields that no FAT file system has.
    #[error("its FAT file system is damaged: {0}")]
    Damaged(&'static str),
    /// The file.
    #[error("it has no file {0}")]
    NotFound(String),
    /// The file is no file that one looks at.
    #[error("{0} is too large to be looked at")]
    TooLarge(String),
}

/// Entries of the table have 12, 16 or 28 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// A file system.
pub(super) struct Fat {
    device: Device,
    width: Width,
    /// Bytes of a cluster.
    cluster: u64,
    /// Where the first table begins, in bytes.
    table: u64,
    /// Where the root directory of the narrower ones lies, and its length.
    root: (u64, usize),
    /// Cluster of the root directory of FAT32.
    root_cluster: u32,
    /// Where cluster 2 begins.
    data: u64,
    /// Number of clusters.
    clusters: u32,
}

/// A file or a directory.
struct Entry {
    name: String,
    short: String,
    is_directory: bool,
    cluster: u32,
    length: u32,
}

impl Fat {
    /// Reads the first sector.
    pub(super) fn open(device: Device) -> Result<Fat, FatError> {
        let mut head = [0; 512];
        device.read_exact_at(0, &mut head)?;
        let damaged = || FatError::Damaged("its first sector says no sizes");
        let sector = u64::from(le16(&head, 11).ok_or_else(damaged)?);
        let cluster_sectors = u64::from(byte(&head, 13).ok_or_else(damaged)?);
        let reserved = u64::from(le16(&head, 14).ok_or_else(damaged)?);
        let tables = u64::from(byte(&head, 16).ok_or_else(damaged)?);
        let root_entries = u64::from(le16(&head, 17).ok_or_else(damaged)?);
        let or_wide = |narrow: usize, wide: usize| -> Option<u64> {
            match le16(&head, narrow)? {
                0 => le32(&head, wide).map(u64::from),
                sectors => Some(u64::from(sectors)),
            }
        };
        let sectors = or_wide(19, 32).ok_or_else(damaged)?;
        let table_sectors = or_wide(22, 36).ok_or_else(damaged)?;
        if !(512..=4096).contains(&sector) || cluster_sectors == 0 {
            return Err(damaged());
        }
        let table = reserved * sector;
        let root = table + tables * table_sectors * sector;
        let root_length = root_entries * ENTRY as u64;
        let data = root + root_length.next_multiple_of(sector);
        let clusters = sectors.saturating_sub(data / sector) / cluster_sectors;
        let width = match clusters {
            0..4085 => Width::Twelve,
            4085..65525 => Width::Sixteen,
            _ => Width::ThirtyTwo,
        };
        Ok(Fat {
            width,
            cluster: cluster_sectors * sector,
            table,
            root: (root, usize::try_from(root_length).map_err(|_| damaged())?),
            root_cluster: le32(&head, 44).unwrap_or(0),
            data,
            clusters: u32::try_from(clusters).map_err(|_| damaged())?,
            device,
        })
    }

    /// The content of a file of at most `limit` bytes.
    pub(super) fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, FatError> {
        let missing = || FatError::NotFound(path.display().to_string());
        let mut directory = self.root_directory()?;
        let mut names = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy()),
            _ => None,
        });
        let mut name = names.next().ok_or_else(missing)?;
        loop {
            let entry = entries(&directory)
                .into_iter()
                .find(|entry| entry.is(&name))
                .ok_or_else(missing)?;
            match names.next() {
                Some(next) if entry.is_directory => {
                    directory = self.chain(entry.cluster, DIRECTORY_MAX)?;
                    name = next;
                }
                None if !entry.is_directory => {
                    if u64::from(entry.length) > limit {
                        return Err(FatError::TooLarge(path.display().to_string()));
                    }
                    let length = usize::try_from(entry.length).map_err(|_| missing())?;
                    let mut content = if length == 0 {
                        Vec::new()
                    } else {
                        self.chain(entry.cluster, length)?
                    };
                    if content.len() < length {
                        return Err(FatError::Damaged("a file ends before its length"));
                    }
                    content.truncate(length);
                    return Ok(content);
                }
                _ => return Err(missing()),
            }
        }
    }

    fn root_directory(&self) -> Result<Vec<u8>, FatError> {
        if self.width == Width::ThirtyTwo {
            return self.chain(self.root_cluster, DIRECTORY_MAX);
        }
        let (start, length) = self.root;
        let mut bytes = vec![0; length];
        self.device.read_exact_at(start, &mut bytes)?;
        Ok(bytes)
    }

    /// The clusters from `first` on, until `length` bytes are there or the chain ends.
    fn chain(&self, first: u32, length: usize) -> Result<Vec<u8>, FatError> {
        let mut bytes = Vec::new();
        let mut at = first;
        // No chain is longer than there are clusters: one that leads in a circle is damaged.
        for _ in 0..=self.clusters {
            if at < 2 || at - 2 >= self.clusters {
                return Err(FatError::Damaged("a chain leads out of it"));
            }
            let mut cluster = vec![0; usize::try_from(self.cluster).unwrap_or(0)];
            self.device
                .read_exact_at(self.data + u64::from(at - 2) * self.cluster, &mut cluster)?;
            bytes.append(&mut cluster);
            if bytes.len() >= length {
                return Ok(bytes);
            }
            match self.next(at)? {
                Some(next) => at = next,
                None => return Ok(bytes),
            }
        }
        Err(FatError::Damaged("a chain leads in a circle"))
    }

    /// What follows a cluster; nothing at the end of a chain.
    fn next(&self, cluster: u32) -> Result<Option<u32>, FatError> {
        let cluster = u64::from(cluster);
        let (offset, end) = match self.width {
            Width::Twelve => (cluster + cluster / 2, 0xff7),
            Width::Sixteen => (cluster * 2, 0xfff7),
            Width::ThirtyTwo => (cluster * 4, 0x0fff_fff7),
        };
        let mut bytes = [0; 4];
        let wanted = if self.width == Width::ThirtyTwo { 4 } else { 2 };
        self.device
            .read_exact_at(self.table + offset, bytes.get_mut(..wanted).unwrap_or_default())?;
        let value = match self.width {
            Width::Twelve if cluster % 2 == 1 => u32::from_le_bytes(bytes) >> 4,
            Width::Twelve => u32::from_le_bytes(bytes) & 0xfff,
            Width::Sixteen => u32::from_le_bytes(bytes),
            // The upper four bits are reserved.
            Width::ThirtyTwo => u32::from_le_bytes(bytes) & 0x0fff_ffff,
        };
        Ok((value < end).then_some(value))
    }
}

impl Entry {
    /// Names are the same whatever their letters' case.
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || self.short.eq_ignore_ascii_case(name)
    }
}

/// What is in a directory. The parts of a long name stand before the entry that it belongs to, the last part first.
fn entries(directory: &[u8]) -> Vec<Entry> {
    const DELETED: u8 = 0xe5;
    const LONG_NAME: u8 = 0x0f;
    const VOLUME: u8 = 0x08;
    const DIRECTORY: u8 = 0x10;
    let mut found = Vec::new();
    let mut long: Vec<u16> = Vec::new();
    for entry in directory.chunks_exact(ENTRY) {
        let (Some(first), Some(attributes)) = (byte(entry, 0), byte(entry, 11)) else {
            break;
        };
        match (first, attributes) {
            (0, _) => break,
            (DELETED, _) => long.clear(),
            (_, LONG_NAME) => {
                let units = [1..11, 14..26, 28..32]
                    .into_iter()
                    .flat_map(|range| entry.get(range).unwrap_or_default().chunks_exact(2));
                let mut part: Vec<u16> = units.filter_map(|unit| le16(unit, 0)).collect();
                part.append(&mut long);
                long = part;
            }
            _ if attributes & VOLUME != 0 => long.clear(),
            _ => {
                let name = long.split(|unit| *unit == 0).next().unwrap_or_default();
                found.push(Entry {
                    name: String::from_utf16_lossy(name),
                    short: short_name(entry),
                    is_directory: attributes & DIRECTORY != 0,
                    cluster: u32::from(le16(entry, 26).unwrap_or(0))
                        | u32::from(le16(entry, 20).unwrap_or(0)) << 16,
                    length: le32(entry, 28).unwrap_or(0),
                });
                long.clear();
            }
        }
    }
    found
}

/// `NAME    EXT` as `NAME.EXT`.
fn short_name(entry: &[u8]) -> String {
    let part = |range| {
        String::from_utf8_lossy(entry.get(range).unwrap_or_default())
            .trim_end()
            .to_owned()
    };
    let (name, extension) = (part(0..8), part(8..11));
    if extension.is_empty() {
        name
    } else {
        format!("{name}.{extension}")
    }
}

fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    fn run(command: &mut Command) {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
    }

    /// An image by mkfs.vfat and mcopy: a small file, one of several clusters in a directory, and one with a long name.
    fn image(bits: &str, kib: u64) -> (Vec<u8>, Vec<u8>) {
        let place = tempfile::tempdir().unwrap();
        let image = place.path().join("image");
        run(Command::new("mkfs.vfat")
            .args(["-F", bits, "-n", "STICK", "-s", "1", "-C"])
            .arg(&image)
            .arg(kib.to_string()));
        let large: Vec<u8> = (0..70_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(place.path().join("root.hdr"), &large).unwrap();
        std::fs::write(place.path().join("key"), "secret").unwrap();
        std::fs::write(place.path().join("empty"), "").unwrap();
        run(Command::new("mmd").arg("-i").arg(&image).arg("::/keys"));
        for (from, to) in [
            ("key", "::/SHORT.KEY"),
            ("root.hdr", "::/keys/root.hdr"),
            ("key", "::/a rather long name of a keyfile.key"),
            ("empty", "::/keys/empty"),
        ] {
            run(Command::new("mcopy")
                .arg("-i")
                .arg(&image)
                .arg(place.path().join(from))
                .arg(to));
        }
        (std::fs::read(&image).unwrap(), large)
    }

    #[test]
    fn what_the_real_tools_write_is_read() {
        for (bits, kib) in [("12", 2048), ("16", 16 << 10), ("32", 40 << 10)] {
            let (image, large) = image(bits, kib);
            let fat = Fat::open(Rc::new(image)).unwrap();
            let read = |path: &str| fat.read(Path::new(path), 1 << 20);
            assert_eq!(read("/SHORT.KEY").unwrap(), b"secret", "FAT{bits}");
            assert_eq!(read("/short.key").unwrap(), b"secret");
            assert_eq!(read("/keys/root.hdr").unwrap(), large);
            assert_eq!(read("/a rather long name of a keyfile.key").unwrap(), b"secret");
            assert_eq!(read("/keys/empty").unwrap(), b"");
            for missing in ["/none", "/keys", "/key/none", "/short.key/x", "/"] {
                assert!(matches!(read(missing), Err(FatError::NotFound(_))), "{missing}");
            }
            let limited = fat.read(Path::new("/keys/root.hdr"), 1000);
            assert!(matches!(limited, Err(FatError::TooLarge(_))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_damaged_one_is_read_or_refused(changes in prop::collection::vec((0_usize..4096, any::<u8>()), 1..40)) {
            thread_local!(static IMAGE: Vec<u8> = image("12", 2048).0);
            let mut damaged = IMAGE.with(Clone::clone);
            for (at, value) in changes {
                if let Some(byte) = damaged.get_mut(at) {
                    *byte = value;
                }
            }
            if let Ok(fat) = Fat::open(Rc::new(damaged)) {
                for path in ["/SHORT.KEY", "/keys/root.hdr"] {
                    let _ = fat.read(Path::new(path), 1 << 20);
                }
            }
        }
    }
}
