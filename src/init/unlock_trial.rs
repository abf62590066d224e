//! Passphrases and keys being tried, beside the main loop.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::devices;
use super::unlock::Volume;
use crate::block::DeviceNumber;
use crate::block::luks::{Header, UnlockError, Unlocked};

/// A passphrase or the content of a keyfile.
pub(super) type Secret = Zeroizing<Vec<u8>>;

/// Where a secret comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Somebody typed it just now.
    Typed,
    /// It was typed before, and opened another volume.
    Proven,
    /// A keyfile, or the empty passphrase.
    Given,
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

/// What secrets did to one volume.
pub(super) struct Attempt {
    /// The volume, by the device that holds its data.
    pub device: DeviceNumber,
    /// The volume key, or why there is none.
    pub result: Result<Unlocked, AttemptError>,
    /// Where the secrets came from.
    pub origin: Origin,
    /// How long it took.
    pub duration: Duration,
}

/// Secrets being tried on volumes, on a thread of its own: uevents and consoles must not wait for seconds of key
/// derivation.
pub(super) struct Trial {
    attempts: mpsc::Receiver<Attempt>,
    ready: io::PipeReader,
    /// What is tried.
    pub secrets: Vec<Secret>,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether a volume was opened.
    pub opened: bool,
}

/// What the thread needs of a volume.
struct Work {
    device: DeviceNumber,
    path: PathBuf,
    header: Header,
    keyslot: Option<u32>,
}

impl Work {
    fn attempt(&self, secrets: &[Secret]) -> Result<Unlocked, AttemptError> {
        let file = devices::open(&self.path).map_err(AttemptError::Read)?;
        let mut last = UnlockError::NoUsableKeyslot { skipped: Vec::new() };
        for secret in secrets {
            let result = match self.keyslot {
                Some(keyslot) => self.header.unlock_keyslot(&file, secret, keyslot),
                None => self.header.unlock(&file, secret),
            };
            match result {
                Ok(unlocked) => return Ok(unlocked),
                Err(error) => last = error,
            }
        }
        Err(AttemptError::Unlock(last))
    }
}

impl Trial {
    /// Starts trying `secrets` on `volumes`, one after the other: each already uses every processor, and together
    /// they could need more memory than there is.
    pub(super) fn start<'a>(
        volumes: impl Iterator<Item = &'a Volume>,
        secrets: Vec<Secret>,
        origin: Origin,
    ) -> io::Result<Trial> {
        let (ready, mut signal) = io::pipe()?;
        let (sender, attempts) = mpsc::channel();
        let work: Vec<Work> = volumes
            .map(|volume| Work {
                device: volume.device,
                path: volume.header_path.clone(),
                header: volume.header.clone(),
                keyslot: volume.options.key_slot,
            })
            .collect();
        let tried = secrets.clone();
        let _ = std::thread::Builder::new()
            .name("unlock".to_owned())
            .spawn(move || {
                for volume in work {
                    let started = Instant::now();
                    let attempt = Attempt {
                        device: volume.device,
                        result: volume.attempt(&tried),
                        origin,
                        duration: started.elapsed(),
                    };
                    if sender.send(attempt).is_err() {
                        return;
                    }
                    let _ = signal.write_all(&[1]);
                }
                // Dropping the sender and the pipe says that all is done.
            })?;
        Ok(Trial {
            attempts,
            ready,
            secrets,
            origin,
            opened: false,
        })
    }

    /// Becomes readable when an attempt is done.
    pub(super) fn poll_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Takes what is there after the descriptor became readable. `None` when the trial is over.
    pub(super) fn next(&mut self) -> Option<Attempt> {
        let mut byte = [0];
        match self.ready.read(&mut byte) {
            Ok(1) => self.attempts.recv().ok(),
            _ => None,
        }
    }
}
