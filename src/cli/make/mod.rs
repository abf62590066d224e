//! The machine's configuration becomes a system: `keel build` without a derivation, and what `switch`, `test`, `boot` and
//! `dry-run` do first.

mod packages;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::build::How;
use super::config::ConfigArgs;
use super::output::errln;
use crate::activate::{Machine, Target};
use crate::config::{Config, DEFAULT_PATH};
use crate::pins::Lock;
use crate::store::{Layout, StorePath};
use crate::system::declared::Ids;
use crate::system::generation::{Profile, SYSTEM_PROFILE};
use crate::system::import::previous_ids;
use crate::system::make::generation::{self, Making};
use crate::system::make::memory::{self, Inputs};
use crate::system::packages_parts::Parts;
use crate::system::profile;

/// Which configuration, and where its packages come from.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct SourceArgs {
    #[command(flatten)]
    pub file: ConfigArgs,
    /// Take the packages from a root file system (a directory or an archive, as `keel import` does) instead of the lock.
    #[arg(long, value_name = "TAR|DIR")]
    pub rootfs: Option<PathBuf>,
}

impl SourceArgs {
    /// Whether a configuration was asked for, or this machine has one.
    pub(super) fn is_there(&self) -> bool {
        self.file.path() != Path::new(DEFAULT_PATH) || Path::new(DEFAULT_PATH).exists()
    }
}

/// Build the machine's configuration.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct MachineArgs {
    #[command(flatten)]
    pub config: SourceArgs,
    /// Make a system without an initrd: it can be looked at and copied, but not booted.
    #[arg(long)]
    pub no_initrd: bool,
}

/// A system that was built, or found.
pub(super) struct Built {
    /// The system.
    pub system: StorePath,
    /// The configuration that it's of.
    pub config: Config,
    /// Whether it was made now, and not found.
    pub is_new: bool,
}

/// A configuration as it was read.
struct Source {
    config: Config,
    /// The directory that its files are relative to.
    base: PathBuf,
    /// As `system.toml` of the system holds it.
    resolved: String,
    /// Contents of the files that it names.
    contents: BTreeMap<String, Vec<u8>>,
    lock_path: PathBuf,
    lock: Lock,
}

/// Builds the configuration, and says on standard error what the user should know.
pub(super) fn build(args: &MachineArgs, how: &How, layout: &Layout) -> Result<Built> {
    let begun = Instant::now();
    let mut source = read(&args.config)?;
    if source.lock.ids == Ids::default() {
        source.lock.ids = ids_of_machine(layout)?;
    }
    let inputs = inputs(args, &source)?;
    // What a recipe builds is told by its derivation alone.
    let has_recipe = source
        .config
        .overlay
        .iter()
        .any(|overlay| overlay.recipe.is_some());
    if !has_recipe && let Some(system) = find(layout, &inputs)? {
        log::info!("found in {:?}", begun.elapsed());
        return Ok(Built {
            system,
            config: source.config,
            is_new: false,
        });
    }
    let program = std::env::current_exe().context("this program's own place can't be found")?;
    let parts = parts(args, how, &source, layout)?;
    log::info!("the packages' parts after {:?}", begun.elapsed());
    let made = generation::make(
        &Making {
            layout,
            config: &source.config,
            base: &source.base,
            resolved: &source.resolved,
            lock: &source.lock,
            parts: &parts,
            initrd: !args.no_initrd,
            program: &program,
        },
        &mut waiting,
    )?;
    for note in &made.notes {
        errln!("keel: note: {note}");
    }
    remember(layout, &inputs, &made.system)?;
    if source.lock.ids != made.ids {
        // Numbers that were given once are never given to others.
        source.lock.ids = made.ids;
        source.lock.write(&source.lock_path)?;
        remember(layout, &self::inputs(args, &source)?, &made.system)?;
    }
    log::info!("a system after {:?}", begun.elapsed());
    Ok(Built {
        system: made.system,
        config: source.config,
        is_new: true,
    })
}

fn remember(layout: &Layout, inputs: &Inputs, system: &StorePath) -> Result<()> {
    memory::remember(layout, inputs, system).context("what was built can't be remembered")
}

fn find(layout: &Layout, inputs: &Inputs) -> Result<Option<StorePath>> {
    let found = memory::find(layout, inputs)?;
    // Objects may have been collected, or never have been linked.
    Ok(found.filter(|system| layout.physical(&layout.stamp(system)).symlink_metadata().is_ok()))
}

fn read(args: &SourceArgs) -> Result<Source> {
    let loaded = args.file.load()?;
    let lock_path = loaded.base.join(crate::pins::FILE_NAME);
    let lock = match Lock::read(&lock_path)? {
        Some(lock) => lock,
        None if args.rootfs.is_some() => Lock {
            version: crate::pins::VERSION,
            ..Lock::default()
        },
        None => bail!(
            "there is no {}: `keel update` finds the packages and writes it",
            lock_path.display()
        ),
    };
    Ok(Source {
        resolved: loaded
            .to_toml()
            .context("the configuration can't be written down")?,
        config: loaded.config,
        base: loaded.base,
        contents: loaded.sources,
        lock_path,
        lock,
    })
}

/// The numbers that a machine's accounts had before it had a lock: files belong to them.
fn ids_of_machine(layout: &Layout) -> Result<Ids> {
    if !layout.physical(&layout.profiles_dir()).is_dir() {
        return Ok(Ids::default());
    }
    let profile = Profile::open(layout.clone(), SYSTEM_PROFILE)?;
    Ok(previous_ids(&profile, &mut |notice| errln!("keel: {notice}"))?)
}

/// Everything that decides which system is built.
fn inputs(args: &MachineArgs, source: &Source) -> Result<Inputs> {
    let mut all: Vec<Vec<u8>> = vec![
        source.resolved.clone().into_bytes(),
        source.lock.text()?.into_bytes(),
        vec![u8::from(args.no_initrd)],
        identity(&std::env::current_exe().unwrap_or_default()),
    ];
    for (name, bytes) in &source.contents {
        all.extend([name.clone().into_bytes(), bytes.clone()]);
    }
    // What takes the place of a package is told by its contents when it's put into the store.
    let debs = source
        .config
        .overlay
        .iter()
        .filter_map(|overlay| overlay.deb.as_ref());
    all.extend(debs.map(|deb| identity(&source.base.join(deb))));
    if let Some(rootfs) = &args.config.rootfs {
        all.push(identity(rootfs));
    }
    Ok(Inputs::of("system", all))
}

/// A file as it lies here: enough to see that it's another one.
fn identity(path: &Path) -> Vec<u8> {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = path.metadata() else {
        return Vec::new();
    };
    let words = (
        path,
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
    );
    format!("{words:?}").into_bytes()
}

fn parts(args: &MachineArgs, how: &How, source: &Source, layout: &Layout) -> Result<Parts> {
    match &args.config.rootfs {
        Some(rootfs) => packages::of_rootfs(rootfs, source, layout),
        None => packages::of_lock(source, how, layout),
    }
}

fn waiting(path: &Path) {
    errln!("keel: another process holds {}: waiting for it", path.display());
}

/// The verb that verifies units in a namespace of its own.
pub(super) fn verify_units(arguments: &[String]) -> Result<u8> {
    let [usr, etc, units @ ..] = arguments else {
        bail!("/usr, /etc and units are needed");
    };
    Ok(crate::system::make::verify::inside(
        Path::new(usr),
        Path::new(etc),
        units,
    )?)
}

/// The system of the configuration as a switch's target. With `as_generation` it becomes the profile's newest one, which isn't
/// current until the switch has succeeded.
pub(super) fn target(machine: &Machine, args: &SourceArgs, as_generation: bool) -> Result<(Target, Config)> {
    let layout = machine.profile.layout();
    let built = build(
        &MachineArgs {
            config: args.clone(),
            no_initrd: false,
        },
        &How::default(),
        layout,
    )?;
    let system = built.system.absolute(layout.store_dir());
    let target = Target {
        generation: machine.generation_of(&system),
        system,
    };
    Ok((self::as_generation(machine, target, as_generation)?, built.config))
}

/// Makes a system the newest generation of a store's profile; the current one when that's wanted, or when there was none.
pub(super) fn add_generation(layout: &Layout, system: &StorePath, make_current: bool) -> Result<()> {
    let profile = Profile::open(layout.clone(), SYSTEM_PROFILE)?;
    let lock = profile::lock(&profile)?;
    let (number, is_new) = profile::add_generation(&profile, system, make_current, &lock)?;
    let state = if is_new { "is" } else { "was already" };
    errln!("keel: the system {state} generation {number}");
    Ok(())
}

/// Makes a system that has no generation yet one, when it's wanted.
pub(super) fn as_generation(machine: &Machine, target: Target, wanted: bool) -> Result<Target> {
    if !wanted || target.generation.is_some() {
        return Ok(target);
    }
    let layout = machine.profile.layout();
    let system = StorePath::from_absolute(layout.store_dir(), &target.system)?;
    let lock = profile::lock(&machine.profile)?;
    let (number, _) = profile::add_generation(&machine.profile, &system, false, &lock)?;
    Ok(Target {
        generation: Some(number),
        ..target
    })
}
