//! What runs in a layer's sandbox, as root of its own ids: unpacks the layer below, installs packages with dpkg of that very root,
//! packs the root again. It's keel itself, so that the sandbox needs no other program.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use super::control::{self, Control, Graph};
use super::deb::{self, Deb, DebError};
use super::dpkg::{self, Dpkg, DpkgError};
use super::pack::{self, PackError};
use super::stub;
use super::unpack::{self, UnpackError};
use crate::init::modules::glob_match;

/// Where the root is made.
const ROOT: &str = "/build/root";
/// Where the packages lie in it, their archives already unpacked. Nothing below `/run` is packed.
const DEBS: &str = "run/keel";
/// What the root shows of the kernel, as the sandbox does.
const KERNEL_VIEWS: [&str; 2] = ["dev", "proc"];
/// What the layer is compressed by: the fastest level.
pub(super) const ZSTD_LEVEL: i32 = 1;
/// Says that nothing is started while packages are installed (Debian policy, section 9.3.3.2).
const POLICY: &str = "#!/bin/sh\nexit 101\n";
/// What the package `locales` generates.
const LOCALES: &str = "/etc/locale.gen";
const POLICY_PATH: &str = "/usr/sbin/policy-rc.d";
/// Scripts of other packages that a kernel's package runs: for boot loaders and generators of initrds that keel stands for.
const KERNEL_HOOKS: [&str; 2] = ["/etc/kernel/postinst.d", "/usr/share/kernel/postinst.d"];

/// A layer, as its derivation describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The layer below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<PathBuf>,
    /// `.deb`s.
    pub packages: Vec<PathBuf>,
    /// Patterns of paths that aren't installed, as dpkg's `path-exclude` has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Lines of `locale.gen`, when the package `locales` is one of them: its script generates these.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub locales: String,
    /// No time is later: seconds since 1970.
    pub date: i64,
}

/// Why a layer isn't built.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// It's run by hand.
    #[error("this is what builds a layer of packages in a sandbox; {0}")]
    NoLayer(String),
    /// The description.
    #[error("the layer's description can't be read: {0}")]
    Description(#[from] serde_json::Error),
    /// Times of now would have to be told from those of the packages.
    #[error("this machine's clock is behind the lock's date: set it")]
    Clock,
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A package.
    #[error("{path}: {source}")]
    Deb {
        /// The package.
        path: PathBuf,
        /// What is wrong with it.
        source: DebError,
    },
    /// A package's control file.
    #[error("{0}: its control file names no package")]
    NoName(PathBuf),
    /// The lowest layer without dpkg.
    #[error("no package of the lowest layer is essential: it can't hold dpkg")]
    NothingEssential,
    /// A layer or package can't be unpacked.
    #[error("{0}: {1}")]
    Unpack(PathBuf, String),
    /// dpkg failed.
    #[error("{0}")]
    Dpkg(String),
    /// The root can't be packed.
    #[error("{0}")]
    Pack(String),
}

fn at(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> BuilderError {
    let path = path.as_ref().to_owned();
    move |source| BuilderError::File { path, source }
}

impl From<DpkgError> for BuilderError {
    fn from(error: DpkgError) -> Self {
        Self::Dpkg(error.to_string())
    }
}

impl From<PackError> for BuilderError {
    fn from(error: PackError) -> Self {
        Self::Pack(error.to_string())
    }
}

/// Builds the layer that the environment describes: `layerPath` names a file with the description, `out` the output.
pub fn build() -> Result<(), BuilderError> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .ok_or_else(|| BuilderError::NoLayer(format!("the variable {name} is missing")))
    };
    if std::process::id() != 1 {
        return Err(BuilderError::NoLayer("here is no sandbox".to_owned()));
    }
    let (description, out) = (variable("layerPath")?, variable("out")?);
    let text = fs::read(&description).map_err(at(&description))?;
    let layer: Description = serde_json::from_slice(&text)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    if i64::try_from(now).unwrap_or(i64::MAX) < layer.date {
        return Err(BuilderError::Clock);
    }
    // What lies outside of the root is opened before it's entered.
    let mut output = File::create(&out).map_err(at(&out))?;
    let below = match &layer.below {
        Some(path) => Some((path, File::open(path).map_err(at(path))?)),
        None => None,
    };
    make_root()?;
    let packages = prepare(&layer)?;
    nix::unistd::chroot(ROOT).map_err(|errno| at(ROOT)(errno.into()))?;
    std::env::set_current_dir("/").map_err(at("/"))?;
    match below {
        Some((path, file)) => {
            let failed = |error: UnpackError| BuilderError::Unpack(path.clone(), error.to_string());
            let mut stream = zstd::Decoder::new(file).map_err(at(path))?;
            unpack::unpack(&mut stream, Path::new("/"), &|_| false).map_err(failed)?;
        }
        None => bootstrap(&layer, &packages)?,
    }
    install(&layer, &packages)?;
    let debs = Path::new("/").join(DEBS);
    fs::remove_dir_all(&debs).map_err(at(&debs))?;
    let failed = at(&out);
    let encoder = zstd::Encoder::new(BufWriter::with_capacity(1 << 20, &mut output), ZSTD_LEVEL);
    let Ok(encoder) = encoder else {
        return Err(BuilderError::Pack("the compressor can't be made".to_owned()));
    };
    let encoder = pack::pack(Path::new("/"), layer.date, encoder, &mut |text| say(text))?;
    encoder
        .finish()
        .and_then(|mut buffer| buffer.flush())
        .map_err(failed)?;
    clear();
    Ok(())
}

// The root served its purpose. Its files aren't written to the disk any more when they go before the output is brought there.
fn clear() {
    for entry in fs::read_dir("/").into_iter().flatten().flatten() {
        let path = entry.path();
        if !KERNEL_VIEWS.iter().any(|name| path.ends_with(name)) {
            // What stays is removed with the sandbox.
            let _ignored = fs::remove_dir_all(&path);
        }
    }
}

fn say(text: &str) {
    // The log may be closed: the sandbox ends then.
    let _ignored = writeln!(io::stdout(), "{text}");
}

// The root and what the kernel shows in it.
fn make_root() -> Result<(), BuilderError> {
    for (name, mode) in [
        ("", 0o755),
        ("dev", 0o755),
        ("proc", 0o555),
        ("run", 0o755),
        ("run/keel", 0o755),
        ("sys", 0o555),
        ("tmp", 0o1777),
        ("var", 0o755),
        ("var/tmp", 0o1777),
    ] {
        let path = Path::new(ROOT).join(name);
        fs::create_dir(&path).map_err(at(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(at(&path))?;
    }
    for name in KERNEL_VIEWS {
        let (source, target) = (Path::new("/").join(name), Path::new(ROOT).join(name));
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&source), &target, None::<&str>, flags, None::<&str>)
            .map_err(|errno| at(&target)(errno.into()))?;
    }
    Ok(())
}

/// A package of the layer.
struct Package {
    control: Control,
    /// Where it lies, in the root.
    path: String,
}

// Copies the packages into the root, side by side, their archives unpacked: dpkg would do that one after another.
fn prepare(layer: &Description) -> Result<Vec<Package>, BuilderError> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<Package, BuilderError>>>> = Mutex::default();
    let threads = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(16);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let _thread = scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = layer.packages.get(index) else {
                        return;
                    };
                    let package = prepare_one(index, path);
                    if let Ok(mut done) = done.lock() {
                        let length = done.len().max(index + 1);
                        done.resize_with(length, || None);
                        if let Some(slot) = done.get_mut(index) {
                            *slot = Some(package);
                        }
                    }
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_default();
    let mut packages = done.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
    if layer.below.is_none() {
        let path = format!("{DEBS}/stub_{}_all.deb", stub::VERSION);
        let full = Path::new(ROOT).join(&path);
        stub::deb()
            .and_then(|bytes| fs::write(&full, bytes))
            .map_err(at(&full))?;
        let control = control::parse(stub::control().as_bytes()).unwrap_or_default();
        packages.push(Package {
            control,
            path: format!("/{path}"),
        });
    }
    Ok(packages)
}

fn prepare_one(index: usize, path: &Path) -> Result<Package, BuilderError> {
    let failed = |source| BuilderError::Deb {
        path: path.to_owned(),
        source,
    };
    let source = BufReader::with_capacity(1 << 17, File::open(path).map_err(at(path))?);
    let partial = Path::new(ROOT).join(DEBS).join(format!("{index:04}"));
    let mut target = File::create_new(&partial).map_err(at(&partial))?;
    let text = deb::unpack_data(source, &mut target).map_err(failed)?;
    let control = control::parse(&text).ok_or_else(|| BuilderError::NoName(path.to_owned()))?;
    // dpkg tells packages by their files.
    let name = format!(
        "{index:04}-{}_{}.deb",
        control.name,
        control.version.replace(':', "%3a")
    );
    let named = partial.with_file_name(&name);
    fs::rename(&partial, &named).map_err(at(&named))?;
    Ok(Package {
        control,
        path: format!("/{DEBS}/{name}"),
    })
}

fn controls(packages: &[Package]) -> Vec<Control> {
    packages.iter().map(|package| package.control.clone()).collect()
}

// Those that dpkg itself, and every script, can rely on.
fn essential(controls: &[Control]) -> BTreeSet<usize> {
    let graph = Graph::new(controls);
    let marked = controls
        .iter()
        .enumerate()
        .filter(|(_, control)| control.essential);
    graph.closure(marked.map(|(at, _)| at))
}

// Unpacks what dpkg needs to run at all; it installs the same again.
fn bootstrap(layer: &Description, packages: &[Package]) -> Result<(), BuilderError> {
    // dpkg would leave there what it doesn't install itself.
    let excluded = |path: &Path| {
        let path = Path::new("/").join(path);
        let mut patterns = layer.exclude.iter();
        patterns.any(|pattern| glob_match(pattern.as_bytes(), path.as_os_str().as_bytes()))
    };
    let controls = controls(packages);
    let essential = essential(&controls);
    if essential.is_empty() {
        return Err(BuilderError::NothingEssential);
    }
    // What makes /usr merged comes first: others only bring paths below /usr.
    let mut order: Vec<&Package> = essential.iter().filter_map(|at| packages.get(*at)).collect();
    order.sort_by_key(|package| package.control.name != "base-files");
    for package in order {
        let path = Path::new(&package.path);
        let failed = |source| BuilderError::Deb {
            path: path.to_owned(),
            source,
        };
        let file = BufReader::with_capacity(1 << 17, File::open(path).map_err(at(path))?);
        let mut deb = Deb::new(file).map_err(failed)?;
        let _control = deb.control().map_err(failed)?;
        let mut data = deb.archive("data.tar").map_err(failed)?;
        unpack::unpack(&mut data, Path::new("/"), &excluded)
            .map_err(|error| BuilderError::Unpack(path.to_owned(), error.to_string()))?;
    }
    for directory in ["info", "parts", "triggers", "updates", "alternatives"] {
        let path = Path::new("/var/lib/dpkg").join(directory);
        fs::create_dir_all(&path).map_err(at(&path))?;
    }
    for file in ["status", "diversions", "statoverride"] {
        let path = Path::new("/var/lib/dpkg").join(file);
        if !path.exists() {
            fs::write(&path, "").map_err(at(&path))?;
        }
    }
    Ok(())
}

fn install(layer: &Description, packages: &[Package]) -> Result<(), BuilderError> {
    let dpkg = Dpkg::new(&layer.exclude, layer.date);
    let controls = controls(packages);
    let graph = Graph::new(&controls);
    let files = |at: &mut dyn Iterator<Item = usize>| -> Vec<String> {
        at.filter_map(|at| packages.get(at))
            .map(|package| package.path.clone())
            .collect()
    };
    fs::create_dir_all("/usr/sbin").map_err(at("/usr/sbin"))?;
    fs::write(POLICY_PATH, POLICY)
        .and_then(|()| fs::set_permissions(POLICY_PATH, fs::Permissions::from_mode(0o755)))
        .map_err(at(POLICY_PATH))?;
    let mut rest: BTreeSet<usize> = (0..packages.len()).collect();
    if layer.below.is_none() {
        let essential = essential(&controls);
        // The accounts first: names of owners are looked up while packages are unpacked.
        let first = essential.iter().copied().filter(|at| {
            controls
                .get(*at)
                .is_some_and(|control| control.name == "base-passwd")
        });
        let force = ["--force-depends", "--install"];
        dpkg.run(&force, &files(&mut first.clone()))?;
        dpkg.run(
            &["--force-depends", "--unpack"],
            &files(&mut essential.iter().copied()),
        )?;
        dpkg.run(&["--force-depends", "--configure", "--pending"], &[])?;
        rest.retain(|at| !essential.contains(at));
    }
    if !layer.locales.is_empty() {
        fs::create_dir_all("/etc").map_err(at("/etc"))?;
        fs::write(LOCALES, &layer.locales).map_err(at(LOCALES))?;
    }
    let mut waiting = kernels(&controls, &graph, &rest);
    for step in control::steps(&graph, &rest) {
        dpkg.run(
            &["--force-depends", "--unpack"],
            &files(&mut step.unpack.iter().copied()),
        )?;
        let early: Vec<String> = step
            .configure
            .iter()
            .filter(|at| !waiting.kernels.contains(at))
            .filter_map(|at| controls.get(*at))
            .map(|control| control.name.clone())
            .collect();
        dpkg.run(&["--configure"], &early)?;
        waiting.needs.retain(|name| !early.contains(name));
    }
    configure_kernels(&dpkg, &waiting, &controls)?;
    dpkg.run(&["--configure", "--pending"], &[])?;
    dpkg::check()?;
    fs::remove_file(POLICY_PATH).map_err(at(POLICY_PATH))
}

struct Kernels {
    kernels: BTreeSet<usize>,
    // Names of what has to be configured before.
    needs: Vec<String>,
}

fn kernels(controls: &[Control], graph: &Graph<'_>, given: &BTreeSet<usize>) -> Kernels {
    // Those that hold a kernel; the names of those that only depend on one have no version in them.
    let is_kernel = |control: &Control| {
        let rest = control.name.strip_prefix("linux-image-");
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let found: BTreeSet<usize> = given
        .iter()
        .copied()
        .filter(|at| controls.get(*at).is_some_and(is_kernel))
        .collect();
    let needs = graph.closure(found.iter().copied());
    let needs = needs.intersection(given).filter(|at| !found.contains(at));
    Kernels {
        needs: needs
            .filter_map(|at| controls.get(*at))
            .map(|control| control.name.clone())
            .collect(),
        kernels: found,
    }
}

// Their packages run scripts of others, for boot loaders and the like: they see none of them.
fn configure_kernels(dpkg: &Dpkg, waiting: &Kernels, controls: &[Control]) -> Result<(), BuilderError> {
    if waiting.kernels.is_empty() {
        return Ok(());
    }
    dpkg.run(&["--configure"], &waiting.needs)?;
    let hidden: Vec<&str> = KERNEL_HOOKS
        .into_iter()
        .filter(|path| Path::new(path).is_dir())
        .collect();
    let empty = Path::new("/").join(DEBS).join("empty");
    fs::create_dir_all(&empty).map_err(at(&empty))?;
    for path in &hidden {
        mount(Some(&empty), *path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|errno| at(path)(errno.into()))?;
    }
    let names: Vec<String> = waiting
        .kernels
        .iter()
        .filter_map(|at| controls.get(*at))
        .map(|control| control.name.clone())
        .collect();
    let result = dpkg.run(&["--configure"], &names);
    for path in &hidden {
        umount2(*path, MntFlags::MNT_DETACH).map_err(|errno| at(path)(errno.into()))?;
    }
    Ok(result?)
}
