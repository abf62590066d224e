//! Reading `.deb`s: an ar(5) archive of a version, a control archive and a data archive (deb(5)).

use std::io::{self, BufReader, Read};

use crate::system::rootfs::TarError;
use crate::system::rootfs::tar::{Archive, Kind};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: usize = 60;
/// A longer control file is refused: the longest in Debian have some dozens of kilobytes.
const CONTROL_MAX: u64 = 4 << 20;
/// A longer control archive is refused: it is held in memory.
const CONTROL_ARCHIVE_MAX: u64 = 64 << 20;
/// Memory that a decoder of xz may ask for: xz's `-9` needs 65 MiB.
const XZ_MEMORY_MAX: u64 = 256 << 20;

/// Why a `.deb` can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// Reading failed.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It begins otherwise.
    #[error("it is no .deb: it doesn't begin as an ar archive")]
    NoArchive,
    /// A damaged header of a member.
    #[error("the header of a member is damaged")]
    BadHeader,
    /// A member isn't there, or not in its place.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A later format.
    #[error("it is of the format {0}, and only 2.x is known")]
    Version(String),
    /// A member is compressed by something else.
    #[error("{0} is compressed in a way that isn't known")]
    Compression(String),
    /// The control archive.
    #[error("its control archive: {0}")]
    Control(#[source] TarError),
}

/// The members of a `.deb`, in their order.
pub(crate) struct Deb<R> {
    source: R,
    // Of the current member: bytes that weren't read, and whether one of padding follows.
    left: u64,
    padded: bool,
}

/// A member of a `.deb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) size: u64,
}

impl<R: Read> Deb<R> {
    /// Begins to read; the version is looked at.
    pub(crate) fn new(mut source: R) -> Result<Self, DebError> {
        let mut magic = [0; MAGIC.len()];
        match source.read_exact(&mut magic) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(DebError::NoArchive),
            other => other?,
        }
        if magic != *MAGIC {
            return Err(DebError::NoArchive);
        }
        let mut deb = Self {
            source,
            left: 0,
            padded: false,
        };
        let member = deb.next()?.ok_or(DebError::Missing("debian-binary"))?;
        if member.name != "debian-binary" {
            return Err(DebError::Missing("debian-binary"));
        }
        let mut version = String::new();
        let _length = (&mut deb).take(64).read_to_string(&mut version)?;
        let version = version.lines().next().unwrap_or_default();
        if !version.starts_with("2.") {
            return Err(DebError::Version(
                version.chars().filter(|c| !c.is_control()).collect(),
            ));
        }
        Ok(deb)
    }

    /// The next member; what wasn't read of the one before is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, DebError> {
        let rest = self.left + u64::from(self.padded);
        let passed = io::copy(&mut (&mut self.source).take(rest), &mut io::sink())?;
        // The padding behind the last member is left out by some.
        if passed < self.left {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        (self.left, self.padded) = (0, false);
        let mut header = [0u8; HEADER];
        let length = read_full(&mut self.source, &mut header)?;
        if length == 0 {
            return Ok(None);
        }
        if length < HEADER || !header.ends_with(b"`\n") {
            return Err(DebError::BadHeader);
        }
        let field = |from: usize, to: usize| {
            let bytes = header.get(from..to).unwrap_or_default();
            str::from_utf8(bytes).ok().map(str::trim_end)
        };
        let name = field(0, 16).ok_or(DebError::BadHeader)?;
        let size = field(48, 58).and_then(|text| text.parse().ok());
        let size: u64 = size.ok_or(DebError::BadHeader)?;
        (self.left, self.padded) = (size, size % 2 == 1);
        Ok(Some(Member {
            name: name.strip_suffix('/').unwrap_or(name).to_owned(),
            size,
        }))
    }

    /// Goes on to the archive `control.tar` or `data.tar`, whatever compresses it. Members whose names begin with an underscore
    /// may stand between.
    pub(crate) fn archive(&mut self, base: &'static str) -> Result<Decoder<&mut Self>, DebError> {
        while let Some(member) = self.next()? {
            if let Some(compression) = member.name.strip_prefix(base) {
                return Decoder::new(compression, self)
                    .map_err(DebError::Read)?
                    .ok_or(DebError::Compression(member.name));
            }
            if !member.name.starts_with('_') {
                break;
            }
        }
        Err(DebError::Missing(base))
    }

    /// Goes on to the control archive, and reads the file `control` of it.
    pub(crate) fn control(&mut self) -> Result<Vec<u8>, DebError> {
        control_file(self.archive("control.tar")?)
    }
}

fn control_file(archive: impl Read) -> Result<Vec<u8>, DebError> {
    let mut archive = Archive::new(archive);
    while let Some(member) = archive.next().map_err(DebError::Control)? {
        if member.kind == Kind::File && matches!(member.path.as_slice(), b"./control" | b"control") {
            let mut bytes = Vec::new();
            let length = archive.by_ref().take(CONTROL_MAX + 1).read_to_end(&mut bytes)?;
            if length as u64 > CONTROL_MAX {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
            }
            return Ok(bytes);
        }
    }
    Err(DebError::Missing("control file"))
}

impl<R: Read> Read for Deb<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.source.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What reads the bytes of an archive.
pub(crate) enum Decoder<R: Read> {
    Plain(BufReader<R>),
    Xz(Box<liblzma::bufread::XzDecoder<BufReader<R>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<R>>>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<R>>>),
}

impl<R: Read> Decoder<R> {
    /// For a file name's ending; nothing when it isn't known.
    fn new(ending: &str, source: R) -> io::Result<Option<Self>> {
        let source = BufReader::with_capacity(1 << 17, source);
        Ok(Some(match ending {
            "" => Self::Plain(source),
            ".xz" => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_MAX, 0)?;
                Self::Xz(liblzma::bufread::XzDecoder::new_stream(source, stream).into())
            }
            ".zst" => Self::Zstd(zstd::Decoder::with_buffer(source)?.into()),
            ".gz" => Self::Gzip(flate2::bufread::MultiGzDecoder::new(source).into()),
            _ => return Ok(None),
        }))
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // zstd takes room for nothing as no progress, and fails after some of it.
        if buffer.is_empty() {
            return Ok(0);
        }
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Xz(source) => source.read(buffer),
            Self::Zstd(source) => source.read(buffer),
            Self::Gzip(source) => source.read(buffer),
        }
    }
}

/// Writes the header of a member of an ar archive.
pub(crate) fn member_header(name: &str, size: u64) -> String {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644")
}

/// A `.deb` whose archives are already at hand, plain.
pub(crate) fn assemble(control: &[u8], data: &[u8]) -> Vec<u8> {
    let mut deb = MAGIC.to_vec();
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".as_slice()),
        ("control.tar", control),
        ("data.tar", data),
    ] {
        deb.extend(member_header(name, bytes.len() as u64).as_bytes());
        deb.extend(bytes);
        if bytes.len() % 2 == 1 {
            deb.push(b'\n');
        }
    }
    deb
}

/// Copies a `.deb`, its archives unpacked: dpkg would do that one after another. Returns its control file. The size of the data
/// archive is written last, where its header stands, so `target` must be able to seek.
pub fn unpack_data<R: Read, W: io::Write + io::Seek>(source: R, target: &mut W) -> Result<Vec<u8>, DebError> {
    let mut deb = Deb::new(source)?;
    let mut control = Vec::new();
    let length = deb
        .archive("control.tar")?
        .take(CONTROL_ARCHIVE_MAX + 1)
        .read_to_end(&mut control)?;
    if length as u64 > CONTROL_ARCHIVE_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
    }
    let text = control_file(control.as_slice())?;
    target.write_all(&assemble(&control, &[]))?;
    let header = target.stream_position()? - HEADER as u64;
    let mut decoder = deb.archive("data.tar")?;
    let size = io::copy(&mut decoder, target)?;
    if size % 2 == 1 {
        target.write_all(b"\n")?;
    }
    let _at = target.seek(io::SeekFrom::Start(header))?;
    target.write_all(member_header("data.tar", size).as_bytes())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
    use std::io::Cursor;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// A package made by dpkg-deb.
    fn made(directory: &Path, compression: &str) -> Vec<u8> {
        let tree = directory.join(compression);
        std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        std::fs::create_dir_all(tree.join("usr/bin")).unwrap();
        let control =
            "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m <m@localhost>\nDescription: d\n";
        std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
        std::fs::write(tree.join("usr/bin/p"), vec![b'x'; 3000]).unwrap();
        let deb = directory.join(format!("{compression}.deb"));
        let out = Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Z", compression, "-b"])
            .args([&tree, &deb])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        std::fs::read(deb).unwrap()
    }

    #[test]
    fn reads_what_dpkg_deb_writes_and_dpkg_deb_reads_what_is_written() {
        let directory = tempfile::tempdir().unwrap();
        for compression in ["none", "gzip", "xz", "zstd"] {
            let bytes = made(directory.path(), compression);
            let mut deb = Deb::new(bytes.as_slice()).unwrap();
            let control = deb.control().unwrap();
            assert!(control.starts_with(b"Package: p\n"), "{compression}");
            let mut archive = Archive::new(deb.archive("data.tar").unwrap());
            let mut sizes = Vec::new();
            while let Some(member) = archive.next().unwrap() {
                sizes.push((String::from_utf8(member.path).unwrap(), member.size));
            }
            assert_eq!(sizes.last().unwrap(), &("./usr/bin/p".to_owned(), 3000));

            let mut plain = Cursor::new(Vec::new());
            assert_eq!(unpack_data(bytes.as_slice(), &mut plain).unwrap(), control);
            let path = directory.path().join("plain.deb");
            std::fs::write(&path, plain.into_inner()).unwrap();
            let list = |deb: &Path| {
                let out = Command::new("dpkg-deb").arg("-c").arg(deb).output().unwrap();
                assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
                out.stdout
            };
            let original = directory.path().join(format!("{compression}.deb"));
            assert_eq!(list(&path), list(&original));
        }
    }

    #[test]
    fn what_is_no_package_is_told_by_what_is_wrong() {
        let said = |bytes: &[u8]| match Deb::new(bytes).map(|mut deb| deb.control().map(|_| ())) {
            Ok(Ok(())) => "read".to_owned(),
            Ok(Err(error)) | Err(error) => error.to_string(),
        };
        assert!(said(b"").starts_with("it is no .deb"));
        assert!(said(b"<html>not found</html>").starts_with("it is no .deb"));
        let whole = assemble(b"", b"");
        assert!(said(&whole).starts_with("its control archive: the archive is cut short"));
        let later = String::from_utf8_lossy(&whole).replace("2.0\n", "3.0\n");
        assert_eq!(
            said(later.as_bytes()),
            "it is of the format 3.0, and only 2.x is known"
        );
        assert_eq!(said(&whole[..100]), "the header of a member is damaged");
        let odd = String::from_utf8_lossy(&whole).replace("control.tar    ", "control.tar.br ");
        assert_eq!(
            said(odd.as_bytes()),
            "control.tar.br is compressed in a way that isn't known"
        );
    }
}
