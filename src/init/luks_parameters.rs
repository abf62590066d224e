//! `rd.luks.*` on the kernel command line (systemd-cryptsetup-generator(8), crypttab(5), dracut.cmdline(7)).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::cmdline::{DeviceSpec, truth};
use crate::block::luks::{CryptOptions, is_uuid};

/// Where a keyfile or a detached header lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the initrd.
    File(PathBuf),
    /// A file on a device's file system, its path from there.
    OnDevice(PathBuf, DeviceSpec),
    /// A block device itself.
    Device(DeviceSpec),
}

impl Source {
    /// Reads `PATH[:DEVICE]`. `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |path: &str| {
            let path = Path::new(path);
            path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
        };
        if let Some((path, device)) = text.split_once(':')
            && is_plain(path)
        {
            return Some(Self::OnDevice(path.into(), DeviceSpec::parse(device).ok()?));
        }
        if text.starts_with("/dev/") {
            return DeviceSpec::parse(text).ok().map(Self::Device);
        }
        is_plain(text).then(|| Self::File(text.into()))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{} of the initrd", path.display()),
            Self::OnDevice(path, device) => write!(f, "{} on {device}", path.display()),
            Self::Device(device) => device.fmt(f),
        }
    }
}

/// The options of one volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeOptions {
    /// For dm-crypt.
    pub crypt: CryptOptions,
    /// `header=`
    pub header: Option<Source>,
    /// `keyfile-offset=`, bytes.
    pub keyfile_offset: u64,
    /// `keyfile-size=`, bytes.
    pub keyfile_size: Option<u64>,
    /// `keyfile-timeout=`
    pub keyfile_timeout: Option<Duration>,
    /// `key-slot=`
    pub key_slot: Option<u32>,
    /// `tries=`: typed passphrases, unlimited without it.
    pub tries: Option<u32>,
    /// `timeout=`: how long a passphrase is asked for, for ever without it.
    pub timeout: Option<Duration>,
    /// `try-empty-password`
    pub try_empty: bool,
}

impl VolumeOptions {
    /// Parses a list separated by commas. What can't be heeded is given back as complaints, in the order of the list.
    pub fn parse(list: &str) -> (Self, Vec<String>) {
        let (crypt, rest) = CryptOptions::parse(list);
        let mut options = Self {
            crypt,
            ..Self::default()
        };
        let complaints = rest.iter().filter_map(|option| options.take(option).err());
        let complaints = complaints.collect();
        (options, complaints)
    }

    fn take(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let wrong = || format!("{option} has a value that it doesn't take");
        match name {
            "header" => self.header = Some(Source::parse(value).ok_or_else(wrong)?),
            "keyfile-offset" => self.keyfile_offset = value.parse().map_err(|_| wrong())?,
            "keyfile-size" => {
                // 0 stands for no limit, as in cryptsetup.
                let size: u64 = value.parse().map_err(|_| wrong())?;
                self.keyfile_size = Some(size).filter(|&size| size > 0);
            }
            "keyfile-timeout" => self.keyfile_timeout = time_limit(value).map_err(|_| wrong())?,
            "key-slot" => self.key_slot = Some(value.parse().map_err(|_| wrong())?),
            "tries" => {
                let tries: u32 = value.parse().map_err(|_| wrong())?;
                self.tries = Some(tries).filter(|&tries| tries > 0);
            }
            "timeout" => self.timeout = time_limit(value).map_err(|_| wrong())?,
            "try-empty-password" if value.is_empty() => self.try_empty = true,
            "try-empty-password" => self.try_empty = truth(Some(value)).map_err(|_| wrong())?,
            // About the units that systemd makes of a line, and the passphrase's way into the real root.
            "nofail"
            | "noauto"
            | "_netdev"
            | "x-systemd.device-timeout"
            | "token-timeout"
            | "password-cache" => {}
            "tpm2-device" | "tpm2-pcrs" | "tpm2-measure-pcr" | "tpm2-signature" | "tpm2-pcrlock"
            | "fido2-device" | "fido2-cid" | "fido2-rp" | "pkcs11-uri" => {
                return Err(format!(
                    "{option} isn't heeded: keel uses no TPM2, FIDO2 or PKCS#11 devices yet, a passphrase or keyfile opens \
                     the volume"
                ));
            }
            _ => return Err(format!("{option} isn't known")),
        }
        Ok(())
    }
}

/// What `rd.luks*` says. Volumes are named by their UUID in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LuksParameters {
    /// `rd.luks=no` (or `luks=no`): unlock nothing.
    pub disabled: bool,
    /// Volumes that are asked for, with the name of the mapping when one is given.
    pub volumes: BTreeMap<String, Option<String>>,
    options: Option<String>,
    volume_options: BTreeMap<String, String>,
    key: Option<Source>,
    volume_keys: BTreeMap<String, Source>,
    data: BTreeMap<String, DeviceSpec>,
    /// dracut's switches, with `None` for every volume.
    discard: BTreeSet<Option<String>>,
    no_read_workqueue: bool,
    no_write_workqueue: bool,
    key_timeout: Option<Duration>,
    timeout: Option<Duration>,
}

impl LuksParameters {
    /// Takes a parameter whose name, without `rd.` and with `_` for `-`, starts with `luks`.
    pub(super) fn take(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let text = value.unwrap_or_default();
        match key {
            "luks" => self.disabled = !truth(value)?,
            "luks.uuid" => {
                let _ = self.volumes.entry(uuid(text)?).or_default();
            }
            "luks.name" => {
                let (id, name) = text.split_once('=').ok_or("it takes UUID=NAME")?;
                if name.is_empty() || name.contains('/') || name.len() > 127 {
                    return Err("the name of a mapping has 1 to 127 bytes and no slash".to_owned());
                }
                let _ = self.volumes.insert(uuid(id)?, Some(name.to_owned()));
            }
            "luks.options" => match for_volume(text) {
                Some((id, options)) => drop(self.volume_options.insert(id, options.to_owned())),
                None => self.options = Some(text.to_owned()),
            },
            "luks.key" => self.take_key(text)?,
            "luks.data" => {
                let expected = || "it takes UUID=DEVICE".to_owned();
                let (id, device) = for_volume(text).ok_or_else(expected)?;
                let _ = self.data.insert(
                    id,
                    DeviceSpec::parse(device).map_err(|refusal| refusal.to_string())?,
                );
            }
            "luks.allow_discards" => {
                let id = value.map(uuid).transpose()?;
                let _ = self.discard.insert(id);
            }
            "luks.no_read_workqueue" => self.no_read_workqueue = truth(value)?,
            "luks.no_write_workqueue" => self.no_write_workqueue = truth(value)?,
            "luks.key.tout" => self.key_timeout = seconds(text)?,
            "luks.timeout" => self.timeout = seconds(text)?,
            _ => return Err("keel doesn't know it".to_owned()),
        }
        Ok(())
    }

    /// systemd's `UUID=PATH[:DEVICE]` and `PATH[:DEVICE]`, dracut's `PATH[:DEVICE[:UUID=…]]`.
    fn take_key(&mut self, text: &str) -> Result<(), String> {
        let expected = || "it takes [UUID=]PATH[:DEVICE]".to_owned();
        if let Some((id, source)) = for_volume(text) {
            let source = Source::parse(source).ok_or_else(expected)?;
            let _ = self.volume_keys.insert(id, source);
            return Ok(());
        }
        if let Some((source, volume)) = text.rsplit_once(":UUID=")
            && source.contains(':')
            && let Ok(id) = uuid(volume)
        {
            // Without a device between the colons the file is in the initrd.
            let source = Source::parse(source.trim_end_matches(':')).ok_or_else(expected)?;
            let _ = self.volume_keys.insert(id, source);
            return Ok(());
        }
        self.key = Some(Source::parse(text).ok_or_else(expected)?);
        Ok(())
    }

    /// The options of a volume: its own, else those for all; with what can't be heeded, for a warning.
    pub fn options_of(&self, uuid: &str) -> (VolumeOptions, Vec<String>) {
        let id = uuid.to_ascii_lowercase();
        let own = self.volume_options.get(&id).or(self.options.as_ref());
        let (mut options, complaints) = VolumeOptions::parse(own.map_or("", String::as_str));
        options.crypt.allow_discards |= self.discard.contains(&None) || self.discard.contains(&Some(id));
        options.crypt.no_read_workqueue |= self.no_read_workqueue;
        options.crypt.no_write_workqueue |= self.no_write_workqueue;
        options.keyfile_timeout = options.keyfile_timeout.or(self.key_timeout);
        options.timeout = options.timeout.or(self.timeout);
        (options, complaints)
    }

    /// The keyfile of a volume.
    pub fn key_of(&self, uuid: &str) -> Option<&Source> {
        self.volume_keys
            .get(&uuid.to_ascii_lowercase())
            .or(self.key.as_ref())
    }

    /// The device that holds the data of a volume whose header is detached.
    pub fn data_of(&self, uuid: &str) -> Option<&DeviceSpec> {
        self.data.get(&uuid.to_ascii_lowercase())
    }

    /// The volumes whose header is looked for at a place that is given, and that place.
    pub fn detached(&self) -> Vec<(String, Source)> {
        let named: BTreeSet<&String> = self
            .volumes
            .keys()
            .chain(self.volume_options.keys())
            .chain(self.data.keys())
            .collect();
        named
            .into_iter()
            .filter(|id| self.volumes.is_empty() || self.volumes.contains_key(*id))
            .filter_map(|id| Some((id.clone(), self.options_of(id).0.header?)))
            .collect()
    }
}

/// Splits `UUID=REST`.
fn for_volume(text: &str) -> Option<(String, &str)> {
    let (id, rest) = text.split_once('=')?;
    Some((uuid(id).ok()?, rest))
}

fn uuid(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("luks-").unwrap_or(text).to_ascii_lowercase();
    if is_uuid(&text) {
        Ok(text)
    } else {
        Err("it takes the UUID of a LUKS header".to_owned())
    }
}

/// A limit as systemd.time(7) has it: `90`, `30s`, `1min30s`. 0 and `infinity` are none; the error is for other text.
fn time_limit(text: &str) -> Result<Option<Duration>, NoTimeSpan> {
    if text == "infinity" {
        return Ok(None);
    }
    let span = time_span(text).ok_or(NoTimeSpan)?;
    Ok(Some(span).filter(|span| !span.is_zero()))
}

#[derive(Debug, PartialEq, Eq)]
struct NoTimeSpan;

fn seconds(text: &str) -> Result<Option<Duration>, String> {
    time_limit(text).map_err(|_| "it takes a number of seconds".to_owned())
}

fn time_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let factor = match unit {
            "ms" | "msec" => 1,
            "" | "s" | "sec" | "second" | "seconds" => 1000,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(factor)?;
        millis = millis.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests;
