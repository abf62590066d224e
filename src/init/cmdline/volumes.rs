//! What the command line says about LUKS and LVM: `rd.luks.*`, `rd.lvm.*`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// `rd.luks.*`, as in systemd-cryptsetup-generator(8). UUIDs are in lower case, without the prefix `luks-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Luks {
    /// False after `rd.luks=no`: no volume is to be unlocked.
    pub enabled: bool,
    /// `rd.luks.name=UUID=NAME`: name of the mapping by UUID.
    pub names: BTreeMap<String, String>,
    /// `rd.luks.uuid=UUID`, in the order given.
    pub uuids: Vec<String>,
    /// `rd.luks.options=OPTIONS`: crypttab(5) options of every volume without options of its own.
    pub default_options: Vec<String>,
    /// `rd.luks.options=UUID=OPTIONS`.
    pub options: BTreeMap<String, Vec<String>>,
}

impl Default for Luks {
    fn default() -> Self {
        Self {
            enabled: true,
            names: BTreeMap::new(),
            uuids: Vec::new(),
            default_options: Vec::new(),
            options: BTreeMap::new(),
        }
    }
}

impl Luks {
    /// Whether the command line names the volumes to unlock. If not, all that the root needs are.
    pub fn is_listed(&self) -> bool {
        !self.uuids.is_empty() || !self.names.is_empty()
    }

    /// Whether the volume `uuid` is to be unlocked: enabled, and on the list when there is one.
    pub fn wants(&self, uuid: &str) -> bool {
        let uuid = normal_uuid(uuid);
        self.enabled && (!self.is_listed() || self.uuids.contains(&uuid) || self.names.contains_key(&uuid))
    }

    /// Every UUID that the command line asks for, each once.
    pub fn wanted(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.uuids.iter().map(String::as_str).collect();
        all.extend(
            self.names
                .keys()
                .map(String::as_str)
                .filter(|uuid| !self.uuids.iter().any(|u| u == uuid)),
        );
        all
    }

    /// Name of the mapping of `uuid`: the one given, else `luks-UUID` as systemd and dracut call it.
    pub fn name_for(&self, uuid: &str) -> String {
        let uuid = normal_uuid(uuid);
        self.names
            .get(&uuid)
            .cloned()
            .unwrap_or_else(|| format!("luks-{uuid}"))
    }

    /// The crypttab(5) options of `uuid`: its own, else those for all.
    pub fn options_for(&self, uuid: &str) -> &[String] {
        self.options
            .get(&normal_uuid(uuid))
            .unwrap_or(&self.default_options)
    }
}

/// A LUKS UUID for comparison: lower case, without the prefix `luks-`.
pub fn normal_uuid(text: &str) -> String {
    text.strip_prefix("luks-").unwrap_or(text).to_ascii_lowercase()
}

/// `UUID`, possibly `luks-UUID`.
pub(super) fn luks_uuid(text: &str) -> Result<String, &'static str> {
    let uuid = normal_uuid(text);
    if uuid.is_empty() || !uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Err("a UUID holds only hexadecimal digits and hyphens");
    }
    Ok(uuid)
}

/// `UUID=NAME`.
pub(super) fn luks_name(text: &str) -> Result<(String, String), &'static str> {
    let (uuid, name) = text.split_once('=').ok_or("it must be UUID=NAME")?;
    let uuid = luks_uuid(uuid)?;
    // DM_NAME_LEN is 128 with its NUL; "control" is the device-mapper's own node in /dev/mapper.
    if name.is_empty() || name.len() > 127 {
        return Err("the name of a mapping has 1 to 127 bytes");
    }
    if name.contains('/') || name.chars().any(char::is_control) || matches!(name, "." | ".." | "control") {
        return Err("this can't be the name of a mapping");
    }
    Ok((uuid, name.to_owned()))
}

/// `UUID=OPTIONS` or `OPTIONS`.
pub(super) fn luks_options(text: &str) -> (Option<String>, Vec<String>) {
    let (uuid, options) = match text.split_once('=') {
        Some((left, right)) => match luks_uuid(left) {
            Ok(uuid) => (Some(uuid), right),
            Err(_) => (None, text),
        },
        None => (None, text),
    };
    (
        uuid,
        options
            .split(',')
            .filter(|option| !option.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

/// `rd.lvm.*`, as in dracut.cmdline(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lvm {
    /// False after `rd.lvm=no`: no volume group is to be activated.
    pub enabled: bool,
    /// `rd.lvm.lv=VG/LV`, in the order given.
    pub lvs: Vec<LvName>,
    /// `rd.lvm.vg=VG`, in the order given.
    pub vgs: Vec<String>,
}

impl Default for Lvm {
    fn default() -> Self {
        Self {
            enabled: true,
            lvs: Vec::new(),
            vgs: Vec::new(),
        }
    }
}

impl Lvm {
    /// Whether the LV is to be activated: all are when the command line lists neither LVs nor VGs.
    pub fn wants(&self, vg: &str, lv: &str) -> bool {
        let listed = !self.lvs.is_empty() || !self.vgs.is_empty();
        self.enabled
            && (!listed
                || self.vgs.iter().any(|wanted| wanted == vg)
                || self.lvs.iter().any(|wanted| wanted.vg == vg && wanted.lv == lv))
    }
}

/// A logical volume by its two names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LvName {
    /// Volume group.
    pub vg: String,
    /// Logical volume.
    pub lv: String,
}

impl fmt::Display for LvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vg, self.lv)
    }
}

impl FromStr for LvName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (vg, lv) = text.split_once('/').ok_or("it must be VG/LV")?;
        Ok(Self {
            vg: lvm_name(vg)?,
            lv: lvm_name(lv)?,
        })
    }
}

/// A name as lvm(8), section "Valid names", allows it.
pub(super) fn lvm_name(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+_.-".contains(&b);
    if text.is_empty() || text.len() > 127 {
        return Err("the name of a volume has 1 to 127 bytes");
    }
    if text.starts_with('-') || matches!(text, "." | "..") || !text.bytes().all(allowed) {
        return Err("the names of volumes hold only letters, digits and + _ . -, and don't begin with -");
    }
    Ok(text.to_owned())
}
