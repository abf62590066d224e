//! LUKS2 in process: reads headers, opens keyslots, writes dm-crypt tables. Nothing is ever written to a device.
//!
//! Follows the "LUKS2 On-Disk Format Specification", version 1.1, and judges headers as cryptsetup does. What
//! isn't supported is refused by name. [`Header`] shows nothing of the format's version, so that LUKS1, refused today as
//! [`HeaderError::Luks1`], can be read by the same callers.

mod af;
mod copy;
mod hash;
mod header;
mod json;
mod kdf;
mod key;
mod keyslot;
mod options;
mod segment;
mod support;
mod table;
mod unlock;
mod xts;

pub use copy::{CopyError, Which};
pub use header::{Header, HeaderError, KeyslotSummary, TokenSummary, Warning};
pub use json::JsonError;
pub use kdf::{ArgonVariant, Kdf};
pub use key::VolumeKey;
pub use keyslot::SkipReason;
pub use options::CryptOptions;
pub use segment::SegmentReader;
pub use support::Unsupported;
pub use table::SegmentError;
pub use unlock::{SkippedKeyslot, UnlockError, Unlocked};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
