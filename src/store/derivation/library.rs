//! The derivations of a store: each read and checked once, with what stands for it in those that depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::{AtermError, Derivation, DerivationError, EXTENSION, Hashes};
use crate::store::path::PathError;
use crate::store::{AddError, Addition, Layout, StorePath};

/// Longer derivations aren't read.
const BYTES_MAX: u64 = 64 << 20;

/// Why a derivation can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// Its file can't be read.
    #[error("the derivation {0} can't be read: {1}")]
    Read(StorePath, #[source] io::Error),
    /// Its file holds something else.
    #[error("{0} is no derivation that keel can build: {1}")]
    Parse(StorePath, #[source] AtermError),
    /// Its outputs aren't where they belong, or it has none.
    #[error("the derivation {0} is wrong: {1}")]
    Wrong(String, #[source] DerivationError),
    /// A path of the store that isn't named as derivations are.
    #[error("{0} is no derivation: its name doesn't end with {EXTENSION}")]
    Name(StorePath),
    /// One that depends on itself.
    #[error("the derivation {0} needs itself by way of others")]
    Circle(StorePath),
    /// Its own name.
    #[error(transparent)]
    Path(#[from] PathError),
    /// It can't be written.
    #[error(transparent)]
    Add(#[from] AddError),
}

/// Derivations by their paths.
#[derive(Debug)]
pub struct Library {
    layout: Layout,
    known: BTreeMap<StorePath, Arc<Derivation>>,
    hashes: Hashes,
}

/// The name of what a derivation builds: its own without `.drv`.
pub fn name_of(derivation: &StorePath) -> Option<&str> {
    derivation.name().strip_suffix(EXTENSION)
}

impl Library {
    /// That of a store, with nothing read yet.
    pub fn new(layout: &Layout) -> Self {
        Self {
            layout: layout.clone(),
            known: BTreeMap::new(),
            hashes: Hashes::new(),
        }
    }

    /// A derivation, read from the store the first time. That its outputs are where they belong isn't looked at.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn get(&mut self, path: &StorePath) -> Result<Arc<Derivation>, LibraryError> {
        if let Some(known) = self.known.get(path) {
            return Ok(Arc::clone(known));
        }
        if name_of(path).is_none() {
            return Err(LibraryError::Name(path.clone()));
        }
        let file = self.layout.physical_path(path);
        let failed = |error| LibraryError::Read(path.clone(), error);
        if file.symlink_metadata().map_err(failed)?.len() > BYTES_MAX {
            return Err(failed(io::Error::other("it is too long")));
        }
        let text = std::fs::read(&file).map_err(failed)?;
        let derivation = Derivation::parse(self.layout.store_dir(), &text)
            .map_err(|error| LibraryError::Parse(path.clone(), error))?;
        let derivation = Arc::new(derivation);
        let _none = self.known.insert(path.clone(), Arc::clone(&derivation));
        Ok(derivation)
    }

    /// A derivation, once it and all that it depends on were checked: their outputs go where they belong.
    ///
    /// # Errors
    /// The first one that can't be read or is wrong.
    pub fn checked(&mut self, path: &StorePath) -> Result<Arc<Derivation>, LibraryError> {
        self.learn([path.clone()])?;
        self.get(path)
    }

    /// Computes where the outputs of a derivation go, puts them into it, and returns its own path, without writing anything:
    /// whether it was built already is then a question to the database.
    ///
    /// # Errors
    /// When what it depends on can't be read, or its outputs can't be named.
    pub fn complete(&mut self, name: &str, derivation: &mut Derivation) -> Result<StorePath, LibraryError> {
        self.learn(derivation.input_derivations.keys().cloned())?;
        let store_dir = self.layout.store_dir();
        derivation
            .complete(store_dir, name, &self.hashes)
            .map_err(|error| LibraryError::Wrong(name.to_owned(), error))?;
        Ok(derivation.path(store_dir, name)?)
    }

    /// Writes a derivation into the store, as `nix-instantiate` would. Others that are added before the commit may depend
    /// on it.
    ///
    /// # Errors
    /// As [`Library::complete`]; when it can't be written.
    pub fn add(
        &mut self,
        addition: &mut Addition,
        name: &str,
        derivation: &mut Derivation,
    ) -> Result<StorePath, LibraryError> {
        let expected = self.complete(name, derivation)?;
        let text = derivation.to_aterm(self.layout.store_dir());
        let references: Vec<StorePath> = derivation.references().into_iter().collect();
        let path = addition.add_text(&format!("{name}{EXTENSION}"), &text, references)?;
        debug_assert_eq!(path, expected);
        let _known = self.known.insert(path.clone(), Arc::new(derivation.clone()));
        self.learn([path.clone()])?;
        Ok(path)
    }

    /// Reads and checks derivations and all that they depend on. Chains are as long as somebody made them: no recursion.
    fn learn(&mut self, tops: impl IntoIterator<Item = StorePath>) -> Result<(), LibraryError> {
        let mut open: Vec<StorePath> = tops.into_iter().collect();
        let mut entered = BTreeSet::new();
        while let Some(path) = open.last().cloned() {
            if self.hashes.contains_key(&path) {
                let _done = open.pop();
                continue;
            }
            let derivation = self.get(&path)?;
            let inputs = derivation.input_derivations.keys();
            let missing: Vec<_> = inputs
                .filter(|input| !self.hashes.contains_key(input))
                .cloned()
                .collect();
            if missing.is_empty() {
                let hash = self.check(&path, &derivation)?;
                let _none = self.hashes.insert(path, hash);
                let _done = open.pop();
            } else if entered.insert(path.clone()) {
                open.extend(missing);
            } else {
                return Err(LibraryError::Circle(path));
            }
        }
        Ok(())
    }

    fn check(&self, path: &StorePath, derivation: &Derivation) -> Result<[u8; 32], LibraryError> {
        let name = name_of(path).ok_or_else(|| LibraryError::Name(path.clone()))?;
        let store_dir = self.layout.store_dir();
        derivation
            .check(store_dir, name, &self.hashes)
            .and_then(|()| derivation.hash_modulo(store_dir, &self.hashes))
            .map_err(|error| LibraryError::Wrong(path.to_string(), error))
    }
}
