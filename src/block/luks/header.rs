//! A header of either version; for LUKS2, from whichever of its two copies is good.

use std::fmt;
use std::io;

use thiserror::Error;

use super::copy::{self, BadCopy, CopyError, HeaderCopy, Which};
use super::json::{KeyslotKind, Metadata};
use super::kdf::Kdf;
use super::luks1::{self, Luks1, Luks1Error};
use super::support::{Data, Unsupported, check_cipher, supported_data};
use crate::block::ReadAt;
use crate::block::probe::{self, Kind};

/// Where the second copy can be: the sizes that a header can have (LUKS2 on-disk format 1.1, section 2.2).
const SECONDARY_OFFSETS: std::ops::RangeInclusive<u32> = 14..=22;

/// Why a device can't be opened as LUKS. The message does not name the device.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// There is no LUKS header.
    #[error("there is no LUKS header")]
    NotLuks,
    /// A header of version 1 that is damaged. There is no second copy.
    #[error("the LUKS1 header {0}; restore it from a backup with \"cryptsetup luksHeaderRestore\"")]
    Luks1(Luks1Error),
    /// Neither copy of the header can be used.
    #[error(
        "both copies of the LUKS2 header are damaged: the primary one {primary}, the secondary one {secondary}; \
         restore them from a backup with \"cryptsetup luksHeaderRestore\""
    )]
    Damaged {
        /// What is wrong with the first.
        primary: CopyError,
        /// What is wrong with the second.
        secondary: CopyError,
    },
    /// One copy is damaged, and the device holds something else, too: it may have been given another use.
    #[error(
        "the {damaged} copy of the LUKS2 header is damaged, and the device looks like {other}, too; \
         decide with \"wipefs\" or \"cryptsetup repair\" from another system"
    )]
    Ambiguous {
        /// The copy that is damaged.
        damaged: Which,
        /// What else there is.
        other: Kind,
    },
    /// The device ends before the keyslots do.
    #[error("the device has {device} bytes, its LUKS header and keyslots take {needed}: it is truncated")]
    TooSmall {
        /// Bytes that the header needs.
        needed: u64,
        /// Bytes that there are.
        device: u64,
    },
    /// The header is right, but needs something that keel doesn't have.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The device gave an error.
    #[error("the LUKS header can't be read: {0}")]
    Read(#[source] io::Error),
}

/// Something that a user should know about a header that could be read.
#[derive(Debug)]
pub enum Warning {
    /// One copy can't be used. keel never writes; `cryptsetup` repairs it when it opens the device.
    Damaged {
        /// Which one.
        copy: Which,
        /// What is wrong with it.
        why: CopyError,
    },
    /// One copy is older than the other: an update was cut short.
    Outdated {
        /// The older one.
        copy: Which,
        /// Its sequence number.
        seqid: u64,
        /// The sequence number of the one that is used.
        used: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { copy, why } => write!(
                f,
                "the {copy} copy of the LUKS2 header {why}; the other copy is used; \"cryptsetup repair\" restores it"
            ),
            Self::Outdated { copy, seqid, used } => write!(
                f,
                "the {copy} copy of the LUKS2 header is outdated (sequence number {seqid}, the other has {used}); \
                 \"cryptsetup repair\" restores it"
            ),
        }
    }
}

/// The version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// LUKS1.
    Luks1,
    /// LUKS2.
    Luks2,
}

/// A header that keel can open: checked, with one data segment.
#[derive(Clone, Debug)]
pub struct Header {
    version: Version,
    uuid: String,
    label: Option<String>,
    subsystem: Option<String>,
    pub(super) metadata: Metadata,
    pub(super) data: Data,
}

/// A keyslot, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyslotSummary {
    /// Its number.
    pub id: u32,
    /// 2: tried first, 1: normal, 0: only when there is no other.
    pub priority: i64,
    /// The key derivation function with its costs; `None` for a keyslot that holds no key.
    pub kdf: Option<Kdf>,
}

/// A token, for the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSummary {
    /// Its number.
    pub id: u32,
    /// Its type (`systemd-tpm2`, `systemd-fido2`, `systemd-recovery`, `clevis`).
    pub kind: String,
    /// The keyslots that it opens.
    pub keyslots: Vec<u32>,
}

impl Header {
    /// Reads a header. Of LUKS2's two copies it takes the good one; when both are, the one with the higher sequence number.
    ///
    /// # Errors
    /// See [`HeaderError`]. Whether the data fits on the device is told later, by [`Header::segment_sectors`].
    pub fn read(dev: &dyn ReadAt) -> Result<(Self, Vec<Warning>), HeaderError> {
        let (chosen, warnings) = match choose(dev)? {
            Found::Luks1(header) => return Ok((Self::from_luks1(header, dev)?, Vec::new())),
            Found::Luks2(copy, warnings) => (copy, warnings),
        };
        // A second use of the device matters only when a copy is missing.
        if let Some(Warning::Damaged { copy, .. }) = warnings.first()
            && let Some(found) = probe::probe_not_luks(dev).map_err(HeaderError::Read)?
        {
            return Err(HeaderError::Ambiguous {
                damaged: *copy,
                other: found.kind,
            });
        }
        let needed = chosen.metadata.total_size();
        let device = dev.size().map_err(HeaderError::Read)?;
        if needed > device {
            return Err(HeaderError::TooSmall { needed, device });
        }
        let data = supported_data(&chosen.metadata)?;
        let HeaderCopy {
            uuid,
            label,
            subsystem,
            metadata,
            ..
        } = chosen;
        Ok((
            Self {
                version: Version::Luks2,
                uuid,
                label,
                subsystem,
                metadata,
                data,
            },
            warnings,
        ))
    }

    fn from_luks1(header: Luks1, dev: &dyn ReadAt) -> Result<Self, HeaderError> {
        let device = dev.size().map_err(HeaderError::Read)?;
        if header.needed > device {
            return Err(HeaderError::TooSmall {
                needed: header.needed,
                device,
            });
        }
        check_cipher(&header.data.crypt.encryption)?;
        Ok(Self {
            version: Version::Luks1,
            uuid: header.uuid,
            label: None,
            subsystem: None,
            metadata: header.metadata,
            data: header.data,
        })
    }

    /// The version of the format.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the data lies on another device: nothing must be mapped on the one that holds the header.
    pub fn is_detached(&self) -> bool {
        self.data.offset == 0
    }

    /// The UUID as the header spells it.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The cipher of the data as dm-crypt takes it, such as `aes-xts-plain64`.
    pub fn cipher(&self) -> &str {
        &self.data.crypt.encryption
    }

    /// The label.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The subsystem, a second label.
    pub fn subsystem(&self) -> Option<&str> {
        self.subsystem.as_deref()
    }

    /// Its tokens, by number.
    pub fn tokens(&self) -> Vec<TokenSummary> {
        let summary = |token: &super::json::Token| TokenSummary {
            id: token.id,
            kind: token.kind.clone(),
            keyslots: token.keyslots.clone(),
        };
        self.metadata.tokens.iter().map(summary).collect()
    }

    /// Its keyslots, by number.
    pub fn keyslots(&self) -> Vec<KeyslotSummary> {
        let summary = |keyslot: &super::json::Keyslot| KeyslotSummary {
            id: keyslot.id,
            priority: keyslot.priority,
            kdf: match &keyslot.kind {
                KeyslotKind::Luks2(parameters) => Some(parameters.kdf.clone()),
                KeyslotKind::Other(_) => None,
            },
        };
        self.metadata.keyslots.iter().map(summary).collect()
    }
}

/// What a device holds.
enum Found {
    Luks1(Luks1),
    Luks2(HeaderCopy, Vec<Warning>),
}

fn choose(dev: &dyn ReadAt) -> Result<Found, HeaderError> {
    let primary = copy::read(dev, 0, Which::Primary);
    if let Err(BadCopy {
        why: CopyError::Version(1),
        ..
    }) = primary
    {
        match luks1::read(dev) {
            Ok(header) => return Ok(Found::Luks1(header)),
            // A LUKS2 header whose version was damaged has a second copy.
            Err(error) if search_secondary(dev).is_err() => return Err(HeaderError::Luks1(error)),
            Err(_) => {}
        }
    }
    let (copy, warnings) = choose_copy(dev, primary)?;
    Ok(Found::Luks2(copy, warnings))
}

fn choose_copy(
    dev: &dyn ReadAt,
    primary: Result<HeaderCopy, BadCopy>,
) -> Result<(HeaderCopy, Vec<Warning>), HeaderError> {
    let secondary = match &primary {
        Ok(HeaderCopy { size, .. }) | Err(BadCopy { size: Some(size), .. }) => {
            copy::read(dev, *size, Which::Secondary)
        }
        Err(_) => search_secondary(dev),
    };
    match (primary, secondary) {
        (Ok(primary), Ok(secondary)) => {
            let (older, used, copy) = match primary.seqid.cmp(&secondary.seqid) {
                std::cmp::Ordering::Equal => return Ok((primary, Vec::new())),
                std::cmp::Ordering::Less => (primary, secondary, Which::Primary),
                std::cmp::Ordering::Greater => (secondary, primary, Which::Secondary),
            };
            let warning = Warning::Outdated {
                copy,
                seqid: older.seqid,
                used: used.seqid,
            };
            Ok((used, vec![warning]))
        }
        (Ok(primary), Err(bad)) => Ok((
            primary,
            vec![Warning::Damaged {
                copy: Which::Secondary,
                why: bad.why,
            }],
        )),
        (Err(bad), Ok(secondary)) => Ok((
            secondary,
            vec![Warning::Damaged {
                copy: Which::Primary,
                why: bad.why,
            }],
        )),
        (
            Err(BadCopy {
                why: CopyError::Signature,
                ..
            }),
            Err(BadCopy {
                why: CopyError::Signature,
                ..
            }),
        ) => Err(HeaderError::NotLuks),
        (
            Err(BadCopy {
                why: CopyError::Read(error),
                ..
            }),
            Err(BadCopy {
                why: CopyError::Read(_),
                ..
            }),
        ) => Err(HeaderError::Read(error)),
        (Err(primary), Err(secondary)) => Err(HeaderError::Damaged {
            primary: primary.why,
            secondary: secondary.why,
        }),
    }
}

/// Without a first copy that tells its size, all places are looked at. The first good copy counts; else the fault of
/// the first place with a signature, which says most.
fn search_secondary(dev: &dyn ReadAt) -> Result<HeaderCopy, BadCopy> {
    let mut fault: Option<BadCopy> = None;
    for shift in SECONDARY_OFFSETS {
        match copy::read(dev, 1 << shift, Which::Secondary) {
            Ok(copy) => return Ok(copy),
            Err(bad) => {
                let says_more = |why: &CopyError| !matches!(why, CopyError::Signature);
                if fault.is_none()
                    || (says_more(&bad.why) && !fault.as_ref().is_some_and(|f| says_more(&f.why)))
                {
                    fault = Some(bad);
                }
            }
        }
    }
    Err(fault.unwrap_or(BadCopy {
        why: CopyError::Signature,
        size: None,
    }))
}
