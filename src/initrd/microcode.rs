//! The early microcode archive: uncompressed, before everything else (Linux, Documentation/arch/x86/microcode.rst).

use std::fs;
use std::io;
use std::path::Path;

use super::cpio::Archive;

/// Where the kernel looks, and the directory of Debian's packages that hold it.
const VENDORS: [(&str, &str); 2] = [
    ("kernel/x86/microcode/GenuineIntel.bin", "intel-ucode"),
    ("kernel/x86/microcode/AuthenticAMD.bin", "amd-ucode"),
];

/// The archive for the firmware below `firmware` (`/usr/lib/firmware`). Empty when there is no microcode.
pub(super) fn archive(firmware: &Path) -> io::Result<Archive> {
    let mut archive = Archive::default();
    for (path, directory) in VENDORS {
        let mut content = Vec::new();
        let Ok(entries) = fs::read_dir(firmware.join(directory)) else {
            continue;
        };
        let mut files = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()?;
        // The order decides nothing for the processor, but it has to be the same every time.
        files.sort();
        for file in files {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            // Beside the updates for AMD lie their signatures.
            if file.is_file() && !name.ends_with(".asc") && !name.starts_with("README") {
                content.extend_from_slice(&fs::read(&file)?);
            }
        }
        if !content.is_empty() {
            archive.file(path, 0o644, content).map_err(io::Error::other)?;
        }
    }
    Ok(archive)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn updates_of_a_vendor_are_joined_in_order() {
        let firmware = tempfile::tempdir().unwrap();
        fs::create_dir(firmware.path().join("intel-ucode")).unwrap();
        fs::write(firmware.path().join("intel-ucode/06-02"), "b").unwrap();
        fs::write(firmware.path().join("intel-ucode/06-01"), "a").unwrap();
        let archive = archive(firmware.path()).unwrap();
        let list: Vec<_> = archive.list().collect();
        assert_eq!(list.last(), Some(&("kernel/x86/microcode/GenuineIntel.bin", 2)));
        assert!(archive.to_bytes().unwrap().windows(2).any(|pair| pair == b"ab"));
    }
}
