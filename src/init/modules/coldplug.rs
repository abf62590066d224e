//! Devices that were there before anybody listened.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Deeper than any chain of bridges, hubs and hosts.
const DEPTH_MAX: usize = 64;
/// The size of an attribute's buffer in the kernel.
const MODALIAS_BYTES_MAX: u64 = 4096;

/// The modalias of each device below `<sysfs>/devices`. Symbolic links aren't followed, since they lead in circles; what
/// can't be read is a device that has just gone, and is skipped.
pub fn modaliases(sysfs: &Path) -> Vec<String> {
    let mut all = Vec::new();
    walk(sysfs, |_, modalias| all.push(modalias.to_owned()));
    all
}

/// The modaliases of devices that have a driver. A driver that is built in doesn't always say what it serves.
pub fn served(sysfs: &Path) -> BTreeSet<String> {
    let mut served = BTreeSet::new();
    walk(sysfs, |device, modalias| {
        if device.join("driver").exists() {
            let _ = served.insert(modalias.to_owned());
        }
    });
    served
}

fn walk(sysfs: &Path, mut on_modalias: impl FnMut(&Path, &str)) {
    let mut directories: Vec<(PathBuf, usize)> = vec![(sysfs.join("devices"), 0)];
    while let Some((directory, depth)) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEPTH_MAX {
                directories.push((entry.path(), depth + 1));
            } else if kind.is_file()
                && entry.file_name() == "modalias"
                && let Some(modalias) = read(&entry.path())
            {
                on_modalias(&directory, &modalias);
            }
        }
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let _ = File::open(path)
        .ok()?
        .take(MODALIAS_BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    let modalias = text.trim_end();
    (!modalias.is_empty()).then(|| modalias.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn finds_each_device_once() {
        let sysfs = tempfile::tempdir().unwrap();
        let devices = sysfs.path().join("devices");
        let add = |directory: &str, modalias: &[u8]| {
            fs::create_dir_all(devices.join(directory)).unwrap();
            fs::write(devices.join(directory).join("modalias"), modalias).unwrap();
        };
        add("pci0/a", b"pci:a\n");
        add("pci0/a/b", b"virtio:b\n");
        add("platform/empty", b"\n");
        add("platform/broken", b"\xff\n");
        symlink("..", devices.join("pci0/a/loop")).unwrap();
        symlink("modalias", devices.join("pci0/link")).unwrap();
        let mut found = modaliases(sysfs.path());
        found.sort();
        assert_eq!(found, ["pci:a", "virtio:b"]);
    }

    #[test]
    fn no_sysfs_has_no_devices() {
        assert!(modaliases(Path::new("/nonexistent")).is_empty());
    }
}
