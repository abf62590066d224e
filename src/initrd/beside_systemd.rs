//! An initrd whose PID 1 is systemd: what of the tree goes into it beside keel-init and the modules.

use super::plan::{BuildError, Parts};
use super::system_tree::{Presence, SystemTree};

/// Programs without which nothing goes on.
const PROGRAMS: &[(&str, &str)] = &[
    ("usr/lib/systemd/systemd", "PID 1 of the initrd"),
    ("usr/lib/systemd/systemd-executor", "PID 1 starts programs by it"),
    ("usr/lib/systemd/systemd-journald", "the journal"),
    ("usr/lib/systemd/systemd-udevd", "devices"),
    (
        "usr/lib/systemd/systemd-modules-load",
        "modules that modules-load.d names",
    ),
    ("usr/lib/systemd/systemd-shutdown", "restarts and switches off"),
    ("usr/bin/systemctl", "units of systemd call it"),
    ("usr/bin/udevadm", "units of udev call it"),
    (
        "usr/bin/systemd-tty-ask-password-agent",
        "asks for passphrases on the consoles",
    ),
    (
        "usr/lib/systemd/systemd-reply-password",
        "carries passphrases to who asked",
    ),
    ("usr/sbin/modprobe", "the kernel and units load modules by it"),
    ("usr/sbin/dmsetup", "udev's rules for device-mapper call it"),
];

/// Programs and plugins that go in when the tree has them: systemd's own way to open volumes, the splash screen, and what
/// udev's rules call.
const OPTIONAL: &[(&str, &str)] = &[
    (
        "usr/lib/systemd/systemd-cryptsetup",
        "opens volumes by TPM2, FIDO2 and PKCS#11",
    ),
    (
        "usr/bin/systemd-cryptsetup",
        "opens volumes by TPM2, FIDO2 and PKCS#11",
    ),
    (
        "usr/lib/systemd/system-generators/systemd-cryptsetup-generator",
        "units of rd.luks=",
    ),
    (
        "usr/bin/mount",
        "units mount devices with headers and keyfiles by it",
    ),
    ("usr/bin/umount", "units unmount them by it"),
    ("usr/lib/x86_64-linux-gnu/cryptsetup", "tokens of LUKS2 volumes"),
    ("usr/lib/udev/ata_id", "udev's rules call it"),
    ("usr/lib/udev/cdrom_id", "udev's rules call it"),
    ("usr/lib/udev/scsi_id", "udev's rules call it"),
    ("usr/lib/udev/dmi_memory_id", "udev's rules call it"),
    ("usr/lib/udev/mtd_probe", "udev's rules call it"),
    ("usr/lib/modprobe.d", "configuration of modules"),
    ("etc/modprobe.d", "configuration of modules"),
];

/// Directories of which the files with such an ending go in, when they're there.
const CONFIGURATION: &[(&str, &str, &str)] = &[
    ("usr/lib/systemd/network", ".link", "names of network interfaces"),
    (
        "usr/lib/systemd/journald.conf.d",
        ".conf",
        "settings of the journal",
    ),
    ("usr/lib/systemd/system.conf.d", ".conf", "settings of systemd"),
];

/// Rules that aren't for an initrd: keel-init activates volume groups, and nobody scrubs or logs in here.
const RULES_LEFT_OUT: &[&str] = &[
    "69-lvm.rules",
    "96-e2scrub.rules",
    "70-uaccess.rules",
    "73-seat-late.rules",
];

/// Units of systemd and udev. Those that the tree lacks are left out.
const UNITS: &[&str] = &[
    "basic.target",
    "cryptsetup-pre.target",
    "cryptsetup.target",
    "ctrl-alt-del.target",
    "emergency.target",
    "final.target",
    "initrd-cleanup.service",
    "initrd-fs.target",
    "initrd-root-device.target",
    "initrd-root-fs.target",
    "initrd-switch-root.service",
    "initrd-switch-root.target",
    "initrd-usr-fs.target",
    "initrd.target",
    "kmod-static-nodes.service",
    "local-fs-pre.target",
    "local-fs.target",
    "modprobe@.service",
    "network-online.target",
    "network-pre.target",
    "network.target",
    "paths.target",
    "poweroff.target",
    "reboot.target",
    "remote-cryptsetup.target",
    "remote-fs-pre.target",
    "remote-fs.target",
    "shutdown.target",
    "slices.target",
    "sockets.target",
    "swap.target",
    "sysinit.target",
    "systemd-ask-password-console.path",
    "systemd-ask-password-console.service",
    "systemd-ask-password-plymouth.path",
    "systemd-ask-password-plymouth.service",
    "systemd-journald-audit.socket",
    "systemd-journald-dev-log.socket",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-modules-load.service",
    "systemd-poweroff.service",
    "systemd-reboot.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "timers.target",
    "umount.target",
];

/// keel's own units and drop-ins, below `usr/lib/systemd/system`.
const OWN: &[(&str, &str)] = &[
    (
        "keel-init.service",
        include_str!("../../units/initrd/keel-init.service"),
    ),
    (
        "emergency.service",
        include_str!("../../units/initrd/emergency.service"),
    ),
    (
        "initrd-cleanup.service.d/keel.conf",
        include_str!("../../units/initrd/initrd-cleanup.conf"),
    ),
    (
        "initrd-switch-root.service.d/keel.conf",
        include_str!("../../units/initrd/initrd-switch-root.conf"),
    ),
];

/// Links of keel's own.
const LINKS: &[(&str, &str, &str)] = &[
    (
        "init",
        "usr/lib/systemd/systemd",
        "PID 1 of the initrd is systemd",
    ),
    ("bin", "usr/bin", "merged into usr"),
    ("sbin", "usr/sbin", "merged into usr"),
    ("lib", "usr/lib", "merged into usr"),
    ("lib64", "usr/lib64", "merged into usr"),
    (
        "etc/os-release",
        "initrd-release",
        "what the system is, for systemd",
    ),
    ("var/run", "../run", "its old name"),
    (
        "usr/lib/systemd/system/default.target",
        "initrd.target",
        "what an initrd starts",
    ),
    (
        "usr/lib/systemd/system/initrd-root-fs.target.requires/keel-init.service",
        "../keel-init.service",
        "the root is there when keel-init has made it",
    ),
    (
        "usr/lib/systemd/system/initrd.target.wants/initrd-cleanup.service",
        "../initrd-cleanup.service",
        "the hand-off follows when everything is there",
    ),
];

const UNIT_DIRECTORY: &str = "usr/lib/systemd/system";
const RULES_DIRECTORY: &str = "usr/lib/udev/rules.d";

/// Puts in systemd, udev, their units and configuration, and `include` (files and directories of the tree).
pub(super) fn add(
    parts: &mut Parts,
    tree: &mut SystemTree<'_>,
    include: &[String],
    groups: &str,
) -> Result<(), BuildError> {
    for (path, target, reason) in LINKS {
        parts.link(path, target, reason)?;
    }
    for (program, reason) in PROGRAMS {
        tree.copy(parts, program, reason, Presence::Required)?;
    }
    for (path, reason) in OPTIONAL {
        tree.copy(parts, path, reason, Presence::Optional)?;
    }
    for (directory, ending, reason) in CONFIGURATION {
        for name in tree.list(directory)?.iter().filter(|name| name.ends_with(ending)) {
            tree.copy(parts, &format!("{directory}/{name}"), reason, Presence::Required)?;
        }
    }
    for name in tree.list(RULES_DIRECTORY)? {
        if name.ends_with(".rules") && !RULES_LEFT_OUT.contains(&name.as_str()) {
            let path = format!("{RULES_DIRECTORY}/{name}");
            tree.copy(parts, &path, "udev's rules", Presence::Required)?;
        }
    }
    for path in include {
        let path = path.trim_matches('/');
        tree.copy(parts, path, "asked for by --include", Presence::Required)?;
    }
    units(parts, tree)?;
    // Numbers of groups that udev's rules name; nobody logs in.
    parts.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n".to_vec(),
        "names of users; nobody can log in",
    )?;
    let groups = system_groups(groups);
    parts.file(
        "etc/group",
        0o644,
        groups.into_bytes(),
        "groups of devices, for udev's rules",
    )?;
    // An empty one: systemd makes up an identity for the time of the initrd, and doesn't call it a first boot.
    parts.file("etc/machine-id", 0o444, Vec::new(), "isn't known in the initrd")?;
    Ok(())
}

fn units(parts: &mut Parts, tree: &mut SystemTree<'_>) -> Result<(), BuildError> {
    for unit in UNITS {
        let path = format!("{UNIT_DIRECTORY}/{unit}");
        tree.copy(parts, &path, "a unit of systemd", Presence::Optional)?;
        let drop_ins = format!("{path}.d");
        for name in tree
            .list(&drop_ins)?
            .iter()
            .filter(|name| name.ends_with(".conf"))
        {
            tree.copy(
                parts,
                &format!("{drop_ins}/{name}"),
                "settings of a unit",
                Presence::Required,
            )?;
        }
    }
    // What a unit in the image wants goes with it where that is in the image, too.
    for directory in tree.list(UNIT_DIRECTORY)? {
        let Some((unit, "wants" | "requires")) = directory.rsplit_once('.') else {
            continue;
        };
        if !parts.has(&format!("{UNIT_DIRECTORY}/{unit}")) {
            continue;
        }
        for name in tree.list(&format!("{UNIT_DIRECTORY}/{directory}"))? {
            if parts.has(&format!("{UNIT_DIRECTORY}/{name}")) {
                let link = format!("{UNIT_DIRECTORY}/{directory}/{name}");
                parts.link(&link, &format!("../{name}"), &format!("{unit} asks for it"))?;
            }
        }
    }
    for (name, text) in OWN {
        let path = format!("{UNIT_DIRECTORY}/{name}");
        parts.file(&path, 0o644, text.as_bytes().to_vec(), "keel's own unit")?;
    }
    Ok(())
}

/// The lines of a group(5) for groups of the system, without members, by number.
fn system_groups(text: &str) -> String {
    let mut groups: Vec<(u32, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (name, number) = (fields.next()?, fields.nth(1)?);
            Some((number.parse().ok()?, name))
        })
        .filter(|(number, name)| *number < 1000 && !name.is_empty())
        .collect();
    groups.sort_unstable();
    let lines = groups
        .iter()
        .map(|(number, name)| format!("{name}:x:{number}:\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_persons_and_members_stay_out() {
        let text = "tty:x:5:\nalice:x:1000:\n\ndisk:x:6:alice\nroot:x:0:\n#:\n:x:7:\nodd:x:y:\n";
        assert_eq!(system_groups(text), "root:x:0:\ntty:x:5:\ndisk:x:6:\n");
    }
}
