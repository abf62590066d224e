//! LUKS volumes: one prompt for all of them, key derivation beside the main loop, volume keys into dm-crypt.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::devices;
use crate::block::DeviceNumber;
use crate::block::luks::{Header, UnlockError, Unlocked};

/// A locked volume that has been found.
pub(super) struct Volume {
    /// The name that its mapping gets.
    pub name: String,
    /// The device that holds the header.
    pub device: DeviceNumber,
    /// Its path, for messages and for reading.
    pub path: PathBuf,
    /// The parsed header.
    pub header: Header,
}

/// Why a volume stays locked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    /// Its device.
    #[error("it can't be read: {0}")]
    Read(io::Error),
    /// Its keyslots.
    #[error(transparent)]
    Unlock(UnlockError),
}

impl AttemptError {
    /// Whether it's simply the wrong passphrase: nothing more has to be said about this volume.
    pub(super) fn is_wrong_passphrase(&self) -> bool {
        matches!(self, AttemptError::Unlock(error) if error.is_wrong_passphrase() && error.skipped().is_empty())
    }
}

/// What one passphrase did to one volume.
pub(super) struct Attempt {
    /// The volume.
    pub device: DeviceNumber,
    /// The volume key, or why there is none.
    pub result: Result<Unlocked, AttemptError>,
    /// How long it took.
    pub duration: Duration,
}

/// A passphrase being tried on every locked volume, on a thread of its own: uevents and consoles must not wait for
/// seconds of key derivation.
pub(super) struct Trial {
    attempts: mpsc::Receiver<Attempt>,
    ready: io::PipeReader,
    passphrase: Zeroizing<Vec<u8>>,
    typed: bool,
    opened: bool,
}

impl Trial {
    /// Starts trying `passphrase` on `volumes`, one after the other: each already uses every processor, and together
    /// they could need more memory than there is.
    fn start<'a>(
        volumes: impl Iterator<Item = &'a Volume>,
        passphrase: Zeroizing<Vec<u8>>,
    ) -> io::Result<Trial> {
        let (ready, mut signal) = io::pipe()?;
        let (sender, attempts) = mpsc::channel();
        let work: Vec<(DeviceNumber, PathBuf, Header)> = volumes
            .map(|volume| (volume.device, volume.path.clone(), volume.header.clone()))
            .collect();
        let secret = passphrase.clone();
        let _ = std::thread::Builder::new()
            .name("unlock".to_owned())
            .spawn(move || {
                for (device, path, header) in work {
                    let started = Instant::now();
                    let result = devices::open(&path)
                        .map_err(AttemptError::Read)
                        .and_then(|file| header.unlock(&file, &secret).map_err(AttemptError::Unlock));
                    if sender
                        .send(Attempt {
                            device,
                            result,
                            duration: started.elapsed(),
                        })
                        .is_err()
                    {
                        return;
                    }
                    let _ = signal.write_all(&[1]);
                }
                // Dropping the sender and the pipe says that all is done.
            })?;
        Ok(Trial {
            attempts,
            ready,
            passphrase,
            typed: false,
            opened: false,
        })
    }

    /// Becomes readable when an attempt is done.
    pub(super) fn poll_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Takes what is there after the descriptor became readable. `None` when the trial is over.
    fn next(&mut self) -> Option<Attempt> {
        let mut byte = [0];
        match self.ready.read(&mut byte) {
            Ok(1) => self.attempts.recv().ok(),
            _ => None,
        }
    }
}

/// The locked volumes, and the passphrases that have proved themselves.
#[derive(Default)]
pub(super) struct Keyring {
    /// Locked volumes that are wanted.
    pub volumes: BTreeMap<DeviceNumber, Volume>,
    /// The passphrase that is being tried, on its thread.
    pub trial: Option<Trial>,
    /// Passphrases that opened a volume: the next volume gets them before anybody is asked. Wrong ones aren't kept.
    proven: Vec<Zeroizing<Vec<u8>>>,
    /// Volumes that already got every proven passphrase.
    tried: BTreeSet<DeviceNumber>,
}

/// Where a trial stands.
pub(super) enum Progress {
    /// A volume got the passphrase.
    Attempt(Attempt),
    /// Every volume got it.
    Over {
        /// Somebody typed it just now.
        typed: bool,
        /// At least one volume opened.
        opened: bool,
    },
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

    /// Tries a proven passphrase on volumes that haven't had it. Whether there was something to try.
    pub(super) fn try_proven(&mut self) -> bool {
        if self.trial.is_some() || self.volumes.keys().all(|device| self.tried.contains(device)) {
            return self.trial.is_some();
        }
        let fresh: BTreeSet<_> = self
            .volumes
            .keys()
            .copied()
            .filter(|device| !self.tried.contains(device))
            .collect();
        self.tried.extend(&fresh);
        // In practice there is one; a machine with several passphrases asks for each once.
        let Some(passphrase) = self.proven.last().cloned() else {
            return false;
        };
        self.start(passphrase, |device| fresh.contains(&device)).is_ok()
    }

    /// Tries what was typed on every locked volume.
    pub(super) fn try_typed(&mut self, passphrase: Zeroizing<Vec<u8>>) -> io::Result<()> {
        self.start(passphrase, |_| true)?;
        if let Some(trial) = &mut self.trial {
            trial.typed = true;
        }
        Ok(())
    }

    fn start(
        &mut self,
        passphrase: Zeroizing<Vec<u8>>,
        wanted: impl Fn(DeviceNumber) -> bool,
    ) -> io::Result<()> {
        let volumes = self.volumes.values().filter(|volume| wanted(volume.device));
        self.trial = Some(Trial::start(volumes, passphrase)?);
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
        let (typed, opened) = (trial.typed, trial.opened);
        if opened && !self.proven.contains(&trial.passphrase) {
            self.proven.push(trial.passphrase);
        }
        Some(Progress::Over { typed, opened })
    }

    /// Hands out the proven passphrases, and forgets them.
    pub(super) fn take_proven(&mut self) -> Vec<Zeroizing<Vec<u8>>> {
        std::mem::take(&mut self.proven)
    }

    /// What the prompt says: the volumes that are waited for.
    pub(super) fn prompt(&self) -> Option<String> {
        let mut names = self
            .volumes
            .values()
            .map(|volume| format!("{} ({})", volume.name, volume.path.display()));
        let first = names.next()?;
        Some(format!(
            "Passphrase for {}: ",
            names.fold(first, |text, name| format!("{text}, {name}"))
        ))
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
