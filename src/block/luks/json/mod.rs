//! The LUKS2 JSON metadata (LUKS2 on-disk format 1.1, section 3): text to [`Metadata`].
//!
//! What cryptsetup's own checks of a header refuse is refused here, and the other way round but for text that no tool
//! writes (not UTF-8, JSON with extensions).

use serde_json::Value;
use thiserror::Error;

use super::kdf::Kdf;

mod convert;
mod validate;

/// More values than any tool writes; bounds the memory that hostile metadata can take (its text is at most 4 MiB).
const MAX_VALUES: usize = 65_536;
/// Depth of nesting that cryptsetup's parser accepts.
const MAX_DEPTH: usize = 32;

/// What is wrong with the metadata.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    /// The text doesn't start with `{`.
    #[error("it is no JSON object")]
    NotAnObject,
    /// The text fills its area up to the last byte.
    #[error("the text isn't terminated")]
    NotTerminated,
    /// The unused space isn't zeroed.
    #[error("there is something behind the text, at byte {0} of the area")]
    Trailing(usize),
    /// Too many values.
    #[error("it holds more than {MAX_VALUES} values")]
    TooLarge,
    /// Nested too deeply.
    #[error("it is nested too deeply")]
    TooDeep,
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
    /// An object breaks a rule of the format.
    #[error("{object}: {why}")]
    Invalid {
        /// Which one (`keyslot 3`).
        object: String,
        /// Which rule.
        why: String,
    },
}

/// All that keel needs of the metadata.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) keyslots: Vec<Keyslot>,
    pub(super) tokens: Vec<Token>,
    pub(super) segments: Vec<Segment>,
    pub(super) digests: Vec<Digest>,
    pub(super) json_size: u64,
    pub(super) keyslots_size: u64,
    pub(super) flags: Vec<String>,
    pub(super) requirements: Vec<String>,
}

impl Metadata {
    /// Size in bytes of one copy of the header.
    pub(super) fn header_size(&self) -> u64 {
        self.json_size.saturating_add(super::copy::BINARY_LEN as u64)
    }

    /// Size in bytes of both copies and the keyslots area.
    pub(super) fn total_size(&self) -> u64 {
        self.header_size()
            .saturating_mul(2)
            .saturating_add(self.keyslots_size)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Keyslot {
    pub(super) id: u32,
    pub(super) area: Area,
    pub(super) priority: i64,
    pub(super) kind: KeyslotKind,
}

/// A range of the keyslots area, in bytes from the start of the device.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub(super) offset: u64,
    pub(super) size: u64,
}

#[derive(Clone, Debug)]
pub(super) enum KeyslotKind {
    Luks2(KeyslotParameters),
    /// A keyslot of another type (`reencrypt`).
    Other(String),
}

#[derive(Clone, Debug)]
pub(super) struct KeyslotParameters {
    /// Length of the volume key.
    pub(super) key_size: u32,
    pub(super) area_encryption: String,
    pub(super) area_key_size: u32,
    pub(super) af_hash: String,
    pub(super) af_stripes: i64,
    pub(super) kdf: Kdf,
    /// In base64.
    pub(super) salt: String,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) id: u32,
    pub(super) kind: String,
    pub(super) keyslots: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) id: u32,
    pub(super) kind: String,
    /// Bytes from the start of the device.
    pub(super) offset: u64,
    /// Bytes; `None`: up to the end of the device.
    pub(super) size: Option<u64>,
    pub(super) flags: Vec<String>,
    pub(super) crypt: Option<CryptParameters>,
}

impl Segment {
    pub(super) fn is_backup(&self) -> bool {
        self.flags.iter().any(|flag| flag.starts_with("backup-"))
    }
}

#[derive(Clone, Debug)]
pub(super) struct CryptParameters {
    /// In sectors of 512 bytes.
    pub(super) iv_tweak: u64,
    pub(super) encryption: String,
    pub(super) sector_size: u32,
    /// Type of integrity protection, when there is some.
    pub(super) integrity: Option<String>,
}

#[derive(Clone, Debug)]
#[allow(clippy::struct_field_names, reason = "the format's names")]
pub(super) struct Digest {
    pub(super) id: u32,
    pub(super) kind: String,
    pub(super) keyslots: Vec<u32>,
    pub(super) segments: Vec<u32>,
    pub(super) hash: Option<String>,
    pub(super) iterations: Option<u32>,
    /// In base64.
    pub(super) salt: Option<String>,
    /// In base64.
    pub(super) digest: Option<String>,
}

/// Parses and checks a JSON area: the text and the zeroes behind it.
pub(super) fn parse(area: &[u8]) -> Result<Metadata, JsonError> {
    let text = text_of(area)?;
    let Value::Object(mut root) =
        serde_json::from_slice(text).map_err(|error| JsonError::Syntax(error.to_string()))?
    else {
        return Err(JsonError::NotAnObject);
    };
    if root.values().any(|value| is_deeper_than(value, MAX_DEPTH - 1)) {
        return Err(JsonError::TooDeep);
    }
    let metadata = Metadata::from_sections(&mut root)?;
    validate::check(&metadata, area.len() as u64)?;
    Ok(metadata)
}

/// The text is followed by at least one NUL and by nothing else.
fn text_of(area: &[u8]) -> Result<&[u8], JsonError> {
    if area.first() != Some(&b'{') {
        return Err(JsonError::NotAnObject);
    }
    let len = area
        .iter()
        .position(|&byte| byte == 0)
        .ok_or(JsonError::NotTerminated)?;
    let (text, padding) = area.split_at_checked(len).ok_or(JsonError::NotTerminated)?;
    if let Some(at) = padding.iter().position(|&byte| byte != 0) {
        return Err(JsonError::Trailing(len + at));
    }
    if text
        .iter()
        .filter(|byte| matches!(byte, b'{' | b'[' | b','))
        .count()
        > MAX_VALUES
    {
        return Err(JsonError::TooLarge);
    }
    Ok(text)
}

/// The recursion is bounded by that of the JSON parser (128).
fn is_deeper_than(value: &Value, limit: usize) -> bool {
    match value {
        Value::Array(items) => limit == 0 || items.iter().any(|item| is_deeper_than(item, limit - 1)),
        Value::Object(items) => limit == 0 || items.values().any(|item| is_deeper_than(item, limit - 1)),
        _ => false,
    }
}

fn invalid(object: &str, why: impl Into<String>) -> JsonError {
    JsonError::Invalid {
        object: object.to_owned(),
        why: why.into(),
    }
}

#[cfg(test)]
mod tests;
