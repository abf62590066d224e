//! The derivations of layers, and what they lead to: computed from the lock, without looking at anything but the database.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use super::Description;
use crate::build::realise::{Cause, Realise, RealiseError, Report, Want, realise as realise_derivations};
use crate::config::Setuid;
use crate::pins::Lock;
use crate::store::db::{Database, DbError};
use crate::store::derivation::{Derivation, DerivationError, Hashes, Library, LibraryError, Output};
use crate::store::locks::TempRoots;
use crate::store::path::PathError;
use crate::store::{AddError, Addition, Layout, StorePath, files};
use crate::system::make::host::locale_gen;
use crate::system::notice::Notice;
use crate::system::packages_parts::{self, Key, Making, Parts, PartsError};

/// How layers are called in the store.
const NAME: &str = "keel-layer";
/// The kind of machine that they are for.
const SYSTEM: &[u8] = b"x86_64-linux";
/// The directory of the roots that keep a lock's layers, below `gcroots`.
const ROOTS: &str = "keel-layers";

/// Why there are no parts of a lock's packages.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// The lock without keel.
    #[error("the lock doesn't pin keel itself (`programs.keel`): `keel update` does")]
    NoKeel,
    /// A path of the lock's that is none.
    #[error("the lock: {0}")]
    Path(#[from] PathError),
    /// A lock without packages.
    #[error("the lock pins no packages: `keel update` does")]
    Empty,
    /// Packages and store paths that don't go together.
    #[error("{packages} packages and {debs} store paths of .debs don't go together")]
    Count {
        /// Of the lock.
        packages: usize,
        /// Given.
        debs: usize,
    },
    /// A derivation can't be named.
    #[error("layer {0}: {1}")]
    Derivation(usize, #[source] DerivationError),
    /// A derivation can't be written.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The store refused.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A package can't be installed.
    #[error("layer {layer}: {what}")]
    Layer {
        /// Counted from 0.
        layer: usize,
        /// What the builder said last: package, script, how it ended, its last words.
        what: String,
    },
    /// A layer can't be built.
    #[error(transparent)]
    Realise(RealiseError),
    /// The parts can't be made.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// A root can't be written.
    #[error("{path}: {source}")]
    File {
        /// The link.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What takes the place of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum With {
    /// Another `.deb`, a file of the store. A package that the lock doesn't have is added to the last layer.
    Deb(StorePath),
    /// A tree of the store, whose files are laid over `/usr`.
    Files(StorePath),
}

/// An `[[overlay]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The package.
    pub package: String,
    /// What takes its place.
    pub with: With,
}

/// What parts are wanted of.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The packages, the machine's numbers, keel's programs.
    pub lock: &'a Lock,
    /// The store paths of the packages, in the lock's order. They need not be valid before a layer has to be built.
    pub debs: &'a [StorePath],
    /// Patterns of paths that aren't installed.
    pub exclude: &'a [String],
    /// What keeps setuid bits.
    pub setuid: &'a Setuid,
    /// What takes the place of packages.
    pub overlays: &'a [Replacement],
    /// Locales that are generated where the package of that name is installed.
    pub locales: &'a [String],
}

/// The layers of a request.
#[derive(Debug)]
pub struct Layers {
    all: Vec<Layer>,
    keel: StorePath,
    files: Vec<StorePath>,
    key: Key,
}

/// A layer.
#[derive(Clone, Debug)]
struct Layer {
    derivation: Derivation,
    path: StorePath,
    output: StorePath,
}

impl Layers {
    /// Computes where the layers of a request lie.
    ///
    /// # Errors
    /// When the lock can't be what it should be.
    pub fn new(layout: &Layout, request: &Request<'_>) -> Result<Self, LayersError> {
        let lock = request.lock;
        let store_dir = layout.store_dir();
        let keel = lock.programs.get("keel").ok_or(LayersError::NoKeel)?;
        let keel = StorePath::from_absolute(store_dir, keel)?;
        let mut hashes = Hashes::new();
        let mut layers: Vec<Layer> = Vec::new();
        let generating = lock.pin("locales").map(|pin| pin.layer);
        for (number, (layer, debs)) in packages(request)?.into_iter().enumerate() {
            let failed = |error| LayersError::Derivation(number, error);
            let below = layers.last().map(|layer| (&layer.path, &layer.output));
            let description = Description {
                below: below.map(|(_, output)| output.absolute(store_dir).into()),
                packages: debs.iter().map(|deb| deb.absolute(store_dir).into()).collect(),
                exclude: request.exclude.to_vec(),
                locales: if generating == Some(layer) {
                    locale_gen(request.locales)
                } else {
                    String::new()
                },
                date: lock.request.date,
            };
            let mut derivation = derivation(&description, &keel.absolute(store_dir));
            derivation.input_sources = debs.into_iter().chain([keel.clone()]).collect();
            derivation.input_derivations = below
                .map(|(path, _)| (path.clone(), BTreeSet::from(["out".to_owned()])))
                .into_iter()
                .collect();
            let name = format!("{NAME}-{number}.tar.zst");
            derivation.complete(store_dir, &name, &hashes).map_err(failed)?;
            let path = derivation.path(store_dir, &name)?;
            let hash = derivation.hash_modulo(store_dir, &hashes).map_err(failed)?;
            let _none = hashes.insert(path.clone(), hash);
            let output = derivation
                .outputs
                .get("out")
                .and_then(|output| output.path.clone());
            layers.push(Layer {
                output: output.ok_or_else(|| failed(DerivationError::NoOutputs))?,
                derivation,
                path,
            });
        }
        let files: Vec<StorePath> = request
            .overlays
            .iter()
            .filter_map(|overlay| match &overlay.with {
                With::Files(path) => Some(path.clone()),
                With::Deb(_) => None,
            })
            .collect();
        let last = layers.last().ok_or(LayersError::Empty)?;
        let named = [&last.output, &keel].into_iter().chain(&files);
        let named = named.map(|path| path.base_name().as_bytes().to_vec());
        let setuid = serde_json::to_vec(request.setuid).unwrap_or_default();
        let date = lock.request.date.to_string().into_bytes();
        let key = Key::of([setuid, date].into_iter().chain(named));
        Ok(Self {
            all: layers,
            keel,
            files,
            key,
        })
    }

    /// The parts, when they were made before: a matter of a millisecond.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn find(&self, layout: &Layout, lock: &Lock) -> Result<Option<Parts>, LayersError> {
        Ok(packages_parts::find(layout, &self.key, &lock.ids)?)
    }

    /// Whether a layer has to be built: its packages have to be valid then.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn must_be_built(&self, layout: &Layout) -> Result<bool, LayersError> {
        let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
        match self.all.last() {
            Some(last) => Ok(!database.is_valid(&last.output)?),
            None => Ok(false),
        }
    }
}

// The packages of each layer, in the lock's order.
fn packages(request: &Request<'_>) -> Result<Vec<(u32, Vec<StorePath>)>, LayersError> {
    let (pins, debs) = (&request.lock.packages, request.debs);
    if pins.len() != debs.len() {
        return Err(LayersError::Count {
            packages: pins.len(),
            debs: debs.len(),
        });
    }
    let mut instead: BTreeMap<&str, &StorePath> = BTreeMap::new();
    for overlay in request.overlays {
        if let With::Deb(path) = &overlay.with {
            let _earlier = instead.insert(&overlay.package, path);
        }
    }
    let mut layers: BTreeMap<u32, Vec<StorePath>> = BTreeMap::new();
    for (pin, deb) in pins.iter().zip(debs) {
        let deb = instead.remove(pin.name.as_str()).unwrap_or(deb);
        layers.entry(pin.layer).or_default().push(deb.clone());
    }
    let mut last = layers.last_entry().ok_or(LayersError::Empty)?;
    last.get_mut().extend(instead.into_values().cloned());
    Ok(layers.into_iter().collect())
}

fn derivation(description: &Description, keel: &str) -> Derivation {
    let variable = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let text = serde_json::to_vec(description).unwrap_or_default();
    let builder = format!("{keel}/bin/keel").into_bytes();
    Derivation {
        outputs: BTreeMap::from([("out".to_owned(), Output::default())]),
        system: SYSTEM.to_vec(),
        arguments: vec![b"build-layer".to_vec()],
        environment: BTreeMap::from([
            variable("builder", &builder),
            variable("layer", &text),
            variable("name", NAME.as_bytes()),
            variable("passAsFile", b"layer"),
            variable("requiredSystemFeatures", b"uid-range"),
            variable("system", SYSTEM),
        ]),
        builder,
        ..Derivation::default()
    }
}

/// Makes the parts of a request: builds the layers that aren't valid yet, then splits the last one. `report` is told of the builds,
/// `notice` of what is left out and what is odd.
///
/// # Errors
/// The first fault. Layers that were built stay valid.
pub fn realise(
    how: &Realise<'_>,
    request: &Request<'_>,
    roots: &mut TempRoots,
    report: &dyn Report,
    notice: &mut dyn FnMut(Notice),
) -> Result<Parts, LayersError> {
    let layout = how.layout;
    let layers = Layers::new(layout, request)?;
    if let Some(parts) = layers.find(layout, request.lock)? {
        return Ok(parts);
    }
    let Some(last) = layers.all.last() else {
        return Err(LayersError::Empty);
    };
    if layers.must_be_built(layout)? {
        write(layout, &layers)?;
        let wants = [Want::all(last.path.clone())];
        let _outcome =
            realise_derivations(how, &wants, roots, report).map_err(|error| failed(&layers, error))?;
    }
    keep(layout, &layers)?;
    let making = Making {
        layout,
        rootfs: &layout.physical_path(&last.output),
        ids: &request.lock.ids,
        keel: Some(&layers.keel),
        setuid: request.setuid,
        overlays: &layers.files,
        clamp: Some(request.lock.request.date),
    };
    Ok(packages_parts::make(&making, &layers.key, notice)?)
}

fn write(layout: &Layout, layers: &Layers) -> Result<(), LayersError> {
    let mut addition = Addition::begin(layout, &mut |_| {})?;
    let mut library = Library::new(layout);
    for (number, layer) in layers.all.iter().enumerate() {
        let mut derivation = layer.derivation.clone();
        let _path = library.add(
            &mut addition,
            &format!("{NAME}-{number}.tar.zst"),
            &mut derivation,
        )?;
    }
    Ok(addition.commit()?)
}

// The words of the builder's, when it ended by itself: it says what failed in the last lines of its log.
fn failed(layers: &Layers, error: RealiseError) -> LayersError {
    const SAYS: &str = "keel: build-layer: ";
    if let RealiseError::Failed(failure) = &error
        && let Cause::Ended { log, .. } = &failure.cause
        && let Some(layer) = layers
            .all
            .iter()
            .position(|layer| layer.path == failure.derivation)
        && let Some(from) = failure.last.iter().rposition(|line| line.starts_with(SAYS))
    {
        let lines = failure.last.get(from..).unwrap_or_default();
        let what = lines.join("\n");
        let what = what.strip_prefix(SAYS).unwrap_or(&what);
        return LayersError::Layer {
            layer,
            what: format!("{what}\nall that was said: keel store log {log}"),
        };
    }
    LayersError::Realise(error)
}

// The layers of the last lock that was built are kept from the collector: what is added to it is built upon them.
fn keep(layout: &Layout, layers: &Layers) -> Result<(), LayersError> {
    let directory = layout.physical(&format!("{}/gcroots/{ROOTS}", layout.state_dir()));
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| LayersError::File { path, source }
    };
    std::fs::create_dir_all(&directory).map_err(failed(&directory))?;
    for (number, layer) in layers.all.iter().enumerate() {
        let link = directory.join(number.to_string());
        let target = layer.output.absolute(layout.store_dir());
        files::link_atomically(target.as_ref(), &link).map_err(failed(&link))?;
    }
    let mut number = layers.all.len();
    loop {
        let link = directory.join(number.to_string());
        match std::fs::remove_file(&link) {
            Ok(()) => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&link)(error)),
        }
    }
}
