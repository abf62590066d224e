//! Reading tar archives: ustar, GNU long names, and pax records with capabilities. Formats: POSIX.1-2017 pax, and the
//! GNU tar manual, "Basic Tar Format".

use std::io::{self, Read};

const BLOCK: usize = 512;
/// Longer pax headers and GNU long names are refused: a path has at most 4096 bytes, an attribute 64 KiB.
const EXTENSION_MAX: u64 = 1 << 20;

/// Why an archive can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// Reading failed.
    #[error("reading the archive: {0}")]
    Read(#[from] io::Error),
    /// It ends before its end mark.
    #[error("the archive is cut short after '{0}'")]
    Truncated(String),
    /// No header where one must be.
    #[error("no tar header after '{0}': the archive is damaged, or no tar archive")]
    BadHeader(String),
    /// A member type that isn't supported.
    #[error(
        "'{path}' is a tar member of type '{kind}' (sparse, multi-volume…): make the archive without --sparse"
    )]
    Unsupported {
        /// The member.
        path: String,
        /// Its type flag.
        kind: char,
    },
    /// A header with absurd sizes or malformed records.
    #[error("the extended header after '{0}' is malformed")]
    BadExtension(String),
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Directory,
    /// A device node or fifo.
    Special,
}

/// A member's header; its bytes are read from the archive before the next member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    pub(crate) capability: Option<Box<[u8]>>,
}

/// An archive being read.
pub(crate) struct Archive<R> {
    source: R,
    // Bytes of the current member that weren't read, and the padding behind them.
    left: u64,
    padding: u64,
    last: String,
}

#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<i64>,
    capability: Option<Box<[u8]>>,
    sparse: bool,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            left: 0,
            padding: 0,
            last: "the start".into(),
        }
    }

    /// The next member, or nothing at the end mark.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, TarError> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let number = |from, to| number(header.get(from..to).unwrap_or_default());
            let bad = || TarError::BadHeader(self.last.clone());
            let kind = char::from(header.get(156).copied().unwrap_or(0));
            let size = number(124, 136)
                .and_then(|size| u64::try_from(size).ok())
                .ok_or_else(bad)?;
            if matches!(kind, 'x' | 'g' | 'X' | 'L' | 'K') {
                let bytes = self.extension(size)?;
                match kind {
                    'x' | 'X' => self.pax(&bytes, &mut extension)?,
                    'L' => extension.path = Some(text(&bytes).to_vec()),
                    'K' => extension.link = Some(text(&bytes).to_vec()),
                    // Global records are comments in practice (git archive).
                    _ => {}
                }
                continue;
            }
            let path = extension.path.take().unwrap_or_else(|| name(&header));
            self.last = String::from_utf8_lossy(&path).into_owned();
            let unsupported = |kind| TarError::Unsupported {
                path: self.last.clone(),
                kind,
            };
            let (kind, has_data) = match kind {
                '0' | '\0' | '7' if path.ends_with(b"/") => (Kind::Directory, true),
                '0' | '\0' | '7' if extension.sparse => return Err(unsupported('S')),
                '0' | '\0' | '7' => (Kind::File, true),
                '1' => (Kind::HardLink, false),
                '2' => (Kind::Symlink, false),
                '5' => (Kind::Directory, true),
                '3' | '4' | '6' => (Kind::Special, false),
                other => return Err(unsupported(other)),
            };
            let bad = || TarError::BadHeader(self.last.clone());
            let id = |value: Option<i64>| value.and_then(|id| u32::try_from(id).ok()).ok_or_else(bad);
            let size = if has_data {
                extension.size.unwrap_or(size)
            } else {
                0
            };
            let member = Member {
                link: extension
                    .link
                    .take()
                    .unwrap_or_else(|| text(header.get(157..257).unwrap_or_default()).to_vec()),
                kind,
                mode: id(number(100, 108))? & 0o7777,
                uid: extension.uid.map_or_else(|| id(number(108, 116)), Ok)?,
                gid: extension.gid.map_or_else(|| id(number(116, 124)), Ok)?,
                mtime: extension.mtime.or_else(|| number(136, 148)).ok_or_else(bad)?,
                size,
                capability: extension.capability.take(),
                path,
            };
            self.left = size;
            self.padding = size.wrapping_neg() % BLOCK as u64;
            return Ok(Some(member));
        }
    }

    // The bytes of a header, or nothing at the end mark.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut header = [0u8; BLOCK];
        match self.source.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(TarError::Truncated(self.last.clone()));
            }
            other => other?,
        }
        if header == [0; BLOCK] {
            return Ok(None);
        }
        let stored = number(header.get(148..156).unwrap_or_default());
        let sum = header.iter().enumerate().map(|(at, &byte)| {
            let byte = if (148..156).contains(&at) { b' ' } else { byte };
            i64::from(byte)
        });
        if stored != Some(sum.sum()) {
            return Err(TarError::BadHeader(self.last.clone()));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENSION_MAX {
            return Err(TarError::BadExtension(self.last.clone()));
        }
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        let mut bytes = Vec::new();
        let _read = self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    // Records are taken by their length: the value of a capability is binary, a newline in it ends nothing.
    fn pax(&self, mut bytes: &[u8], extension: &mut Extension) -> Result<(), TarError> {
        let bad = || TarError::BadExtension(self.last.clone());
        let whole = |value: &[u8]| -> Option<i64> {
            let text = std::str::from_utf8(value).ok()?;
            let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
            let seconds: i64 = seconds.parse().ok()?;
            // -0.5 lies in the second that begins at -1.
            Some(if text.starts_with('-') && fraction.bytes().any(|c| c != b'0') {
                seconds - 1
            } else {
                seconds
            })
        };
        while !bytes.is_empty() {
            let space = bytes.iter().position(|&byte| byte == b' ').ok_or_else(bad)?;
            let length = bytes
                .get(..space)
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
            let (record, rest) = length
                .and_then(|length| bytes.split_at_checked(length))
                .ok_or_else(bad)?;
            bytes = rest;
            let record = record
                .get(space + 1..)
                .and_then(|record| record.strip_suffix(b"\n"))
                .ok_or_else(bad)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(bad)?;
            let (key, value) = record.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            let id = || whole(value).and_then(|id| u32::try_from(id).ok()).ok_or_else(bad);
            match key {
                b"path" => extension.path = Some(value.to_vec()),
                b"linkpath" => extension.link = Some(value.to_vec()),
                b"size" => {
                    let size = whole(value)
                        .and_then(|size| u64::try_from(size).ok())
                        .ok_or_else(bad)?;
                    extension.size = Some(size);
                }
                b"uid" => extension.uid = Some(id()?),
                b"gid" => extension.gid = Some(id()?),
                b"mtime" => extension.mtime = Some(whole(value).ok_or_else(bad)?),
                b"SCHILY.xattr.security.capability" => extension.capability = Some(value.into()),
                key if key.starts_with(b"GNU.sparse.") => extension.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let rest = self.left + self.padding;
        self.left = 0;
        self.padding = 0;
        if io::copy(&mut (&mut self.source).take(rest), &mut io::sink())? < rest {
            return Err(TarError::Truncated(self.last.clone()));
        }
        Ok(())
    }
}

/// Reads the bytes of the current member.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.source.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 && most > 0 {
            let text = format!("the archive is cut short in '{}'", self.last);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(header.get(..100).unwrap_or_default());
    // The old GNU format keeps times where POSIX keeps the prefix.
    let prefix = match header.get(257..263) {
        Some(b"ustar\0") => text(header.get(345..500).unwrap_or_default()),
        _ => &[],
    };
    if prefix.is_empty() {
        name.to_vec()
    } else {
        [prefix, b"/", name].concat()
    }
}

// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

// Octal digits between spaces and NULs, or base 256 when the first bit is set.
fn number(field: &[u8]) -> Option<i64> {
    match field.split_first() {
        Some((&first, rest)) if first & 0x80 != 0 => {
            let (negative, first) = (first & 0x40 != 0, first & 0x7f);
            let start = if negative {
                i64::from(first) - 0x80
            } else {
                i64::from(first)
            };
            rest.iter().try_fold(start, |value, &byte| {
                value.checked_mul(256)?.checked_add(i64::from(byte))
            })
        }
        _ => {
            let digits = std::str::from_utf8(text(field)).ok()?.trim_matches(' ');
            if digits.is_empty() {
                Some(0)
            } else {
                i64::from_str_radix(digits, 8).ok().filter(|&v| v >= 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn read_all(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, TarError> {
        let mut archive = Archive::new(bytes);
        let mut all = Vec::new();
        while let Some(member) = archive.next()? {
            let mut data = Vec::new();
            archive.read_to_end(&mut data)?;
            all.push((member, data));
        }
        Ok(all)
    }

    fn tar(format: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), vec![b'x'; 700]).unwrap();
        std::os::unix::fs::symlink("t".repeat(150), dir.path().join("link")).unwrap();
        std::fs::hard_link(deep.join("file"), dir.path().join("zhard")).unwrap();
        let out = Command::new("tar")
            .args([
                "--sort=name",
                "--owner=joe:3000000",
                "--group=:42",
                "--mtime=@77.5",
            ])
            .args([&format!("--format={format}"), "-cf-", "-C"])
            .arg(dir.path())
            .arg(".")
            .output()
            .unwrap();
        assert!(out.status.success());
        out.stdout
    }

    #[test]
    fn reads_what_gnu_tar_writes() {
        for format in ["gnu", "posix"] {
            let all = read_all(&tar(format)).unwrap();
            let kinds: Vec<_> = all.iter().map(|(m, _)| m.kind).collect();
            assert_eq!(
                kinds,
                [
                    Kind::Directory,
                    Kind::Directory,
                    Kind::Directory,
                    Kind::File,
                    Kind::Symlink,
                    Kind::HardLink
                ],
                "{format}"
            );
            let (file, data) = &all[3];
            assert_eq!(
                file.path,
                format!("./{}/{}/file", "d".repeat(120), "e".repeat(120)).as_bytes()
            );
            assert_eq!(data, &vec![b'x'; 700]);
            assert_eq!((file.uid, file.gid, file.mtime), (3_000_000, 42, 77), "{format}");
            assert_eq!(all[4].0.link, "t".repeat(150).as_bytes());
            assert_eq!(all[5].0.link, file.path);
        }
    }

    #[test]
    fn a_newline_in_a_capability_ends_nothing() {
        let mut extension = Extension::default();
        let value = [1, 0, 0, 2, b'\n', 0, 0, 0, 0, 0, 0, 0, b'\n', 0, 0, 0, 0, 0, 0, 0];
        let mut record = b"57 SCHILY.xattr.security.capability=".to_vec();
        record.extend(value);
        record.extend(b"\n7 uid=\n");
        record.truncate(57);
        assert_eq!(record.len(), 57);
        record.extend(b"9 uid=12\n");
        Archive::new(io::empty()).pax(&record, &mut extension).unwrap();
        assert_eq!(extension.capability.as_deref(), Some(&value[..]));
        assert_eq!(extension.uid, Some(12));
    }

    #[test]
    fn truncation_is_never_silent() {
        let whole = tar("posix");
        let end = whole.len() - whole.iter().rev().take_while(|&&b| b == 0).count();
        for cut in (0..=end).step_by(97).chain((0..end).step_by(512)) {
            assert!(read_all(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..6000, byte: u8) {
            let mut bytes = { static TAR: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new(); TAR.get_or_init(|| tar("posix")).clone() };
            let at = at % bytes.len();
            bytes[at] = byte;
            let _either = read_all(&bytes);
        }
    }
}
