//! The real lvm in an image, for roots on segment types that keel-init leaves to it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::block::DeviceNumber;
use crate::block::dm::{Control, Table};
use crate::system::units::elf;

/// What goes into the image from `/usr`: lvm, and what it runs before it starts a pool. Without the checks lvm would
/// start a pool whose metadata is damaged.
const LVM: &str = "sbin/lvm";
const CHECKS: [(&str, &str); 2] = [
    ("sbin/thin_check", "thin_check_executable"),
    ("sbin/cache_check", "cache_check_executable"),
];
/// Where Debian's loader looks, below `/usr`.
const LIBRARIES: [&str; 3] = ["lib/x86_64-linux-gnu", "lib64", "lib"];

/// Why lvm can't go into an image.
#[derive(Debug, thiserror::Error)]
pub enum LvmToolsError {
    /// A program or library.
    #[error("{path} can't go into the initrd: {source}; lvm comes with Debian's package lvm2")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program that isn't one.
    #[error("{0} isn't a program for this kind of machine")]
    NotElf(PathBuf),
    /// A library that isn't there.
    #[error("{program} needs the library {name}, which isn't below {usr}")]
    Library {
        /// What needs it.
        program: PathBuf,
        /// Its name.
        name: String,
        /// Where it was looked for.
        usr: PathBuf,
    },
}

/// Files of an image, by path without a leading slash: content, mode and reason.
pub(super) type Files = BTreeMap<String, (Vec<u8>, u32, String)>;

/// lvm of `usr` (a `/usr` directory) with its libraries and configuration; and sentences on what is left out.
pub(super) fn files(usr: &Path) -> Result<(Files, Vec<String>), LvmToolsError> {
    let mut closure = Closure {
        usr,
        files: Files::new(),
    };
    closure.program(LVM, "activates the root's logical volume")?;
    let mut settings = String::new();
    let mut notes = Vec::new();
    for (check, setting) in CHECKS {
        if usr.join(check).exists() {
            closure.program(check, "lvm runs it before it starts a pool")?;
        } else {
            settings.extend(["    ", setting, " = \"\"\n"]);
            notes.push(format!(
                "{check} isn't below {}: pools are started unchecked (Debian: package thin-provisioning-tools)",
                usr.display()
            ));
        }
    }
    let text = configuration(&settings);
    closure.put(
        "etc/lvm/lvm.conf",
        text.into_bytes(),
        0o644,
        "lvm's configuration",
    );
    Ok((closure.files, notes))
}

/// lvm.conf(5): nothing of udev, of daemons and of files outside of memory.
fn configuration(checks: &str) -> String {
    format!(
        "# Made by keel.\n\
         activation {{\n    udev_sync = 0\n    udev_rules = 0\n    monitoring = 0\n}}\n\
         backup {{\n    backup = 0\n    archive = 0\n}}\n\
         devices {{\n    use_devicesfile = 0\n    obtain_device_list_from_udev = 0\n    \
         external_device_info_source = \"none\"\n    scan = [ \"/dev\" ]\n}}\n\
         global {{\n    use_lvmlockd = 0\n    use_lvmpolld = 0\n    event_activation = 0\n    \
         locking_dir = \"/run/lock/lvm\"\n{checks}}}\n"
    )
}

struct Closure<'a> {
    usr: &'a Path,
    files: Files,
}

impl Closure<'_> {
    fn put(&mut self, path: &str, content: Vec<u8>, mode: u32, reason: &str) {
        let _old = self
            .files
            .insert(path.to_owned(), (content, mode, reason.to_owned()));
    }

    /// Puts in a program, its dynamic loader, and the libraries that it needs, and so on.
    fn program(&mut self, path: &str, reason: &str) -> Result<(), LvmToolsError> {
        let full = self.usr.join(path);
        let dynamic = self.add(&full, &format!("usr/{path}"), 0o755, reason)?;
        if let Some(interpreter) = dynamic.interpreter {
            let inside = interpreter.trim_start_matches('/');
            let name = Path::new(inside).file_name().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            let found = self.library(&name, &full)?.1;
            let _ = self.add(&found, inside, 0o755, "the dynamic loader")?;
        }
        let mut wanted: Vec<(String, PathBuf)> = dynamic
            .needed
            .into_iter()
            .map(|name| (name, full.clone()))
            .collect();
        while let Some((name, by)) = wanted.pop() {
            let (inside, found) = self.library(&name, &by)?;
            if self.files.contains_key(&inside) {
                continue;
            }
            let reason = format!(
                "a library of {}",
                by.file_name().unwrap_or_default().to_string_lossy()
            );
            let dynamic = self.add(&found, &inside, 0o644, &reason)?;
            wanted.extend(dynamic.needed.into_iter().map(|name| (name, found.clone())));
        }
        Ok(())
    }

    fn add(
        &mut self,
        full: &Path,
        inside: &str,
        mode: u32,
        reason: &str,
    ) -> Result<elf::Dynamic, LvmToolsError> {
        let failed = |source| LvmToolsError::Read {
            path: full.to_owned(),
            source,
        };
        let content = fs::read(full).map_err(failed)?;
        let dynamic = elf::read(&content).map_err(failed)?;
        let dynamic = dynamic.ok_or_else(|| LvmToolsError::NotElf(full.to_owned()))?;
        self.put(inside, content, mode, reason);
        Ok(dynamic)
    }

    /// Where a library belongs in the image, and where it is here.
    fn library(&self, name: &str, program: &Path) -> Result<(String, PathBuf), LvmToolsError> {
        let mut found = LIBRARIES.iter().filter_map(|directory| {
            let path = self.usr.join(directory).join(name);
            path.exists().then(|| (format!("usr/{directory}/{name}"), path))
        });
        found.next().ok_or_else(|| LvmToolsError::Library {
            program: program.to_owned(),
            name: name.to_owned(),
            usr: self.usr.to_owned(),
        })
    }
}

/// Whether the file system with `directory` lies on a logical volume that only lvm can activate, as the running kernel
/// has it; with the volume's name. `None` when not.
pub fn root_needs(directory: &Path) -> io::Result<Option<String>> {
    let sysfs = Path::new("/sys");
    let Some(number) = device_of(directory)? else {
        return Ok(None);
    };
    let table = |name: &str| Control::open().and_then(|control| control.table(name));
    below(sysfs, number, &|name| table(name).map_err(io::Error::other))
}

/// The device with the file system of `directory`; `None` when it's in memory, on a network, or put together.
fn device_of(directory: &Path) -> io::Result<Option<DeviceNumber>> {
    let device = fs::metadata(directory)?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    if major != 0 {
        return Ok(Some(DeviceNumber { major, minor }));
    }
    // Btrfs has numbers of its own; its mount says the device (proc_pid_mountinfo(5)).
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let own = format!("{major}:{minor}");
    let source = mounts.lines().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let is_own = head.split(' ').nth(2) == Some(&own);
        is_own.then(|| tail.split(' ').nth(1)).flatten()
    });
    let Some(source) = source.filter(|source| source.starts_with("/dev/")) else {
        return Ok(None);
    };
    let device = fs::metadata(source)?.rdev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    Ok(Some(DeviceNumber { major, minor }))
}

/// Looks at a device and at all that it lies on. `table` gives the table of a mapping.
fn below(
    sysfs: &Path,
    number: DeviceNumber,
    table: &dyn Fn(&str) -> io::Result<Table>,
) -> io::Result<Option<String>> {
    const OWN: [&str; 4] = ["linear", "striped", "error", "zero"];
    let device = sysfs.join(format!("dev/block/{number}"));
    let text = |path: PathBuf| Some(fs::read_to_string(path).ok()?.trim_end().to_owned());
    let uuid = text(device.join("dm/uuid")).unwrap_or_default();
    if uuid.starts_with("LVM-")
        && let Some(name) = text(device.join("dm/name"))
    {
        let table = table(&name)?;
        if table
            .targets
            .iter()
            .any(|target| !OWN.contains(&target.kind.as_str()))
        {
            return Ok(Some(name));
        }
    }
    let Ok(slaves) = fs::read_dir(device.join("slaves")) else {
        return Ok(None);
    };
    for slave in slaves.flatten() {
        let numbers = text(slave.path().join("dev")).unwrap_or_default();
        if let Some((major, minor)) = numbers.split_once(':')
            && let (Ok(major), Ok(minor)) = (major.parse(), minor.parse())
            && let Some(found) = below(sysfs, DeviceNumber { major, minor }, table)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::block::dm::Target;

    #[test]
    fn lvm_comes_with_all_that_its_loader_asks_for() {
        let (files, notes) = files(Path::new("/usr")).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        for path in [
            "usr/sbin/lvm",
            "usr/sbin/thin_check",
            "usr/sbin/cache_check",
            "etc/lvm/lvm.conf",
            "lib64/ld-linux-x86-64.so.2",
        ] {
            assert!(files.contains_key(path), "{path}");
        }
        // The proof: it runs where nothing else is.
        let root = tempfile::tempdir().unwrap();
        for (path, (content, mode, _)) in &files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(*mode)).unwrap();
        }
        for arguments in [
            &["/usr/sbin/lvm", "version"][..],
            &["/usr/sbin/thin_check", "--version"],
        ] {
            let output = std::process::Command::new("chroot")
                .arg(root.path())
                .args(arguments)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        let mut lvmconfig = std::process::Command::new("chroot");
        let output = lvmconfig
            .arg(root.path())
            .args([
                "/usr/sbin/lvm",
                "lvmconfig",
                "activation/udev_sync",
                "backup/archive",
            ])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "udev_sync=0\narchive=0\n"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let usr = tempfile::tempdir().unwrap();
        let error = files(usr.path()).unwrap_err().to_string();
        assert!(
            error.contains("sbin/lvm") && error.contains("package lvm2"),
            "{error}"
        );
        fs::create_dir(usr.path().join("sbin")).unwrap();
        let _ = fs::copy("/usr/sbin/lvm", usr.path().join("sbin/lvm")).unwrap();
        let error = files(usr.path()).unwrap_err().to_string();
        assert!(error.contains("needs the library"), "{error}");
        fs::write(usr.path().join("sbin/lvm"), "#!/bin/sh\n").unwrap();
        let error = files(usr.path()).unwrap_err().to_string();
        assert!(error.contains("isn't a program"), "{error}");
    }

    /// A file system on LUKS on a logical volume on a disk.
    fn machine(kind: &str) -> io::Result<Option<String>> {
        let sysfs = tempfile::tempdir().unwrap();
        let device = |number: &str| sysfs.path().join("dev/block").join(number);
        for (number, uuid, name, below) in [
            ("254:1", "CRYPT-LUKS2-0123-crypt", "crypt", Some("254:0")),
            ("254:0", "LVM-abc", "vg-crypt", Some("8:1")),
            ("8:1", "", "", None),
        ] {
            fs::create_dir_all(device(number).join("dm")).unwrap();
            fs::create_dir_all(device(number).join("slaves")).unwrap();
            fs::write(device(number).join("dev"), format!("{number}\n")).unwrap();
            fs::write(device(number).join("dm/uuid"), format!("{uuid}\n")).unwrap();
            fs::write(device(number).join("dm/name"), format!("{name}\n")).unwrap();
            if let Some(below) = below {
                symlink(device(below), device(number).join("slaves/below")).unwrap();
            }
        }
        let table = |name: &str| {
            assert_eq!(name, "vg-crypt", "other mappings' tables aren't LVM's");
            Ok(Table::from(vec![Target {
                start: 0,
                length: 8,
                kind: kind.to_owned(),
                parameters: String::new(),
            }]))
        };
        let top = DeviceNumber { major: 254, minor: 1 };
        below(sysfs.path(), top, &table)
    }

    #[test]
    fn a_root_on_a_thin_volume_needs_lvm_and_one_on_a_linear_one_does_not() {
        assert_eq!(machine("thin").unwrap().as_deref(), Some("vg-crypt"));
        assert_eq!(machine("snapshot-origin").unwrap().as_deref(), Some("vg-crypt"));
        assert_eq!(machine("linear").unwrap(), None);
        assert_eq!(machine("striped").unwrap(), None);
    }
}
