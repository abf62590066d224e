//! Writing tar archives: ustar, with pax records for what that can't hold. Equal members give equal bytes. Format: POSIX.1-2017,
//! "pax Interchange Format".

use std::io::{self, Read, Write};

use crate::store::tree::Meta;

const BLOCK: usize = 512;
/// The longest name in a header of its own.
const NAME_MAX: usize = 100;
/// The largest number in seven octal digits, and in eleven.
const OCTAL_7: u64 = 0o777_7777;
const OCTAL_11: u64 = 0o777_7777_7777;

/// A member without its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Member<'a> {
    Directory,
    Symlink(&'a [u8]),
    /// Another name of a member that came before.
    HardLink(&'a [u8]),
    /// A file of so many bytes.
    File(u64),
}

/// An archive being written.
pub(super) struct Writer<W> {
    target: W,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(target: W) -> Self {
        Self { target }
    }

    /// A member; `content` brings the bytes of a file.
    pub(super) fn member(
        &mut self,
        path: &[u8],
        meta: &Meta,
        member: Member<'_>,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        let (kind, link, size) = match member {
            Member::Directory => (b'5', &b""[..], 0),
            Member::Symlink(target) => (b'2', target, 0),
            Member::HardLink(first) => (b'1', first, 0),
            Member::File(size) => (b'0', &b""[..], size),
        };
        let mut records = Vec::new();
        if path.len() > NAME_MAX {
            record(&mut records, "path", path);
        }
        if link.len() > NAME_MAX {
            record(&mut records, "linkpath", link);
        }
        if size > OCTAL_11 {
            record(&mut records, "size", size.to_string().as_bytes());
        }
        for (key, id) in [("uid", meta.uid), ("gid", meta.gid)] {
            if u64::from(id) > OCTAL_7 {
                record(&mut records, key, id.to_string().as_bytes());
            }
        }
        let mtime = u64::try_from(meta.mtime).ok().filter(|time| *time <= OCTAL_11);
        if mtime.is_none() {
            record(&mut records, "mtime", meta.mtime.to_string().as_bytes());
        }
        if let Some(value) = &meta.capability {
            record(&mut records, "SCHILY.xattr.security.capability", value);
        }
        if !records.is_empty() {
            let about = Meta::root(0o644, 0);
            let length = records.len() as u64;
            self.header((b"pax", b""), &about, (b'x', length, 0))?;
            self.bytes(length, &mut records.as_slice())?;
        }
        self.header((path, link), meta, (kind, size, mtime.unwrap_or(0)))?;
        self.bytes(size, content)
    }

    /// The mark of the end.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.target.write_all(&[0; 2 * BLOCK])?;
        Ok(self.target)
    }

    fn header(
        &mut self,
        (path, link): (&[u8], &[u8]),
        meta: &Meta,
        (kind, size, mtime): (u8, u64, u64),
    ) -> io::Result<()> {
        let mut header = Vec::with_capacity(BLOCK);
        let text = |header: &mut Vec<u8>, bytes: &[u8], width: usize| {
            let end = header.len() + width;
            header.extend(bytes.iter().take(width));
            header.resize(end, 0);
        };
        let octal = |header: &mut Vec<u8>, number: u64, digits: usize| {
            header.extend(format!("{number:0digits$o}\0").bytes());
        };
        text(&mut header, path, NAME_MAX);
        octal(&mut header, u64::from(meta.mode), 7);
        octal(&mut header, u64::from(meta.uid).min(OCTAL_7), 7);
        octal(&mut header, u64::from(meta.gid).min(OCTAL_7), 7);
        octal(&mut header, size.min(OCTAL_11), 11);
        octal(&mut header, mtime, 11);
        let before = header.len();
        header.extend(b"        ");
        header.push(kind);
        text(&mut header, link, NAME_MAX);
        header.extend(b"ustar\x0000");
        header.resize(BLOCK, 0);
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        let sum = format!("{sum:06o}\0 ");
        for (byte, digit) in header.iter_mut().skip(before).zip(sum.bytes()) {
            *byte = digit;
        }
        self.target.write_all(&header)
    }

    fn bytes(&mut self, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let copied = io::copy(&mut content.take(size), &mut self.target)?;
        if copied < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.target
            .write_all([0; BLOCK].get(..padding).unwrap_or_default())
    }
}

// `<length> <key>=<value>\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} {key}=").bytes());
    records.extend(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
    use super::*;
    use crate::system::rootfs::tar::{Archive, Kind};
    use proptest::prelude::*;

    type Read_ = (Vec<u8>, Vec<u8>, Kind, Meta, Vec<u8>);

    fn read(bytes: &[u8]) -> Vec<Read_> {
        let mut archive = Archive::new(bytes);
        let mut all = Vec::new();
        while let Some(member) = archive.next().unwrap() {
            let mut data = Vec::new();
            archive.read_to_end(&mut data).unwrap();
            let meta = Meta {
                mode: member.mode,
                uid: member.uid,
                gid: member.gid,
                mtime: member.mtime,
                capability: member.capability,
            };
            all.push((member.path, member.link, member.kind, meta, data));
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            path in "[a-z/]{1,250}[a-z]", link in "[a-z/]{1,250}", mode in 0u32..0o10000, ids: (u32, u32),
            mtime in -5_000_000_000_i64..100_000_000_000, capability: Option<Vec<u8>>, data: Vec<u8>,
        ) {
            let meta = Meta { mode, uid: ids.0, gid: ids.1, mtime, capability: capability.map(Into::into) };
            let mut writer = Writer::new(Vec::new());
            let members = [Member::File(data.len() as u64), Member::Symlink(link.as_bytes()), Member::Directory, Member::HardLink(path.as_bytes())];
            for member in members {
                writer.member(path.as_bytes(), &meta, member, &mut data.as_slice()).unwrap();
            }
            let all = read(&writer.finish().unwrap());
            let expected = |kind, link: &[u8], data: &[u8]| (path.clone().into_bytes(), link.to_vec(), kind, meta.clone(), data.to_vec());
            prop_assert_eq!(&all[0], &expected(Kind::File, b"", &data));
            prop_assert_eq!(&all[1], &expected(Kind::Symlink, link.as_bytes(), b""));
            prop_assert_eq!(&all[2], &expected(Kind::Directory, b"", b""));
            prop_assert_eq!(&all[3], &expected(Kind::HardLink, path.as_bytes(), b""));
        }
    }

    #[test]
    fn gnu_tar_reads_it() {
        let mut writer = Writer::new(Vec::new());
        let long = "d/".repeat(80) + "file";
        let meta = Meta::root(0o4755, 77);
        writer
            .member(long.as_bytes(), &meta, Member::File(3), &mut &b"abc"[..])
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tar");
        std::fs::write(&path, writer.finish().unwrap()).unwrap();
        let out = std::process::Command::new("tar")
            .args(["--utc", "--numeric-owner", "-tvf"])
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stderr), "");
        let text = String::from_utf8(out.stdout).unwrap();
        assert_eq!(
            text,
            format!("-rwsr-xr-x 0/0               3 1970-01-01 00:01 {long}\n")
        );
    }
}
