//! Store paths: hash, name, and how they are computed.

use std::fmt;

use sha2::{Digest, Sha256};

use super::base32;

/// Characters of the hash part: 160 bits in base-32.
pub const HASH_LEN: usize = 32;
/// Longest name that Nix accepts.
const NAME_MAX: usize = 211;

/// Why a text is no store path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not below the store directory.
    #[error("'{0}' is not in the store")]
    NotInStore(String),
    /// No dash after the hash part, or the hash part has another length.
    #[error("'{0}' has no hash part of 32 characters and a dash")]
    MissingDash(String),
    /// The hash part holds a character that is no base-32.
    #[error("'{0}' has a hash part that is not base-32")]
    InvalidHash(String),
    /// The name is empty.
    #[error("'{0}' has no name")]
    EmptyName(String),
    /// The name is longer than Nix allows.
    #[error("the name '{0}' is longer than {NAME_MAX} characters")]
    NameTooLong(String),
    /// The name holds a character that Nix refuses, or reads as `.` or `..`.
    #[error(
        "the name '{0}' is refused: letters, digits and + - . _ ? = are allowed, and it may not be or start like '.' or '..'"
    )]
    InvalidName(String),
}

/// A path directly below the store directory: `<hash>-<name>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath {
    // Only ever `<32 base-32 characters>-<valid name>`.
    base: String,
}

impl StorePath {
    /// From `<hash>-<name>`.
    pub fn from_base_name(base: &str) -> Result<Self, PathError> {
        let shorten = || short(base);
        let (hash, rest) = base
            .split_at_checked(HASH_LEN)
            .ok_or_else(|| PathError::MissingDash(shorten()))?;
        let name = rest
            .strip_prefix('-')
            .ok_or_else(|| PathError::MissingDash(shorten()))?;
        if !hash.bytes().all(base32::is_digit) {
            return Err(PathError::InvalidHash(shorten()));
        }
        check_name(name)?;
        Ok(Self {
            base: base.to_owned(),
        })
    }

    /// From an absolute path directly below `store_dir`.
    pub fn from_absolute(store_dir: &str, path: &str) -> Result<Self, PathError> {
        let base = path
            .strip_prefix(store_dir)
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|base| !base.contains('/'))
            .ok_or_else(|| PathError::NotInStore(short(path)))?;
        Self::from_base_name(base)
    }

    /// One that nothing has, for messages about what can't be.
    #[cfg(feature = "tools")]
    pub(crate) fn stand_in() -> Self {
        Self {
            base: format!("{}-unknown", "0".repeat(HASH_LEN)),
        }
    }

    /// `<hash>-<name>`.
    pub fn base_name(&self) -> &str {
        &self.base
    }

    /// The 32 characters before the dash.
    pub fn hash_part(&self) -> &str {
        self.base.get(..HASH_LEN).unwrap_or_default()
    }

    /// What stands after the dash.
    pub fn name(&self) -> &str {
        self.base.get(HASH_LEN + 1..).unwrap_or_default()
    }

    /// The absolute path below `store_dir`.
    pub fn absolute(&self, store_dir: &str) -> String {
        format!("{store_dir}/{}", self.base)
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// Whether `name` may stand after the hash part.
pub fn check_name(name: &str) -> Result<(), PathError> {
    if name.is_empty() {
        return Err(PathError::EmptyName(name.to_owned()));
    }
    if name.len() > NAME_MAX {
        return Err(PathError::NameTooLong(short(name)));
    }
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"+-._?=".contains(&c);
    // Newer versions of Nix refuse names whose first word is `.` or `..`.
    let dots = matches!(name.split('-').next(), Some("." | ".."));
    if dots || !name.bytes().all(allowed) {
        return Err(PathError::InvalidName(short(name)));
    }
    Ok(())
}

/// What a path refers to: other paths, and perhaps itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct References<'a> {
    /// In the order of their base names, without duplicates, without the path itself.
    pub others: &'a [StorePath],
    /// Whether the content names its own path.
    pub itself: bool,
}

/// The kinds of store paths, as in Nix's specification of store paths ("Complete store path calculation").
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// Content-addressed by the SHA-256 of its NAR: `nix-store --add`, and fixed outputs of `r:sha256`. With a
    /// reference to itself the hash is that of the NAR without it (see [`super::references::hash_modulo`]).
    Source(References<'a>),
    /// A text file, by the SHA-256 of its bytes: derivations, `builtins.toFile`.
    Text(References<'a>),
    /// An output of a derivation, by the hash of the derivation: the output's identifier (`out`).
    Output(&'a str),
}

/// The store path for `kind`, the SHA-256 `hash` and `name` in the store `store_dir`.
pub fn make_store_path(
    store_dir: &str,
    kind: Kind<'_>,
    hash: &[u8; 32],
    name: &str,
) -> Result<StorePath, PathError> {
    check_name(name)?;
    let kind = match kind {
        Kind::Source(references) => with_references("source", references, store_dir),
        Kind::Text(references) => with_references("text", references, store_dir),
        Kind::Output(id) => format!("output:{id}"),
    };
    let fingerprint = format!("{kind}:sha256:{}:{store_dir}:{name}", hex(hash));
    let digest = Sha256::digest(fingerprint.as_bytes());
    let mut folded = [0u8; 20];
    for (index, byte) in digest.iter().enumerate() {
        if let Some(slot) = folded.get_mut(index % 20) {
            *slot ^= byte;
        }
    }
    Ok(StorePath {
        base: format!("{}-{name}", base32::encode(&folded)),
    })
}

/// The store path of a fixed output that is no `r:sha256` (that one is a [`Kind::Source`]): `hash` in hexadecimal
/// by `algorithm` (`sha256`, `sha512`…), over the NAR when `recursive`, over the file's bytes otherwise.
pub fn fixed_output_path(
    store_dir: &str,
    recursive: bool,
    (algorithm, hash): (&str, &str),
    name: &str,
) -> Result<StorePath, PathError> {
    let method = if recursive { "r:" } else { "" };
    let inner: [u8; 32] = Sha256::digest(format!("fixed:out:{method}{algorithm}:{hash}:").as_bytes()).into();
    make_store_path(store_dir, Kind::Output("out"), &inner, name)
}

// What comes from a damaged link or file is shown on a console: not long, and nothing that moves the cursor.
fn short(text: &str) -> String {
    text.chars()
        .take(250)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn with_references(kind: &str, references: References<'_>, store_dir: &str) -> String {
    let mut text = kind.to_owned();
    for path in references.others {
        text.push(':');
        text.push_str(&path.absolute(store_dir));
    }
    if references.itself {
        text.push_str(":self");
    }
    text
}

/// `bytes` in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;

    const STORE: &str = "/nix/store";

    #[test]
    fn takes_a_path_apart() {
        let path =
            StorePath::from_absolute(STORE, "/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f.tar?a=1").unwrap();
        assert_eq!(path.hash_part(), "mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw");
        assert_eq!(path.name(), "f.tar?a=1");
        assert_eq!(
            path.absolute(STORE),
            "/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f.tar?a=1"
        );
    }

    #[test]
    fn refuses_what_is_no_store_path() {
        let hash = "mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw";
        let long = "n".repeat(212);
        for (path, matcher) in [
            (format!("/nix/other/{hash}-f"), "not in the store"),
            (format!("/nix/store/{hash}-f/bin"), "not in the store"),
            (format!("/nix/storex/{hash}-f"), "not in the store"),
            ("/nix/store/short-f".to_owned(), "no hash part"),
            (format!("/nix/store/{hash}f"), "no hash part"),
            ("/nix/store/ééééééééééééééééééé".to_owned(), "no hash part"),
            (
                "/nix/store/Mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f".to_owned(),
                "not base-32",
            ),
            (format!("/nix/store/{hash}-"), "no name"),
            (format!("/nix/store/{hash}-a b"), "refused"),
            (format!("/nix/store/{hash}-.."), "refused"),
            (format!("/nix/store/{hash}-{long}"), "longer"),
        ] {
            let error = StorePath::from_absolute(STORE, &path).unwrap_err().to_string();
            assert!(error.contains(matcher), "{path}: {error}");
        }
    }

    #[test]
    fn computes_what_nix_computes() {
        // mkdir f f/sub; echo hi >f/a; printf '#!/bin/sh\n' >f/sub/x; chmod 755 f/sub/x; ln -s a f/l; nix-store --add f
        let nar = base32::decode::<32>("0sccip3r987a1ckwv1b2w1faz6a40798rv5kl4rzpi84y380dz6g").unwrap();
        let path = make_store_path(STORE, Kind::Source(References::default()), &nar, "f").unwrap();
        assert_eq!(path.base_name(), "mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f");
    }

    #[test]
    fn references_are_part_of_the_path() {
        let nar = [7; 32];
        let other = StorePath::from_base_name("mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f").unwrap();
        let with = |others: &[StorePath], itself| {
            make_store_path(STORE, Kind::Source(References { others, itself }), &nar, "f").unwrap()
        };
        let all = [
            with(&[], false),
            with(std::slice::from_ref(&other), false),
            with(&[], true),
        ];
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }
}
