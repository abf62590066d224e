//! Devices that exist only here: pieces of disks, decrypted volumes, and what a device-mapper table would show.

use std::fmt;
use std::io;
use std::rc::Rc;

use crate::block::dm::Table;
use crate::block::luks::{Header, Unlocked};
use crate::block::{DeviceNumber, ReadAt};

/// Something that can be read, shared by all that lie on it.
pub(super) type Device = Rc<dyn ReadAt>;

/// Bytes of a sector in device-mapper's tables.
const SECTOR: u64 = 512;

/// A partition.
pub(super) struct Piece {
    /// The disk.
    pub disk: Device,
    /// Where it starts, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

impl ReadAt for Piece {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset
            .checked_add(buf.len() as u64)
            .is_none_or(|end| end > self.length)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.disk.read_exact_at(self.start + offset, buf)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.length)
    }
}

/// An unlocked LUKS volume.
pub(super) struct Decrypted {
    /// What holds it.
    pub device: Device,
    /// Its header.
    pub header: Header,
    /// Its key, which is wiped when the last user goes.
    pub unlocked: Rc<Unlocked>,
}

impl ReadAt for Decrypted {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.header
            .segment_reader(&*self.device, &self.unlocked.key)?
            .read_exact_at(offset, buf)
    }

    fn size(&self) -> io::Result<u64> {
        self.header
            .segment_reader(&*self.device, &self.unlocked.key)?
            .size()
    }
}

/// What a table of linear and striped targets shows.
pub(super) struct Mapped(Vec<Run>);

/// A run of sectors, in bytes.
struct Run {
    start: u64,
    length: u64,
    /// Bytes of a chunk; the whole run when there is one stripe.
    chunk: u64,
    /// Devices with the offset at which each begins.
    stripes: Vec<(Device, u64)>,
}

/// A table that can't be read through.
#[derive(Debug, thiserror::Error)]
#[error("the table line `{line}` can't be followed: {why}")]
pub(super) struct TableError {
    line: String,
    why: &'static str,
}

impl Mapped {
    /// Follows a table; `devices` knows what its numbers mean.
    pub(super) fn new(
        table: &Table,
        devices: &dyn Fn(DeviceNumber) -> Option<Device>,
    ) -> Result<Self, TableError> {
        let mut runs = Vec::new();
        for target in &table.targets {
            let error = |why| TableError {
                line: target.to_string(),
                why,
            };
            let words: Vec<&str> = target.parameters.split(' ').collect();
            let length = target
                .length
                .checked_mul(SECTOR)
                .ok_or_else(|| error("it's too long"))?;
            let (chunk, places) = match (target.kind.as_str(), words.as_slice()) {
                ("linear", places @ [_, _]) => (length.max(1), places),
                ("striped", [_, chunk, places @ ..]) => {
                    let sectors: Option<u64> = chunk.parse().ok();
                    let bytes = sectors.and_then(|sectors| sectors.checked_mul(SECTOR));
                    let bytes = bytes.filter(|bytes| *bytes > 0);
                    (bytes.ok_or_else(|| error("its chunk is no size"))?, places)
                }
                _ => return Err(error("only linear and striped targets are followed here")),
            };
            let stripes: Option<Vec<(Device, u64)>> = places
                .chunks(2)
                .map(|place| {
                    let [device, offset] = place else { return None };
                    let offset = offset.parse::<u64>().ok()?.checked_mul(SECTOR)?;
                    Some((devices(number(device)?)?, offset))
                })
                .collect();
            let stripes = stripes.filter(|stripes| !stripes.is_empty());
            runs.push(Run {
                start: target.start.saturating_mul(SECTOR),
                length,
                chunk,
                stripes: stripes.ok_or_else(|| error("a device isn't known"))?,
            });
        }
        Ok(Self(runs))
    }
}

/// `MAJOR:MINOR`
pub(super) fn number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

impl ReadAt for Mapped {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let run = self
                .0
                .iter()
                .find(|run| at >= run.start && at - run.start < run.length);
            let run = run.ok_or(io::ErrorKind::UnexpectedEof)?;
            let inside = at - run.start;
            let (chunk, within) = (inside / run.chunk, inside % run.chunk);
            let width = run.stripes.len() as u64;
            let stripe = usize::try_from(chunk % width).map_err(io::Error::other)?;
            let (device, start) = run.stripes.get(stripe).ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = (run.chunk - within)
                .min(run.length - inside)
                .min(rest.len() as u64);
            let (now, later) = rest.split_at_mut(usize::try_from(length).map_err(io::Error::other)?);
            device.read_exact_at(start + chunk / width * run.chunk + within, now)?;
            at += length;
            rest = later;
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.iter().map(|run| run.start + run.length).max().unwrap_or(0))
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} runs)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::block::dm::Target;

    fn target(start: u64, length: u64, kind: &str, parameters: &str) -> Target {
        Target {
            start,
            length,
            kind: kind.to_owned(),
            parameters: parameters.to_owned(),
        }
    }

    /// Sectors that all hold their own number.
    fn disk(first: u8) -> Device {
        Rc::new(
            (0..16_u8)
                .flat_map(|sector| [first + sector; 512])
                .collect::<Vec<u8>>(),
        )
    }

    fn devices(number: DeviceNumber) -> Option<Device> {
        match number.minor {
            0 => Some(disk(0)),
            1 => Some(disk(100)),
            _ => None,
        }
    }

    #[test]
    fn linear_and_striped_runs_are_read_through() {
        let table = Table::from(vec![
            target(0, 2, "linear", "8:1 3"),
            target(2, 8, "striped", "2 2 8:0 4 8:1 6"),
        ]);
        let mapped = Mapped::new(&table, &devices).unwrap();
        assert_eq!(mapped.size().unwrap(), 10 * 512);
        let mut all = vec![0; 10 * 512];
        mapped.read_exact_at(0, &mut all).unwrap();
        let sectors: Vec<u8> = all.chunks(512).map(|sector| sector[0]).collect();
        assert_eq!(sectors, [103, 104, 4, 5, 106, 107, 6, 7, 108, 109]);
        let mut middle = [0; 4];
        mapped.read_exact_at(3 * 512 - 2, &mut middle).unwrap();
        assert_eq!(middle, [4, 4, 5, 5]);
        assert!(mapped.read_exact_at(10 * 512 - 1, &mut middle).is_err());
    }

    #[test]
    fn tables_that_cannot_be_followed_are_refused() {
        for (kind, parameters) in [
            ("linear", "8:7 0"),
            ("linear", "8:0"),
            ("striped", "2 0 8:0 0 8:1 0"),
            ("striped", "2 8"),
            ("raid", "raid1 3 0"),
        ] {
            let table = Table::from(vec![target(0, 2, kind, parameters)]);
            assert!(Mapped::new(&table, &devices).is_err(), "{kind} {parameters}");
        }
    }
}
