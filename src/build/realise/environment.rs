//! The environment of a builder, as Nix 2.8 makes it (Nix manual, "Derivations", "Advanced attributes").

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::attributes::{self, AttributesError};
use super::exported;
use super::failure::Cause;
use crate::build::BUILD_DIRECTORY;
use crate::store::db::Database;
use crate::store::derivation::{Derivation, Text};
use crate::store::{Layout, StorePath, base32};

/// Why a builder's environment can't be made.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// `__json` can't be read.
    #[error(transparent)]
    Attributes(#[from] AttributesError),
    /// A name that can't be one of a file in the builder's directory.
    #[error("'{0}' in exportReferencesGraph is no name for a file")]
    FileName(String),
    /// Names without paths.
    #[error("exportReferencesGraph is made of names and store paths in turn")]
    Pairs,
    /// A path that the build can't see.
    #[error("exportReferencesGraph names {0}, which isn't in the closure of the inputs")]
    NoInput(String),
}

/// What a builder gets: its environment, and files in its directory by name.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) environment: BTreeMap<Text, Text>,
    pub(super) arguments: Vec<Text>,
    pub(super) builder: Text,
    files: BTreeMap<String, Text>,
}

/// What the environment depends on besides the derivation.
pub(super) struct Surroundings<'a> {
    pub(super) layout: &'a Layout,
    pub(super) database: &'a Database,
    /// The closure of the inputs.
    pub(super) inputs: &'a [StorePath],
    pub(super) cores: usize,
}

/// Where outputs go, in place of what expressions put for it before that was known (`builtins.placeholder`).
fn placeholders(derivation: &Derivation, store_dir: &str) -> Vec<(Text, Text)> {
    let outputs = derivation.outputs.iter();
    outputs
        .filter_map(|(id, output)| {
            let hash: [u8; 32] = Sha256::digest(format!("nix-output:{id}")).into();
            let path = output.path.as_ref()?.absolute(store_dir).into_bytes();
            Some((format!("/{}", base32::encode(&hash)).into_bytes(), path))
        })
        .collect()
}

fn replaced(text: &[u8], placeholders: &[(Text, Text)]) -> Text {
    let mut text = text.to_vec();
    for (from, to) in placeholders {
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| find(rest, from)) {
            let start = at + found;
            let _old: Vec<u8> = text
                .splice(start..start + from.len(), to.iter().copied())
                .collect();
            at = start + to.len();
        }
    }
    text
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The environment, arguments and files of a derivation's builder.
pub(super) fn given(derivation: &Derivation, around: &Surroundings<'_>) -> Result<Given, Cause> {
    let store_dir = around.layout.store_dir();
    let placeholders = placeholders(derivation, store_dir);
    let mut given = Given {
        builder: replaced(&derivation.builder, &placeholders),
        arguments: derivation
            .arguments
            .iter()
            .map(|argument| replaced(argument, &placeholders))
            .collect(),
        ..Given::default()
    };
    for (name, value) in [
        ("PATH", "/path-not-set"),
        ("HOME", "/homeless-shelter"),
        ("NIX_STORE", store_dir),
        ("NIX_BUILD_CORES", &around.cores.to_string()),
    ] {
        given.set(name, value);
    }
    let attributes = attributes::of(derivation).map_err(EnvironmentError::from)?;
    if let Some(attributes) = &attributes {
        let attributes = exported::into_attributes(attributes, derivation, around)?;
        let json = replaced(attributes.to_string().as_bytes(), &placeholders);
        let value: Value = serde_json::from_slice(&json)
            .map_err(|error| EnvironmentError::from(AttributesError::Json(error)))?;
        let _none = given
            .files
            .insert(".attrs.sh".into(), attributes::as_shell(&value).into_bytes());
        let _none = given.files.insert(".attrs.json".into(), json);
        given.set("NIX_ATTRS_SH_FILE", &format!("{BUILD_DIRECTORY}/.attrs.sh"));
        given.set("NIX_ATTRS_JSON_FILE", &format!("{BUILD_DIRECTORY}/.attrs.json"));
    } else {
        given.variables(derivation, &placeholders);
        for (name, text) in exported::files(derivation, around)? {
            let _none = given.files.insert(name, text);
        }
    }
    for name in ["NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP", "PWD"] {
        given.set(name, BUILD_DIRECTORY);
    }
    if derivation.fixed_output().is_some() {
        given.set("NIX_OUTPUT_CHECKED", "1");
        for name in attributes::words(derivation, attributes.as_ref(), "impureEnvVars") {
            let value = std::env::var_os(&name).unwrap_or_default();
            let value = std::os::unix::ffi::OsStringExt::into_vec(value);
            let _old = given.environment.insert(name.into_bytes(), value);
        }
    }
    given.set("NIX_LOG_FD", "2");
    given.set("TERM", "xterm-256color");
    Ok(given)
}

impl Given {
    fn set(&mut self, name: &str, value: &str) {
        let _old = self
            .environment
            .insert(name.as_bytes().to_vec(), value.as_bytes().to_vec());
    }

    /// The derivation's own variables, some of them as files (`passAsFile`).
    fn variables(&mut self, derivation: &Derivation, placeholders: &[(Text, Text)]) {
        let as_files: Vec<&str> = derivation
            .variable("passAsFile")
            .unwrap_or_default()
            .split_ascii_whitespace()
            .collect();
        for (name, value) in &derivation.environment {
            let value = replaced(value, placeholders);
            if !as_files.iter().any(|one| one.as_bytes() == name) {
                let _old = self.environment.insert(name.clone(), value);
                continue;
            }
            let hash: [u8; 32] = Sha256::digest(name).into();
            let file = format!(".attr-{}", base32::encode(&hash));
            let path = format!("{BUILD_DIRECTORY}/{file}").into_bytes();
            let _old = self.environment.insert([name, &b"Path"[..]].concat(), path);
            let _none = self.files.insert(file, value);
        }
    }

    /// Writes the files to `directory`, for the user `owner`.
    pub(super) fn write(&self, directory: &Path, owner: (u32, u32)) -> Result<(), Cause> {
        for (name, text) in &self.files {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(Cause::file(&path))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
                .map_err(Cause::file(&path))?;
            chown(&path, Some(owner.0), Some(owner.1)).map_err(Cause::file(&path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_the_outputs_wherever_they_stand() {
        // What `nix eval --expr 'builtins.placeholder "out"'` prints.
        let hash: [u8; 32] = Sha256::digest("nix-output:out").into();
        let placeholder = format!("/{}", base32::encode(&hash));
        assert_eq!(
            placeholder,
            "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"
        );
        let to = b"/nix/store/x".to_vec();
        let pairs = [(placeholder.clone().into_bytes(), to)];
        let text = format!("--prefix={placeholder} {placeholder}/bin");
        assert_eq!(
            replaced(text.as_bytes(), &pairs),
            b"--prefix=/nix/store/x /nix/store/x/bin"
        );
    }
}
