//! What a machine's packages make of its system: `/usr` and its image, the kernel and its modules, the `/etc` that the packages
//! bring, accounts, and what is known of the units. It depends on the lock alone, so a change of the configuration finds it
//! made, and takes it over by its store path:
//!
//! ```text
//! <hash>-keel-parts/
//!   usr etc modules kernel     links to store trees
//!   usr.cfs etc.cfs            links to the images
//!   keel                       a link to keel's own programs
//!   usr.list etc.list          the trees with owners, modes, times and digests of the contents
//!   units.json                 the record of the units, as if /etc were as the packages bring it
//!   packages.json              what dpkg's database says
//!   accounts.json              the packages' users and groups, with the numbers that dpkg's scripts gave them
//!   parts.json                 the rest
//! ```
//!
//! Its objects are linked, and a stamp is there, as for a system.

mod cache;
mod listing;
mod overlay;
mod setuid;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compose::ComposeError;
use super::declared::{Declared, Ids};
use super::ids::{self, Assigned, IdsError};
use super::images::ImageError;
use super::notice::Notice;
use super::own::OwnError;
use super::packages::Packages;
use super::rootfs::RootfsError;
use super::units::CollectError;
use crate::store::db::{Database, DbError};
use crate::store::objects::ObjectError;
use crate::store::pool::Pool;
use crate::store::tree::{Node, TreeError};
use crate::store::{AddError, Layout, StorePath};

pub use cache::{Key, find};
pub use listing::ListingError;
pub use write::{Making, make};

/// The version of what lies in a parts path; a change makes all of them anew.
const FORMAT: u32 = 1;
/// How parts are called in the store.
const NAME: &str = "keel-parts";

/// Why there are no parts.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// The root file system can't be read.
    #[error("reading the packages' root file system: {0}")]
    Rootfs(#[from] RootfsError),
    /// It is none that a system can be made of.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// keel itself can't become a part of it.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// An image can't be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The units can't be read.
    #[error("the units: {0}")]
    Units(#[from] CollectError),
    /// Accounts can't be numbered.
    #[error(transparent)]
    Ids(#[from] IdsError),
    /// The store refused.
    #[error(transparent)]
    Add(#[from] AddError),
    /// Objects can't be linked.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The database can't be read.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A file can't be placed.
    #[error("what replaces a package can't be placed: {0}")]
    Place(#[from] TreeError),
    /// A file of the parts can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the parts doesn't say what it should.
    #[error("{path}: {why} (is the path damaged? `keel store verify` tells)")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// The parts of a system that its packages make.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The path that holds the links; systems refer to it, so that it stays.
    pub path: StorePath,
    /// `/usr` without the kernel's modules.
    pub usr: StorePath,
    /// The `/etc` that the packages bring.
    pub etc: StorePath,
    /// A tree with `lib/modules/<version>`.
    pub modules: StorePath,
    /// The kernel.
    pub kernel: StorePath,
    /// The image of `/usr`, modules included.
    pub usr_image: StorePath,
    /// The image of the packages' `/etc`.
    pub etc_image: StorePath,
    /// keel's own programs.
    pub keel: Option<StorePath>,
    /// What took the place of packages, and lies in `/usr` as links into these paths or with references to them.
    pub overlays: Vec<StorePath>,
    /// As `uname -r` says it.
    pub kernel_version: String,
    /// `PRETTY_NAME` of os-release.
    pub os_name: String,
    /// What dpkg's database says.
    pub packages: Packages,
    /// The packages' accounts with the machine's numbers; and all numbers, the given ones included.
    pub accounts: Assigned,
}

/// A tree of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// `/usr` without modules.
    Usr,
    /// `/etc` as the packages bring it.
    Etc,
}

// `parts.json`. The paths are links beside it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct About {
    format: u32,
    kernel_version: String,
    os_name: String,
    overlays: Vec<String>,
}

impl Parts {
    /// Opens valid parts. `ids` are the machine's numbers, which they were found by.
    pub fn open(layout: &Layout, path: StorePath, ids: &Ids) -> Result<Self, PartsError> {
        let place = layout.physical_path(&path);
        let read = |name: &str| {
            let path = place.join(name);
            std::fs::read(&path).map_err(|source| PartsError::File { path, source })
        };
        let damaged = |name: &str, why: &dyn std::fmt::Display| PartsError::Damaged {
            path: place.join(name),
            why: why.to_string(),
        };
        let link = |name: &'static str| {
            let target = std::fs::read_link(place.join(name)).map_err(|source| PartsError::File {
                path: place.join(name),
                source,
            })?;
            StorePath::from_absolute(layout.store_dir(), &target.to_string_lossy())
                .map_err(|why| damaged(name, &why))
        };
        let about: About =
            serde_json::from_slice(&read("parts.json")?).map_err(|why| damaged("parts.json", &why))?;
        let declared: Declared =
            serde_json::from_slice(&read("accounts.json")?).map_err(|why| damaged("accounts.json", &why))?;
        let packages =
            serde_json::from_slice(&read("packages.json")?).map_err(|why| damaged("packages.json", &why))?;
        let overlays = about.overlays.iter();
        let overlays = overlays
            .map(|path| StorePath::from_absolute(layout.store_dir(), path))
            .collect::<Result<_, _>>()
            .map_err(|why| damaged("parts.json", &why))?;
        Ok(Self {
            usr: link("usr")?,
            etc: link("etc")?,
            modules: link("modules")?,
            kernel: link("kernel")?,
            usr_image: link("usr.cfs")?,
            etc_image: link("etc.cfs")?,
            keel: match place.join("keel").symlink_metadata() {
                Ok(_) => Some(link("keel")?),
                Err(_) => None,
            },
            overlays,
            kernel_version: about.kernel_version,
            os_name: about.os_name,
            packages,
            accounts: number(ids, &declared)?,
            path,
        })
    }

    /// A tree, with owners, modes and times. Its contents are not read; `pool` is told where they lie.
    pub fn tree(&self, layout: &Layout, tree: Tree, pool: &Pool) -> Result<Node, PartsError> {
        let (name, path) = match tree {
            Tree::Usr => ("usr.list", &self.usr),
            Tree::Etc => ("etc.list", &self.etc),
        };
        let list = layout.physical_path(&self.path).join(name);
        let text = match std::fs::read_to_string(&list) {
            Ok(text) => text,
            Err(source) => return Err(PartsError::File { path: list, source }),
        };
        listing::read(&text, &layout.physical_path(path), pool).map_err(|why| PartsError::Damaged {
            path: list,
            why: why.to_string(),
        })
    }

    /// The bytes of `units.json`: of a system with this `/usr`, and with `/etc` as the packages bring it.
    pub fn units(&self, layout: &Layout) -> Result<Vec<u8>, PartsError> {
        let path = layout.physical_path(&self.path).join("units.json");
        std::fs::read(&path).map_err(|source| PartsError::File { path, source })
    }

    /// What a system has to refer to beside its own `/etc`: these parts, what they link to, and what that needs.
    pub fn closure(&self, layout: &Layout) -> Result<Vec<StorePath>, PartsError> {
        let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
        let direction = crate::store::db::Direction::References;
        Ok(database.closure(std::slice::from_ref(&self.path), direction)?)
    }
}

fn number(previous: &Ids, declared: &Declared) -> Result<Assigned, IdsError> {
    // Who was renumbered was said when the parts were made.
    ids::assign(previous, &declared.users, &declared.groups, &mut |_: Notice| {})
}

// What is looked for by name in a map of files.
type Files = BTreeMap<PathBuf, Vec<u8>>;
