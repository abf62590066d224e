//! The machine's configuration becomes a system: `keel build` without a derivation, and what `switch`, `test`, `boot` and
//! `dry-run` do first.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::build::How;
use super::output::errln;
use crate::activate::{Machine, Target};
use crate::config::Config;
use crate::pins::Lock;
use crate::store::{Addition, Layout, StorePath};
use crate::system::make::files::sources;
use crate::system::make::generation::{self, Making};
use crate::system::make::memory::{self, Inputs};
use crate::system::own::{self, Programs};
use crate::system::packages_parts::{self as parts, Key, Parts};
use crate::system::profile;

/// Where the configuration of a machine is.
pub(super) const CONFIG: &str = "/etc/keel/system.toml";

/// Which configuration, and what in it is another way.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration; /etc/keel/system.toml when left out.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// An option whose value counts instead of the file's, such as system.hostname=nixie; may be given several times.
    #[arg(long = "option", value_name = "OPTION=VALUE")]
    pub options: Vec<String>,
    /// Take the packages from a root file system (a directory or an archive, as `keel import` does) instead of the lock.
    #[arg(long, value_name = "TAR|DIR")]
    pub rootfs: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file.
    pub(super) fn path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| CONFIG.into())
    }

    /// Whether a configuration was asked for, or this machine has one.
    pub(super) fn is_there(&self) -> bool {
        self.config.is_some() || Path::new(CONFIG).exists()
    }
}

/// Build the machine's configuration.
#[derive(Debug, Default, clap::Args)]
pub(super) struct MachineArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
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
    lock_path: PathBuf,
    lock: Lock,
}

/// Builds the configuration, and says on standard error what the user should know.
pub(super) fn build(args: &MachineArgs, how: &How, layout: &Layout) -> Result<Built> {
    let begun = Instant::now();
    let mut source = read(&args.config)?;
    let inputs = inputs(args, &source)?;
    if let Some(system) = find(layout, &inputs)? {
        log::info!("found in {:?}", begun.elapsed());
        return Ok(Built {
            system,
            config: source.config,
            is_new: false,
        });
    }
    let program = std::env::current_exe().context("this program's own place can't be found")?;
    let parts = packages(args, how, &source, layout)?;
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

fn read(args: &ConfigArgs) -> Result<Source> {
    let path = args.path();
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))?;
    let config: Config = toml::from_str(&text).with_context(|| format!("{} isn't valid", path.display()))?;
    let base = path.parent().unwrap_or(Path::new("/")).to_owned();
    let lock_path = base.join(crate::pins::FILE_NAME);
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
        resolved: toml::to_string(&config).context("the configuration can't be written down")?,
        config,
        base,
        lock_path,
        lock,
    })
}

/// Everything that decides which system is built.
fn inputs(args: &MachineArgs, source: &Source) -> Result<Inputs> {
    let mut all: Vec<Vec<u8>> = vec![
        source.resolved.clone().into_bytes(),
        source.lock.text()?.into_bytes(),
        vec![u8::from(args.no_initrd)],
        identity(&std::env::current_exe().unwrap_or_default()),
    ];
    for path in sources(&source.config, &source.base) {
        // One that can't be read is told when it's needed.
        all.push(std::fs::read(&path).unwrap_or_default());
    }
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

fn packages(args: &MachineArgs, how: &How, source: &Source, layout: &Layout) -> Result<Parts> {
    match &args.config.rootfs {
        Some(rootfs) => of_rootfs(rootfs, source, layout),
        None => bail!("packages of a lock can't be built yet"),
    }
}

/// Parts of a root file system. An archive that was taken apart before is found again as long as it's the same file.
fn of_rootfs(rootfs: &Path, source: &Source, layout: &Layout) -> Result<Parts> {
    let keel = match source.lock.programs.get("keel") {
        Some(path) => StorePath::from_absolute(layout.store_dir(), path)?,
        None => add_keel(layout)?,
    };
    let setuid = &source.config.security.setuid;
    let key = Key::of([
        identity(rootfs),
        keel.base_name().as_bytes().to_vec(),
        serde_json::to_vec(setuid)?,
        source.lock.request.date.to_string().into_bytes(),
    ]);
    if rootfs.is_file()
        && let Some(found) = parts::find(layout, &key, &source.lock.ids)?
    {
        return Ok(found);
    }
    let making = parts::Making {
        layout,
        rootfs,
        ids: &source.lock.ids,
        keel: Some(&keel),
        setuid,
        overlays: &[],
        clamp: Some(source.lock.request.date).filter(|date| *date > 0),
    };
    Ok(parts::make(&making, &key, &mut |notice| {
        errln!("keel: {notice}");
    })?)
}

/// This very program, and the keel-init beside it, become a path of the store.
fn add_keel(layout: &Layout) -> Result<StorePath> {
    let keel = std::env::current_exe().context("this program's own place can't be found")?;
    let init = Some(keel.with_file_name("keel-init")).filter(|path| path.exists());
    let inputs = Inputs::of(
        "keel",
        [identity(&keel), init.as_deref().map(identity).unwrap_or_default()],
    );
    if let Some(found) = memory::find(layout, &inputs)? {
        return Ok(found);
    }
    let mut addition = Addition::begin(layout, &mut waiting)?;
    let pool = addition.pool()?;
    let tree = own::programs(
        &Programs {
            keel: &keel,
            init: init.as_deref(),
        },
        &pool,
    )?;
    let prepared = Addition::prepare(addition.temporary(), &tree, &pool)?;
    let path = addition.adopt(concat!("keel-", env!("CARGO_PKG_VERSION")), prepared)?;
    addition.commit()?;
    remember(layout, &inputs, &path)?;
    Ok(path)
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
pub(super) fn target(machine: &Machine, args: &ConfigArgs, as_generation: bool) -> Result<(Target, Config)> {
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
