//! `manifest.json`: what a profile's generation consists of, in version 2 of the format of `nix profile`.
//!
//! Format: Nix's manual, `nix profile`, "Files". keel's own key stands under `keel` in each element; Nix passes over it,
//! and drops it when it writes the profile itself.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::package_name::PackageName;
use crate::store::StorePath;
use crate::store::path::PathError;

/// The file's name in a generation.
pub const FILE_NAME: &str = "manifest.json";
/// A longer manifest is refused: it would list a hundred thousand packages.
pub const SIZE_MAX: u64 = 32 << 20;
/// The priority of an element that was given none.
pub const PRIORITY_DEFAULT: i64 = 5;
const VERSION: u64 = 2;

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No JSON, or not of this form.
    #[error("it is no manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version of the format.
    #[error(
        "it has version {0}, and keel reads version {VERSION}: change this profile with the Nix that wrote it"
    )]
    UnknownVersion(u64),
    /// Something in it is no store path.
    #[error("element {index}: {source}")]
    Path {
        /// Counted from 0.
        index: usize,
        /// What is wrong with the path.
        source: PathError,
    },
    /// An element names no store path.
    #[error("element {0} has no store path")]
    NoPaths(usize),
}

/// What a generation consists of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// In the order in which they were installed.
    pub elements: Vec<Element>,
    // Keys of the document that keel doesn't know: they are kept.
    other: Map<String, Value>,
}

/// Something that was installed.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Its outputs; at least one.
    paths: Vec<StorePath>,
    /// Whether it is linked. Only Nix ever makes one that isn't.
    pub active: bool,
    /// Which files win a collision: those of the lower number.
    pub priority: i64,
    /// The recipe that it was built from, by its absolute path.
    pub recipe: Option<String>,
    // Where Nix has it from, and keys that keel doesn't know: they are kept.
    other: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    version: u64,
    elements: Value,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    store_paths: Vec<String>,
    active: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keel: Option<Own>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Own {
    recipe: String,
}

impl Element {
    /// A single store path.
    pub fn new(path: StorePath, priority: i64) -> Self {
        Self {
            paths: vec![path],
            active: true,
            priority,
            recipe: None,
            other: Map::new(),
        }
    }

    /// The outputs that `recipe` was built to; nothing when there are none.
    pub fn built(paths: Vec<StorePath>, priority: i64, recipe: String) -> Option<Self> {
        (!paths.is_empty()).then(|| Self {
            paths,
            active: true,
            priority,
            recipe: Some(recipe),
            other: Map::new(),
        })
    }

    /// Its outputs; at least one.
    pub fn paths(&self) -> &[StorePath] {
        &self.paths
    }

    /// Makes it lead to what `newer` leads to, and be linked.
    pub fn take_outputs(&mut self, newer: Self) {
        self.paths = newer.paths;
        self.active = true;
    }

    /// The name of its first output, `hello-2.10`.
    pub fn full_name(&self) -> &str {
        self.paths.first().map_or("", |path| path.name())
    }

    /// That, split.
    pub fn package(&self) -> PackageName {
        PackageName::parse(self.full_name())
    }

    /// Where Nix has it from, when it says so: `flake#attribute`.
    pub fn source(&self) -> Option<String> {
        let text = |key: &str| self.other.get(key).and_then(Value::as_str);
        let url = text("originalUrl").filter(|url| !url.is_empty())?;
        Some(format!("{url}#{}", text("attrPath").unwrap_or_default()))
    }
}

impl Manifest {
    /// Reads a manifest whose paths are in `store_dir`.
    pub fn parse(store_dir: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        let document: Document = serde_json::from_slice(bytes)?;
        // The version first: the elements of another one have another form.
        if document.version != VERSION {
            return Err(ManifestError::UnknownVersion(document.version));
        }
        let all: Vec<Fields> = serde_json::from_value(document.elements)?;
        let elements = all.into_iter().enumerate().map(|(index, fields)| {
            let parse = |path: &String| StorePath::from_absolute(store_dir, path);
            let paths = fields
                .store_paths
                .iter()
                .map(parse)
                .collect::<Result<Vec<_>, _>>();
            let paths = paths.map_err(|source| ManifestError::Path { index, source })?;
            if paths.is_empty() {
                return Err(ManifestError::NoPaths(index));
            }
            Ok(Element {
                paths,
                active: fields.active,
                priority: fields.priority.unwrap_or(PRIORITY_DEFAULT),
                recipe: fields.keel.map(|own| own.recipe),
                other: fields.other,
            })
        });
        Ok(Self {
            elements: elements.collect::<Result<_, _>>()?,
            other: document.other,
        })
    }

    /// The text, the same for equal manifests.
    pub fn to_json(&self, store_dir: &str) -> Vec<u8> {
        let fields = |element: &Element| Fields {
            store_paths: element
                .paths
                .iter()
                .map(|path| path.absolute(store_dir))
                .collect(),
            active: element.active,
            priority: Some(element.priority),
            keel: element.recipe.clone().map(|recipe| Own { recipe }),
            other: element.other.clone(),
        };
        let elements: Vec<_> = self.elements.iter().map(fields).collect();
        // Only maps with keys that are no strings could fail.
        let document = Document {
            version: VERSION,
            elements: serde_json::to_value(elements).unwrap_or_default(),
            other: self.other.clone(),
        };
        let mut bytes = serde_json::to_vec(&document).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
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
    use proptest::prelude::*;

    const STORE: &str = "/nix/store";

    // nix profile install path:/tmp/flake --profile p; nix profile install $(nix-store --add conf) --profile p
    const BY_NIX: &str = concat!(
        r#"{"elements":[{"active":true,"attrPath":"packages.x86_64-linux.default","#,
        r#""originalUrl":"path:/tmp/flake","#,
        r#""storePaths":["/nix/store/mj91785nz21gh6j0lqfkvx3lwa5wnay6-hello-2.10"],"#,
        r#""url":"path:/tmp/flake?lastModified=1795435196&narHash=sha256-F+MgbUFDh1phkvR4kGqBj%2ftFu2lNhXaaz5nbYvrbp6k="},"#,
        r#"{"active":true,"storePaths":["/nix/store/jgld511y5yzfkpwl470mx42lw8hb9qn0-conf"]}],"version":2}"#,
    );

    #[test]
    fn what_nix_wrote_is_read_and_kept() {
        let manifest = Manifest::parse(STORE, BY_NIX.as_bytes()).unwrap();
        let element = &manifest.elements[0];
        assert_eq!(element.package().to_string(), "hello 2.10");
        assert_eq!((element.priority, element.active), (PRIORITY_DEFAULT, true));
        assert_eq!(
            element.source().unwrap(),
            "path:/tmp/flake#packages.x86_64-linux.default"
        );
        assert_eq!(manifest.elements[1].source(), None);
        let ours: Value = serde_json::from_slice(&manifest.to_json(STORE)).unwrap();
        let mut theirs: Value = serde_json::from_str(BY_NIX).unwrap();
        theirs["elements"][0]["priority"] = 5.into();
        theirs["elements"][1]["priority"] = 5.into();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn what_keel_wrote_is_read_again() {
        let path =
            |n| StorePath::from_base_name(&format!("mgvzxmm9gsamf9p3rfr8jva7rkfbwmb{n}-p{n}")).unwrap();
        let manifest = Manifest {
            elements: vec![
                Element::new(path(1), 3),
                Element::built(vec![path(2), path(3)], 5, "/etc/keel/p2.toml".into()).unwrap(),
            ],
            other: Map::new(),
        };
        let bytes = manifest.to_json(STORE);
        assert_eq!(Manifest::parse(STORE, &bytes).unwrap(), manifest);
        assert!(Element::built(Vec::new(), 5, "x".into()).is_none());
    }

    #[test]
    fn bad_manifests_are_refused_with_the_reason() {
        let refused = |text: &str| Manifest::parse(STORE, text.as_bytes()).unwrap_err().to_string();
        assert!(refused(r#"{"version":3,"elements":{"hello":{}}}"#).contains("version 3"));
        assert!(refused(r#"{"elements":[]}"#).contains("version 0"));
        assert!(refused("").contains("no manifest"));
        assert!(refused(r#"{"version":2,"elements":{}}"#).contains("no manifest"));
        let with =
            |paths: &str| format!(r#"{{"version":2,"elements":[{{"active":true,"storePaths":[{paths}]}}]}}"#);
        assert!(refused(&with("")).contains("element 0 has no store path"));
        assert!(refused(&with(r#""/etc/passwd""#)).contains("not in the store"));
        assert!(refused(&with(r#""/nix/store/../../etc""#)).contains("not in the store"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = Manifest::parse(STORE, &bytes);
        }
    }
}
