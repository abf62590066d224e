//! `keel import`: a Debian root file system becomes a system, and a generation of a profile.

use std::io;
use std::path::{Path, PathBuf};

use super::assembly::{self, AssemblyError, Pieces, json};
use super::bootspec::{self, BootSpecError};
use super::compose::{self, ComposeError, Parts};
use super::declared::Ids;
use super::generation::{Profile, ProfileError};
use super::health::Health;
use super::images::{self, ImageError};
use super::notice::Notice;
use super::own::{self, OwnError, Programs};
use super::profile::{self, SwitchError};
use super::rootfs::{self, RootfsError};
use super::units::sources::{InTree, Mounted};
use super::units::{self, CollectError, UnitsRecord};
use crate::store::objects::{self, ObjectError};
use crate::store::path::{PathError, check_name};
use crate::store::pool::Pool;
use crate::store::tree::{Meta, Node};
use crate::store::{AddError, Addition, Layout, Prepared, StorePath, failpoint};

/// A longer ids.json is refused: it would hold more names than there are numbers.
const IDS_MAX: u64 = 16 << 20;

/// Why an import failed. Nothing of it is visible then.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The name is none for a system.
    #[error("'{0}' can't name a system: {1}")]
    BadName(String, #[source] PathError),
    /// The name is none for a profile.
    #[error("'{0}' can't name a profile: letters, digits and . _ - are allowed")]
    BadProfile(String),
    /// The root file system can't be read.
    #[error("reading the root file system: {0}")]
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
    /// The store refused.
    #[error(transparent)]
    Add(#[from] AddError),
    /// Objects can't be linked.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// A kernel parameter can't be used.
    #[error(transparent)]
    BootSpec(#[from] BootSpecError),
    /// It can't be put together.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The profile can't be read.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The profile can't be switched.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// Its units can't be read.
    #[error("the units: {0}")]
    Units(#[from] CollectError),
    /// No generation says which numbers the machine's accounts have.
    #[error(
        "no generation of the profile has a readable ids.json ({0}): without it accounts could get numbers that \
         others had; repair one of them or import into a new profile"
    )]
    NoIds(String),
    /// The initrd can't be read or built.
    #[error("the initrd: {0}")]
    Initrd(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What an initrd is built from.
#[derive(Clone, Copy, Debug)]
pub struct InitrdInput<'a> {
    /// As `uname -r` says it.
    pub kernel_version: &'a str,
    /// The directory of the kernel's modules: `…/lib/modules/<version>`.
    pub modules: &'a Path,
    /// The system's `/usr`, without modules.
    pub usr: &'a Path,
    /// The system's `/etc`.
    pub etc: &'a Path,
}

/// Builds an initrd.
pub type BuildInitrd<'a> =
    dyn Fn(InitrdInput<'_>) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// Where a system's initrd comes from.
pub enum Initrd<'a> {
    /// A file.
    File(&'a Path),
    /// It is built.
    Build(&'a BuildInitrd<'a>),
    /// The system has none: it can't be booted from the menu.
    None,
}

/// What is to be imported.
pub struct Import<'a> {
    /// Its name, mostly the host's.
    pub name: &'a str,
    /// A directory or an archive.
    pub rootfs: &'a Path,
    /// Kernel parameters, one each.
    pub kernel_params: &'a [String],
    /// The initrd.
    pub initrd: Initrd<'a>,
    /// keel's own programs, which every system brings that can be switched to and from.
    pub programs: Option<Programs<'a>>,
    /// What tells whether a machine that runs the system is healthy.
    pub health: &'a Health,
    /// The profile that gets a new generation.
    pub profile: &'a str,
    /// Whether the profile leads to the new generation at once.
    pub make_current: bool,
    /// Where the store is.
    pub layout: &'a Layout,
    /// Later times in the images become this (`SOURCE_DATE_EPOCH`).
    pub clamp: Option<i64>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The system.
    pub system: StorePath,
    /// The generation's number.
    pub generation: u64,
    /// Whether the generation is new; the profile's newest one was this system already otherwise.
    pub is_new: bool,
    /// Its kernel.
    pub kernel_version: String,
    /// How many packages it consists of.
    pub packages: usize,
    /// How many objects weren't there before.
    pub new_objects: usize,
}

/// Imports. `report` is told what is left out and what is odd; `waiting` which lock another process holds.
pub fn import(
    request: &Import<'_>,
    report: &mut dyn FnMut(Notice),
    waiting: &mut dyn FnMut(&Path),
) -> Result<Imported, ImportError> {
    let system_name = assembly::store_name(request.name);
    check_name(&system_name).map_err(|error| ImportError::BadName(request.name.to_owned(), error))?;
    if !profile::is_profile_name(request.profile) {
        return Err(ImportError::BadProfile(request.profile.to_owned()));
    }
    request
        .kernel_params
        .iter()
        .try_for_each(|parameter| bootspec::check_parameter(parameter))?;

    let mut addition = Addition::begin(request.layout, waiting)?;
    let profile = Profile::open(request.layout.clone(), request.profile)?;
    let previous = previous_ids(&profile, report)?;
    let pool = addition.pool()?;
    let rootfs = rootfs::read(request.rootfs, &pool, request.clamp, report)?;
    let mut parts = compose::divide(rootfs, &pool, &previous, report)?;
    let keel = match &request.programs {
        Some(programs) => {
            let (keel, pages) = add_keel(&mut addition, programs, &pool)?;
            let absolute = keel.absolute(request.layout.store_dir());
            own::install(&mut parts.usr, &absolute, &pages, &pool, report)?;
            Some(keel)
        }
        None => None,
    };
    let paths = Paths {
        keel,
        ..add_parts(&mut addition, &parts, &pool, &request.initrd)?
    };
    let system = add_system(&mut addition, request, &parts, &paths)?;
    addition.commit()?;

    failpoint("before-objects");
    let trees = [
        (&paths.usr, &parts.usr),
        (&paths.etc, &parts.etc),
        (&paths.modules, &parts.modules),
    ];
    let new_objects = objects::link_all(request.layout, &pool, &trees, &system)?;
    failpoint("after-objects");
    let lock = profile::lock(&profile)?;
    let (generation, is_new) = profile::add_generation(&profile, &system, request.make_current, &lock)?;
    Ok(Imported {
        system,
        generation,
        is_new,
        kernel_version: parts.kernel_version,
        packages: parts.packages.packages.len(),
        new_objects,
    })
}

// The path of the programs, and what is in it beside them.
fn add_keel(
    addition: &mut Addition,
    programs: &Programs<'_>,
    pool: &Pool,
) -> Result<(StorePath, Vec<PathBuf>), ImportError> {
    let tree = own::programs(programs, pool)?;
    let prepared = Addition::prepare(addition.temporary(), &tree, pool)?;
    let path = addition.adopt(concat!("keel-", env!("CARGO_PKG_VERSION")), prepared)?;
    Ok((path, own::pages_of(&tree)))
}

struct Paths {
    keel: Option<StorePath>,
    usr: StorePath,
    etc: StorePath,
    modules: StorePath,
    kernel: StorePath,
    initrd: Option<StorePath>,
    usr_image: StorePath,
    etc_image: StorePath,
    units: UnitsRecord<'static>,
}

// The trees are written and hashed, and the images made, side by side.
fn add_parts(
    addition: &mut Addition,
    parts: &Parts,
    pool: &Pool,
    initrd: &Initrd<'_>,
) -> Result<Paths, ImportError> {
    let version = &parts.kernel_version;
    let kernel = Node::File(Meta::root(0o444, 0), parts.kernel);
    let trees = [
        ("usr".to_owned(), &parts.usr),
        ("etc".to_owned(), &parts.etc),
        (format!("modules-{version}"), &parts.modules),
        (format!("kernel-{version}"), &kernel),
    ];
    let places = [(); 4].map(|()| addition.temporary());
    let (prepared, usr_image, etc_image, units) = std::thread::scope(|scope| {
        let hashers: Vec<_> = trees
            .iter()
            .zip(&places)
            .map(|((_, tree), place)| scope.spawn(|| Addition::prepare(place.clone(), tree, pool)))
            .collect();
        let usr_image = scope.spawn(|| images::compose(&with_modules(&parts.usr, &parts.modules), pool));
        let etc_image = images::compose(&parts.etc, pool);
        let units = record_units(parts, pool);
        let prepared: Vec<_> = hashers.into_iter().map(joined).collect();
        (prepared, joined(usr_image), etc_image, units)
    });
    let [usr_place, etc_place, modules_place, _] = &places;
    let initrd = match initrd {
        Initrd::None => None,
        Initrd::File(path) => {
            let shown = |error| ImportError::Initrd(format!("{}: {error}", path.display()).into());
            Some(std::fs::read(path).map_err(shown)?)
        }
        Initrd::Build(build) => {
            let modules = modules_place.join("lib/modules").join(version);
            Some(
                build(InitrdInput {
                    kernel_version: version,
                    modules: &modules,
                    usr: usr_place,
                    etc: etc_place,
                })
                .map_err(ImportError::Initrd)?,
            )
        }
    };
    let mut adopted = trees
        .iter()
        .zip(prepared)
        .map(|((name, _), prepared): (_, Result<Result<Prepared, _>, _>)| {
            Ok(addition.adopt(name, prepared.map_err(AddError::Thread)??)?)
        })
        .collect::<Result<Vec<_>, ImportError>>()?
        .into_iter();
    let mut next = || adopted.next().ok_or(AddError::Thread("a tree"));
    Ok(Paths {
        keel: None,
        usr: next()?,
        etc: next()?,
        modules: next()?,
        kernel: next()?,
        initrd: initrd
            .map(|bytes| addition.add_file("initrd", &bytes))
            .transpose()?,
        usr_image: addition.add_file("usr.cfs", &usr_image.map_err(AddError::Thread)??)?,
        etc_image: addition.add_file("etc.cfs", &etc_image?)?,
        units: units?,
    })
}

fn record_units(parts: &Parts, pool: &Pool) -> Result<UnitsRecord<'static>, CollectError> {
    let (usr, etc) = (InTree::new(&parts.usr, pool), InTree::new(&parts.etc, pool));
    units::collect(&Mounted::new().with("usr", &usr).with("etc", &etc))
}

pub(super) fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> Result<T, &'static str> {
    thread.join().map_err(|_| "a thread")
}

// The tree of the image of /usr: what the store keeps apart, so that systems share it, in one.
pub(super) fn with_modules(usr: &Node, modules: &Node) -> Node {
    let mut whole = usr.clone();
    if let (Some(entries), Some(layer)) = (
        whole
            .entries_mut()
            .and_then(|e| e.get_mut(std::ffi::OsStr::new("lib")))
            .and_then(Node::entries_mut),
        modules.get("lib/modules"),
    ) {
        let _none = entries.insert("modules".into(), layer.clone());
    }
    whole
}

fn add_system(
    addition: &mut Addition,
    request: &Import<'_>,
    parts: &Parts,
    paths: &Paths,
) -> Result<StorePath, ImportError> {
    let pieces = Pieces {
        name: request.name,
        kernel_params: request.kernel_params,
        kernel_version: &parts.kernel_version,
        os_name: &parts.os_name,
        usr: &paths.usr,
        etc: &paths.etc,
        modules: &paths.modules,
        kernel: &paths.kernel,
        usr_image: &paths.usr_image,
        etc_image: &paths.etc_image,
        initrd: paths.initrd.as_ref(),
        keel: paths.keel.as_ref(),
        parts: None,
        further: &[],
        files: vec![
            ("accounts.json", json(&parts.accounts.declared)),
            ("ids.json", json(&parts.accounts.ids)),
            ("packages.json", json(&parts.packages)),
            ("health.json", json(request.health)),
            ("units.json", paths.units.to_json()),
        ],
    };
    Ok(assembly::add_system(addition, &pieces)?)
}

/// The numbers of a profile's newest generation that can say them. A machine's first generation starts without any.
pub(crate) fn previous_ids(profile: &Profile, report: &mut dyn FnMut(Notice)) -> Result<Ids, ImportError> {
    let mut all = profile.generations()?;
    all.reverse();
    let mut first_failure = None;
    for generation in all {
        let number = generation.number;
        let read = generation
            .system
            .map_err(|damage| damage.to_string())
            .and_then(|system| {
                let path = PathBuf::from(system.absolute(profile.layout().store_dir())).join("ids.json");
                let bytes = profile
                    .root()
                    .read(&path, IDS_MAX)
                    .map_err(|error: io::Error| error.to_string());
                bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
            });
        match read {
            Ok(ids) => return Ok(ids),
            Err(why) => {
                let why = format!("generation {number}: {why}");
                report(Notice::Warning(format!(
                    "the numbers of accounts can't be taken from {why}"
                )));
                let _first = first_failure.get_or_insert(why);
            }
        }
    }
    first_failure.map_or_else(|| Ok(Ids::default()), |why| Err(ImportError::NoIds(why)))
}
