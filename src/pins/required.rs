//! Which packages a configuration asks for, and which of its options does.

use std::collections::BTreeMap;

use super::apt::architecture;
use crate::config::{Config, User};

/// A package that has to be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageRequest {
    /// Its name.
    pub name: String,
    /// What asks for it, such as `packages.install` or `services.openssh.enable`. The first one when several do.
    pub because: String,
    /// Whether it belongs to the base, which machines of a suite have in common.
    pub base: bool,
    /// Whether a suite that doesn't have it does without.
    pub if_there: bool,
}

/// What every machine of keel's consists of, beside what Debian itself marks as essential or required. Those that only some
/// suites have are passed over in the others.
const BASE: [&str; 17] = [
    "apt",
    "ca-certificates",
    "dbus",
    "debian-archive-keyring",
    "fdisk",
    "iproute2",
    "kmod",
    "libnss-systemd",
    "libpam-systemd",
    "login",
    "mount",
    "netbase",
    "passwd",
    "procps",
    "systemd-sysv",
    "udev",
    "util-linux",
];
/// What used to be a part of those.
const BASE_IF_THERE: [&str; 2] = ["systemd-cryptsetup", "util-linux-extra"];
const OF_BASE: &str = "every machine";

/// File systems and what checks them or mounts them.
const FILE_SYSTEMS: [(&str, &str); 12] = [
    ("bcachefs", "bcachefs-tools"),
    ("btrfs", "btrfs-progs"),
    ("cifs", "cifs-utils"),
    ("exfat", "exfatprogs"),
    ("ext2", "e2fsprogs"),
    ("ext3", "e2fsprogs"),
    ("ext4", "e2fsprogs"),
    ("f2fs", "f2fs-tools"),
    ("nfs", "nfs-common"),
    ("nfs4", "nfs-common"),
    ("vfat", "dosfstools"),
    ("xfs", "xfsprogs"),
];

/// Shells that are packages of their own.
const SHELLS: [&str; 4] = ["fish", "ksh93u+m", "tcsh", "zsh"];

/// The packages that `config` asks for: those of the base, those that its options need, those that it names. Sorted by name, each
/// once.
pub fn required(config: &Config) -> Vec<PackageRequest> {
    let mut found = Found::default();
    for name in BASE {
        found.base(name, OF_BASE, false);
    }
    for name in BASE_IF_THERE {
        found.base(name, OF_BASE, true);
    }
    if !config.packages.kernel.is_empty() {
        found.base(&config.packages.kernel, "packages.kernel", false);
    }
    boot(config, &mut found);
    machine(config, &mut found);
    services(config, &mut found);
    for name in &config.packages.install {
        found.add(name, "packages.install");
    }
    for (name, user) in &config.users {
        person(name, user, &mut found);
    }
    found.requests.into_values().collect()
}

#[derive(Default)]
struct Found {
    requests: BTreeMap<String, PackageRequest>,
}

impl Found {
    fn add(&mut self, name: &str, because: &str) {
        self.put(name, because, (false, false));
    }

    fn base(&mut self, name: &str, because: &str, if_there: bool) {
        self.put(name, because, (true, if_there));
    }

    fn put(&mut self, name: &str, because: &str, (base, if_there): (bool, bool)) {
        // Of this machine's architecture is what all are.
        let name = match name.split_once(':') {
            Some((name, of)) if of == architecture() => name,
            _ => name,
        };
        let request = self
            .requests
            .entry(name.to_owned())
            .or_insert_with(|| PackageRequest {
                name: name.to_owned(),
                because: because.to_owned(),
                base,
                if_there,
            });
        // Asked for by name, it has to be there.
        if request.if_there && !if_there {
            request.if_there = false;
            because.clone_into(&mut request.because);
        }
    }
}

fn boot(config: &Config, found: &mut Found) {
    if config.boot.loader == "systemd-boot" {
        found.add("systemd-boot-efi", "boot.loader");
    }
    if let Some(name) = config.boot.luks.keys().next() {
        found.add("cryptsetup-bin", &format!("boot.luks.{name}"));
    }
    let volumes = config
        .filesystems
        .iter()
        .map(|(place, one)| (one.device.as_str(), format!("filesystems.\"{place}\"")))
        .chain(
            config
                .swap
                .iter()
                .map(|one| (one.device.as_str(), "swap".to_owned())),
        );
    for (device, because) in volumes {
        if is_logical_volume(device, config) {
            found.add("lvm2", &because);
        }
    }
    for (place, one) in &config.filesystems {
        if place == "/" && one.kind.starts_with("ext") {
            // The initrd checks the root file system by itself.
            found.add("e2fsck-static", "filesystems.\"/\"");
        }
        if let Some((_, package)) = FILE_SYSTEMS.iter().find(|(kind, _)| *kind == one.kind) {
            found.add(package, &format!("filesystems.\"{place}\""));
        }
    }
}

/// Whether a device is named as LVM names volumes: `/dev/GROUP/VOLUME`, or `/dev/mapper/GROUP-VOLUME` that isn't a LUKS mapping.
fn is_logical_volume(device: &str, config: &Config) -> bool {
    const OTHERS: [&str; 13] = [
        "block", "bus", "char", "cpu", "disk", "dri", "fd", "input", "loop", "md", "net", "shm", "zvol",
    ];
    let Some((directory, name)) = device.strip_prefix("/dev/").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    if directory == "mapper" {
        return name.contains('-') && !config.boot.luks.contains_key(name);
    }
    !OTHERS.contains(&directory) && !name.contains('/')
}

fn machine(config: &Config, found: &mut Found) {
    let system = &config.system;
    let generated = |locale: &str| {
        let name = locale.split(['.', '@']).next().unwrap_or_default();
        !matches!(name, "" | "C" | "POSIX")
    };
    if generated(&system.locale) {
        found.add("locales", "system.locale");
    }
    if system.extra_locales.iter().any(|locale| generated(locale)) {
        found.add("locales", "system.extra_locales");
    }
    if !matches!(system.time_zone.as_str(), "" | "UTC" | "Etc/UTC") {
        found.add("tzdata", "system.time_zone");
    }
    if !matches!(system.keymap.as_str(), "" | "us") {
        found.add("console-setup", "system.keymap");
        found.add("kbd", "system.keymap");
    }
    let admins = ["sudo", "wheel"];
    for (name, user) in &config.users {
        if user.groups.iter().any(|group| admins.contains(&group.as_str())) {
            found.add("sudo", &format!("users.{name}.groups"));
        }
    }
    for name in admins {
        if config
            .groups
            .get(name)
            .is_some_and(|group| !group.members.is_empty())
        {
            found.add("sudo", &format!("groups.{name}.members"));
        }
    }
    if !config.security.sudo.extra_rules.is_empty() {
        found.add("sudo", "security.sudo.extra_rules");
    }
}

fn services(config: &Config, found: &mut Found) {
    if config.services.openssh.enable {
        found.add("openssh-server", "services.openssh.enable");
    }
    if config.services.timesyncd.enable {
        found.add("systemd-timesyncd", "services.timesyncd.enable");
    }
    if config.networking.firewall.enable {
        found.add("nftables", "networking.firewall.enable");
    }
    if config.networking.networkmanager.enable {
        found.add("network-manager", "networking.networkmanager.enable");
        // Only recommended by it, and wireless networks need it.
        found.add("wpasupplicant", "networking.networkmanager.enable");
    }
    if config.programs.starship.enable {
        found.add("starship", "programs.starship.enable");
    }
    let bash = &config.programs.bash;
    if !(bash.interactive_shell_init.is_empty()
        && bash.login_shell_init.is_empty()
        && bash.aliases.is_empty())
    {
        found.add("bash", "programs.bash");
    }
    if config.programs.git.enable {
        found.add("git", "programs.git.enable");
    }
}

fn person(name: &str, user: &User, found: &mut Found) {
    if user.normal {
        // The bus of a user's own services, which Debian only recommends.
        found.add("dbus-user-session", &format!("users.{name}.normal"));
    }
    let shell = user.shell.as_deref().and_then(|path| path.rsplit('/').next());
    if let Some(shell) = shell.filter(|shell| SHELLS.contains(shell)) {
        found.add(shell, &format!("users.{name}.shell"));
    }
    for package in &user.packages {
        found.add(package, &format!("users.{name}.packages"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn of(text: &str) -> BTreeMap<String, String> {
        let config: Config = toml::from_str(text).unwrap();
        let all = required(&config);
        assert!(
            all.windows(2).all(|pair| pair[0].name < pair[1].name),
            "sorted, each once"
        );
        all.into_iter()
            .filter(|request| !request.base)
            .map(|request| (request.name, request.because))
            .collect()
    }

    #[test]
    fn options_say_which_packages_they_need() {
        let found = of(&r#"
            [system]
            time_zone = "Asia/Kolkata"
            locale = "en_US.UTF-8"
            keymap = "us"
            [boot.luks.root]
            device = "/dev/nvme0n1p2"
            [filesystems."/"]
            device = "/dev/vg/root"
            type = "ext4"
            [filesystems."/boot"]
            device = "/dev/disk/by-uuid/1234"
            type = "vfat"
            [packages]
            install = ["vim:ARCH", "git"]
            [users.kirans]
            normal = true
            groups = ["wheel"]
            packages = ["firefox-esr"]
            shell = "/usr/bin/zsh"
            [services.openssh]
            enable = true
            [networking]
            networkmanager.enable = true
        "#
        .replace("ARCH", architecture()));
        for (package, because) in [
            ("locales", "system.locale"),
            ("tzdata", "system.time_zone"),
            ("cryptsetup-bin", "boot.luks.root"),
            ("lvm2", "filesystems.\"/\""),
            ("e2fsprogs", "filesystems.\"/\""),
            ("e2fsck-static", "filesystems.\"/\""),
            ("dosfstools", "filesystems.\"/boot\""),
            ("vim", "packages.install"),
            ("sudo", "users.kirans.groups"),
            ("firefox-esr", "users.kirans.packages"),
            ("zsh", "users.kirans.shell"),
            ("openssh-server", "services.openssh.enable"),
            ("nftables", "networking.firewall.enable"),
            ("network-manager", "networking.networkmanager.enable"),
            ("systemd-boot-efi", "boot.loader"),
        ] {
            assert_eq!(found.get(package).map(String::as_str), Some(because), "{package}");
        }
        assert!(!found.contains_key("console-setup"), "us is built in");
    }

    #[test]
    fn what_is_not_asked_for_is_not_there() {
        let found = of("[networking]\nfirewall.enable = false\n[boot]\nloader = \"\"\n");
        assert_eq!(found, BTreeMap::new());
    }

    #[test]
    fn the_base_is_the_same_whatever_options_say() {
        let base = |text: &str| {
            let config: Config = toml::from_str(text).unwrap();
            let mut all = required(&config);
            all.retain(|request| request.base);
            all.into_iter().map(|request| request.name).collect::<Vec<_>>()
        };
        assert_eq!(base(""), base("[services.openssh]\nenable = true\n"));
        assert!(base("").contains(&"linux-image-amd64".to_owned()));
    }

    #[test]
    fn volumes_are_told_from_other_devices() {
        let config: Config = toml::from_str("[boot.luks.cr-root]\ndevice = \"/dev/sda2\"\n").unwrap();
        for (device, expected) in [
            ("/dev/vg/root", true),
            ("/dev/mapper/vg-root", true),
            ("/dev/mapper/cr-root", false),
            ("/dev/mapper/root", false),
            ("/dev/disk/by-uuid/1", false),
            ("/dev/sda1", false),
            ("/dev/md/0", false),
            ("/swapfile", false),
        ] {
            assert_eq!(is_logical_volume(device, &config), expected, "{device}");
        }
    }
}
