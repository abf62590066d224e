//! `/etc/keel/keel.toml`: how keel works on this machine, whatever system it makes.

use anyhow::Context;
use serde::Deserialize;

use crate::store::Layout;
use crate::store::cache::keys::PublicKey;
use crate::store::settings::settings_file;

/// What the file says; all of it may be left out.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Caches that are asked before anything is built, in this order.
    pub(super) caches: Vec<String>,
    /// Keys whose signatures are trusted.
    pub(super) trusted_keys: Vec<PublicKey>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    store: StoreTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreTable {
    #[serde(default)]
    caches: Vec<String>,
    #[serde(default)]
    trusted_keys: Vec<String>,
    /// What it says is looked up where files are added.
    #[serde(default)]
    #[expect(dead_code, reason = "here it's only known, and of the right kind")]
    deduplicate: Option<bool>,
}

impl Settings {
    /// Reads it; one that isn't there says nothing.
    pub(super) fn read(layout: &Layout) -> anyhow::Result<Self> {
        let path = settings_file(layout);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.with_context(|| format!("{} can't be read", path.display()))?,
        };
        let file: File =
            toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let trusted_keys = file
            .store
            .trusted_keys
            .iter()
            .map(|key| {
                key.parse()
                    .with_context(|| format!("{}: trusted_keys: '{key}'", path.display()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            caches: file.store.caches,
            trusted_keys,
        })
    }
}
