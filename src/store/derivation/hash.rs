//! The hashes that a derivation's outputs are named by.
//!
//! Nix manual, "Store path calculation"; E. Dolstra, "The Purely Functional Software Deployment Model", section 5.4.1.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::aterm::{self, Masked};
use super::{Derivation, EXTENSION, FixedHash};
use crate::store::path::{Kind, PathError, References, StorePath, fixed_output_path, hex, make_store_path};

/// Why a derivation has no hash or outputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerivationError {
    /// The hash of a derivation that it depends on isn't known.
    #[error("it depends on {0}, which wasn't looked at")]
    UnknownInput(StorePath),
    /// A fixed output with another name, or beside others.
    #[error("a content that is known beforehand is the only output, and that is named `out`")]
    FixedOutputs,
    /// Without outputs nothing is built.
    #[error("it has no outputs")]
    NoOutputs,
    /// A name that can't be one of a store path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An output isn't where its content and name put it.
    #[error("output {id} is said to go to {said}, but belongs to {right}")]
    WrongPath {
        /// The output.
        id: String,
        /// Where it is said to go.
        said: StorePath,
        /// Where it belongs.
        right: StorePath,
    },
}

/// Hashes of derivations by their paths: what stands for each in those that depend on it.
pub type Hashes = BTreeMap<StorePath, [u8; 32]>;

impl Derivation {
    /// What stands for this derivation in those that depend on it: for a fixed output its content, so that how it is
    /// fetched doesn't matter. `known` has the hashes of its input derivations.
    pub fn hash_modulo(&self, store_dir: &str, known: &Hashes) -> Result<[u8; 32], DerivationError> {
        if let Some((fixed, path)) = self.fixed_with_path() {
            let text = format!(
                "fixed:out:{}:{}:{}",
                fixed.method(),
                hex(&fixed.hash),
                path.absolute(store_dir)
            );
            return Ok(Sha256::digest(text.as_bytes()).into());
        }
        self.hash(store_dir, known, Masked::No)
    }

    /// Where the outputs go, by identifier, for a derivation of this name (without `.drv`).
    pub fn output_paths(
        &self,
        store_dir: &str,
        name: &str,
        known: &Hashes,
    ) -> Result<BTreeMap<String, StorePath>, DerivationError> {
        if self.outputs.is_empty() {
            return Err(DerivationError::NoOutputs);
        }
        if let Some(fixed) = self.fixed_output() {
            let path = fixed.path(store_dir, name)?;
            return Ok(BTreeMap::from([("out".to_owned(), path)]));
        }
        if self.outputs.values().any(|output| output.fixed.is_some()) {
            return Err(DerivationError::FixedOutputs);
        }
        let hash = self.hash(store_dir, known, Masked::Yes)?;
        let ids = self.outputs.keys();
        ids.map(|id| {
            let name = if id == "out" {
                name.to_owned()
            } else {
                format!("{name}-{id}")
            };
            let path = make_store_path(store_dir, Kind::Output(id), &hash, &name)?;
            Ok((id.clone(), path))
        })
        .collect()
    }

    /// Puts the outputs' paths into the derivation and its environment.
    pub fn complete(&mut self, store_dir: &str, name: &str, known: &Hashes) -> Result<(), DerivationError> {
        for id in self.outputs.keys() {
            let _ = self.environment.insert(id.clone().into_bytes(), Vec::new());
        }
        for (id, path) in self.output_paths(store_dir, name, known)? {
            let value = path.absolute(store_dir).into_bytes();
            let _ = self.environment.insert(id.clone().into_bytes(), value);
            if let Some(output) = self.outputs.get_mut(&id) {
                output.path = Some(path);
            }
        }
        Ok(())
    }

    /// Checks that the outputs go where they belong. A derivation that says otherwise could overwrite what isn't its own.
    pub fn check(&self, store_dir: &str, name: &str, known: &Hashes) -> Result<(), DerivationError> {
        for (id, right) in self.output_paths(store_dir, name, known)? {
            let said = self.outputs.get(&id).and_then(|output| output.path.as_ref());
            if let Some(said) = said.filter(|said| **said != right) {
                return Err(DerivationError::WrongPath {
                    id,
                    said: said.clone(),
                    right,
                });
            }
        }
        Ok(())
    }

    /// The store path of the derivation itself, for this name (without `.drv`).
    pub fn path(&self, store_dir: &str, name: &str) -> Result<StorePath, PathError> {
        let text = self.to_aterm(store_dir);
        let others: Vec<StorePath> = self.references().into_iter().collect();
        let references = References {
            others: &others,
            itself: false,
        };
        let hash = Sha256::digest(&text).into();
        make_store_path(
            store_dir,
            Kind::Text(references),
            &hash,
            &format!("{name}{EXTENSION}"),
        )
    }

    /// The paths that the derivation itself refers to.
    pub fn references(&self) -> BTreeSet<StorePath> {
        let derivations = self.input_derivations.keys();
        derivations.chain(&self.input_sources).cloned().collect()
    }

    fn hash(&self, store_dir: &str, known: &Hashes, masked: Masked) -> Result<[u8; 32], DerivationError> {
        let mut inputs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, outputs) in &self.input_derivations {
            let hash = known
                .get(path)
                .ok_or_else(|| DerivationError::UnknownInput(path.clone()))?;
            // Two ways to fetch the same content are one.
            inputs
                .entry(hex(hash))
                .or_default()
                .extend(outputs.iter().cloned());
        }
        let text = aterm::write(self, store_dir, &inputs, masked);
        Ok(Sha256::digest(&text).into())
    }

    fn fixed_with_path(&self) -> Option<(&FixedHash, &StorePath)> {
        let path = self.outputs.get("out")?.path.as_ref()?;
        Some((self.fixed_output()?, path))
    }
}

impl FixedHash {
    /// Where content of this hash goes under a name.
    pub fn path(&self, store_dir: &str, name: &str) -> Result<StorePath, PathError> {
        match <[u8; 32]>::try_from(self.hash.as_slice()) {
            Ok(hash) if self.recursive => {
                make_store_path(store_dir, Kind::Source(References::default()), &hash, name)
            }
            _ => fixed_output_path(
                store_dir,
                self.recursive,
                (self.algorithm.name(), &hex(&self.hash)),
                name,
            ),
        }
    }
}
