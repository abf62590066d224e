//! Opening a header with a passphrase: which keyslots are tried, in which order, and what is said when none opens.

use std::fmt;

use thiserror::Error;

use super::header::Header;
use super::json::{Keyslot, KeyslotKind};
use super::kdf::machine_memory;
use super::key::VolumeKey;
use super::keyslot::{Prepared, SkipReason, verify};
use crate::block::ReadAt;

const NORMAL: i64 = 1;
const PREFERRED: i64 = 2;
/// cryptsetup has no higher numbers.
const KEYSLOTS_MAX: u32 = 32;

/// A header that was opened.
#[derive(Debug)]
pub struct Unlocked {
    /// The keyslot that the passphrase opened.
    pub keyslot: u32,
    /// The digest that the volume key fits.
    pub digest: u32,
    /// The volume key.
    pub key: VolumeKey,
}

/// A keyslot that was not tried.
#[derive(Debug)]
pub struct SkippedKeyslot {
    /// Its number.
    pub keyslot: u32,
    /// Why.
    pub reason: SkipReason,
}

impl fmt::Display for SkippedKeyslot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keyslot {}: {}", self.keyslot, self.reason)
    }
}

/// Why no volume key was found.
#[derive(Debug, Error)]
pub enum UnlockError {
    /// Keyslots were tried, and the passphrase opens none of them. It is wrong, unless it belongs to one of `skipped`.
    #[error("no keyslot opens with this passphrase{}", list(.skipped))]
    NoKeyslotOpened {
        /// The keyslots that were tried.
        tried: Vec<u32>,
        /// Those that could not be.
        skipped: Vec<SkippedKeyslot>,
    },
    /// No keyslot could be tried: nothing is known about the passphrase, and asking again does not help.
    #[error("no keyslot can be used{}", list_or_none(.skipped))]
    NoUsableKeyslot {
        /// All of them, with the reasons. Empty when the header has no keyslot for its data.
        skipped: Vec<SkippedKeyslot>,
    },
}

impl UnlockError {
    /// Whether another passphrase may succeed.
    pub fn is_wrong_passphrase(&self) -> bool {
        matches!(self, Self::NoKeyslotOpened { .. })
    }

    /// The keyslots that could not be tried.
    pub fn skipped(&self) -> &[SkippedKeyslot] {
        match self {
            Self::NoKeyslotOpened { skipped, .. } | Self::NoUsableKeyslot { skipped } => skipped,
        }
    }
}

fn list_or_none(skipped: &[SkippedKeyslot]) -> String {
    if skipped.is_empty() {
        return "; the header has none for its data, only a backup of the header can help".to_owned();
    }
    list(skipped)
}

fn list(skipped: &[SkippedKeyslot]) -> String {
    skipped
        .iter()
        .flat_map(|one| ["; ".to_owned(), one.to_string()])
        .collect()
}

impl Header {
    /// Tries the passphrase on every usable keyslot: the preferred ones, then the normal ones, each by number, those
    /// that belong to a token last, since their passphrases are not typed. Ignored keyslots (priority 0) are tried
    /// only when there are no others.
    ///
    /// # Errors
    /// See [`UnlockError`], which tells a wrong passphrase from everything else.
    pub fn unlock(&self, dev: &dyn ReadAt, passphrase: &[u8]) -> Result<Unlocked, UnlockError> {
        self.unlock_within(dev, passphrase, None, machine_memory)
    }

    /// Tries the passphrase on one keyslot, whatever its priority (`key-slot=`).
    ///
    /// # Errors
    /// See [`UnlockError`].
    pub fn unlock_keyslot(
        &self,
        dev: &dyn ReadAt,
        passphrase: &[u8],
        keyslot: u32,
    ) -> Result<Unlocked, UnlockError> {
        self.unlock_within(dev, passphrase, Some(keyslot), machine_memory)
    }

    /// [`Header::unlock`] or [`Header::unlock_keyslot`] with another idea of the memory in KiB that is available.
    pub(super) fn unlock_within(
        &self,
        dev: &dyn ReadAt,
        passphrase: &[u8],
        only: Option<u32>,
        available_kib: impl Fn() -> Option<u64>,
    ) -> Result<Unlocked, UnlockError> {
        let (mut tried, mut skipped) = (Vec::new(), Vec::new());
        for keyslot in self.candidates(only) {
            match self.try_keyslot(dev, keyslot, passphrase, &available_kib) {
                Ok(Some(key)) => {
                    return Ok(Unlocked {
                        keyslot: keyslot.id,
                        digest: self.data.digest,
                        key,
                    });
                }
                Ok(None) => tried.push(keyslot.id),
                Err(reason) => skipped.push(SkippedKeyslot {
                    keyslot: keyslot.id,
                    reason,
                }),
            }
        }
        Err(if tried.is_empty() {
            UnlockError::NoUsableKeyslot { skipped }
        } else {
            UnlockError::NoKeyslotOpened { tried, skipped }
        })
    }

    /// Whether any keyslot can be tried at all, without deriving a key: what asking for a passphrase depends on.
    ///
    /// # Errors
    /// [`UnlockError::NoUsableKeyslot`] with the reasons.
    pub fn check_keyslots(&self, dev: &dyn ReadAt) -> Result<(), UnlockError> {
        let available_kib = machine_memory();
        let mut skipped = Vec::new();
        for keyslot in self.candidates(None) {
            match Prepared::read(dev, keyslot) {
                Ok(prepared) => {
                    let needed_kib = prepared.memory_kib();
                    if available_kib.is_none_or(|available| available >= needed_kib) {
                        return Ok(());
                    }
                    let reason = SkipReason::OutOfMemory {
                        needed_kib,
                        available_kib,
                    };
                    skipped.push(SkippedKeyslot {
                        keyslot: keyslot.id,
                        reason,
                    });
                }
                Err(reason) => skipped.push(SkippedKeyslot {
                    keyslot: keyslot.id,
                    reason,
                }),
            }
        }
        Err(UnlockError::NoUsableKeyslot { skipped })
    }

    /// The keyslots of the data segment's key, in the order in which they are tried; or the one that is asked for.
    fn candidates(&self, only: Option<u32>) -> Vec<&Keyslot> {
        let digest = self
            .metadata
            .digests
            .iter()
            .find(|digest| digest.id == self.data.digest);
        let bound = |keyslot: &&Keyslot| {
            matches!(keyslot.kind, KeyslotKind::Luks2(_))
                && keyslot.id < KEYSLOTS_MAX
                && digest.is_some_and(|digest| digest.keyslots.contains(&keyslot.id))
        };
        let mut found: Vec<&Keyslot> = self.metadata.keyslots.iter().filter(bound).collect();
        if let Some(only) = only {
            found.retain(|keyslot| keyslot.id == only);
            return found;
        }
        if found
            .iter()
            .any(|keyslot| matches!(keyslot.priority, NORMAL | PREFERRED))
        {
            found.retain(|keyslot| matches!(keyslot.priority, NORMAL | PREFERRED));
        }
        // Stable: by number among equals.
        found.sort_by_key(|keyslot| {
            (
                std::cmp::Reverse(keyslot.priority),
                self.is_for_a_device(keyslot.id),
            )
        });
        found
    }

    /// Whether a token's device, and no person, knows the passphrase of a keyslot.
    fn is_for_a_device(&self, keyslot: u32) -> bool {
        let typed = ["systemd-recovery"];
        let mut tokens = self
            .metadata
            .tokens
            .iter()
            .filter(|token| token.keyslots.contains(&keyslot));
        tokens.any(|token| !typed.contains(&token.kind.as_str()))
    }

    fn try_keyslot(
        &self,
        dev: &dyn ReadAt,
        keyslot: &Keyslot,
        passphrase: &[u8],
        available_kib: impl Fn() -> Option<u64>,
    ) -> Result<Option<VolumeKey>, SkipReason> {
        let digest = self
            .metadata
            .digests
            .iter()
            .find(|digest| digest.id == self.data.digest);
        let digest = digest.ok_or_else(|| SkipReason::Damaged("its digest is missing".to_owned()))?;
        let key = Prepared::read(dev, keyslot)?.open(passphrase, available_kib)?;
        Ok(verify(digest, &key)?.then(|| VolumeKey::new(key)))
    }
}
