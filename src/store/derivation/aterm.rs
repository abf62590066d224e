//! The text form of a derivation, an ATerm: `Derive([…],[…],[…],"system","builder",[…],[…])`.
//!
//! Format: E. Dolstra, "The Purely Functional Software Deployment Model", section 5.4. Nix writes it in one way only, and
//! what is written otherwise isn't read: it would have another hash.

use std::collections::{BTreeMap, BTreeSet};

use super::{Algorithm, Derivation, FixedHash, Output, Text};
use crate::store::path::{PathError, StorePath, hex};

/// Why a text is no derivation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {problem}")]
pub struct AtermError {
    /// Offset in bytes.
    pub at: usize,
    /// What is wrong there.
    pub problem: AtermProblem,
}

/// What is wrong at a place of a derivation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AtermProblem {
    /// Something else stands there.
    #[error("{0:?} is missing")]
    Missing(&'static str),
    /// The text ends within a string.
    #[error("a string without its end")]
    EndlessString,
    /// A byte that Nix writes in another way.
    #[error("a byte of a string is written as Nix doesn't write it")]
    Unusual,
    /// Something behind the derivation.
    #[error("something stands behind the derivation")]
    Trailing,
    /// Names out of order, or one of them twice.
    #[error("{0:?} isn't in order, or there twice")]
    Order(String),
    /// An identifier that isn't UTF-8.
    #[error("a name that is no text")]
    NoText,
    /// A path outside the store.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A hash function that isn't known, or a hash of another length.
    #[error("{0:?} and its hash are no hash that Nix 2.8 knows")]
    Hash(String),
    /// Outputs whose paths are found only by building.
    #[error("output {0} has no path of its own: content-addressed derivations are not supported")]
    Floating(String),
}

impl Derivation {
    /// Reads a derivation whose paths are in the store `store_dir`.
    pub fn parse(store_dir: &str, text: &[u8]) -> Result<Self, AtermError> {
        let mut reader = Reader { text, at: 0 };
        let derivation = reader.derivation(store_dir)?;
        if reader.at != text.len() {
            return Err(reader.error(AtermProblem::Trailing));
        }
        Ok(derivation)
    }

    /// The text form.
    pub fn to_aterm(&self, store_dir: &str) -> Vec<u8> {
        let inputs = self
            .input_derivations
            .iter()
            .map(|(path, outputs)| (path.absolute(store_dir), outputs.clone()))
            .collect();
        write(self, store_dir, &inputs, Masked::No)
    }
}

/// Whether the paths of the outputs are left out, also from the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Masked {
    Yes,
    No,
}

/// The text with other names for the derivations that it depends on.
pub(super) fn write(
    derivation: &Derivation,
    store_dir: &str,
    inputs: &BTreeMap<String, BTreeSet<String>>,
    masked: Masked,
) -> Vec<u8> {
    let mut out = b"Derive(".to_vec();
    list(&mut out, &derivation.outputs, |out, (id, output)| {
        let path = output.path.as_ref().filter(|_| masked == Masked::No);
        let path = path.map_or_else(String::new, |path| path.absolute(store_dir));
        let (method, hash) = output
            .fixed
            .as_ref()
            .map_or_else(Default::default, |fixed| (fixed.method(), hex(&fixed.hash)));
        tuple(
            out,
            &[id.as_bytes(), path.as_bytes(), method.as_bytes(), hash.as_bytes()],
        );
    });
    out.push(b',');
    list(&mut out, inputs, |out, (name, outputs)| {
        out.push(b'(');
        string(out, name.as_bytes());
        out.push(b',');
        list(out, outputs, |out, id| string(out, id.as_bytes()));
        out.push(b')');
    });
    out.push(b',');
    list(&mut out, &derivation.input_sources, |out, path| {
        string(out, path.absolute(store_dir).as_bytes());
    });
    for text in [&derivation.system, &derivation.builder] {
        out.push(b',');
        string(&mut out, text);
    }
    out.push(b',');
    list(&mut out, &derivation.arguments, |out, argument| {
        string(out, argument);
    });
    out.push(b',');
    list(&mut out, &derivation.environment, |out, (name, value)| {
        let is_output = str::from_utf8(name).is_ok_and(|name| derivation.outputs.contains_key(name));
        let value: &[u8] = if masked == Masked::Yes && is_output {
            b""
        } else {
            value
        };
        tuple(out, &[name, value]);
    });
    out.push(b')');
    out
}

fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, one) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item(out, one);
    }
    out.push(b']');
}

fn tuple(out: &mut Vec<u8>, texts: &[&[u8]]) {
    out.push(b'(');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, text);
    }
    out.push(b')');
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn derivation(&mut self, store_dir: &str) -> Result<Derivation, AtermError> {
        let mut derivation = Derivation::default();
        self.expect("Derive(")?;
        self.list(|reader| {
            let (id, output) = reader.output(store_dir)?;
            let last = derivation.outputs.last_key_value().map(|(last, _)| last);
            reader.in_order(last, &id)?;
            let _new = derivation.outputs.insert(id, output);
            Ok(())
        })?;
        self.expect(",")?;
        self.list(|reader| {
            reader.expect("(")?;
            let path = reader.path(store_dir)?;
            reader.expect(",")?;
            let mut outputs = BTreeSet::new();
            reader.list(|reader| {
                let id = reader.name()?;
                reader.in_order(outputs.last(), &id)?;
                let _new = outputs.insert(id);
                Ok(())
            })?;
            reader.expect(")")?;
            let last = derivation
                .input_derivations
                .last_key_value()
                .map(|(last, _)| last);
            reader.in_order(last, &path)?;
            let _new = derivation.input_derivations.insert(path, outputs);
            Ok(())
        })?;
        self.expect(",")?;
        self.list(|reader| {
            let path = reader.path(store_dir)?;
            reader.in_order(derivation.input_sources.last(), &path)?;
            let _new = derivation.input_sources.insert(path);
            Ok(())
        })?;
        self.expect(",")?;
        derivation.system = self.string()?;
        self.expect(",")?;
        derivation.builder = self.string()?;
        self.expect(",")?;
        self.list(|reader| {
            derivation.arguments.push(reader.string()?);
            Ok(())
        })?;
        self.expect(",")?;
        self.list(|reader| {
            reader.expect("(")?;
            let name = reader.string()?;
            reader.expect(",")?;
            let value = reader.string()?;
            reader.expect(")")?;
            if derivation
                .environment
                .last_key_value()
                .is_some_and(|(last, _)| *last >= name)
            {
                let name = String::from_utf8_lossy(&name).into_owned();
                return Err(reader.error(AtermProblem::Order(name)));
            }
            let _new = derivation.environment.insert(name, value);
            Ok(())
        })?;
        self.expect(")")?;
        Ok(derivation)
    }

    fn output(&mut self, store_dir: &str) -> Result<(String, Output), AtermError> {
        self.expect("(")?;
        let id = self.name()?;
        self.expect(",")?;
        let path = self.string()?;
        let path = if path.is_empty() {
            None
        } else {
            let text = String::from_utf8_lossy(&path);
            Some(StorePath::from_absolute(store_dir, &text).map_err(|error| self.error(error.into()))?)
        };
        self.expect(",")?;
        let method = self.name()?;
        self.expect(",")?;
        let hash = self.name()?;
        self.expect(")")?;
        if path.is_none() {
            return Err(self.error(AtermProblem::Floating(id)));
        }
        let fixed = if method.is_empty() && hash.is_empty() {
            None
        } else {
            let fixed = fixed(&method, &hash);
            Some(fixed.ok_or_else(|| self.error(AtermProblem::Hash(method)))?)
        };
        Ok((id, Output { path, fixed }))
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), AtermError>) -> Result<(), AtermError> {
        self.expect("[")?;
        if self.accept("]") {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.accept("]") {
                return Ok(());
            }
            self.expect(",")?;
        }
    }

    fn path(&mut self, store_dir: &str) -> Result<StorePath, AtermError> {
        let text = self.string()?;
        StorePath::from_absolute(store_dir, &String::from_utf8_lossy(&text))
            .map_err(|error| self.error(error.into()))
    }

    fn name(&mut self) -> Result<String, AtermError> {
        String::from_utf8(self.string()?).map_err(|_| self.error(AtermProblem::NoText))
    }

    fn string(&mut self) -> Result<Text, AtermError> {
        self.expect("\"")?;
        let mut text = Vec::new();
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                return Err(self.error(AtermProblem::EndlessString));
            };
            self.at += 1;
            match byte {
                b'"' => return Ok(text),
                b'\\' => {
                    let Some(&escaped) = self.text.get(self.at) else {
                        return Err(self.error(AtermProblem::EndlessString));
                    };
                    self.at += 1;
                    text.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'"' | b'\\' => escaped,
                        _ => return Err(self.error(AtermProblem::Unusual)),
                    });
                }
                b'\n' | b'\r' | b'\t' => return Err(self.error(AtermProblem::Unusual)),
                _ => text.push(byte),
            }
        }
    }

    fn in_order<T: Ord + ToString>(&self, last: Option<&T>, next: &T) -> Result<(), AtermError> {
        if last.is_some_and(|last| last >= next) {
            return Err(self.error(AtermProblem::Order(next.to_string())));
        }
        Ok(())
    }

    fn accept(&mut self, token: &str) -> bool {
        let there = self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(token.as_bytes()));
        if there {
            self.at += token.len();
        }
        there
    }

    fn expect(&mut self, token: &'static str) -> Result<(), AtermError> {
        if self.accept(token) {
            Ok(())
        } else {
            Err(self.error(AtermProblem::Missing(token)))
        }
    }

    fn error(&self, problem: AtermProblem) -> AtermError {
        AtermError { at: self.at, problem }
    }
}

fn fixed(method: &str, hash: &str) -> Option<FixedHash> {
    let (recursive, name) = match method.strip_prefix("r:") {
        Some(name) => (true, name),
        None => (false, method),
    };
    let algorithm = Algorithm::from_name(name)?;
    let hash = unhex(hash)?;
    (hash.len() == algorithm.bytes()).then_some(FixedHash {
        recursive,
        algorithm,
        hash,
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .filter(|_| !byte.is_ascii_uppercase())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok())
        .collect()
}
