//! Devices as the kernel command line names them. What udev links below `/dev/disk` is worked out here, as far as it
//! follows from what is on the devices and from device-mapper.

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// A device as `root=` and `resume=` name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceSpec {
    /// A path below `/dev`, such as `/dev/vg/root`.
    Path(PathBuf),
    /// `UUID=`: of the file system.
    Uuid(String),
    /// `LABEL=`: of the file system.
    Label(String),
    /// `PARTUUID=`: of the entry in the partition table.
    PartUuid(String),
    /// `PARTLABEL=`: of the entry in the partition table.
    PartLabel(String),
    /// A name below `/dev/disk/by-id` that starts with one of [`KNOWN_IDS`].
    Id(String),
}

/// Why a text names no device that early boot could find.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something else.
    #[error("it takes /dev/…, UUID=, LABEL=, PARTUUID= or PARTLABEL=")]
    NoDevice,
    /// A link whose name comes from programs of udev.
    #[error(
        "links in {0} are made by udev, which early boot does without; name the device by UUID= or PARTUUID=, which blkid \
         shows"
    )]
    NeedsUdev(String),
    /// A way to name a partition by another one.
    #[error("PARTNROFF= isn't supported; name the partition by its own PARTUUID=, which blkid shows")]
    PartitionOffset,
}

/// How names below `/dev/disk/by-id` begin that need nothing but device-mapper and superblocks (13-dm-disk.rules,
/// 60-persistent-storage.rules).
const KNOWN_IDS: [&str; 3] = ["dm-name-", "dm-uuid-", "lvm-pv-uuid-"];

impl DeviceSpec {
    /// Reads what stands behind `root=`.
    pub fn parse(text: &str) -> Result<DeviceSpec, Refusal> {
        type Make = fn(String) -> DeviceSpec;
        const TAGS: [(&str, &str, Make); 4] = [
            ("UUID", "by-uuid", DeviceSpec::Uuid),
            ("LABEL", "by-label", DeviceSpec::Label),
            ("PARTUUID", "by-partuuid", DeviceSpec::PartUuid),
            ("PARTLABEL", "by-partlabel", DeviceSpec::PartLabel),
        ];
        for (tag, _, make) in TAGS {
            let value = text.strip_prefix(tag).and_then(|rest| rest.strip_prefix('='));
            if let Some(value) = value {
                return make(unquoted(value).to_owned()).checked();
            }
        }
        // Without doubled slashes, so that it equals the names that devices are given here.
        let path: PathBuf = Path::new(text).components().collect();
        let below = path.starts_with("/dev") && path.components().count() > 2;
        let stays = !path.components().any(|part| part == Component::ParentDir);
        if !below || !stays {
            return Err(Refusal::NoDevice);
        }
        let Some((directory, name)) = path
            .strip_prefix("/dev/disk")
            .ok()
            .and_then(Path::to_str)
            .and_then(|link| link.split_once('/'))
        else {
            return Ok(DeviceSpec::Path(path));
        };
        let name = unescaped(name);
        if let Some((.., make)) = TAGS.iter().find(|(_, linked, _)| *linked == directory) {
            return make(name).checked();
        }
        if directory == "by-id" && KNOWN_IDS.iter().any(|known| name.starts_with(known)) {
            return Ok(DeviceSpec::Id(name));
        }
        Err(Refusal::NeedsUdev(format!("/dev/disk/{directory}")))
    }

    fn checked(self) -> Result<Self, Refusal> {
        match &self {
            DeviceSpec::PartUuid(value) if value.contains("/PARTNROFF=") => Err(Refusal::PartitionOffset),
            DeviceSpec::Uuid(value)
            | DeviceSpec::Label(value)
            | DeviceSpec::PartUuid(value)
            | DeviceSpec::PartLabel(value)
                if value.is_empty() =>
            {
                Err(Refusal::NoDevice)
            }
            _ => Ok(self),
        }
    }

    /// The same device as a link of device-mapper, when it's named by that.
    pub(crate) fn mapper_name(&self) -> Option<&str> {
        match self {
            DeviceSpec::Path(path) => path.strip_prefix("/dev/mapper").ok()?.to_str(),
            DeviceSpec::Id(id) => id.strip_prefix("dm-name-"),
            _ => None,
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSpec::Path(path) => write!(f, "{}", path.display()),
            DeviceSpec::Uuid(value) => write!(f, "UUID={value}"),
            DeviceSpec::Label(value) => write!(f, "LABEL={value}"),
            DeviceSpec::PartUuid(value) => write!(f, "PARTUUID={value}"),
            DeviceSpec::PartLabel(value) => write!(f, "PARTLABEL={value}"),
            DeviceSpec::Id(value) => write!(f, "/dev/disk/by-id/{value}"),
        }
    }
}

/// Whether a value that somebody wrote means a label: as it is, or with `\xNN` for what is awkward to write, as dracut
/// takes it.
pub(crate) fn means(written: &str, label: &str) -> bool {
    written == label || unescaped(written) == label
}

/// Without the quotes around a value, of either kind.
fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value.trim_matches('"'))
}

/// Undoes udev's `\xNN` in the names of `/dev/disk/by-*`.
fn unescaped(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some(first) = rest.first() {
        let code = rest
            .strip_prefix(b"\\x")
            .and_then(|hex| std::str::from_utf8(hex.get(..2)?).ok());
        let (byte, length) = match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (byte, 4),
            None => (*first, 1),
        };
        bytes.push(byte);
        rest = rest.get(length..).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
