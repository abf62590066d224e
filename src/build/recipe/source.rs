//! Sources of a recipe: files and directories beside it, and downloads.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::store::base32;
use crate::store::derivation::Algorithm;
use crate::store::path::check_name;

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or directory, from the recipe's directory on.
    Local {
        /// Where.
        path: String,
        /// The hash that it must have: of a file's bytes, or of a directory's archive.
        hash: Option<SourceHash>,
    },
    /// A download.
    Url {
        /// From where.
        url: String,
        /// The hash of its bytes.
        hash: SourceHash,
        /// Its name in the store.
        name: String,
    },
}

/// A hash as recipes have it: `sha256-BASE64`, or `sha256:` with hexadecimal digits or Nix's base-32.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceHash {
    /// The function.
    pub algorithm: Algorithm,
    /// The hash.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    path: Option<String>,
    url: Option<String>,
    hash: Option<String>,
    name: Option<String>,
}

impl Source {
    /// From a path, or a table with `path` or `url`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(value: &toml::Value) -> Result<Self, String> {
        if let Some(path) = value.as_str() {
            return Ok(Self::Local {
                path: path.to_owned(),
                hash: None,
            });
        }
        let fields: Fields = value.clone().try_into().map_err(|error: toml::de::Error| {
            format!(
                "{}: a source is a path, or {{ path = … }}, or {{ url = …, hash = … }}",
                error.message()
            )
        })?;
        let hash = fields.hash.as_deref().map(str::parse::<SourceHash>).transpose()?;
        match (fields.path, fields.url) {
            (Some(path), None) => Ok(Self::Local { path, hash }),
            (None, Some(url)) => {
                let hash = hash.ok_or(
                    "a download needs its hash: hash = \"sha256-…\" (make one by `openssl dgst -sha256 \
                                       -binary FILE | base64`)",
                )?;
                let name = fields.name.unwrap_or_else(|| last_part(&url).to_owned());
                check_name(&name).map_err(|error| format!("{error}: give it one by name = \"…\""))?;
                Ok(Self::Url { url, hash, name })
            }
            _ => Err("a source has either a path or a url".to_owned()),
        }
    }
}

fn last_part(url: &str) -> &str {
    let place = url.split(['?', '#']).next().unwrap_or(url);
    place.rsplit('/').next().unwrap_or(place)
}

impl FromStr for SourceHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is no hash: sha256-BASE64 is one, or sha256: and its hexadecimal digits");
        let end = text.find(['-', ':']).ok_or_else(wrong)?;
        let algorithm = text.get(..end).and_then(Algorithm::from_name).ok_or_else(wrong)?;
        let digits = text.get(end + 1..).ok_or_else(wrong)?;
        let bytes = if text.get(end..=end) == Some("-") {
            STANDARD.decode(digits).ok()
        } else if digits.len() == 2 * algorithm.bytes() {
            from_hex(digits)
        } else {
            match algorithm {
                Algorithm::Sha256 => base32::decode::<32>(digits).map(|hash| hash.to_vec()),
                Algorithm::Sha512 => base32::decode::<64>(digits).map(|hash| hash.to_vec()),
                Algorithm::Sha1 => base32::decode::<20>(digits).map(|hash| hash.to_vec()),
                Algorithm::Md5 => base32::decode::<16>(digits).map(|hash| hash.to_vec()),
            }
        };
        let bytes = bytes
            .filter(|bytes| bytes.len() == algorithm.bytes())
            .ok_or_else(wrong)?;
        Ok(Self { algorithm, bytes })
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

impl fmt::Display for SourceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.algorithm.name(), STANDARD.encode(&self.bytes))
    }
}

impl fmt::Debug for SourceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::path::hex;

    #[test]
    fn hashes_are_read_in_every_form() {
        // printf x | sha256sum; … | openssl dgst -sha256 -binary | base64; nix-hash --type sha256 --to-base32 …
        let right = "sha256-LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=";
        let hash: SourceHash = right.parse().unwrap();
        assert_eq!(hash.to_string(), right);
        let hex = hex(&hash.bytes);
        assert_eq!(format!("sha256:{hex}").parse::<SourceHash>().unwrap(), hash);
        let base32 = base32::encode(&hash.bytes);
        assert_eq!(format!("sha256:{base32}").parse::<SourceHash>().unwrap(), hash);
        for wrong in [
            "",
            "x",
            "sha256",
            "sha256-",
            "sha256-AAAA",
            "sha256:00",
            "crc-AAAA",
            "sha256:zz",
        ] {
            assert!(wrong.parse::<SourceHash>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sources_are_paths_or_downloads_with_a_hash() {
        let read = |text: &str| {
            let table: toml::Table = toml::from_str(&format!("x = {text}")).unwrap();
            Source::read(table.get("x").unwrap())
        };
        assert!(matches!(read("\"./src\""), Ok(Source::Local { hash: None, .. })));
        let hash = format!("sha256:{}", "0".repeat(64));
        let url = format!("{{ url = \"https://h/a/b-1.tar.gz?x=/y\", hash = \"{hash}\" }}");
        assert!(matches!(read(&url), Ok(Source::Url { name, .. }) if name == "b-1.tar.gz"));
        assert!(
            read("{ url = \"https://h/a\" }")
                .unwrap_err()
                .contains("needs its hash")
        );
        assert!(
            read("{ url = \"u\", path = \"p\" }")
                .unwrap_err()
                .contains("either")
        );
        assert!(read("{ file = \"p\" }").unwrap_err().contains("unknown field"));
        assert!(read("3").is_err());
    }
}
