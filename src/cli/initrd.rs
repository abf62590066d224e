//! `keel initrd`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::output::{OutputError, errln, outln};
use crate::init::keymap::Keymap;
use crate::initrd::keymap::{Layout, Places, compile, layout_of_system};
use crate::initrd::{
    Image, Machine, ModuleSet, Plan, PlanEntry, Recipe, SystemFiles, SystemPart, build, root_needs,
};

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
    /// systemd is PID 1 of the image, as it is in the root file system, and keel-init prepares the root as a unit.
    #[arg(long)]
    systemd: bool,
    /// With --systemd: a file or directory of the root file system that goes in as well, with its libraries; may be given
    /// several times.
    #[arg(long, value_name = "PATH", requires = "systemd")]
    include: Vec<String>,
    /// Print what is in the image and why, and what is not.
    #[arg(long)]
    list: bool,
}

/// What `--shell` means without a file.
const BUSYBOX: &str = "busybox";

/// More notes are only counted, unless `--list` asks for them.
const NOTES_SHOWN: usize = 8;

/// The system that an image is built for.
#[derive(Clone, Copy)]
pub(crate) struct System<'a> {
    /// Its `/usr`.
    pub usr: &'a Path,
    /// Its `/etc`.
    pub etc: &'a Path,
    /// Where its root file system is mounted.
    pub root: &'a Path,
}

/// What goes into an image beside the kernel's modules.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// Set of modules: minimal, common or generic.
    #[arg(long, value_name = "SET", default_value = "generic")]
    set: ModuleSet,
    /// Only what this very machine needs: its disks, its keyboards, its ciphers. Run as root, so that LUKS headers can be
    /// read. Refused when the image wouldn't boot this machine.
    #[arg(long, conflicts_with = "set")]
    host: bool,
    /// With --host: the directory that holds the machine's sys, proc and dev.
    #[arg(long, value_name = "DIRECTORY", default_value = "/", requires = "host")]
    machine: PathBuf,
    /// A module beside the set; may be given several times.
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// CPU microcode that goes before the image: a file, or a directory such as /usr/lib/firmware.
    #[arg(long, value_name = "PATH")]
    microcode: Vec<PathBuf>,
    /// Directory with firmware: what the modules name goes into the image. The system's /usr/lib/firmware when left out.
    #[arg(long, value_name = "DIRECTORY")]
    firmware: Option<PathBuf>,
    /// Put no firmware in.
    #[arg(long, conflicts_with = "firmware")]
    no_firmware: bool,
    /// Keymap of the console for the passphrase: a console keymap or an XKB layout (de-latin1, de, de-nodeadkeys), or a
    /// file. May be given several times: the first one is the default, rd.vconsole.keymap= picks another. What the
    /// system is set to when left out; `none` keeps the kernel's own.
    #[arg(long = "keymap", value_name = "NAME|FILE")]
    keymaps: Vec<String>,
    /// Put a static shell in, which the kernel parameter keel.shell starts: FILE, or busybox (Debian: package
    /// busybox-static) when left out. Who can change the kernel's parameters is root then.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = BUSYBOX)]
    shell: Option<PathBuf>,
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
                    errln!(
                        "keel: warning: {} lies on {volume}, which only lvm activates, and {} has no lvm (Debian: \
                         package lvm2): this initrd starts other roots only",
                        root.display(),
                        usr.display()
                    );
                    false
                }
                Ok(Some(volume)) => {
                    errln!(
                        "keel: lvm goes into the initrd: {} lies on {volume}",
                        root.display()
                    );
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    errln!(
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

    /// The recipe for a kernel whose modules are in `modules_directory`.
    pub(crate) fn recipe(
        &self,
        kernel: &str,
        modules_directory: &Path,
        modprobe_d: Vec<PathBuf>,
        system: System<'_>,
    ) -> Result<Recipe> {
        let e2fsck = self.e2fsck.clone().or_else(|| static_e2fsck(system.usr));
        if e2fsck.is_none() {
            errln!(
                "keel: warning: no static e2fsck was found (Debian: package e2fsck-static); \
                 with this initrd the root file system is not checked"
            );
        }
        Ok(Recipe {
            kernel: kernel.to_owned(),
            modules_directory: modules_directory.to_owned(),
            modprobe_d,
            set: if self.host { ModuleSet::Host } else { self.set },
            host: self.host.then(|| Machine(&self.machine).look()),
            modules: self.modules.clone(),
            keymaps: self.keymaps(system)?,
            shell: self.shell_program(system.usr)?,
            init: self.init_program()?,
            e2fsck,
            lvm: self
                .lvm
                .is_wanted(system.root, system.usr)
                .then(|| system.usr.to_owned()),
            microcode: self.microcode.clone(),
            firmware: self.firmware_directory(system.usr),
            systemd: None,
            compression_level: self.compression_level,
        })
    }
}

impl ImageArgs {
    fn firmware_directory(&self, usr: &Path) -> Option<PathBuf> {
        if self.no_firmware {
            return None;
        }
        let own = || Some(usr.join("lib/firmware")).filter(|directory| directory.is_dir());
        self.firmware.clone().or_else(own)
    }

    fn shell_program(&self, usr: &Path) -> Result<Option<PathBuf>> {
        match &self.shell {
            Some(path) if path == Path::new(BUSYBOX) => {
                let places = [
                    &usr.join("bin/busybox"),
                    Path::new("/usr/bin/busybox"),
                    Path::new("/bin/busybox"),
                ];
                let found = places.into_iter().find(|place| place.exists());
                let found = found.context(
                    "--shell: no busybox was found (Debian: package busybox-static); --shell=FILE says where a static \
                     shell is",
                )?;
                Ok(Some(found.to_owned()))
            }
            given => Ok(given.clone()),
        }
    }

    /// The keymaps that were asked for; else that of the system, without which an image is better than none.
    fn keymaps(&self, system: System<'_>) -> Result<Vec<Keymap>> {
        let usrs = [system.usr, Path::new("/usr")];
        let places = Places { usr: &usrs };
        let mut keymaps: Vec<Keymap> = Vec::new();
        for word in self.keymaps.iter().filter(|word| *word != "none") {
            let keymap = compile(&Layout::parse(word), places)?;
            if keymaps.iter().any(|known| known.name == keymap.name) {
                bail!("--keymap {word}: there are two keymaps {}", keymap.name);
            }
            keymaps.push(keymap);
        }
        if self.keymaps.is_empty()
            && let Some(layout) = layout_of_system(system.etc).filter(|layout| !layout.is_kernels_own())
        {
            match compile(&layout, places) {
                Ok(keymap) => keymaps.push(keymap),
                Err(error) => errln!(
                    "keel: warning: the system's keyboard layout is {}, with this initrd passphrases are typed on a US \
                     keyboard: {error}",
                    layout.name()
                ),
            }
        }
        Ok(keymaps)
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
    let etc = args.root.join("etc");
    let system = System {
        usr: &usr,
        etc: &etc,
        root: &args.root,
    };
    let mut recipe = args.image.recipe(&kernel, &modules, modprobe_d, system)?;
    if args.systemd && recipe.lvm.is_some() {
        bail!(
            "lvm in an initrd with systemd isn't supported yet: build it without --systemd, or with --lvm=never for a root that \
             doesn't need it"
        );
    }
    recipe.systemd = args.systemd.then(|| SystemPart {
        files: SystemFiles::Root(args.root.clone()),
        include: args.include.clone(),
    });
    let image = build(&recipe)?;
    crate::store::files::write_atomically(&args.output, &image.bytes, 0o644)
        .with_context(|| format!("{} can't be written", args.output.display()))?;
    report(args, &recipe.kernel, &image)?;
    Ok(())
}

fn report(args: &Args, kernel: &str, image: &Image) -> Result<(), OutputError> {
    let output = args.output.display();
    let Plan { entries, notes, .. } = &image.plan;
    if args.list {
        for PlanEntry { path, bytes, reason } in entries {
            outln!("{bytes:>9}  {path}  {reason}")?;
        }
        for note in notes {
            outln!("note: {note}")?;
        }
    } else if notes.len() <= NOTES_SHOWN {
        for note in notes {
            errln!("{output}: note: {note}");
        }
    } else {
        errln!(
            "{output}: {} notes on what isn't in the image; --list shows them",
            notes.len()
        );
    }
    let modules = entries.iter().filter(|entry| entry.is_module()).count();
    let firmware: Vec<usize> = entries
        .iter()
        .filter(|entry| entry.is_firmware())
        .map(|entry| entry.bytes)
        .collect();
    errln!(
        "{output}: {} bytes ({} of them microcode), {modules} modules of kernel {kernel}, {} files of firmware ({} bytes \
         unpacked)",
        image.bytes.len(),
        image.microcode_bytes,
        firmware.len(),
        firmware.iter().sum::<usize>(),
    );
    Ok(())
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
