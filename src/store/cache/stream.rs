//! An archive on its way from a cache: gone on with after a cut, decompressed, checked.

use std::io::{self, BufReader, Read};
use std::time::Duration;

use liblzma::read::XzDecoder;
use liblzma::stream::Stream;
use sha2::{Digest, Sha256};

use super::Cache;
use super::narinfo::{Compression, NarInfo};
use crate::store::base32;

/// How often a cut stream is gone on with though nothing came since the last time.
const TRIES: u32 = 4;
/// How long it's waited before that; each time twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// The memory that xz may take; `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;
/// The logarithm of the largest window that zstd may ask for: 128 MiB, what `zstd -d` allows without being told.
const ZSTD_WINDOW: u32 = 27;
const BUFFER: usize = 128 * 1024;

/// Reads a small file to its end.
pub(super) fn read_small(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let count = source.take(most + 1).read_to_end(&mut bytes)?;
    if count as u64 > most {
        return Err(io::Error::other(format!("it's longer than {most} bytes")));
    }
    Ok(bytes)
}

/// A file of a cache that is opened again where it was cut.
pub(super) struct Resumed<'a> {
    cache: &'a dyn Cache,
    name: &'a str,
    stream: Option<Box<dyn Read + Send>>,
    at: u64,
    tries: u32,
}

impl<'a> Resumed<'a> {
    pub(super) fn new(cache: &'a dyn Cache, name: &'a str) -> Self {
        Self {
            cache,
            name,
            stream: None,
            at: 0,
            tries: 0,
        }
    }

    fn again(&mut self, error: io::Error) -> io::Result<()> {
        self.stream = None;
        if self.tries >= TRIES || error.kind() == io::ErrorKind::NotFound {
            return Err(error);
        }
        std::thread::sleep(PAUSE * (1 << self.tries));
        self.tries += 1;
        Ok(())
    }
}

impl Read for Resumed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.stream {
                Some(stream) => stream.read(buffer),
                None => match self.cache.open(self.name, self.at) {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match read {
                Ok(count) => {
                    self.at += count as u64;
                    if count > 0 {
                        self.tries = 0;
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.again(error)?,
            }
        }
    }
}

/// Hashes and counts what lies in the cache, and compares that with what the narinfo says.
pub(super) struct Checked<'a, R> {
    source: R,
    info: &'a NarInfo,
    sha256: Sha256,
    bytes: u64,
    seen: &'a (dyn Fn(u64) + Sync),
}

impl<'a, R: Read> Checked<'a, R> {
    /// `seen` is told how many bytes came.
    pub(super) fn new(source: R, info: &'a NarInfo, seen: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self {
            source,
            info,
            sha256: Sha256::new(),
            bytes: 0,
            seen,
        }
    }

    /// Reads what the decompression left, and compares.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let _rest = io::copy(&mut self, &mut io::sink())?;
        if let Some(size) = self.info.file_size.filter(|&size| size != self.bytes) {
            return Err(wrong(format!("it has {} bytes instead of {size}", self.bytes)));
        }
        let hash: [u8; 32] = self.sha256.finalize().into();
        match self.info.file_hash {
            Some(should) if should != hash => Err(wrong(format!(
                "its hash is sha256:{} instead of sha256:{}",
                base32::encode(&hash),
                base32::encode(&should)
            ))),
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bytes += count as u64;
        if let Some(size) = self.info.file_size.filter(|&size| self.bytes > size) {
            return Err(wrong(format!(
                "it's longer than the {size} bytes that were announced"
            )));
        }
        self.sha256.update(buffer.get(..count).unwrap_or_default());
        (self.seen)(count as u64);
        Ok(count)
    }
}

fn wrong(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Decompresses.
pub(super) fn decompressed<'a>(
    compression: Compression,
    source: impl Read + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    let source = BufReader::with_capacity(BUFFER, source);
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
                .map_err(io::Error::other)?;
            Box::new(XzDecoder::new_stream(source, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
    })
}
