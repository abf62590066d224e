//! A system from a configuration and the parts of its packages. What the configuration doesn't touch (`/usr`, the kernel,
//! mostly the initrd) is taken over by its store path.

use std::path::Path;

use super::accounts::{self, AccountError, Accounts};
use super::etc::{self, EtcError};
use super::initrd::{self, InitrdError};
use super::verify::{self, VerifyError};
use super::{Contribution, OptionError, contribute, record};
use crate::config::Config;
use crate::pins::{Lock, LockError};
use crate::store::objects::{self, ObjectError};
use crate::store::path::{PathError, check_name};
use crate::store::pool::Pool;
use crate::store::tree::Node;
use crate::store::{AddError, Addition, Layout, StorePath};
use crate::system::assembly::{self, AssemblyError, Pieces, json};
use crate::system::declared::Ids;
use crate::system::images::{self, ImageError};
use crate::system::packages::Packages;
use crate::system::packages_parts::{Parts, PartsError, Tree};
use crate::system::units::sources::InDirectory;
use crate::system::units::{CollectError, RecordError, UnitsRecord};

/// The name of a system whose machine has none.
const NAMELESS: &str = "machine";
/// A unit of a package is read up to here.
const UNITS: &str = "lib/systemd/system";

/// Why there is no system. Nothing of it is visible then.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The host's name can't name a system.
    #[error("system.hostname: '{0}' can't name a system: {1}")]
    BadName(String, #[source] PathError),
    /// An option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Accounts.
    #[error(transparent)]
    Accounts(#[from] AccountError),
    /// `/etc`.
    #[error(transparent)]
    Etc(#[from] EtcError),
    /// A unit that systemd refuses.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The packages' parts.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// Their record of units.
    #[error("the packages' record of units: {0}")]
    Record(#[from] RecordError),
    /// The units.
    #[error("the units: {0}")]
    Units(#[from] CollectError),
    /// The image of `/etc`.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The initrd.
    #[error("the initrd: {0}")]
    Initrd(#[from] InitrdError),
    /// The store.
    #[error(transparent)]
    Add(#[from] AddError),
    /// It can't be put together.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// Objects.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The lock can't be written down.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file.
    #[error("{0}: {1}")]
    File(String, #[source] std::io::Error),
}

/// What a system is made of.
pub struct Making<'a> {
    /// Where the store is.
    pub layout: &'a Layout,
    /// The configuration.
    pub config: &'a Config,
    /// What its files are relative to.
    pub base: &'a Path,
    /// The configuration as it was resolved: `system.toml` of the system.
    pub resolved: &'a str,
    /// The lock; its numbers of accounts are appended to.
    pub lock: &'a Lock,
    /// The packages' parts.
    pub parts: &'a Parts,
    /// Whether the system gets an initrd; without one it can't be booted.
    pub initrd: bool,
    /// The program that verifies units in a namespace of its own: this one.
    pub program: &'a Path,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Made {
    /// The system.
    pub system: StorePath,
    /// All numbers of accounts, the new ones included: they go into the lock.
    pub ids: Ids,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// The name of the system of a configuration.
pub fn name_of(config: &Config) -> &str {
    if config.system.hostname.is_empty() {
        NAMELESS
    } else {
        &config.system.hostname
    }
}

/// Makes the system. `waiting` is told which lock another process holds.
pub fn make(making: &Making<'_>, waiting: &mut dyn FnMut(&Path)) -> Result<Made, MakeError> {
    let Making {
        layout,
        config,
        parts,
        ..
    } = making;
    let name = name_of(config);
    check_name(&assembly::store_name(name)).map_err(|error| MakeError::BadName(name.to_owned(), error))?;
    let usr = layout.physical_path(&parts.usr);
    let made = contribute(config, making.base, &|unit| fragment(&usr, unit))?;
    let accounts = accounts::declare(config, &parts.accounts)?;

    let mut addition = Addition::begin(layout, waiting)?;
    let pool = addition.pool()?;
    let packages_etc = parts.tree(layout, Tree::Etc, &pool)?;
    let mtime = making.lock.request.date.max(packages_etc.meta().mtime);
    let tree = etc::apply(packages_etc, &made, &accounts.declared, &pool, mtime)?;
    let stage = Stage {
        making,
        made: &made,
        accounts: &accounts,
        tree: &tree,
        pool: &pool,
    };
    let (system, etc) = stage.add(&mut addition)?;
    addition.commit()?;
    // The packages' objects are linked already, as their stamp says: only /etc has new ones.
    let _new = objects::link_all(layout, &pool, &[(&etc, &tree)], &system)?;
    let mut notes = made.notes;
    notes.extend(accounts.notes);
    Ok(Made {
        system,
        ids: accounts.ids,
        notes,
    })
}

struct Stage<'a> {
    making: &'a Making<'a>,
    made: &'a Contribution,
    accounts: &'a Accounts,
    tree: &'a Node,
    pool: &'a Pool,
}

impl Stage<'_> {
    // The tree of /etc, its image and the record of units are made side by side. Returns the system and its /etc.
    fn add(&self, addition: &mut Addition) -> Result<(StorePath, StorePath), MakeError> {
        let Making {
            layout,
            config,
            parts,
            ..
        } = self.making;
        let place = addition.temporary();
        let known = parts.units(layout)?;
        let known = UnitsRecord::parse(&known)?;
        let usr_place = layout.physical_path(&parts.usr);
        let usr = InDirectory::open(&usr_place)
            .map_err(|error| MakeError::File(usr_place.display().to_string(), error))?;
        let (tree, pool) = (self.tree, self.pool);
        let (prepared, image, units) = std::thread::scope(|scope| {
            let prepared = scope.spawn(|| Addition::prepare(place.clone(), tree, pool));
            let image = scope.spawn(|| images::compose(tree, pool));
            let units = record::collect(usr, &known, (tree, pool));
            (joined(prepared), joined(image), units)
        });
        let (prepared, image, units) = (prepared??, image??, units?);
        verify::verify(self.making.program, self.made, &usr_place, &place)?;
        let initrd = if self.making.initrd {
            let input = initrd::Input {
                config,
                parts,
                etc: tree,
                pool,
                etc_place: &place,
            };
            Some(initrd::make(addition, &input)?)
        } else {
            None
        };
        let etc = addition.adopt("etc", prepared)?;
        let etc_image = addition.add_file("etc.cfs", &image)?;
        let pieces = Pieces {
            name: name_of(config),
            kernel_params: &self.made.kernel_params,
            kernel_version: &parts.kernel_version,
            os_name: &parts.os_name,
            usr: &parts.usr,
            etc: &etc,
            modules: &parts.modules,
            kernel: &parts.kernel,
            usr_image: &parts.usr_image,
            etc_image: &etc_image,
            initrd: initrd.as_ref(),
            keel: parts.keel.as_ref(),
            parts: Some(&parts.path),
            further: &parts.closure(layout)?,
            files: self.files(&units)?,
        };
        Ok((assembly::add_system(addition, &pieces)?, etc))
    }

    fn files(&self, units: &UnitsRecord<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, MakeError> {
        let Making {
            config,
            parts,
            lock,
            resolved,
            ..
        } = self.making;
        let lock = Lock {
            ids: self.accounts.ids.clone(),
            ..(*lock).clone()
        };
        Ok(vec![
            ("accounts.json", json(&self.accounts.declared)),
            ("ids.json", json(&self.accounts.ids)),
            ("packages.json", json(&packages(config, &parts.packages))),
            ("health.json", json(&config.health)),
            ("units.json", units.to_json()),
            ("system.toml", resolved.as_bytes().to_vec()),
            ("keel.lock", lock.text()?.into_bytes()),
        ])
    }
}

/// A user's packages are in `/usr` like all others; the list says whose they are.
fn packages(config: &Config, all: &Packages) -> Packages {
    let mut packages = all.clone();
    for package in &mut packages.packages {
        let wants = |(name, user): (&String, &crate::config::User)| {
            user.packages.contains(&package.name).then(|| name.clone())
        };
        package.users = config.users.iter().filter_map(wants).collect();
    }
    packages
}

fn fragment(usr: &Path, unit: &str) -> Option<String> {
    std::fs::read_to_string(usr.join(UNITS).join(unit)).ok()
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> Result<T, AddError> {
    thread.join().map_err(|_| AddError::Thread("a thread"))
}
