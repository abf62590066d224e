//! Packages that differ.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;

use super::version;
use crate::system::packages::{Package, Packages};

/// What happened to a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A newer version.
    Upgraded,
    /// An older version.
    Downgraded,
    /// A version that counts as the same, or another build of the same.
    Rebuilt,
    /// It's new.
    Added,
    /// It's gone.
    Removed,
}

/// A package that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// What happened.
    pub change: Kind,
    /// As it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// As it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// Users whose package it is, or was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}

/// A version of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Debian's.
    pub version: String,
    /// Bytes when installed, as the package says.
    pub size: u64,
}

impl PackageChange {
    /// By how many bytes its installed size grew.
    pub fn growth(&self) -> i128 {
        let size = |version: &Option<Version>| version.as_ref().map_or(0, |version| i128::from(version.size));
        size(&self.to) - size(&self.from)
    }
}

/// A package before and after.
type Pair<'a> = (Option<&'a Package>, Option<&'a Package>);

/// Compares two lists, in the order of names.
pub fn compare(old: &Packages, new: &Packages) -> Vec<PackageChange> {
    // One package may be there for two architectures.
    let mut all: BTreeMap<(&str, &str), Pair<'_>> = BTreeMap::new();
    for package in &old.packages {
        all.entry((&package.name, &package.architecture)).or_default().0 = Some(package);
    }
    for package in &new.packages {
        all.entry((&package.name, &package.architecture)).or_default().1 = Some(package);
    }
    all.into_iter()
        .filter_map(|((name, architecture), (from, to))| {
            let version = |package: &Package| Version {
                version: package.version.clone(),
                size: package.size,
            };
            Some(PackageChange {
                name: name.to_owned(),
                architecture: architecture.to_owned(),
                change: kind(from, to)?,
                from: from.map(version),
                to: to.map(version),
                users: to
                    .or(from)
                    .map(|package| package.users.clone())
                    .unwrap_or_default(),
            })
        })
        .collect()
}

fn kind(from: Option<&Package>, to: Option<&Package>) -> Option<Kind> {
    match (from, to) {
        (None, None) => None,
        (None, Some(_)) => Some(Kind::Added),
        (Some(_), None) => Some(Kind::Removed),
        (Some(from), Some(to)) => match version::compare(&from.version, &to.version) {
            Ordering::Less => Some(Kind::Upgraded),
            Ordering::Greater => Some(Kind::Downgraded),
            Ordering::Equal if (&from.version, from.size) == (&to.version, to.size) => None,
            Ordering::Equal => Some(Kind::Rebuilt),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn packages(of: &[(&str, &str, &str, u64)]) -> Packages {
        Packages {
            version: 1,
            packages: of
                .iter()
                .map(|(name, architecture, version, size)| {
                    let of =
                        json!({"name": name, "architecture": architecture, "version": version, "size": size});
                    serde_json::from_value(of).unwrap()
                })
                .collect(),
        }
    }

    #[test]
    fn every_kind_of_change_is_told_apart() {
        let old = packages(&[
            ("bash", "amd64", "5.2.37-2", 10),
            ("gone", "all", "1", 7),
            ("libc6", "amd64", "2.41-1", 5),
            ("libc6", "i386", "2.41-1", 5),
            ("local", "amd64", "1.0", 3),
            ("vim", "amd64", "2:9.1.2", 9),
        ]);
        let new = packages(&[
            ("bash", "amd64", "5.2.37-10", 12),
            ("git", "amd64", "1:2.47", 40),
            ("libc6", "amd64", "2.41-1", 5),
            ("libc6", "i386", "2.41-2", 5),
            ("local", "amd64", "1.0", 4),
            ("vim", "amd64", "2:9.1.1", 9),
        ]);
        let changes = compare(&old, &new);
        let told: Vec<_> = changes
            .iter()
            .map(|change| (change.name.as_str(), change.change, change.growth()))
            .collect();
        assert_eq!(
            told,
            [
                ("bash", Kind::Upgraded, 2),
                ("git", Kind::Added, 40),
                ("gone", Kind::Removed, -7),
                ("libc6", Kind::Upgraded, 0),
                ("local", Kind::Rebuilt, 1),
                ("vim", Kind::Downgraded, 0),
            ]
        );
        assert!(compare(&new, &new).is_empty());
    }
}
