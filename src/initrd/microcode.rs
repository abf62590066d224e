//! The early microcode archive: uncompressed, before everything else (Linux, Documentation/arch/x86/microcode.rst).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cpio::Archive;
use super::tree::decompressed;

/// Processors read an update in place, and Intel's want it at a multiple of 16 bytes (Intel SDM volume 3,
/// "Microcode Update Loader").
pub(super) const ALIGNMENT: usize = 16;

/// Where the kernel looks, and the directory below `/usr/lib/firmware` where distributions keep it.
const VENDORS: [(Vendor, &str, &str); 2] = [
    (
        Vendor::Intel,
        "kernel/x86/microcode/GenuineIntel.bin",
        "intel-ucode",
    ),
    (Vendor::Amd, "kernel/x86/microcode/AuthenticAMD.bin", "amd-ucode"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    Intel,
    Amd,
}

impl Vendor {
    /// Whose microcode it is. Other files lie beside it: signatures, texts.
    fn of(content: &[u8]) -> Option<Vendor> {
        // Version of header and loader: 1 each (Intel SDM volume 3, "Microcode Update Format").
        let is_one = |at: usize| content.get(at..at + 4) == Some(&[1, 0, 0, 0]);
        match content {
            // UCODE_MAGIC of an equivalence table (Linux, arch/x86/kernel/cpu/microcode/amd.c).
            [b'D', b'M', b'A', 0, ..] => Some(Vendor::Amd),
            _ if content.len() >= 48 && is_one(0) && is_one(20) => Some(Vendor::Intel),
            _ => None,
        }
    }
}

/// The archive for `given`: files, and directories such as `/usr/lib/firmware`, `…/intel-ucode`. Empty when the
/// directories hold no microcode; a file that is none is an error.
pub(super) fn archive(given: &[PathBuf]) -> Result<Archive, (PathBuf, io::Error)> {
    let mut contents = [Vec::new(), Vec::new()];
    for path in given {
        for file in files(path).map_err(|error| (path.clone(), error))? {
            let content = decompressed(&file).map_err(|error| (file.clone(), error))?;
            let vendor = Vendor::of(&content);
            if vendor.is_none() && file == *path {
                let reason = "it is neither Intel's nor AMD's microcode";
                return Err((file, io::Error::new(io::ErrorKind::InvalidData, reason)));
            }
            for ((of, _, _), all) in VENDORS.iter().zip(&mut contents) {
                if vendor == Some(*of) {
                    all.extend_from_slice(&content);
                }
            }
        }
    }
    let mut archive = Archive::default();
    for ((_, path, _), content) in VENDORS.iter().zip(contents) {
        if !content.is_empty() {
            archive
                .file(path, 0o644, content)
                .map_err(|error| (PathBuf::from(path), io::Error::other(error)))?;
        }
    }
    Ok(archive)
}

/// The file itself, or the files of a directory and of those of the vendors in it.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let vendors: Vec<PathBuf> = VENDORS
        .iter()
        .map(|(_, _, name)| path.join(name))
        .filter(|directory| directory.is_dir())
        .collect();
    let mut found = Vec::new();
    for directory in if vendors.is_empty() {
        vec![path.to_owned()]
    } else {
        vendors
    } {
        let mut files = fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()?;
        files.retain(|file| file.is_file());
        // The order decides nothing for the processor, but it has to be the same every time.
        files.sort();
        found.append(&mut files);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn intel(mark: u8) -> Vec<u8> {
        let mut update = vec![0; 48];
        [update[0], update[20], update[47]] = [1, 1, mark];
        update
    }

    #[test]
    fn updates_of_a_vendor_are_joined_in_order_and_other_files_left() {
        let firmware = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = firmware.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("intel-ucode/06-02-01", &intel(2));
        write("intel-ucode/06-01-01", &intel(1));
        write("amd-ucode/microcode_amd.bin", b"DMA\0rest");
        write(
            "amd-ucode/microcode_amd.bin.asc",
            b"-----BEGIN PGP SIGNATURE-----",
        );
        write("amd-ucode/README", b"text");
        write("iwlwifi.ucode", b"other firmware");
        let archive = archive(&[firmware.path().to_owned()]).unwrap();
        let list: Vec<_> = archive.list().filter(|(_, bytes)| *bytes > 0).collect();
        assert_eq!(
            list,
            [
                ("kernel/x86/microcode/AuthenticAMD.bin", 8),
                ("kernel/x86/microcode/GenuineIntel.bin", 96)
            ]
        );
        let both = [intel(1), intel(2)].concat();
        assert!(
            archive
                .to_bytes()
                .unwrap()
                .windows(96)
                .any(|window| window == both)
        );
    }

    #[test]
    fn a_file_given_by_name_must_be_microcode() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), intel(7)).unwrap();
        assert_eq!(archive(&[file.path().to_owned()]).unwrap().list().count(), 4);
        fs::write(file.path(), "text").unwrap();
        assert_eq!(archive(&[file.path().to_owned()]).unwrap_err().0, file.path());
        assert!(archive(&["/nonexistent".into()]).is_err());
        assert_eq!(
            archive(&[tempfile::tempdir().unwrap().path().to_owned()])
                .unwrap()
                .list()
                .count(),
            0
        );
    }
}
