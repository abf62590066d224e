//! How a block device is named on the kernel command line, in crypttab and in fstab.

use std::fmt;
use std::str::FromStr;

/// A block device by one of its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceSpec {
    /// UUID of the file system, swap area or LUKS header, in lower case (FAT volumes report theirs in upper case:
    /// compare with [`eq_ignore_ascii_case`](str::eq_ignore_ascii_case)).
    Uuid(String),
    /// UUID of the GPT partition, or `<MBR disk signature>-<number>`; in lower case.
    PartUuid(String),
    /// Label of the file system, as it stands in the superblock.
    Label(String),
    /// Name of the GPT partition.
    PartLabel(String),
    /// Device-mapper name: `/dev/mapper/NAME`. A LUKS mapping or an LV; see [`DeviceSpec::as_lv`].
    Mapper(String),
    /// `/dev/VG/LV`.
    Lv {
        /// Volume group.
        vg: String,
        /// Logical volume.
        lv: String,
    },
    /// Any other path below `/dev`, without doubled slashes.
    Path(String),
}

/// Why a text names no block device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceSpecError {
    /// Nothing there, or nothing behind the tag.
    #[error("no device is named")]
    Empty,
    /// Neither a tag that is known nor a path.
    #[error("it is neither a path below /dev nor UUID=, PARTUUID=, LABEL= or PARTLABEL=")]
    UnknownForm,
    /// A path outside `/dev`, `/dev` itself, or one with `..`.
    #[error("it is not a path below /dev")]
    NotBelowDev,
    /// A UUID of other characters than hexadecimal digits and hyphens.
    #[error("a UUID holds only hexadecimal digits and hyphens")]
    BadUuid,
}

/// Directories below `/dev` whose entries are not the logical volumes of a volume group of that name.
const NOT_VOLUME_GROUPS: [&str; 14] = [
    "block", "bsg", "bus", "char", "cciss", "dri", "fd", "ida", "input", "md", "net", "pts", "shm", "snd",
];

impl DeviceSpec {
    /// Volume group and logical volume, when this names a logical volume or may do so: `/dev/VG/LV`, and
    /// `/dev/mapper/VG-LV` where LVM doubles the hyphens inside both names. (A LUKS mapping called `a-b` looks just
    /// like that; look for a mapping of that name first.)
    pub fn as_lv(&self) -> Option<(String, String)> {
        match self {
            Self::Lv { vg, lv } => Some((vg.clone(), lv.clone())),
            Self::Mapper(name) => split_dm_name(name),
            _ => None,
        }
    }

    /// The device-mapper name that this implies: of a mapping, or of a logical volume.
    pub fn dm_name(&self) -> Option<String> {
        match self {
            Self::Mapper(name) => Some(name.clone()),
            Self::Lv { vg, lv } => Some(format!("{}-{}", vg.replace('-', "--"), lv.replace('-', "--"))),
            _ => None,
        }
    }
}

/// Splits LVM's device-mapper name at its only single hyphen. More of them mean an LVM-internal layer, or none of
/// LVM's names.
fn split_dm_name(name: &str) -> Option<(String, String)> {
    let mut parts = vec![String::new()];
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '-' {
            parts.last_mut()?.push(c);
        } else if chars.next_if_eq(&'-').is_some() {
            parts.last_mut()?.push('-');
        } else {
            parts.push(String::new());
        }
    }
    match parts.as_slice() {
        [vg, lv] if !vg.is_empty() && !lv.is_empty() => Some((vg.clone(), lv.clone())),
        _ => None,
    }
}

impl FromStr for DeviceSpec {
    type Err = DeviceSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // dracut's spelling of a root on a block device.
        let text = text.strip_prefix("block:").unwrap_or(text);
        if text.is_empty() {
            return Err(DeviceSpecError::Empty);
        }
        if text.starts_with('/') {
            return from_path(text);
        }
        let (tag, value) = text.split_once('=').ok_or(DeviceSpecError::UnknownForm)?;
        let value = value
            .strip_prefix('"')
            .and_then(|v| v.strip_suffix('"'))
            .unwrap_or(value);
        match tag {
            "UUID" => uuid(value).map(Self::Uuid),
            "PARTUUID" => uuid(value).map(Self::PartUuid),
            "LABEL" => label(value).map(Self::Label),
            "PARTLABEL" => label(value).map(Self::PartLabel),
            "ID" => from_path(&format!("/dev/disk/by-id/{value}")),
            _ => Err(DeviceSpecError::UnknownForm),
        }
    }
}

fn uuid(value: &str) -> Result<String, DeviceSpecError> {
    if value.is_empty() {
        return Err(DeviceSpecError::Empty);
    }
    if !value.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Err(DeviceSpecError::BadUuid);
    }
    Ok(value.to_ascii_lowercase())
}

fn label(value: &str) -> Result<String, DeviceSpecError> {
    if value.is_empty() {
        Err(DeviceSpecError::Empty)
    } else {
        Ok(value.to_owned())
    }
}

fn from_path(path: &str) -> Result<DeviceSpec, DeviceSpecError> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let ["dev", below @ ..] = parts.as_slice() else {
        return Err(DeviceSpecError::NotBelowDev);
    };
    if below.contains(&"..") {
        return Err(DeviceSpecError::NotBelowDev);
    }
    match *below {
        [] => Err(DeviceSpecError::NotBelowDev),
        ["disk", "by-uuid", name] => uuid(&unescape(name)).map(DeviceSpec::Uuid),
        ["disk", "by-partuuid", name] => uuid(&unescape(name)).map(DeviceSpec::PartUuid),
        ["disk", "by-label", name] => label(&unescape(name)).map(DeviceSpec::Label),
        ["disk", "by-partlabel", name] => label(&unescape(name)).map(DeviceSpec::PartLabel),
        ["disk", "by-id", name] => Ok(match name.strip_prefix("dm-name-") {
            Some(mapping) if !mapping.is_empty() => DeviceSpec::Mapper(mapping.to_owned()),
            _ => DeviceSpec::Path(format!("/dev/disk/by-id/{name}")),
        }),
        ["mapper", name] => Ok(DeviceSpec::Mapper(name.to_owned())),
        [vg, lv] if vg != "disk" && vg != "mapper" && !NOT_VOLUME_GROUPS.contains(&vg) => {
            Ok(DeviceSpec::Lv {
                vg: vg.to_owned(),
                lv: lv.to_owned(),
            })
        }
        _ => Ok(DeviceSpec::Path(format!("/{}", parts.join("/")))),
    }
}

/// Undoes udev's `\xNN` in the names of `/dev/disk/by-*` links.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let code = rest.strip_prefix("\\x").and_then(|r| r.get(..2));
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = rest.get(4..).unwrap_or_default();
        } else {
            bytes.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => write!(f, "UUID={uuid}"),
            Self::PartUuid(uuid) => write!(f, "PARTUUID={uuid}"),
            Self::Label(label) => write!(f, "LABEL={label}"),
            Self::PartLabel(label) => write!(f, "PARTLABEL={label}"),
            Self::Mapper(name) => write!(f, "/dev/mapper/{name}"),
            Self::Lv { vg, lv } => write!(f, "/dev/{vg}/{lv}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}
