//! File systems, swap, encrypted volumes.

use std::collections::BTreeMap;

use super::{Outcome, View};
use crate::config::Config;
use crate::config::check::Check;
use crate::config::place::Remark;

/// File systems that lie on a device of this machine.
const ON_DEVICES: &[&str] = &[
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat", "ntfs", "ntfs3", "iso9660", "erofs",
    "squashfs",
];

/// File systems that early boot mounts as the root (docs/root.md).
const ROOTS: &[&str] = &["ext4", "ext3", "ext2", "xfs", "btrfs"];

/// Directories that a generation brings.
const OWN: &[&str] = &[
    "/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/sys", "/dev", "/run",
];

pub(super) fn check(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    root(view, config, outcome);
    for (path, file_system) in &config.filesystems {
        let at = ["filesystems", path.as_str()];
        if OWN.contains(&path.as_str()) {
            let message = format!("filesystems.\"{path}\": {path} comes from the generation and the kernel");
            outcome.problem(view.place(&at), message);
        }
        let is_on_device = ON_DEVICES.contains(&file_system.kind.as_str());
        let is_path = file_system.device.starts_with("/dev/");
        if is_on_device && !is_path && !file_system.device.is_empty() {
            // An image file is a device with the option `loop`.
            let is_loop = file_system.device.starts_with('/')
                && file_system.options.iter().any(|option| option == "loop");
            if let Some(fault) = Check::Device.fault(&file_system.device).filter(|_| !is_loop) {
                let message = format!(
                    "filesystems.\"{path}\".device: {:?} isn't a device, which {} lies on: {fault}",
                    file_system.device, file_system.kind
                );
                outcome.problem(view.place(&["filesystems", path, "device"]), message);
            }
        }
    }
    swap(view, config, outcome);
    luks(view, config, outcome);
}

fn root(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    let Some(root) = config.filesystems.get("/") else {
        if !view.is_broken(&["filesystems", "/"]) {
            outcome.problems.push(
                Remark::new(view.place(&["filesystems"]), "there is no root file system")
                    .help("declare [filesystems.\"/\"], or import a hardware.toml; `keel generate-config` writes one"),
            );
        }
        return;
    };
    if !root.kind.is_empty() && !ROOTS.contains(&root.kind.as_str()) {
        let message = format!(
            "filesystems.\"/\".type: {:?} can't be the root; {} can",
            root.kind,
            ROOTS.join(", ")
        );
        outcome.problem(view.place(&["filesystems", "/", "type"]), message);
    } else if let Some(fault) = Check::Device.fault(&root.device)
        && !root.device.is_empty()
    {
        let message = format!(
            "filesystems.\"/\".device: {:?} isn't found in early boot: {fault}",
            root.device
        );
        outcome.problem(view.place(&["filesystems", "/", "device"]), message);
    }
}

fn swap(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut resume: Option<usize> = None;
    for (index, swap) in config.swap.iter().enumerate() {
        let place = |of: usize| view.place(&["swap", &of.to_string(), "device"]);
        if let Some(first) = known.insert(&swap.device, index) {
            outcome.problems.push(
                Remark::new(place(index), format!("{} is swapped to twice", swap.device))
                    .also("and at", place(first)),
            );
        }
        if !swap.resume {
            continue;
        }
        let place = |of: usize| view.place(&["swap", &of.to_string(), "resume"]);
        match resume {
            Some(first) => outcome.problems.push(
                Remark::new(
                    place(index),
                    "a hibernated system is looked for on two swap areas",
                )
                .also("and at", place(first)),
            ),
            None => resume = Some(index),
        }
    }
}

fn luks(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, luks) in &config.boot.luks {
        if luks.device.is_empty() {
            continue;
        }
        if luks.header.is_some() && luks.volume_uuid().is_none() {
            outcome.problems.push(
                Remark::new(
                    view.place(&["boot", "luks", name, "header"]),
                    format!("boot.luks.{name} has a detached header, and nothing says the volume's UUID"),
                )
                .help(format!(
                    "boot.luks.{name}.uuid says it; `cryptsetup luksUUID HEADER` tells it"
                )),
            );
        }
        if let Some(other) = known.insert(&luks.device, name) {
            outcome.problems.push(
                Remark::new(
                    view.place(&["boot", "luks", name, "device"]),
                    format!("boot.luks.{name} and boot.luks.{other} are the same device"),
                )
                .also("and at", view.place(&["boot", "luks", other, "device"])),
            );
        }
    }
}
