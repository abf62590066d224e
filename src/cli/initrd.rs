//! `keel initrd`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::initrd::{Image, ModuleSet, Plan, PlanEntry, Recipe, build, root_needs};

/// Where modprobe looks, the weakest first (modprobe.d(5)).
const MODPROBE_D: [&str; 4] = [
    "usr/lib/modprobe.d",
    "usr/local/lib/modprobe.d",
    "run/modprobe.d",
    "etc/modprobe.d",
];

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
    #[command(flatten)]
    image: ImageArgs,
    /// Print what is in the image and why, and what is not.
    #[arg(long)]
    list: bool,
}

/// What goes into an image beside the kernel's modules.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
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
    /// The real lvm, for a root on RAID, thin, cached or other logical volumes that keel-init leaves to it: `auto` puts it
    /// in when the root file system lies on one now, `--lvm` alone always.
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_value = "auto",
        default_missing_value = "always"
    )]
    lvm: Lvm,
    /// zstd's level, 1 to 22.
    #[arg(long, value_name = "LEVEL", default_value_t = 19, value_parser = clap::value_parser!(i32).range(1..=22))]
    compression_level: i32,
}

/// When lvm goes into an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lvm {
    Always,
    Auto,
    Never,
}

impl Lvm {
    /// Whether that of `usr` goes into the image of a machine whose root file system is at `root`.
    fn is_wanted(self, root: &Path, usr: &Path) -> bool {
        match self {
            Lvm::Always => true,
            Lvm::Never => false,
            Lvm::Auto => match root_needs(root) {
                Ok(Some(volume)) if !usr.join("sbin/lvm").exists() => {
                    eprintln!(
                        "keel: warning: {} lies on {volume}, which only lvm activates, and {} has no lvm (Debian: \
                         package lvm2): this initrd starts other roots only",
                        root.display(),
                        usr.display()
                    );
                    false
                }
                Ok(Some(volume)) => {
                    eprintln!(
                        "keel: lvm goes into the initrd: {} lies on {volume}",
                        root.display()
                    );
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    eprintln!(
                        "keel: warning: it can't be seen whether {} needs lvm ({error}); --lvm puts it into the initrd",
                        root.display()
                    );
                    false
                }
            },
        }
    }
}

impl ImageArgs {
    /// The static keel-init.
    pub(crate) fn init_program(&self) -> Result<PathBuf> {
        init_program(self.init.as_deref())
    }

    /// The recipe for a kernel whose modules are in `modules_directory`; `usr` may hold a static e2fsck, and holds lvm if
    /// the root file system, which is at `root`, needs it.
    pub(crate) fn recipe(
        &self,
        kernel: &str,
        modules_directory: &Path,
        modprobe_d: Vec<PathBuf>,
        usr: &Path,
        root: &Path,
    ) -> Result<Recipe> {
        let e2fsck = self.e2fsck.clone().or_else(|| static_e2fsck(usr));
        if e2fsck.is_none() {
            eprintln!(
                "keel: warning: no static e2fsck was found (Debian: package e2fsck-static); \
                 with this initrd the root file system is not checked"
            );
        }
        Ok(Recipe {
            kernel: kernel.to_owned(),
            modules_directory: modules_directory.to_owned(),
            modprobe_d,
            set: self.set,
            modules: self.modules.clone(),
            init: self.init_program()?,
            e2fsck,
            lvm: self.lvm.is_wanted(root, usr).then(|| usr.to_owned()),
            microcode: self.microcode.clone(),
            firmware: self.firmware.clone(),
            compression_level: self.compression_level,
        })
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let kernel = match &args.kernel_version {
        Some(version) => version.clone(),
        None => only_kernel(&args.root)?,
    };
    let usr = args.root.join("usr");
    let modules = match &args.modules_dir {
        Some(directory) => directory.clone(),
        None => usr.join("lib/modules").join(&kernel),
    };
    let modprobe_d = MODPROBE_D.map(|path| args.root.join(path)).to_vec();
    let recipe = args
        .image
        .recipe(&kernel, &modules, modprobe_d, &usr, &args.root)?;
    let image = build(&recipe)?;
    crate::store::files::write_atomically(&args.output, &image.bytes, 0o644)
        .with_context(|| format!("{} can't be written", args.output.display()))?;
    report(args, &recipe.kernel, &image);
    Ok(())
}

fn report(args: &Args, kernel: &str, image: &Image) {
    let output = args.output.display();
    let Plan { entries, notes, .. } = &image.plan;
    if args.list {
        for PlanEntry { path, bytes, reason } in entries {
            println!("{bytes:>9}  {path}  {reason}");
        }
        for note in notes {
            println!("note: {note}");
        }
    } else if !notes.is_empty() {
        eprintln!(
            "{output}: {} notes on what isn't in the image; --list shows them",
            notes.len()
        );
    }
    let modules = entries.iter().filter(|entry| entry.is_module()).count();
    eprintln!(
        "{output}: {} bytes ({} of them microcode), {modules} modules of kernel {kernel}",
        image.bytes.len(),
        image.microcode_bytes,
    );
}

/// The keel-init that is shipped beside this program.
fn init_program(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let beside = std::env::current_exe()
        .context("this program's own place can't be found")?
        .with_file_name("keel-init");
    if !beside.exists() {
        bail!(
            "there is no keel-init beside this program ({}); --init says where it is",
            beside.display()
        );
    }
    Ok(beside)
}

/// The static e2fsck below a `usr` directory, else of this machine.
fn static_e2fsck(usr: &Path) -> Option<PathBuf> {
    let places = ["sbin/e2fsck.static", "bin/e2fsck.static"];
    let below = [usr, Path::new("/usr"), Path::new("/")];
    below
        .iter()
        .flat_map(|directory| places.map(|place| directory.join(place)))
        .find(|path| path.exists())
}

/// The version of the only kernel of a root file system.
fn only_kernel(root: &Path) -> Result<String> {
    let directory = root.join("usr/lib/modules");
    let entries =
        fs::read_dir(&directory).with_context(|| format!("{} can't be read", directory.display()))?;
    let mut versions: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|version| directory.join(version).join("modules.dep").exists())
        .collect();
    versions.sort();
    match versions.as_slice() {
        [version] => Ok(version.clone()),
        [] => bail!("{} holds the modules of no kernel", directory.display()),
        several => bail!(
            "{} holds several kernels ({}); --kernel-version picks one",
            directory.display(),
            several.join(", ")
        ),
    }
}
