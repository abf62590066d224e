//! What differs between two generations.

use serde::Serialize;

use super::manifest::{Element, Manifest};

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "camelCase")]
pub enum Difference {
    /// Only in the newer one.
    Added(Found),
    /// Only in the older one.
    Removed(Found),
    /// In both, as another path.
    Replaced {
        /// As it was.
        from: Found,
        /// As it is.
        to: Found,
    },
    /// The same path, with another priority.
    Priority {
        /// What.
        of: Found,
        /// Its priority before.
        before: i64,
    },
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// `hello`.
    pub name: String,
    /// `2.10`; empty when its name has none.
    pub version: String,
    /// Its priority.
    pub priority: i64,
    /// Whether it is linked.
    pub active: bool,
    /// Its outputs.
    pub store_paths: Vec<String>,
}

impl Found {
    /// What is said of `element`.
    pub fn of(element: &Element, store_dir: &str) -> Self {
        let package = element.package();
        Self {
            name: package.name,
            version: package.version,
            priority: element.priority,
            active: element.active,
            store_paths: element
                .paths()
                .iter()
                .map(|path| path.absolute(store_dir))
                .collect(),
        }
    }

    fn versioned(&self) -> String {
        match self.version.as_str() {
            "" => self.name.clone(),
            version => format!("{} {version}", self.name),
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Added(found) => write!(f, "+ {}", found.versioned()),
            Self::Removed(found) => write!(f, "- {}", found.versioned()),
            Self::Replaced { from, to } if from.version == to.version => {
                write!(f, "~ {}: another build", to.versioned())
            }
            Self::Replaced { from, to } => {
                let version = |found: &Found| match found.version.as_str() {
                    "" => "no version".to_owned(),
                    version => version.to_owned(),
                };
                write!(f, "~ {}: {} -> {}", to.name, version(from), version(to))
            }
            Self::Priority { of, before } => {
                write!(f, "~ {}: priority {before} -> {}", of.versioned(), of.priority)
            }
        }
    }
}

/// What `new` has other than `old`. Elements are paired by path, then by the name of the package.
pub fn compare(old: &Manifest, new: &Manifest, store_dir: &str) -> Vec<Difference> {
    let found = |element: &Element| Found::of(element, store_dir);
    let mut before: Vec<&Element> = old.elements.iter().collect();
    let mut differences = Vec::new();
    let mut unpaired = Vec::new();
    for element in &new.elements {
        let Some(at) = before.iter().position(|one| one.paths() == element.paths()) else {
            unpaired.push(element);
            continue;
        };
        let same = before.remove(at);
        if same.priority != element.priority {
            differences.push(Difference::Priority {
                of: found(element),
                before: same.priority,
            });
        }
    }
    for element in unpaired {
        let named = |one: &&Element| one.package().name == element.package().name;
        differences.push(match before.iter().position(named) {
            Some(at) => Difference::Replaced {
                from: found(before.remove(at)),
                to: found(element),
            },
            None => Difference::Added(found(element)),
        });
    }
    differences.extend(
        before
            .into_iter()
            .map(|element| Difference::Removed(found(element))),
    );
    differences
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::profile::edit;
    use crate::store::StorePath;

    fn with(elements: &[(u32, &str, i64)]) -> Manifest {
        let mut manifest = Manifest::default();
        for (n, name, priority) in elements {
            let base = format!("mgvzxmm9gsamf9p3rfr8jva7rkfbwmb{n}-{name}");
            let element = Element::new(StorePath::from_base_name(&base).unwrap(), *priority);
            edit::install(&mut manifest, vec![element], Some(*priority));
        }
        manifest
    }

    #[test]
    fn every_kind_of_difference_is_said_once() {
        let old = with(&[
            (1, "hello-2.10", 5),
            (2, "tool-1", 5),
            (3, "gone", 5),
            (5, "kept-1", 5),
            (6, "same-3", 5),
        ]);
        let new = with(&[
            (4, "hello-2.12", 5),
            (2, "tool-1", 3),
            (7, "more-1", 5),
            (5, "kept-1", 5),
            (8, "same-3", 5),
        ]);
        let said = |old: &Manifest, new: &Manifest| -> Vec<String> {
            compare(old, new, "/nix/store")
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(
            said(&old, &new),
            [
                "~ tool 1: priority 5 -> 3",
                "~ hello: 2.10 -> 2.12",
                "+ more 1",
                "~ same 3: another build",
                "- gone"
            ]
        );
        assert!(said(&new, &new).is_empty());
    }
}
