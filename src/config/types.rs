//! The resolved configuration: imports merged, defaults filled in, every value checked for its type.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::system::health::Health;

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which version's defaults the machine's state was made with.
    pub state_version: String,
    /// `[system]`.
    pub system: System,
    /// `[boot]`.
    pub boot: Boot,
    /// `[filesystems."PATH"]`, by mount point.
    pub filesystems: BTreeMap<String, FileSystem>,
    /// `[[swap]]`.
    pub swap: Vec<Swap>,
    /// `[packages]`.
    pub packages: Packages,
    /// `[users.NAME]`.
    pub users: BTreeMap<String, User>,
    /// `[groups.NAME]`.
    pub groups: BTreeMap<String, Group>,
    /// `[services]`.
    pub services: Services,
    /// `[networking]`.
    pub networking: Networking,
    /// `[programs]`.
    pub programs: Programs,
    /// `[units."NAME"]`.
    pub units: BTreeMap<String, Unit>,
    /// `[etc."PATH"]`, relative to `/etc`.
    pub etc: BTreeMap<String, EtcFile>,
    /// `[sysctl]`: keys of sysctl.d(5) to their values.
    pub sysctl: BTreeMap<String, String>,
    /// `[environment]`: variables of every session.
    pub environment: BTreeMap<String, String>,
    /// `[tmpfiles]`.
    pub tmpfiles: Tmpfiles,
    /// `[security]`.
    pub security: Security,
    /// `[health]`.
    pub health: Health,
    /// `[switch]`.
    pub switch: Switch,
    /// `[[overlay]]`.
    pub overlay: Vec<Overlay>,
}

/// `[system]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct System {
    /// hostname(5).
    pub hostname: String,
    /// A name of the time zone database, such as `Asia/Kolkata`.
    pub time_zone: String,
    /// `LANG`; the locale is generated.
    pub locale: String,
    /// Further locales to generate.
    pub extra_locales: Vec<String>,
    /// A console keymap, in early boot as well.
    pub keymap: String,
}

impl Default for System {
    fn default() -> Self {
        Self {
            hostname: "debian".to_owned(),
            time_zone: "Etc/UTC".to_owned(),
            locale: "C.UTF-8".to_owned(),
            extra_locales: Vec::new(),
            keymap: "us".to_owned(),
        }
    }
}

/// `[boot]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Boot {
    /// The boot loader: `systemd-boot`.
    pub loader: String,
    /// Whether the firmware's boot order may be changed.
    pub can_touch_efi_variables: bool,
    /// The most generations in the boot menu.
    pub generations: u32,
    /// Seconds that the menu is shown.
    pub timeout: u32,
    /// Kernel parameters.
    pub kernel_params: Vec<String>,
    /// `[boot.luks.NAME]`, by the name of the mapping.
    pub luks: BTreeMap<String, Luks>,
    /// `[boot.initrd]`.
    pub initrd: InitrdOptions,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            loader: "systemd-boot".to_owned(),
            can_touch_efi_variables: true,
            generations: 10,
            timeout: 3,
            kernel_params: Vec::new(),
            luks: BTreeMap::new(),
            initrd: InitrdOptions::default(),
        }
    }
}

/// `[boot.initrd]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitrdOptions {
    /// Kernel modules beside those of the module set.
    pub modules: Vec<String>,
    /// The module set: `minimal`, `common` or `generic`.
    pub set: String,
    /// Whether systemd is PID 1 of the initrd.
    pub systemd: bool,
}

impl Default for InitrdOptions {
    fn default() -> Self {
        Self {
            modules: Vec::new(),
            set: "common".to_owned(),
            systemd: false,
        }
    }
}

/// `[boot.luks.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Luks {
    /// What holds the volume.
    pub device: String,
    /// The volume's UUID, where the device isn't named by it.
    pub uuid: Option<String>,
    /// Whether discards reach the disk.
    pub allow_discards: bool,
    /// A keyfile, as `rd.luks.key=` names it.
    pub key_file: Option<String>,
    /// A detached header.
    pub header: Option<String>,
    /// Further options, as crypttab(5) has them.
    pub options: Vec<String>,
}

impl Luks {
    /// The volume's UUID: the one that is said, or the one that the device is named by.
    pub fn volume_uuid(&self) -> Option<&str> {
        let of_device = || {
            let device = self.device.as_str();
            device
                .strip_prefix("/dev/disk/by-uuid/")
                .or_else(|| device.strip_prefix("UUID="))
        };
        self.uuid.as_deref().or_else(of_device)
    }
}

/// `[filesystems."PATH"]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileSystem {
    /// What is mounted.
    pub device: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Mount options.
    pub options: Vec<String>,
    /// Whether it's checked at boot (`fs_passno`), if there is a program that checks such file systems.
    pub check: bool,
}

impl Default for FileSystem {
    fn default() -> Self {
        Self {
            device: String::new(),
            kind: String::new(),
            options: Vec::new(),
            check: true,
        }
    }
}

/// `[[swap]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Swap {
    /// The device or file.
    pub device: String,
    /// Its priority.
    pub priority: Option<i32>,
    /// Whether a hibernated system is looked for on it.
    pub resume: bool,
    /// Further options, as fstab(5) has them.
    pub options: Vec<String>,
}

/// `[packages]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Packages {
    /// Debian's suite.
    pub suite: String,
    /// Components.
    pub components: Vec<String>,
    /// Mirrors: URIs of sources.list(5); those of this machine when empty.
    pub mirrors: Vec<String>,
    /// Whether the suite's updates are a source.
    pub updates: bool,
    /// Whether its security updates are.
    pub security: bool,
    /// Further sources, each a line of sources.list(5).
    pub sources: Vec<String>,
    /// Packages for everybody.
    pub install: Vec<String>,
    /// The kernel's package.
    pub kernel: String,
    /// Whether recommended packages come along.
    pub recommends: bool,
    /// Paths of packages that are left out, as dpkg's `path-exclude` has them.
    pub exclude: Vec<String>,
}

impl Default for Packages {
    fn default() -> Self {
        Self {
            suite: "trixie".to_owned(),
            components: vec!["main".to_owned()],
            mirrors: Vec::new(),
            updates: true,
            security: true,
            sources: Vec::new(),
            install: Vec::new(),
            kernel: "linux-image-amd64".to_owned(),
            recommends: false,
            exclude: Vec::new(),
        }
    }
}

/// `[users.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// A person: a home, a shell, a number from 1000, subordinate ids.
    pub normal: bool,
    /// A user of the system's own.
    pub system: bool,
    /// Its number; from the lock when left out.
    pub uid: Option<u32>,
    /// The primary group; one of the same name when left out.
    pub group: Option<String>,
    /// Further groups. The loader has written `sudo` for a `wheel` that nobody declares.
    pub groups: Vec<String>,
    /// Full name (GECOS).
    pub description: String,
    /// Home directory.
    pub home: Option<String>,
    /// Login shell.
    pub shell: Option<String>,
    /// A file of the machine's that holds the hashed password (crypt(5)); read when the account is made.
    pub hashed_password_file: Option<String>,
    /// Lines of `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// Whether its services run while it isn't logged in. They begin at its next login, or with the machine.
    pub linger: bool,
    /// Packages that are installed because of this user.
    pub packages: Vec<String>,
}

/// `[groups.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Group {
    /// Its number; from the lock when left out.
    pub gid: Option<u32>,
    /// Whether it's the system's own.
    pub system: bool,
    /// Its members.
    pub members: Vec<String>,
}

/// `[services]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Services {
    /// `[services.openssh]`.
    pub openssh: OpenSsh,
    /// `[services.timesyncd]`.
    pub timesyncd: Timesyncd,
}

/// `[services.openssh]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenSsh {
    /// Whether sshd runs.
    pub enable: bool,
    /// Its ports.
    pub ports: Vec<u16>,
    /// Whether passwords are taken.
    pub password_authentication: bool,
    /// `PermitRootLogin` of sshd_config(5).
    pub permit_root_login: String,
    /// Further lines of sshd_config(5), by keyword.
    pub settings: BTreeMap<String, String>,
}

impl Default for OpenSsh {
    fn default() -> Self {
        Self {
            enable: false,
            ports: vec![22],
            password_authentication: true,
            permit_root_login: "prohibit-password".to_owned(),
            settings: BTreeMap::new(),
        }
    }
}

/// `[services.timesyncd]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timesyncd {
    /// Whether the clock is set from the network.
    pub enable: bool,
    /// Servers; systemd's own when empty.
    pub servers: Vec<String>,
}

/// `[networking]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Networking {
    /// `[networking.firewall]`.
    pub firewall: Firewall,
    /// `[networking.networkmanager]`.
    pub networkmanager: Enable,
    /// `[networking.networkd]`.
    pub networkd: Enable,
    /// `[networking.hosts]`: addresses to their names.
    pub hosts: BTreeMap<String, Vec<String>>,
    /// Servers that names are looked up by.
    pub nameservers: Vec<String>,
}

/// `[networking.firewall]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Firewall {
    /// Whether incoming connections are dropped unless allowed.
    pub enable: bool,
    /// Ports that are open.
    pub allowed_tcp_ports: Vec<u16>,
    /// Ports that are open.
    pub allowed_udp_ports: Vec<u16>,
    /// Whether echo requests are answered.
    pub allow_ping: bool,
    /// Interfaces on which everything is allowed.
    pub trusted_interfaces: Vec<String>,
    /// Further rules of the chain `input`, as nft(8) takes them.
    pub extra_input_rules: String,
}

impl Default for Firewall {
    fn default() -> Self {
        Self {
            enable: true,
            allowed_tcp_ports: Vec::new(),
            allowed_udp_ports: Vec::new(),
            allow_ping: true,
            trusted_interfaces: Vec::new(),
            extra_input_rules: String::new(),
        }
    }
}

/// A table with a switch alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Enable {
    /// Whether it's there and runs.
    pub enable: bool,
}

/// `[programs]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Programs {
    /// `[programs.starship]`.
    pub starship: Starship,
    /// `[programs.bash]`.
    pub bash: Bash,
    /// `[programs.git]`.
    pub git: Git,
}

impl Eq for Programs {}

/// `[programs.starship]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Starship {
    /// Whether shells start it.
    pub enable: bool,
    /// What `starship.toml` holds.
    pub settings: toml::Table,
}

/// `[programs.bash]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bash {
    /// Lines that interactive shells run.
    pub interactive_shell_init: String,
    /// Lines that login shells run.
    pub login_shell_init: String,
    /// Aliases.
    pub aliases: BTreeMap<String, String>,
}

/// `[programs.git]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Git {
    /// Whether it's installed.
    pub enable: bool,
    /// What `/etc/gitconfig` holds: sections of keys.
    pub settings: toml::Table,
}

/// `[units."NAME"]`: a unit of systemd's, of any type, or drop-ins for one that a package brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unit {
    /// Whether it's started with what its `[Install]` section or `wanted_by` names.
    pub enable: bool,
    /// Whether it can't be started at all.
    pub mask: bool,
    /// The whole text of the unit.
    pub text: Option<String>,
    /// Sections to keys to values: the unit, written from tables. A list is a key that is given several times.
    pub sections: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Drop-ins by their names (`10-limits`), as texts.
    pub drop_ins: BTreeMap<String, String>,
    /// Units that want it.
    pub wanted_by: Vec<String>,
    /// Paths below `/etc` whose change restarts it.
    pub restart_triggers: Vec<String>,
    /// Paths below `/etc` whose change reloads it.
    pub reload_triggers: Vec<String>,
    /// What a switch does with it when it changed: `restart`, `stop-start`, `reload`, `keep`.
    pub switch: Option<String>,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            enable: true,
            mask: false,
            text: None,
            sections: BTreeMap::new(),
            drop_ins: BTreeMap::new(),
            wanted_by: Vec::new(),
            restart_triggers: Vec::new(),
            reload_triggers: Vec::new(),
            switch: None,
        }
    }
}

/// `[etc."PATH"]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtcFile {
    /// Its contents.
    pub text: Option<String>,
    /// A file that holds them, relative to the main configuration file, whichever file it was written in.
    pub source: Option<String>,
    /// A link's target, instead of contents.
    pub link: Option<String>,
    /// Permissions, in octal.
    pub mode: String,
    /// Its owner.
    pub user: String,
    /// Its group.
    pub group: String,
}

impl Default for EtcFile {
    fn default() -> Self {
        Self {
            text: None,
            source: None,
            link: None,
            mode: "0644".to_owned(),
            user: "root".to_owned(),
            group: "root".to_owned(),
        }
    }
}

/// `[tmpfiles]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tmpfiles {
    /// Lines of tmpfiles.d(5).
    pub rules: Vec<String>,
}

/// `[security]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// `[security.setuid]`.
    pub setuid: Setuid,
    /// `[security.sudo]`.
    pub sudo: Sudo,
}

/// `[security.setuid]`: which programs may keep a setuid or setgid bit, or file capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setuid {
    /// Absolute paths that keep theirs; all keep them when left out.
    pub only: Option<Vec<String>>,
    /// Absolute paths that lose theirs.
    pub remove: Vec<String>,
}

/// `[security.sudo]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sudo {
    /// Further lines of sudoers(5).
    pub extra_rules: Vec<String>,
}

/// `[switch]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switch {
    /// Units that no switch restarts, stops or reloads.
    pub keep: Vec<String>,
    /// Seconds until a switch is undone unless it's confirmed.
    pub confirm: Option<u64>,
}

/// `[[overlay]]`: a package replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overlay {
    /// The package that is replaced, or added.
    pub package: String,
    /// A `.deb`, relative to the main configuration file.
    pub deb: Option<String>,
    /// A recipe that builds what takes its place, relative to the main configuration file.
    pub recipe: Option<String>,
    /// A path of the store that takes its place.
    pub path: Option<String>,
}
