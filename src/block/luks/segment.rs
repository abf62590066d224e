//! The data of an unlocked volume, decrypted in process: what `keel rehearse` looks through, without device-mapper.

use std::fmt;
use std::io;

use zeroize::Zeroizing;

use super::cipher::SectorCipher;
use super::header::Header;
use super::key::VolumeKey;
use crate::block::ReadAt;

/// Bytes that are decrypted at a time, a multiple of every sector size.
const CHUNK: usize = 64 * 1024;

/// Reads the plain text of a data segment.
pub struct SegmentReader<'a> {
    device: &'a dyn ReadAt,
    cipher: SectorCipher,
    /// Bytes from the start of the device.
    start: u64,
    /// Bytes of plain text.
    size: u64,
    sector_size: usize,
    iv_tweak: u64,
}

impl Header {
    /// Opens the data segment for reading. `dev` holds the data, and the header too, unless that is a detached one.
    ///
    /// # Errors
    /// `Unsupported` for a cipher that only dm-crypt knows, `InvalidData` when the data does not fit on the device.
    pub fn segment_reader<'a>(&self, dev: &'a dyn ReadAt, key: &VolumeKey) -> io::Result<SegmentReader<'a>> {
        let crypt = &self.data.crypt;
        let sectors = self
            .segment_sectors(dev.size()?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let cipher = SectorCipher::new(&crypt.encryption, key.as_bytes()).map_err(|error| {
            let what = format!("{error} is none that can be decrypted in process");
            io::Error::new(io::ErrorKind::Unsupported, what)
        })?;
        Ok(SegmentReader {
            device: dev,
            cipher,
            start: self.data.offset,
            size: sectors * 512,
            sector_size: crypt.sector_size as usize,
            iv_tweak: crypt.iv_tweak,
        })
    }
}

impl fmt::Debug for SegmentReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentReader({} bytes from byte {})", self.size, self.start)
    }
}

impl ReadAt for SegmentReader<'_> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset
            .checked_add(buf.len() as u64)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut sectors = Zeroizing::new(vec![0; CHUNK.min(buf.len().saturating_add(2 * self.sector_size))]);
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let sector_size = self.sector_size as u64;
            let first = at / sector_size * sector_size;
            let skip = usize::try_from(at - first).map_err(io::Error::other)?;
            let wanted = (skip + rest.len()).next_multiple_of(self.sector_size);
            let len = wanted.min(sectors.len() / self.sector_size * self.sector_size);
            let chunk = sectors.get_mut(..len).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.device.read_exact_at(self.start + first, chunk)?;
            self.cipher
                .decrypt(chunk, self.sector_size, self.iv_tweak.wrapping_add(first / 512));
            let plain = chunk.get(skip..).ok_or(io::ErrorKind::UnexpectedEof)?;
            let count = plain.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(plain.get(..count).ok_or(io::ErrorKind::UnexpectedEof)?);
            at += count as u64;
            rest = later;
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}
