//! What a rehearsal found: as JSON, and as lines for people.

use serde::Serialize;

/// How a rehearsal ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The boot would succeed.
    Boots,
    /// Volumes open, but there is no root file system.
    NoRoot,
    /// The boot would end earlier, or in another generation than it's asked for.
    #[default]
    Fails,
}

/// Everything that was seen, in the order of the boot.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Disks, partitions, and what became visible on them.
    pub devices: Vec<DeviceReport>,
    /// LUKS volumes.
    pub luks: Vec<LuksReport>,
    /// Volume groups.
    pub groups: Vec<GroupReport>,
    /// Logical volumes that the boot activates.
    pub volumes: Vec<VolumeReport>,
    /// Device-mapper tables, in the order in which they're loaded.
    pub tables: Vec<TableReport>,
    /// The root file system.
    pub root: Option<RootReport>,
    /// The generation that starts.
    pub generation: Option<GenerationReport>,
    /// Kernel modules that the way needs.
    pub modules: Vec<ModuleReport>,
    /// What is odd, and keeps nothing from booting.
    pub warnings: Vec<String>,
    /// What keeps the machine from booting.
    pub problems: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A block device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// What is on it, as `blkid` calls it.
    pub content: Option<String>,
    /// The UUID of that.
    pub uuid: Option<String>,
    /// The label of that.
    pub label: Option<String>,
}

/// A LUKS volume.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LuksReport {
    /// The device with the header.
    pub device: String,
    /// Its UUID.
    pub uuid: Option<String>,
    /// The name of its mapping.
    pub name: Option<String>,
    /// Its cipher, as dm-crypt calls it.
    pub cipher: Option<String>,
    /// Its keyslots with their costs.
    pub keyslots: Vec<KeyslotReport>,
    /// Types of its tokens.
    pub tokens: Vec<String>,
    /// The keyslot that a passphrase opened.
    pub keyslot_opened: Option<u32>,
    /// How its content was looked at.
    pub opened_by: Option<OpenedBy>,
    /// Whether the kernel's parameters ask for it.
    pub is_asked_for: bool,
    /// What is odd about it.
    pub warnings: Vec<String>,
    /// What keeps it from being used.
    pub problem: Option<String>,
}

/// How the content of a volume could be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenedBy {
    /// A passphrase or a keyfile.
    Passphrase,
    /// It's open on this machine.
    Mapping,
}

/// A keyslot.
#[derive(Clone, Debug, Serialize)]
pub struct KeyslotReport {
    /// Its number.
    pub keyslot: u32,
    /// Its key derivation function with its costs.
    pub kdf: String,
    /// Memory that it takes.
    pub memory_kib: u64,
}

/// A volume group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// How many physical volumes it has.
    pub physical_volumes: usize,
    /// UUIDs of those that aren't there.
    pub missing: Vec<String>,
    /// Why it isn't touched.
    pub refusal: Option<String>,
}

/// A logical volume.
#[derive(Clone, Debug, Serialize)]
pub struct VolumeReport {
    /// `VG/LV`
    pub name: String,
    /// Why it can't be activated.
    pub problem: Option<String>,
    /// Whether lvm in the initrd activates it, rather than keel-init.
    pub is_by_lvm: bool,
    /// Kernel modules that lvm needs for it.
    pub modules: Vec<&'static str>,
}

/// A device-mapper table. Keys aren't in it.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// The device's name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Lines of the table, as `dmsetup table` prints them.
    pub table: Vec<String>,
}

/// The root file system.
#[derive(Clone, Debug, Serialize)]
pub struct RootReport {
    /// The device.
    pub device: String,
    /// The type of the file system.
    pub kind: String,
    /// Its UUID.
    pub uuid: Option<String>,
}

/// The generation that starts.
#[derive(Clone, Debug, Serialize)]
pub struct GenerationReport {
    /// Its number in the profile.
    pub number: Option<u64>,
    /// The system.
    pub system: String,
    /// Its kernel.
    pub kernel: String,
}

/// A kernel module.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleReport {
    /// Its name.
    pub name: String,
    /// What needs it.
    pub needed_by: String,
    /// Whether the initrd has it.
    pub in_initrd: bool,
    /// Whether the kernel has it without.
    pub built_in: bool,
}

impl Report {
    /// The exit code: 0 only when the boot would succeed, 3 when volumes open but no root is found, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            Outcome::Boots => 0,
            Outcome::NoRoot => 3,
            Outcome::Fails => 1,
        }
    }

    /// The chain, a line a link. With `tables`, device-mapper's tables at the end.
    pub fn lines(&self, tables: bool) -> Vec<String> {
        let mut lines = Vec::new();
        for device in &self.devices {
            let content = device.content.as_deref().unwrap_or("nothing known");
            let uuid = device.uuid.as_deref().unwrap_or_default();
            lines.push(
                format!("device      {}  {content} {uuid}", device.name)
                    .trim_end()
                    .to_owned(),
            );
        }
        for luks in &self.luks {
            luks.lines(&mut lines);
        }
        for group in &self.groups {
            let state = match (&group.refusal, group.missing.as_slice()) {
                (Some(refusal), _) => refusal.clone(),
                (None, []) => format!("{} physical volumes, all there", group.physical_volumes),
                (None, missing) => format!("physical volumes are missing: {}", missing.join(", ")),
            };
            lines.push(format!("group       {}  {state}", group.name));
        }
        for volume in &self.volumes {
            let state = match (&volume.problem, volume.is_by_lvm) {
                (Some(problem), _) => problem.as_str(),
                (None, true) => "lvm in the initrd can activate it",
                (None, false) => "can be activated",
            };
            lines.push(format!("volume      {}  {state}", volume.name));
        }
        if let Some(root) = &self.root {
            let uuid = root.uuid.as_deref().unwrap_or_default();
            lines.push(format!("root        {}  {} {uuid}", root.device, root.kind));
        }
        if let Some(generation) = &self.generation {
            let number = generation
                .number
                .map_or_else(String::new, |number| format!("{number}  "));
            lines.push(format!(
                "generation  {number}{}  Linux {}",
                generation.system, generation.kernel
            ));
        }
        for module in &self.modules {
            let state = match (module.in_initrd, module.built_in) {
                (true, _) => "in the initrd",
                (false, true) => "built into the kernel",
                (false, false) => "NOT in the initrd",
            };
            lines.push(format!(
                "module      {}  {state} ({})",
                module.name, module.needed_by
            ));
        }
        if tables {
            for table in &self.tables {
                for line in &table.table {
                    lines.push(format!("table       {}: {line}", table.name));
                }
            }
        }
        lines.extend(self.warnings.iter().map(|text| format!("warning     {text}")));
        lines.extend(self.problems.iter().map(|text| format!("problem     {text}")));
        let end = match self.outcome {
            Outcome::Boots => "the next boot finds and opens everything",
            Outcome::NoRoot => "volumes open, but there is no root file system",
            Outcome::Fails => "the next boot would not succeed",
        };
        lines.push(format!("outcome     {end}"));
        lines
    }
}

impl LuksReport {
    fn lines(&self, lines: &mut Vec<String>) {
        let cipher = self.cipher.as_deref().unwrap_or_default();
        let state = match (self.opened_by, self.keyslot_opened) {
            (_, Some(keyslot)) => format!("keyslot {keyslot} opened"),
            (Some(OpenedBy::Mapping), None) => "open on this machine; no passphrase was tried".to_owned(),
            _ => "locked".to_owned(),
        };
        lines.push(format!("luks        {}  {cipher}  {state}", self.device));
        for keyslot in &self.keyslots {
            lines.push(format!(
                "            keyslot {}: {}",
                keyslot.keyslot, keyslot.kdf
            ));
        }
        for token in &self.tokens {
            lines.push(format!("            {token} token, which isn't used"));
        }
        lines.extend(
            self.warnings
                .iter()
                .map(|text| format!("            warning: {text}")),
        );
        lines.extend(self.problem.iter().map(|text| format!("            {text}")));
    }
}
