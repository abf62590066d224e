//! What a machine is, as far as a configuration says it.

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSystem {
    /// Where, on the machine as it will run.
    pub mount_point: String,
    /// What is mounted, by a name that stays.
    pub device: String,
    /// Its type.
    pub kind: String,
    /// Options that are worth keeping.
    pub options: Vec<String>,
    /// Whether it's checked at boot.
    pub check: bool,
}

/// An unlocked volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Luks {
    /// The name of the mapping.
    pub name: String,
    /// What holds it, by a name that stays.
    pub device: String,
    /// Whether discards reach the disk.
    pub allow_discards: bool,
}

/// Swap that is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// The device, by a name that stays, or the file.
    pub device: String,
    /// Its priority, when somebody has set one.
    pub priority: Option<i32>,
    /// Whether a hibernated system is looked for on it.
    pub resume: bool,
}

/// A person's account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Whether it may use sudo.
    pub is_administrator: bool,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its file systems, in the order of their mount points.
    pub file_systems: Vec<FileSystem>,
    /// Unlocked volumes below them and below swap.
    pub luks: Vec<Luks>,
    /// Swap.
    pub swap: Vec<Swap>,
    /// Kernel modules without which the root isn't found.
    pub modules: Vec<String>,
    /// Packages with microcode and firmware.
    pub packages: Vec<String>,
    /// Whether it was booted by UEFI.
    pub efi: bool,
    /// Its processor, in words.
    pub processor: Option<String>,
    /// Whether it's a virtual machine.
    pub is_virtual: bool,
    /// hostname(5).
    pub hostname: Option<String>,
    /// Its time zone.
    pub time_zone: Option<String>,
    /// `LANG`.
    pub locale: Option<String>,
    /// Its console keymap.
    pub keymap: Option<String>,
    /// Its suite of Debian.
    pub suite: Option<String>,
    /// People's accounts.
    pub accounts: Vec<Account>,
    /// What wasn't taken over, and why; a sentence each.
    pub notes: Vec<String>,
}
