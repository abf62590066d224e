//! `units.json`: what the units of a system are made of, run and read. Written at import; a switch compares two of them
//! instead of reading every unit of two systems.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::Text;

/// The version that this code writes and reads.
pub const VERSION: u32 = 1;
/// A larger record is refused: a system with two thousand units has some megabytes.
pub const RECORD_MAX: usize = 64 << 20;

/// Why a record can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It has more than [`RECORD_MAX`] bytes.
    #[error("it is larger than {RECORD_MAX} bytes")]
    TooLarge,
    /// It isn't the JSON that was expected.
    #[error("it can't be read: {}", shown(.0))]
    Json(#[from] serde_json::Error),
    /// It isn't text.
    #[error("it isn't UTF-8")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// It is of another version.
    #[error("it is of version {0}, and this keel knows version {VERSION}")]
    Version(u32),
}

/// Units and what they depend on. Paths are those of the assembled root; digests are fs-verity digests in hexadecimal,
/// which name the contents in the store (no file is read for them at import).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitsRecord<'a> {
    /// [`VERSION`].
    pub version: u32,
    /// Every program, script, library and configuration file below: path and digest.
    #[serde(borrow)]
    pub files: BTreeMap<Text<'a>, Text<'a>>,
    /// The libraries of every program, in the order of their paths.
    #[serde(borrow)]
    pub programs: BTreeMap<Text<'a>, Vec<Text<'a>>>,
    /// By main name: aliases are names of their unit, masked units are there.
    #[serde(borrow)]
    pub units: BTreeMap<Text<'a>, UnitRecord<'a>>,
}

/// A unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitRecord<'a> {
    /// Its fragment.
    #[serde(borrow)]
    pub fragment: Text<'a>,
    /// Whether the fragment is empty or a link to `/dev/null`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
    /// In the order in which they apply.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub drop_ins: Vec<Text<'a>>,
    /// SHA-256, in hexadecimal, of the fragment's and the drop-ins' paths and digests and of the links in `.wants`,
    /// `.requires` and `.upholds` directories.
    #[serde(borrow)]
    pub text: Text<'a>,
    /// Programs, scripts and interpreters that its command lines run.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<Text<'a>>,
    /// Files of `/etc` that it reads.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub configuration: Vec<Text<'a>>,
    /// Its other names.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Text<'a>>,
}

impl<'a> UnitsRecord<'a> {
    /// A record without units.
    pub fn empty() -> Self {
        Self {
            version: VERSION,
            files: BTreeMap::new(),
            programs: BTreeMap::new(),
            units: BTreeMap::new(),
        }
    }

    /// Reads `units.json`; the record borrows from its bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        if bytes.len() > RECORD_MAX {
            return Err(RecordError::TooLarge);
        }
        // Once for all: serde_json would check every string.
        let text = str::from_utf8(bytes)?;
        let record = serde_json::from_str::<Self>(text);
        match record {
            Ok(record) if record.version == VERSION => Ok(record),
            Ok(record) => Err(RecordError::Version(record.version)),
            // A later version may have other fields: then say so, and not which field is unknown.
            Err(error) => match serde_json::from_str::<Versioned>(text) {
                Ok(Versioned { version }) if version != VERSION => Err(RecordError::Version(version)),
                _ => Err(error.into()),
            },
        }
    }

    /// Writes `units.json`: the same record gives the same bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Only maps with keys that are no strings could fail.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

// The name of a field that isn't known may hold anything and be as long as the record.
fn shown(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let plain = text.chars().map(|c| if c.is_control() { '?' } else { c });
    plain.take(300).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_field_that_is_not_known_is_told_on_one_line() {
        let name = format!("a\\n{}", "b".repeat(1000));
        let text = format!("{{\"version\":1,\"{name}\":0}}");
        let error = UnitsRecord::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("a?bbb") && error.len() < 400, "{error}");
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let mut record = UnitsRecord::empty();
        let _new = record.units.insert(
            "a.service".into(),
            UnitRecord {
                fragment: "/usr/lib/systemd/system/a.service".into(),
                text: "00".into(),
                code: vec!["/usr/bin/a".into()],
                ..UnitRecord::default()
            },
        );
        assert_eq!(UnitsRecord::parse(&record.to_json()).unwrap(), record);
        let fault = |text: &str| UnitsRecord::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            fault(r#"{"version":2,"new":1}"#),
            "it is of version 2, and this keel knows version 1"
        );
        assert!(fault(r#"{"version":1,"files":{}}"#).contains("missing field"));
        assert!(fault("").contains("can't be read"));
        // What imports wrote before there were records.
        assert!(UnitsRecord::parse(br#"{"version":1,"units":{}}"#).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _result = UnitsRecord::parse(&bytes);
        }
    }
}
