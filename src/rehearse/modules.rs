//! Kernel modules that the way to the root needs, and whether the initrd has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::report::ModuleReport;
use crate::block::DeviceNumber;
use crate::init::modules::Table;
use crate::initrd::drivers;

/// What every generation's root is made of.
const ALWAYS: [(&str, &str); 2] = [
    ("erofs", "the images of a generation"),
    ("overlay", "/usr and /etc"),
];

/// Names of modules, each with what needs it. `_` stands for `-` too.
#[derive(Debug, Default)]
pub(super) struct Needed {
    names: BTreeMap<String, String>,
    /// Aliases of which any module will do.
    aliases: BTreeMap<String, String>,
}

impl Needed {
    /// What is needed whatever the root lies on.
    pub(super) fn always() -> Self {
        let mut needed = Self::default();
        for (name, by) in ALWAYS {
            needed.add(name, by);
        }
        needed
    }

    /// Adds one; the first reason stays.
    pub(super) fn add(&mut self, name: &str, by: &str) {
        let _by = self
            .names
            .entry(name.replace('-', "_"))
            .or_insert_with(|| by.to_owned());
    }

    /// Adds the drivers of a device of this machine: its own, and those of everything that it's attached to.
    pub(super) fn add_drivers(&mut self, sysfs: &Path, number: DeviceNumber, name: &str) {
        let Ok(device) = fs::canonicalize(sysfs.join(format!("dev/block/{number}"))) else {
            return;
        };
        for driver in drivers(sysfs, &device) {
            if let Some(module) = driver.module {
                self.add(&module, name);
            }
        }
    }

    /// Adds the parts of a cipher, as early boot asks for them: `aes-xts-plain64` needs `crypto-aes` and `crypto-xts`.
    pub(super) fn add_cipher(&mut self, cipher: &str, by: &str) {
        // What comes third makes initialisation vectors; dm-crypt knows the plain ones itself.
        for word in cipher
            .split(['-', ':', '(', ')', ','])
            .filter(|word| !word.starts_with("plain"))
        {
            if !word.is_empty() {
                let _by = self
                    .aliases
                    .entry(format!("crypto-{word}"))
                    .or_insert_with(|| by.to_owned());
            }
        }
    }

    /// Looks for all of them.
    pub(super) fn judge(&self, table: &Table) -> Vec<ModuleReport> {
        let names = self.names.iter().map(|(name, by)| ModuleReport {
            name: name.clone(),
            needed_by: by.clone(),
            in_initrd: table.find(name).is_some(),
            built_in: table.builtin.iter().any(|known| known.replace('-', "_") == *name),
        });
        let aliases = self.aliases.iter().map(|(alias, by)| ModuleReport {
            name: alias.clone(),
            needed_by: by.clone(),
            in_initrd: table.matching(alias).next().is_some(),
            built_in: table.has_builtin_alias(alias),
        });
        names.chain(aliases).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn drivers_of_a_device_and_what_is_above_it() {
        let place = tempfile::tempdir().unwrap();
        let sysfs = place.path();
        let disk = sysfs.join("devices/pci0/0000:00:04.0/nvme/nvme0/nvme0n1/nvme0n1p2");
        fs::create_dir_all(&disk).unwrap();
        fs::create_dir_all(sysfs.join("dev/block")).unwrap();
        fs::create_dir_all(sysfs.join("module/nvme")).unwrap();
        fs::write(sysfs.join("module/nvme/initstate"), "live\n").unwrap();
        fs::create_dir_all(sysfs.join("bus/pci/drivers/nvme")).unwrap();
        symlink(&disk, sysfs.join("dev/block/259:2")).unwrap();
        symlink(
            sysfs.join("bus/pci/drivers/nvme"),
            sysfs.join("devices/pci0/0000:00:04.0/driver"),
        )
        .unwrap();
        symlink(
            sysfs.join("module/nvme"),
            sysfs.join("bus/pci/drivers/nvme/module"),
        )
        .unwrap();
        let mut needed = Needed::always();
        let number = DeviceNumber { major: 259, minor: 2 };
        needed.add_drivers(&fs::canonicalize(sysfs).unwrap(), number, "/dev/nvme0n1p2");
        needed.add("dm-crypt", "crypt1");
        let names: Vec<&str> = needed.names.keys().map(String::as_str).collect();
        assert_eq!(names, ["dm_crypt", "erofs", "nvme", "overlay"]);
    }
}
