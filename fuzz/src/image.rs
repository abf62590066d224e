//! Devices made of a few pieces, so that an input is short though what it means is spread over megabytes.

use std::io;
use std::ops::Range;

use keel::block::ReadAt;

/// Larger devices are not made.
const SIZE_MAX: u32 = 64 << 20;
const PIECES_MAX: usize = 64;
const NOISE: [u8; 4096] = {
    let (mut noise, mut at) = ([0; 4096], 0);
    while at < noise.len() {
        noise[at] = at as u8;
        at += 1;
    }
    noise
};

/// A device. As an input: its size in bytes (32 bits, little endian), then pieces, each with its offset (32 bits), its
/// length (16 bits) and its bytes. All other bytes are zero, up to where noise begins, which looks like ciphertext.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) size: u64,
    /// From this byte on it is not zero where nothing else is.
    pub(crate) noise_from: u64,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Image {
    /// An empty device.
    pub(crate) fn new(size: u64) -> Self {
        Self {
            size,
            noise_from: u64::MAX,
            pieces: Vec::new(),
        }
    }

    /// From an input. Never fails: what is cut off counts as far as it goes.
    pub(crate) fn decode(data: &[u8]) -> Self {
        let mut rest = data;
        let Some(size) = take::<4>(&mut rest) else {
            return Self::new(0);
        };
        let mut image = Self::new(u64::from(u32::from_le_bytes(size).min(SIZE_MAX)));
        while let (Some(at), Some(length)) = (take::<4>(&mut rest), take::<2>(&mut rest)) {
            let (bytes, behind) = rest.split_at(usize::from(u16::from_le_bytes(length)).min(rest.len()));
            image.write(u64::from(u32::from_le_bytes(at)), bytes);
            rest = behind;
            if image.pieces.len() >= PIECES_MAX {
                break;
            }
        }
        image
    }

    /// Lays `bytes` over what is there. Beyond the end they are nowhere.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        self.pieces.push((at, bytes.to_vec()));
    }

    /// `length` bytes at `at`; nothing when the device ends before.
    pub(crate) fn bytes(&self, at: u64, length: usize) -> Option<Vec<u8>> {
        if at.checked_add(length as u64)? > self.size {
            return None;
        }
        let mut bytes = vec![0; length];
        self.read_exact_at(at, &mut bytes).ok()?;
        Some(bytes)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*bytes)
}

impl ReadAt for Image {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset
            .checked_add(buf.len() as u64)
            .filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        if end > self.noise_from {
            let quiet = self.noise_from.saturating_sub(offset).min(buf.len() as u64) as usize;
            let noisy = buf[quiet..].chunks_mut(NOISE.len());
            noisy.for_each(|chunk| chunk.copy_from_slice(&NOISE[..chunk.len()]));
        }
        for (at, bytes) in &self.pieces {
            let piece = *at..at.saturating_add(bytes.len() as u64);
            let shared: Range<u64> = offset.max(piece.start)..end.min(piece.end);
            if !shared.is_empty() {
                let (from, length) = (
                    (shared.start - offset) as usize,
                    (shared.end - shared.start) as usize,
                );
                let behind = (shared.start - at) as usize;
                buf[from..from + length].copy_from_slice(&bytes[behind..behind + length]);
            }
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}
