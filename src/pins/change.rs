//! What changed from one lock to the next.

use std::collections::BTreeMap;

use serde::Serialize;

use super::lock::{Lock, Pin};

/// A difference between two locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The package.
    pub name: String,
    /// Its old version; nothing when it's new.
    pub old: Option<String>,
    /// Its new version; nothing when it's gone.
    pub new: Option<String>,
}

/// The packages that differ, by name.
pub fn changes(old: Option<&Lock>, new: &Lock) -> Vec<Change> {
    let versions = |pins: &[Pin]| -> BTreeMap<String, String> {
        pins.iter()
            .map(|pin| (pin.name.clone(), pin.version.clone()))
            .collect()
    };
    let old = old.map(|lock| versions(&lock.packages)).unwrap_or_default();
    let new = versions(&new.packages);
    let mut all: Vec<Change> = new
        .iter()
        .filter(|(name, version)| old.get(*name) != Some(version))
        .map(|(name, version)| Change {
            name: name.clone(),
            old: old.get(name).cloned(),
            new: Some(version.clone()),
        })
        .collect();
    all.extend(
        old.iter()
            .filter(|(name, _)| !new.contains_key(*name))
            .map(|(name, version)| Change {
                name: name.clone(),
                old: Some(version.clone()),
                new: None,
            }),
    );
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
