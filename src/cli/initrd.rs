//! `keel initrd`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::initrd::{Image, ModuleSet, Plan, PlanEntry, Recipe, build};

/// Where modprobe looks, the strongest first (modprobe.d(5)).
pub(crate) const MODPROBE_D: [&str; 4] =
    ["etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d"];

/// Build an initrd image.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version of the kernel; the only one below ROOT/usr/lib/modules when left out.
    #[arg(long, value_name = "VERSION")]
    kernel_version: Option<String>,
    /// Root file system that holds the kernel's modules and modprobe.d.
    #[arg(long, value_name = "ROOT", default_value = "/")]
    root: PathBuf,
    /// Where to write the image.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The kernel's module directory; ROOT/usr/lib/modules/VERSION when left out.
    #[arg(long, value_name = "DIRECTORY", requires = "kernel_version")]
    modules_dir: Option<PathBuf>,
    /// Set of modules: minimal, common or generic.
    #[arg(long, value_name = "SET", default_value = "generic")]
    set: ModuleSet,
    /// A module beside the set; may be given several times.
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// CPU microcode that goes before the image: a file, or a directory such as /usr/lib/firmware.
    #[arg(long, value_name = "PATH")]
    microcode: Vec<PathBuf>,
    /// Directory with firmware, such as /usr/lib/firmware: what the modules name goes into the image.
    #[arg(long, value_name = "DIRECTORY")]
    firmware: Option<PathBuf>,
    /// The static keel-init; beside this program when left out.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// The static e2fsck (Debian: package e2fsck-static).
    #[arg(long, value_name = "FILE")]
    e2fsck: Option<PathBuf>,
    /// zstd's level, 1 to 22.
    #[arg(long, value_name = "LEVEL", default_value_t = 19, value_parser = clap::value_parser!(i32).range(1..=22))]
    compression_level: i32,
    /// Print what is in the image and why, and what is not.
    #[arg(long)]
    list: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let kernel = match &args.kernel_version {
        Some(version) => version.clone(),
        None => only_kernel(&args.root)?,
    };
    let recipe = Recipe {
        modules_directory: args.modules_dir.clone().unwrap_or_else(|| args.root.join("usr/lib/modules").join(&kernel)),
        modprobe_d: MODPROBE_D.map(|path| args.root.join(path)).to_vec(),
        kernel,
        set: args.set,
        modules: args.modules.clone(),
        init: init_program(args.init.as_deref())?,
        e2fsck: args.e2fsck.clone().or_else(|| static_e2fsck(&args.root)),
        microcode: args.microcode.clone(),
        firmware: args.firmware.clone(),
        compression_level: args.compression_level,
    };
    if recipe.e2fsck.is_none() {
        eprintln!(
            "keel: warning: no static e2fsck was found (Debian: package e2fsck-static); \
             with this image the root file system is not checked"
        );
    }
    let image = build(&recipe)?;
    crate::store::files::write_atomically(&args.output, &image.bytes, 0o644)
        .with_context(|| format!("{} can't be written", args.output.display()))?;
    report(args, &recipe.kernel, &image);
    Ok(())
}

fn report(args: &Args, kernel: &str, image: &Image) {
    let Plan { entries, notes, .. } = &image.plan;
    if args.list {
        for PlanEntry { path, bytes, reason } in entries {
            println!("{bytes:>9}  {path}  {reason}");
        }
        for note in notes {
            println!("note: {note}");
        }
    } else if !notes.is_empty() {
        eprintln!("{}: {} things that modules or sets name are not in it; --list says which", args.output.display(), notes.len());
    }
    let modules = entries.iter().filter(|entry| entry.path.ends_with(".ko")).count();
    eprintln!(
        "{}: {} bytes ({} of them microcode), {modules} modules of kernel {kernel}",
        args.output.display(),
        image.bytes.len(),
        image.microcode_bytes,
    );
}

/// The keel-init that is shipped beside this program.
pub(crate) fn init_program(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let beside = std::env::current_exe().context("this program's own place can't be found")?.with_file_name("keel-init");
    if !beside.exists() {
        bail!("there is no keel-init beside this program ({}); --init says where it is", beside.display());
    }
    Ok(beside)
}

/// The static e2fsck of a root file system, else of this machine.
pub(crate) fn static_e2fsck(root: &Path) -> Option<PathBuf> {
    let places = ["usr/sbin/e2fsck.static", "sbin/e2fsck.static"];
    let roots = [root, Path::new("/")];
    roots.iter().flat_map(|root| places.map(|place| root.join(place))).find(|path| path.exists())
}

/// The version of the only kernel of a root file system.
pub(crate) fn only_kernel(root: &Path) -> Result<String> {
    let directory = root.join("usr/lib/modules");
    let entries = fs::read_dir(&directory).with_context(|| format!("{} can't be read", directory.display()))?;
    let mut versions: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|version| directory.join(version).join("modules.dep").exists())
        .collect();
    versions.sort();
    match versions.as_slice() {
        [version] => Ok(version.clone()),
        [] => bail!("{} holds the modules of no kernel", directory.display()),
        several => bail!("{} holds several kernels ({}); --kernel-version picks one", directory.display(), several.join(", ")),
    }
}
