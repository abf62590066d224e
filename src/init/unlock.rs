//! Locked LUKS volumes: what is tried on them next, and the one prompt for all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cmdline::{Source, VolumeOptions};
use super::unlock_trial::{Attempt, Origin, Secret, Trial};
use crate::block::DeviceNumber;
use crate::block::luks::Header;

/// When it is said that a keyfile's device is missing, unless `keyfile-timeout=` says another time.
const KEYFILE_PATIENCE: Duration = Duration::from_secs(30);

/// A locked volume that has been found.
pub(super) struct Volume {
    /// The name that its mapping gets.
    pub name: String,
    /// The device that holds the data.
    pub device: DeviceNumber,
    /// Its path, for messages and for its size.
    pub path: PathBuf,
    /// Where the header is read; the same, unless it is a detached one.
    pub header_path: PathBuf,
    /// The parsed header.
    pub header: Header,
    /// How it is to be opened.
    pub options: VolumeOptions,
    /// The keyfile whose device is waited for.
    pub key: Option<Source>,
    /// When it is said that the keyfile's device is missing.
    pub key_deadline: Option<Instant>,
    /// When nobody is asked any more.
    pub deadline: Option<Instant>,
    /// Typed passphrases that opened nothing.
    pub misses: u32,
}

impl Volume {
    /// Starts to wait for the device of a keyfile.
    pub(super) fn wait_for_key(&mut self, source: Source) {
        self.key = Some(source);
        let patience = self.options.keyfile_timeout.unwrap_or(KEYFILE_PATIENCE);
        self.key_deadline = Some(Instant::now() + patience);
    }
}

/// The locked volumes, and the passphrases that have proved themselves.
#[derive(Default)]
pub(super) struct Keyring {
    /// Locked volumes that are wanted.
    pub volumes: BTreeMap<DeviceNumber, Volume>,
    /// What is being tried, on its thread.
    pub trial: Option<Trial>,
    /// Contents of keyfiles that wait for their turn.
    given: VecDeque<(DeviceNumber, Secret)>,
    /// Passphrases that opened a volume: the next volume gets them before anybody is asked. Wrong ones aren't kept.
    proven: Vec<Secret>,
    /// Volumes that already got every proven passphrase.
    tried: BTreeSet<DeviceNumber>,
}

/// Where a trial stands.
pub(super) enum Progress {
    /// A volume got its secrets.
    Attempt(Attempt),
    /// Every volume got them.
    Over {
        /// Where they came from.
        origin: Origin,
        /// At least one volume opened.
        opened: bool,
    },
}

/// A time that came for a volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lapse {
    /// The device of its keyfile is still missing.
    KeyfileMissing(String, Source),
    /// Nobody typed its passphrase in time (`timeout=`), or it was wrong too often (`tries=`).
    GivenUp(String, &'static str),
}

impl Keyring {
    /// Takes in a locked volume.
    pub(super) fn found(&mut self, volume: Volume) {
        let _ = self.volumes.insert(volume.device, volume);
    }

    /// Forgets a volume whose device went.
    pub(super) fn forget(&mut self, device: DeviceNumber) {
        let _ = self.volumes.remove(&device);
        let _ = self.tried.remove(&device);
    }

    /// Takes in the content of a volume's keyfile.
    pub(super) fn give(&mut self, device: DeviceNumber, secret: Secret) {
        self.given.push_back((device, secret));
    }

    /// Tries what needs nobody: keyfiles, then proven passphrases on volumes that haven't had them. Whether something is
    /// being tried.
    pub(super) fn try_by_itself(&mut self) -> bool {
        if self.trial.is_some() {
            return true;
        }
        while let Some((device, secret)) = self.given.pop_front() {
            if self.volumes.contains_key(&device)
                && self
                    .start(vec![secret], Origin::Given, |one| one == device)
                    .is_ok()
            {
                return true;
            }
        }
        let fresh: BTreeSet<_> = self
            .volumes
            .keys()
            .copied()
            .filter(|device| !self.tried.contains(device))
            .collect();
        self.tried.extend(&fresh);
        if fresh.is_empty() || self.proven.is_empty() {
            return false;
        }
        let proven = self.proven.clone();
        self.start(proven, Origin::Proven, |device| fresh.contains(&device))
            .is_ok()
    }

    /// Tries what was typed on every locked volume.
    pub(super) fn try_typed(&mut self, passphrase: Secret) -> io::Result<()> {
        self.start(vec![passphrase], Origin::Typed, |_| true)
    }

    fn start(
        &mut self,
        secrets: Vec<Secret>,
        origin: Origin,
        wanted: impl Fn(DeviceNumber) -> bool,
    ) -> io::Result<()> {
        let volumes = self.volumes.values().filter(|volume| wanted(volume.device));
        self.trial = Some(Trial::start(volumes, secrets, origin)?);
        Ok(())
    }

    /// Takes the next result of the running trial, after its descriptor became readable.
    pub(super) fn progress(&mut self) -> Option<Progress> {
        let trial = self.trial.as_mut()?;
        if let Some(attempt) = trial.next() {
            trial.opened |= attempt.result.is_ok();
            return Some(Progress::Attempt(attempt));
        }
        let trial = self.trial.take()?;
        let (origin, opened) = (trial.origin, trial.opened);
        match origin {
            Origin::Typed if opened => {
                for secret in trial.secrets {
                    if !self.proven.contains(&secret) {
                        self.proven.push(secret);
                    }
                }
            }
            Origin::Typed => {
                for volume in self.volumes.values_mut() {
                    volume.misses += 1;
                }
            }
            Origin::Proven | Origin::Given => {}
        }
        Some(Progress::Over { origin, opened })
    }

    /// Hands out the proven passphrases, and forgets them.
    pub(super) fn take_proven(&mut self) -> Vec<Secret> {
        std::mem::take(&mut self.proven)
    }

    /// Starts the time of those volumes that are asked for from now on.
    pub(super) fn asked(&mut self) {
        for volume in self.volumes.values_mut() {
            let limit = volume.options.timeout.map(|limit| Instant::now() + limit);
            volume.deadline = volume.deadline.or(limit);
        }
    }

    /// When [`Keyring::lapses`] is to be called next. Time doesn't count while something is being tried.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.trial.is_some() {
            return None;
        }
        self.volumes
            .values()
            .flat_map(|volume| [volume.key_deadline, volume.deadline])
            .flatten()
            .min()
    }

    /// What is over by now, each once. Volumes that are given up are forgotten.
    pub(super) fn lapses(&mut self, now: Instant) -> Vec<Lapse> {
        let mut lapses = Vec::new();
        if self.trial.is_some() {
            return lapses;
        }
        self.volumes.retain(|_, volume| {
            let over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
            let name = format!("{} ({})", volume.name, volume.path.display());
            if over(volume.deadline) {
                lapses.push(Lapse::GivenUp(name, "timeout= is over"));
                return false;
            }
            if volume.options.tries.is_some_and(|tries| volume.misses >= tries) {
                lapses.push(Lapse::GivenUp(name, "tries= allows no more passphrases"));
                return false;
            }
            if over(volume.key_deadline) {
                volume.key_deadline = None;
                lapses.extend(volume.key.clone().map(|key| Lapse::KeyfileMissing(name, key)));
            }
            true
        });
        lapses
    }

    /// What the prompt says: the volumes that are waited for.
    pub(super) fn prompt(&self) -> Option<String> {
        let mut names = self.volumes.values().map(describe);
        let first = names.next()?;
        Some(format!(
            "Passphrase for {}: ",
            names.fold(first, |text, name| format!("{text}, {name}"))
        ))
    }
}

/// A volume as the prompt names it, with what its tokens mean for the person who types.
fn describe(volume: &Volume) -> String {
    let mut notes = vec![volume.path.display().to_string()];
    let kinds: BTreeSet<String> = volume
        .header
        .tokens()
        .into_iter()
        .map(|token| token.kind)
        .collect();
    let (typed, unused): (Vec<_>, Vec<_>) = kinds.iter().partition(|kind| *kind == "systemd-recovery");
    if !unused.is_empty() {
        let labels: Vec<String> = unused.into_iter().map(|kind| token_label(kind)).collect();
        notes.push(format!("{} token present, not used yet", labels.join(" and ")));
    }
    if !typed.is_empty() {
        notes.push("its recovery key opens it, too".to_owned());
    }
    if let Some(key) = &volume.key {
        notes.push(format!("or keyfile {key}"));
    }
    format!("{} ({})", volume.name, notes.join("; "))
}

/// The type of a token in words. It comes from a disk: nothing that a terminal would obey.
fn token_label(kind: &str) -> String {
    match kind {
        "systemd-tpm2" => "TPM2".to_owned(),
        "systemd-fido2" => "FIDO2".to_owned(),
        "systemd-pkcs11" => "PKCS#11".to_owned(),
        other => other.chars().filter(char::is_ascii_graphic).take(32).collect(),
    }
}

/// The name of a volume's mapping when nobody gave one, as systemd names it.
pub(crate) fn default_name(uuid: &str) -> String {
    format!("luks-{uuid}")
}

/// `/dev/mapper/NAME`.
pub(crate) fn mapper_path(name: &str) -> PathBuf {
    Path::new("/dev/mapper").join(name)
}

#[cfg(test)]
mod tests;
