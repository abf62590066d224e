//! Looking at two systems in a store.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::accounts::{self, AccountChange};
use super::boot::{self, BootChange};
use super::etc::{self, Contents, PathChange, Tree};
use super::packages::{self, PackageChange};
use super::side::Side;
use super::units::{self, UnitChange};
use crate::store::db::{Database, DbError};
use crate::store::{Layout, StorePath};
use crate::system::bootspec::BootSpec;
use crate::system::declared::Declared;
use crate::system::generation::{Damage, Profile, ProfileError, SYSTEM_PROFILE};
use crate::system::units::record::RECORD_MAX;
use crate::system::units::sources::{InDirectory, Mounted};
use crate::system::units::{LoadPath, RecordError, Units, UnitsRecord, compare};

/// A longer `packages.json` or `accounts.json` is refused.
const JSON_MAX: u64 = 64 << 20;
/// A longer image is refused.
const IMAGE_MAX: u64 = 1 << 30;

/// Why two systems can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The profile can't be read.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A system is damaged.
    #[error("{system} can't be compared: {damage}")]
    Damaged {
        /// The system.
        system: String,
        /// What is wrong.
        damage: Damage,
    },
    /// A file of a system can't be read.
    #[error("{path} can't be read: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// `units.json` of a system can't be used.
    #[error("{path}: {source}")]
    Units {
        /// The file.
        path: String,
        /// Why not.
        source: RecordError,
    },
    /// The store's database.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// What differs between two systems.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// The system before.
    pub from: Side,
    /// The system after.
    pub to: Side,
    /// Packages, in the order of names.
    pub packages: Vec<PackageChange>,
    /// Kernel, initrd, parameters.
    pub boot: BootChange,
    /// Units, in the order of names.
    pub units: Vec<UnitChange>,
    /// Files of `/etc`, in the order of paths.
    pub etc: Vec<PathChange>,
    /// Declared accounts.
    pub accounts: Vec<AccountChange>,
    /// What it costs in the store.
    pub closure: Closure,
    /// What couldn't be looked at.
    pub warnings: Vec<String>,
}

/// Store paths that one of two systems has and the other hasn't.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Closure {
    /// Paths of the new system alone.
    pub added_paths: usize,
    /// Their bytes, as archives.
    pub added_bytes: u64,
    /// Paths of the old system alone.
    pub removed_paths: usize,
    /// Their bytes, as archives.
    pub removed_bytes: u64,
    /// Bytes of all paths of the old system.
    pub before_bytes: u64,
    /// Bytes of all paths of the new system.
    pub after_bytes: u64,
    /// Bytes of file contents below `/usr` and `/etc` that only the new system has. Contents that both have are on the
    /// disk once, whatever their paths.
    pub new_contents: u64,
    /// Bytes of those that only the old system has.
    pub old_contents: u64,
}

impl Diff {
    /// Whether the systems differ in nothing that is looked at.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
            && self.boot.is_empty()
            && self.units.is_empty()
            && self.etc.is_empty()
            && self.accounts.is_empty()
    }
}

/// Compares two systems of the store that `layout` describes.
pub fn between(layout: &Layout, from: &Side, to: &Side) -> Result<Diff, DiffError> {
    let profile = Profile::open(layout.clone(), SYSTEM_PROFILE)?;
    let (old, new) = (Look::at(&profile, from)?, Look::at(&profile, to)?);
    let mut warnings = Vec::new();
    let etc = match (
        old.tree(&old.spec.keel.etc_image),
        new.tree(&new.spec.keel.etc_image),
    ) {
        _ if old.spec.keel.etc_image == new.spec.keel.etc_image => Vec::new(),
        (Ok(old), Ok(new)) => etc::compare(&old, &new),
        (old, new) => {
            warnings.extend([old.err(), new.err()].into_iter().flatten());
            Vec::new()
        }
    };
    let units = units_between(&old, &new, &mut warnings)?;
    let closure = closure_between(layout, &old, &new, &mut warnings);
    Ok(Diff {
        from: from.clone(),
        to: to.clone(),
        packages: packages::compare(&old.json("packages.json")?, &new.json("packages.json")?),
        boot: boot::compare(&old.spec, &new.spec),
        units,
        etc,
        accounts: accounts::compare(
            &old.json::<Declared>("accounts.json")?,
            &new.json("accounts.json")?,
        ),
        closure,
        warnings,
    })
}

/// A system, opened.
struct Look<'a> {
    profile: &'a Profile,
    side: &'a Side,
    spec: BootSpec,
}

impl<'a> Look<'a> {
    fn at(profile: &'a Profile, side: &'a Side) -> Result<Self, DiffError> {
        let spec = profile
            .boot_spec(&side.path)
            .map_err(|damage| DiffError::Damaged {
                system: side.system.clone(),
                damage,
            })?;
        Ok(Self { profile, side, spec })
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, DiffError> {
        let file = |source| DiffError::File {
            path: path.to_owned(),
            source,
        };
        self.profile.root().read(path, limit).map_err(file)
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, DiffError> {
        let path = format!("{}/{name}", self.side.system);
        let bytes = self.read(&path, JSON_MAX)?;
        serde_json::from_slice(&bytes).map_err(|error| DiffError::File {
            path,
            source: error.into(),
        })
    }

    fn tree(&self, image: &str) -> Result<Tree, String> {
        let bytes = self.read(image, IMAGE_MAX).map_err(|error| error.to_string())?;
        etc::read(&bytes).map_err(|error| format!("{image}: {error}"))
    }

    fn contents(&self) -> Result<Contents, String> {
        let mut all = Contents::new();
        for image in [&self.spec.keel.usr_image, &self.spec.keel.etc_image] {
            let bytes = self.read(image, IMAGE_MAX).map_err(|error| error.to_string())?;
            all.extend(etc::contents(&bytes).map_err(|error| format!("{image}: {error}"))?);
        }
        Ok(all)
    }

    fn record(&self) -> Result<Vec<u8>, DiffError> {
        self.read(&format!("{}/units.json", self.side.system), RECORD_MAX as u64)
    }

    /// The physical directory that `usr` or `etc` of the system leads to.
    fn directory(&self, name: &str) -> PathBuf {
        let layout = self.profile.layout();
        let link = format!("{}/{name}", self.side.system);
        let target = self.profile.root().read_link(&link).ok();
        target
            .and_then(|target| StorePath::from_absolute(layout.store_dir(), &target.to_string_lossy()).ok())
            .map_or_else(|| layout.physical(&link), |path| layout.physical_path(&path))
    }
}

fn parse<'a>(look: &Look<'_>, bytes: &'a [u8]) -> Result<UnitsRecord<'a>, DiffError> {
    UnitsRecord::parse(bytes).map_err(|source| DiffError::Units {
        path: format!("{}/units.json", look.side.system),
        source,
    })
}

fn units_between(
    old: &Look<'_>,
    new: &Look<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<UnitChange>, DiffError> {
    let (old_bytes, new_bytes) = (old.record()?, new.record()?);
    if old_bytes == new_bytes {
        return Ok(Vec::new());
    }
    let (old_record, new_record) = (parse(old, &old_bytes)?, parse(new, &new_bytes)?);
    let open = |look: &Look<'_>, name: &str| {
        let path = look.directory(name);
        InDirectory::open(&path).map_err(|source| DiffError::File {
            path: path.display().to_string(),
            source,
        })
    };
    let (old_usr, old_etc) = (open(old, "usr")?, open(old, "etc")?);
    let (new_usr, new_etc) = (open(new, "usr")?, open(new, "etc")?);
    let before = Mounted::new().with("usr", &old_usr).with("etc", &old_etc);
    let after = Mounted::new().with("usr", &new_usr).with("etc", &new_etc);
    let read = |sources| Units::read(sources, LoadPath::persistent()).map_err(|error| error.to_string());
    let (before, after) = match (read(&before), read(&after)) {
        (Ok(before), Ok(after)) => (before, after),
        (before, after) => {
            warnings.extend([before.err(), after.err()].into_iter().flatten());
            return Ok(units::compare(&old_record, &new_record, &mut |_| Vec::new()));
        }
    };
    let mut settings = |name: &str| match (before.load(name), after.load(name)) {
        (Ok(Some(old)), Ok(Some(new))) => compare(&old, &new)
            .changes
            .iter()
            .map(ToString::to_string)
            .collect(),
        (Err(error), _) | (_, Err(error)) => {
            warnings.push(format!("{name}: {error}"));
            Vec::new()
        }
        _ => Vec::new(),
    };
    Ok(units::compare(&old_record, &new_record, &mut settings))
}

fn closure_between(layout: &Layout, old: &Look<'_>, new: &Look<'_>, warnings: &mut Vec<String>) -> Closure {
    let mut closure = Closure::default();
    if let Err(why) = count_paths(layout, old, new, &mut closure) {
        warnings.push(format!("the sizes of the store paths aren't known: {why}"));
    }
    match (old.contents(), new.contents()) {
        (Ok(old), Ok(new)) => {
            let only_in = |one: &Contents, other: &Contents| -> u64 {
                let only = one.iter().filter(|(digest, _)| !other.contains_key(*digest));
                only.map(|(_, size)| size).sum()
            };
            closure.new_contents = only_in(&new, &old);
            closure.old_contents = only_in(&old, &new);
        }
        (old, new) => warnings.extend([old.err(), new.err()].into_iter().flatten()),
    }
    closure
}

fn count_paths(layout: &Layout, old: &Look<'_>, new: &Look<'_>, closure: &mut Closure) -> Result<(), String> {
    let directory = layout.physical(&layout.database_dir());
    // Opening makes one where there is none.
    if !directory.join("db.sqlite").exists() {
        return Err(format!("{} isn't there", directory.join("db.sqlite").display()));
    }
    let database = Database::open(&directory, layout.store_dir()).map_err(|error| error.to_string())?;
    let paths = |look: &Look<'_>| -> Result<BTreeSet<StorePath>, String> {
        let listed = look.profile.closure(&look.side.path);
        let mut paths: BTreeSet<StorePath> =
            listed.map_err(|damage| damage.to_string())?.into_iter().collect();
        let _new = paths.insert(look.side.path.clone());
        Ok(paths)
    };
    let size = |path: &StorePath| -> Result<u64, String> {
        let nar = database.nar(path).map_err(|error| error.to_string())?;
        Ok(nar.map_or(0, |(_, size)| size))
    };
    let (before, after) = (paths(old)?, paths(new)?);
    for path in &before {
        let bytes = size(path)?;
        closure.before_bytes += bytes;
        if !after.contains(path) {
            closure.removed_paths += 1;
            closure.removed_bytes += bytes;
        }
    }
    for path in &after {
        let bytes = size(path)?;
        closure.after_bytes += bytes;
        if !before.contains(path) {
            closure.added_paths += 1;
            closure.added_bytes += bytes;
        }
    }
    Ok(())
}
