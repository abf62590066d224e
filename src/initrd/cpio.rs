//! newc archives (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

/// A magic number and thirteen fields of eight digits.
const HEADER_BYTES: usize = 110;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive can't hold what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// The format has 32 bits for a size.
    #[error("{0} is too large for an initrd image: a file can have 4 GiB")]
    TooLarge(String),
    /// A name that can't be unpacked where it belongs.
    #[error("{0:?} can't be a name in an initrd image")]
    Name(String),
}

#[derive(Clone, Debug)]
enum Content {
    Directory,
    File(Vec<u8>),
    Link(String),
    CharacterDevice { major: u32, minor: u32 },
}

#[derive(Clone, Debug)]
struct Entry {
    mode: u32,
    content: Content,
}

/// An archive being put together. Entries come out sorted by name, so a directory always precedes what is in it.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds a file with its directories. `path` has no leading slash.
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) -> Result<(), CpioError> {
        if u32::try_from(content.len()).is_err() {
            return Err(CpioError::TooLarge(path.to_owned()));
        }
        self.add(path, mode | 0o100_000, Content::File(content))
    }

    /// Adds a directory with those above it.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<(), CpioError> {
        self.add(path, mode | 0o040_000, Content::Directory)
    }

    /// Adds a symbolic link with its directories.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), CpioError> {
        self.add(path, 0o120_777, Content::Link(target.to_owned()))
    }

    /// Adds a character device with its directories.
    pub fn character_device(
        &mut self,
        path: &str,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<(), CpioError> {
        self.add(path, mode | 0o020_000, Content::CharacterDevice { major, minor })
    }

    /// Names in the order in which they are written, with their sizes in bytes.
    pub fn list(&self) -> impl Iterator<Item = (&str, usize)> {
        self.entries
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.content.bytes().len()))
    }

    fn add(&mut self, path: &str, mode: u32, content: Content) -> Result<(), CpioError> {
        let valid = path != TRAILER
            && !path.contains('\0')
            && path
                .split('/')
                .all(|part| !part.is_empty() && part != "." && part != "..");
        if !valid {
            return Err(CpioError::Name(path.to_owned()));
        }
        for (index, _) in path.match_indices('/') {
            let parent = path.get(..index).unwrap_or_default().to_owned();
            let parent = self.entries.entry(parent).or_insert(Entry {
                mode: 0o040_755,
                content: Content::Directory,
            });
            if !matches!(parent.content, Content::Directory) {
                return Err(CpioError::Name(path.to_owned()));
            }
        }
        let _ = self.entries.insert(path.to_owned(), Entry { mode, content });
        Ok(())
    }

    /// Writes the archive with its trailer.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        self.write_aligned(output, 4)
    }

    /// The same, with contents at multiples of `alignment` bytes (a power of two, at least 4) from its start. Names are
    /// followed by more NUL bytes for that.
    pub fn write_aligned(&self, output: &mut impl Write, alignment: usize) -> io::Result<()> {
        let mut output = Counted { output, written: 0 };
        for (number, (name, entry)) in self.entries.iter().enumerate() {
            // The kernel joins files with one inode number and several links; here each has one of its own.
            let inode = u32::try_from(number + 1).map_err(io::Error::other)?;
            output.entry(inode, name, entry, alignment)?;
        }
        let trailer = Entry {
            mode: 0,
            content: Content::Directory,
        };
        output.entry(0, TRAILER, &trailer, 4)
    }

    /// The archive as bytes.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Content::File(bytes) => bytes,
            Content::Link(target) => target.as_bytes(),
            Content::Directory | Content::CharacterDevice { .. } => &[],
        }
    }
}

/// An output that knows how much it has taken.
struct Counted<'a, W> {
    output: &'a mut W,
    written: usize,
}

impl<W: Write> Counted<'_, W> {
    fn entry(&mut self, inode: u32, name: &str, entry: &Entry, alignment: usize) -> io::Result<()> {
        let content = entry.content.bytes();
        let links = if matches!(entry.content, Content::Directory) {
            2
        } else {
            1
        };
        let (major, minor) = match entry.content {
            Content::CharacterDevice { major, minor } => (major, minor),
            _ => (0, 0),
        };
        let alignment = if content.is_empty() { 4 } else { alignment };
        let end_of_name = self.written + HEADER_BYTES + name.len() + 1;
        let nul_bytes = 1 + end_of_name.next_multiple_of(alignment) - end_of_name;
        // At the alignment of the format itself, the bytes behind the name don't count as part of it.
        let counted = if alignment > 4 { nul_bytes } else { 1 };
        let name_size = u32::try_from(name.len() + counted).map_err(io::Error::other)?;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        // inode, mode, uid, gid, links, mtime, size, device major and minor, rdev major and minor, name size, checksum
        let fields = [
            inode, entry.mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            let _ = write!(header, "{field:08x}");
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&vec![0; nul_bytes])?;
        self.put(content)?;
        self.put(&vec![0; self.written.next_multiple_of(4) - self.written])
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.output.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_lists_what_was_put_in() {
        let mut archive = Archive::default();
        archive.file("b/c/file", 0o644, b"content".to_vec()).unwrap();
        archive.link("a", "b/c").unwrap();
        archive.character_device("dev/console", 0o600, 5, 1).unwrap();
        let mut child = Command::new("cpio")
            .args(["-itv", "--quiet", "--numeric-uid-gid"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        archive.write(child.stdin.as_mut().unwrap()).unwrap();
        let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "lrwxrwxrwx 1 0 0 3 Jan 1 1970 a -> b/c",
                "drwxr-xr-x 2 0 0 0 Jan 1 1970 b",
                "drwxr-xr-x 2 0 0 0 Jan 1 1970 b/c",
                "-rw-r--r-- 1 0 0 7 Jan 1 1970 b/c/file",
                "drwxr-xr-x 2 0 0 0 Jan 1 1970 dev",
                "crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
            ]
        );
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", "/a", "a//b", "../a", "a/./b", "a/", "a\0b", "TRAILER!!!"] {
            assert!(
                Archive::default().file(name, 0o644, Vec::new()).is_err(),
                "{name:?}"
            );
        }
    }

    #[test]
    fn nothing_can_lie_below_a_file() {
        let mut archive = Archive::default();
        archive.file("a", 0o644, Vec::new()).unwrap();
        assert_eq!(
            archive.file("a/b", 0o644, Vec::new()),
            Err(CpioError::Name("a/b".to_owned()))
        );
    }

    #[test]
    fn aligned_contents_start_where_asked_and_cpio_still_reads_them() {
        for length in 0..20 {
            let mut archive = Archive::default();
            archive.file("other", 0o644, vec![b'x'; length]).unwrap();
            archive
                .file(
                    &format!("p/{}", "n".repeat(length + 1)),
                    0o644,
                    b"marker and more".to_vec(),
                )
                .unwrap();
            let mut bytes = Vec::new();
            archive.write_aligned(&mut bytes, 16).unwrap();
            assert_eq!(
                bytes.windows(6).position(|window| window == b"marker").unwrap() % 16,
                0
            );
            assert_eq!(bytes.len() % 4, 0);
            let mut child = Command::new("cpio")
                .args(["-i", "--quiet", "--to-stdout", "p/*"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.as_mut().unwrap().write_all(&bytes).unwrap();
            assert_eq!(child.wait_with_output().unwrap().stdout, b"marker and more");
        }
    }
}
