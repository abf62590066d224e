//! LUKS1 and LUKS2 in process: reads headers, opens keyslots, writes dm-crypt tables. Nothing is ever written to a device.
//!
//! Follows the "LUKS1 On-Disk Format Specification", version 1.2.3, and the "LUKS2 On-Disk Format Specification", version
//! 1.1, and judges headers as cryptsetup does. What isn't supported is refused by name. A LUKS1 header is turned into
//! LUKS2's metadata when it is read, as `cryptsetup convert` does, so that everything behind [`Header`] knows one format.

mod af;
mod cipher;
mod copy;
mod hash;
mod header;
mod json;
mod kdf;
mod key;
mod keyfile;
mod keyslot;
mod luks1;
mod options;
mod segment;
mod support;
mod table;
mod unlock;

pub(crate) use copy::is_uuid;
pub use copy::{CopyError, Which};
pub use header::{Header, HeaderError, KeyslotSummary, TokenSummary, Version, Warning};
pub use json::JsonError;
pub use kdf::{ArgonVariant, Kdf};
pub use key::VolumeKey;
pub use keyfile::{KeyfileError, read_keyfile};
pub use keyslot::SkipReason;
pub use luks1::Luks1Error;
pub use options::CryptOptions;
pub use segment::SegmentReader;
pub use support::Unsupported;
pub use table::SegmentError;
pub use unlock::{SkippedKeyslot, UnlockError, Unlocked};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
