//! Derivations: what to build, from what, and where the outputs go. The format and all hashes are Nix's.

mod aterm;
mod hash;
mod library;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::path::StorePath;

pub use aterm::{AtermError, AtermProblem};
pub use hash::{DerivationError, Hashes};
pub use library::{Library, LibraryError, name_of};

/// How the names of files with derivations end.
pub const EXTENSION: &str = ".drv";

/// A text that Nix doesn't ask to be UTF-8.
pub type Text = Vec<u8>;

/// A derivation: one build, with everything that it depends on named by store path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Derivation {
    /// By identifier: `out`, `dev`.
    pub outputs: BTreeMap<String, Output>,
    /// Derivations whose outputs, by identifier, must be built before.
    pub input_derivations: BTreeMap<StorePath, BTreeSet<String>>,
    /// Paths that must be valid before.
    pub input_sources: BTreeSet<StorePath>,
    /// The kind of machine: `x86_64-linux`.
    pub system: Text,
    /// The program that builds.
    pub builder: Text,
    /// Its arguments, without its name.
    pub arguments: Vec<Text>,
    /// Its environment; what Nix knows of the build beyond that (`requiredSystemFeatures`, `__json`) is here as well.
    pub environment: BTreeMap<Text, Text>,
}

/// An output of a derivation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Where it goes. Nothing while it isn't computed yet.
    pub path: Option<StorePath>,
    /// What it must be, when that is known beforehand.
    pub fixed: Option<FixedHash>,
}

/// The content of an output that is known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedHash {
    /// Whether the hash is over the NAR; over a file's bytes otherwise.
    pub recursive: bool,
    /// The hash function.
    pub algorithm: Algorithm,
    /// The hash, as long as the function has it.
    pub hash: Vec<u8>,
}

/// A hash function that content may be named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// 128 bits.
    Md5,
    /// 160 bits.
    Sha1,
    /// 256 bits.
    Sha256,
    /// 512 bits.
    Sha512,
}

impl Algorithm {
    /// As Nix writes it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// Bytes of its hashes.
    pub fn bytes(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }
}

impl FixedHash {
    /// `r:sha256`, `sha512`: method and function, as derivations have them.
    pub fn method(&self) -> String {
        let recursive = if self.recursive { "r:" } else { "" };
        format!("{recursive}{}", self.algorithm.name())
    }
}

impl Derivation {
    /// The only output, when its content is known beforehand.
    pub fn fixed_output(&self) -> Option<&FixedHash> {
        let mut outputs = self.outputs.iter();
        match (outputs.next(), outputs.next()) {
            (Some((id, output)), None) if id == "out" => output.fixed.as_ref(),
            _ => None,
        }
    }

    /// A variable of the environment that is UTF-8.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name.as_bytes())
            .and_then(|value| str::from_utf8(value).ok())
    }

    /// Features that the builder's machine must have (`requiredSystemFeatures`): words.
    pub fn required_features(&self) -> impl Iterator<Item = &str> {
        self.variable("requiredSystemFeatures")
            .unwrap_or_default()
            .split_ascii_whitespace()
    }
}
