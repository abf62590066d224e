//! Reading an initrd image again: its newc archives, compressed by zstd or not (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Read};

/// Bytes of a member's header: a magic number and 13 fields of eight hexadecimal digits.
const HEADER: usize = 110;
/// Images beyond this size, unpacked, are refused.
const UNPACKED_MAX: u64 = 1 << 30;

/// Why an image can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Neither newc nor zstd.
    #[error("at byte {0} it's neither a newc archive nor compressed by zstd")]
    Format(usize),
    /// A member that ends before it should.
    #[error("its archive is cut off or damaged")]
    Damaged,
    /// A compressed archive.
    #[error("it can't be unpacked: {0}")]
    Unpack(#[from] io::Error),
    /// Too large.
    #[error("unpacked it has more than {UNPACKED_MAX} bytes")]
    TooLarge,
}

/// The content of the file `path` (without a leading `/`) of an image; the last one counts, as for the kernel.
pub fn file_of_image(image: &[u8], path: &str) -> Result<Option<Vec<u8>>, ReadError> {
    let mut found = None;
    let mut rest = image;
    while let Some(start) = rest.iter().position(|&byte| byte != 0) {
        rest = rest.get(start..).unwrap_or_default();
        if rest.starts_with(b"070701") {
            rest = archive(rest, path, &mut found)?;
        } else if rest.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let mut unpacked = Vec::new();
            let decoder = zstd::Decoder::new(rest)?;
            let _length = decoder.take(UNPACKED_MAX + 1).read_to_end(&mut unpacked)?;
            if unpacked.len() as u64 > UNPACKED_MAX {
                return Err(ReadError::TooLarge);
            }
            let _rest = archive(&unpacked, path, &mut found)?;
            // Whatever follows a compressed archive is another frame of it.
            return Ok(found);
        } else {
            return Err(ReadError::Format(image.len() - rest.len()));
        }
    }
    Ok(found)
}

/// Walks an archive to its trailer; gives what follows.
fn archive<'a>(bytes: &'a [u8], path: &str, found: &mut Option<Vec<u8>>) -> Result<&'a [u8], ReadError> {
    let mut at = 0_usize;
    loop {
        let header = bytes.get(at..at + HEADER).ok_or(ReadError::Damaged)?;
        if !header.starts_with(b"070701") {
            return Err(ReadError::Damaged);
        }
        let field = |index: usize| -> Option<usize> {
            let digits = header.get(6 + index * 8..14 + index * 8)?;
            usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let (size, name_size) = field(6).zip(field(11)).ok_or(ReadError::Damaged)?;
        let name_end = at.checked_add(HEADER + name_size).ok_or(ReadError::Damaged)?;
        let name = bytes.get(at + HEADER..name_end).ok_or(ReadError::Damaged)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let start = name_end.next_multiple_of(4);
        let end = start.checked_add(size).ok_or(ReadError::Damaged)?;
        let content = bytes.get(start..end).ok_or(ReadError::Damaged)?;
        if name == b"TRAILER!!!" {
            return Ok(bytes.get(end..).unwrap_or_default());
        }
        if name.strip_prefix(b"./").unwrap_or(name) == path.as_bytes() {
            *found = Some(content.to_vec());
        }
        at = end.next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::initrd::Archive;

    fn made(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = Archive::default();
        for (path, text) in files {
            archive.file(path, 0o644, text.as_bytes().to_vec()).unwrap();
        }
        archive.to_bytes().unwrap()
    }

    #[test]
    fn files_are_found_behind_microcode_and_compression() {
        let first = made(&[("kernel/x86/microcode/x", "early")]);
        let second = made(&[("etc/keel/modules", "table"), ("init", "program")]);
        let mut image = first.clone();
        image.resize(image.len().next_multiple_of(512), 0);
        image.extend(zstd::encode_all(&second[..], 3).unwrap());
        let file = |path: &str| file_of_image(&image, path).unwrap();
        assert_eq!(file("etc/keel/modules").unwrap(), b"table");
        assert_eq!(file("kernel/x86/microcode/x").unwrap(), b"early");
        assert_eq!(file("none"), None);
        let plain = [first, second].concat();
        assert_eq!(file_of_image(&plain, "init").unwrap().unwrap(), b"program");
    }

    #[test]
    fn what_the_real_cpio_writes_is_read() {
        use std::io::Write;
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), "content").unwrap();
        let mut cpio = std::process::Command::new("cpio")
            .args(["--create", "--format=newc", "--quiet"])
            .current_dir(place.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(b"./file\n").unwrap();
        let image = cpio.wait_with_output().unwrap().stdout;
        assert_eq!(file_of_image(&image, "file").unwrap().unwrap(), b"content");
    }

    #[test]
    fn damage_is_said() {
        let whole = made(&[("a", "content")]);
        for length in 1..whole.len() {
            if let Ok(found) = file_of_image(&whole[..length], "a") {
                // All that's missing is padding behind the trailer.
                assert_eq!(found.as_deref(), Some(&b"content"[..]), "{length}");
            }
        }
        assert!(matches!(file_of_image(b"\0\0x", "a"), Err(ReadError::Format(2))));
        let mut damaged = whole;
        damaged[6 + 6 * 8..6 + 7 * 8].copy_from_slice(b"ffffffff");
        assert!(matches!(file_of_image(&damaged, "a"), Err(ReadError::Damaged)));
    }
}
