//! The format of `keel.lock`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::system::declared::Ids;

/// `keel.lock`: TOML, written by `keel update` alone. The same configuration and lock give the same store paths on every
/// machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of this format: 1.
    pub version: u32,
    /// What the packages were resolved for: a change of it makes the lock stale.
    pub request: Request,
    /// keel's own programs: names (`keel`, `keel-init`) to store paths.
    #[serde(default)]
    pub programs: BTreeMap<String, String>,
    /// Names to numbers of accounts, only ever appended to.
    #[serde(default)]
    pub ids: Ids,
    /// The packages, in the order in which they are installed: by layer, then by name.
    #[serde(default, rename = "package")]
    pub packages: Vec<Pin>,
}

/// What `keel update` was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Debian's suite.
    pub suite: String,
    /// Its components.
    pub components: Vec<String>,
    /// Further sources, as lines of sources.list(5).
    #[serde(default)]
    pub sources: Vec<String>,
    /// Names of packages, sorted.
    pub install: Vec<String>,
    /// Whether recommended packages come along.
    #[serde(default)]
    pub recommends: bool,
    /// When the indexes were made: the newest `Date:` of the release files, in seconds since 1970. Times in images aren't later.
    pub date: i64,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Debian's name of its architecture, `all` included.
    pub architecture: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// Of the `.deb`, in hexadecimal digits.
    pub sha256: String,
    /// Where the `.deb` is: its path below the mirror (`pool/main/v/vim/…`), or a whole URL for another source.
    pub place: String,
    /// The layer that it's installed in: 0 is the base, which is the same for every machine of the suite. Packages that are added
    /// later form a layer of their own above, so that what lies below is not built again.
    pub layer: u32,
}
