//! Named sets of modules, kept as commented lists in `initrd/`.

use std::str::FromStr;

use super::resolve::{Origin, Wish};

/// A set of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleSet {
    /// Storage of servers and laptops, keyboards, file systems: an image for machines that nobody looked at.
    Generic,
    /// NVMe, SATA and virtio disks, USB and PS/2 keyboards, ext4: what most machines have.
    Common,
    /// Device-mapper, encryption and what every root needs; storage is named by hand.
    Minimal,
    /// The minimal set and usual keyboards: the rest is what one machine's own devices need.
    Host,
}

impl ModuleSet {
    /// What the set asks for, the same for every kernel.
    pub fn wishes(self) -> impl Iterator<Item = Wish> {
        let minimal = include_str!("../../initrd/minimal.modules");
        let common = include_str!("../../initrd/common.modules");
        let generic = include_str!("../../initrd/generic.modules");
        let host = include_str!("../../initrd/host.modules");
        let texts = match self {
            ModuleSet::Generic => vec![minimal, common, generic],
            ModuleSet::Common => vec![minimal, common],
            ModuleSet::Minimal => vec![minimal],
            ModuleSet::Host => vec![minimal, host],
        };
        texts.into_iter().flat_map(parse)
    }
}

/// The modules of LVM's segment types that keel-init leaves to lvm.
pub(super) fn wishes_of_lvm() -> impl Iterator<Item = Wish> {
    parse(include_str!("../../initrd/lvm.modules"))
}

/// Lines of a set: a name, an alias, or a directory of the kernel's tree with a trailing slash. A `?` behind it says that
/// kernels without it are fine; a `#` starts a comment.
fn parse(text: &str) -> impl Iterator<Item = Wish> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| {
            let name = line.strip_suffix('?').unwrap_or(line);
            Wish {
                name: name.to_owned(),
                optional: name != line,
                origin: Origin::Set,
            }
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_comments_are_told_apart() {
        let wishes: Vec<Wish> = parse("# a comment\nnvme # of disks\n\n drivers/ata/ \nvmd?\n").collect();
        let read: Vec<_> = wishes
            .iter()
            .map(|wish| (wish.name.as_str(), wish.optional))
            .collect();
        assert_eq!(read, [("nvme", false), ("drivers/ata/", false), ("vmd", true)]);
    }

    #[test]
    fn sets_grow_and_name_nothing_twice() {
        let names = |set: ModuleSet| set.wishes().map(|wish| wish.name).collect::<Vec<_>>();
        let [minimal, common, generic] =
            [ModuleSet::Minimal, ModuleSet::Common, ModuleSet::Generic].map(|set| (names(set), set));
        assert!(common.0.starts_with(&minimal.0) && generic.0.starts_with(&common.0));
        let unique: BTreeSet<_> = generic.0.iter().collect();
        assert_eq!(unique.len(), generic.0.len());
        let host = names(ModuleSet::Host);
        assert!(host.starts_with(&minimal.0) && host.iter().all(|name| generic.0.contains(name)));
    }
}
