//! `keel import`.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::StoreArgs;
use super::initrd::{ImageArgs, System};
use super::output::{errln, outln};
use crate::initrd::build as build_initrd;
use crate::system::health::Health;
use crate::system::import::{Import, Initrd, InitrdInput, import};
use crate::system::own::Programs;

/// Make a system of a Debian root file system, and a new generation of a profile of it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the system, mostly the host's.
    name: String,
    /// The root file system: a directory, or a tar archive (plain, .zst, .xz, .gz).
    #[arg(long, value_name = "TAR|DIR")]
    rootfs: PathBuf,
    /// A kernel parameter; may be given several times.
    #[arg(long = "kernel-param", value_name = "P", allow_hyphen_values = true)]
    kernel_params: Vec<String>,
    /// The initrd to boot it with; built from its kernel's modules when left out.
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// Make a system without an initrd: it can be looked at and copied, but not booted.
    #[arg(long, conflicts_with = "initrd")]
    no_initrd: bool,
    #[command(flatten)]
    image: ImageArgs,
    /// The keel that the system brings; this program when left out.
    #[arg(long, value_name = "FILE")]
    keel: Option<PathBuf>,
    /// What tells whether a machine is healthy: a TOML file with the table [health].
    #[arg(long, value_name = "FILE")]
    health: Option<PathBuf>,
    /// Leave the profile's current generation as it is: the new one is switched to later.
    #[arg(long)]
    keep_current: bool,
    /// The profile that gets a new generation.
    #[arg(long, default_value = crate::system::generation::SYSTEM_PROFILE, value_name = "PROFILE")]
    profile: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// The type of the root file system, when the kernel's parameters say it: its module belongs into the initrd, whatever
/// the set.
fn root_file_system(parameters: &[String]) -> Option<&str> {
    let mut named = parameters
        .iter()
        .filter_map(|parameter| parameter.strip_prefix("rootfstype="));
    named.next_back().filter(|kind| !matches!(*kind, "" | "auto"))
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let layout = args.store.layout()?;
    let build = |input: InitrdInput<'_>| -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let modprobe_d = vec![input.usr.join("lib/modprobe.d"), input.etc.join("modprobe.d")];
        let system = System {
            usr: input.usr,
            etc: input.etc,
            root: args.store.root(),
        };
        let mut recipe = args
            .image
            .recipe(input.kernel_version, input.modules, modprobe_d, system)?;
        recipe
            .modules
            .extend(root_file_system(&args.kernel_params).map(str::to_owned));
        Ok(build_initrd(&recipe)?.bytes)
    };
    let keel = match &args.keel {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("this program's own place can't be found")?,
    };
    let init = args.image.init_program().ok();
    let health = match &args.health {
        Some(path) => read_health(path)?,
        None => Health::default(),
    };
    let request = Import {
        name: &args.name,
        rootfs: &args.rootfs,
        kernel_params: &args.kernel_params,
        initrd: match &args.initrd {
            Some(file) => Initrd::File(file),
            None if args.no_initrd => Initrd::None,
            None => Initrd::Build(&build),
        },
        programs: Some(Programs {
            keel: &keel,
            init: init.as_deref(),
        }),
        health: &health,
        profile: &args.profile,
        make_current: !args.keep_current,
        layout: &layout,
        clamp: source_date_epoch()?,
    };
    let mut waiting = |path: &Path| {
        errln!(
            "keel: import: another process holds {}: waiting for it",
            path.display()
        );
    };
    let done = import(
        &request,
        &mut |notice| errln!("keel: import: {notice}"),
        &mut waiting,
    )?;
    outln!("{}", done.system.absolute(layout.store_dir()))?;
    let state = if done.is_new {
        "new generation"
    } else {
        "unchanged: generation"
    };
    outln!(
        "{state} {} of profile {}: kernel {}, {} packages, {} new objects",
        done.generation,
        args.profile,
        done.kernel_version,
        done.packages,
        done.new_objects
    )?;
    Ok(())
}

fn read_health(path: &Path) -> anyhow::Result<Health> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    Health::from_toml(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

// https://reproducible-builds.org/specs/source-date-epoch/
fn source_date_epoch() -> anyhow::Result<Option<i64>> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok(None);
    };
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed
        .map(Some)
        .context("SOURCE_DATE_EPOCH holds no number of seconds")
}
