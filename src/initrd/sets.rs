//! Named sets of modules, kept as commented lists in `initrd/`.

use std::str::FromStr;

/// A set of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleSet {
    /// Storage of servers and laptops, keyboards, file systems: an image for machines that nobody looked at.
    Generic,
    /// NVMe, SATA and virtio disks, USB and PS/2 keyboards, ext4: what most machines have.
    Common,
    /// Device-mapper, encryption and what every root needs; storage is named by hand.
    Minimal,
}

impl ModuleSet {
    /// Names of modules, and patterns of whole directories with a trailing slash (`drivers/ata/`).
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let minimal = include_str!("../../initrd/minimal.modules");
        let common = include_str!("../../initrd/common.modules");
        let generic = include_str!("../../initrd/generic.modules");
        [
            Some(minimal),
            (self != ModuleSet::Minimal).then_some(common),
            (self == ModuleSet::Generic).then_some(generic),
        ]
        .into_iter()
        .flatten()
        .flat_map(str::lines)
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
    }
}

impl FromStr for ModuleSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "generic" => Ok(ModuleSet::Generic),
            "common" => Ok(ModuleSet::Common),
            "minimal" => Ok(ModuleSet::Minimal),
            _ => Err(format!(
                "there is no set {text:?}; sets are minimal, common and generic"
            )),
        }
    }
}
