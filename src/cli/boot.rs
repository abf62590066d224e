//! `keel boot`

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::fcntl::OFlag;

use crate::boot::{
    Action, Broken, Content, Esp, EspError, Menu, MenuEntry, Plan, PlanError, Wanted, bootable, plan,
    read_content,
};
use crate::store::Layout;
use crate::sys::mount::proc_path;
use crate::system::generation::{Generation, Profile};

/// systemd-boot inside of a system.
const SYSTEMD_BOOT: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// The boot menu.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make the boot menu show the generations of a profile.
    Update(UpdateArgs),
}

/// Make the boot menu show the generations of a profile.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// Mount point of the EFI system partition.
    #[arg(long, value_name = "PATH")]
    pub esp: PathBuf,
    /// Root directory that holds nix/store and nix/var.
    #[arg(long, value_name = "ROOT", default_value = "/")]
    pub store: PathBuf,
    /// Profile whose generations are shown.
    #[arg(long, value_name = "NAME", default_value = "system")]
    pub profile: String,
    /// Generation that starts by itself; the profile's current one when left out.
    #[arg(long, value_name = "N")]
    pub default: Option<u64>,
    /// How long the menu is shown, in seconds.
    #[arg(long, value_name = "S", default_value_t = 5)]
    pub timeout: u32,
    /// The systemd-boot to install; the default generation's when left out.
    #[arg(long, value_name = "FILE")]
    pub systemd_boot: Option<PathBuf>,
    /// When there is no room otherwise, remove what no generation needs before anything is written.
    #[arg(long)]
    pub remove_first: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    match &args.verb {
        Verb::Update(args) => update(args).map(drop),
    }
}

/// The exit code for an error of [`run`].
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(PlanError::NoSpace { .. }) = error.downcast_ref() {
        return 6;
    }
    if let Some(EspError::Locked { .. }) = error.downcast_ref() {
        return 11;
    }
    1
}

/// Makes the menu on the ESP show the generations; returns what was done (or, with `dry_run`, what would be).
pub fn update(args: &UpdateArgs) -> Result<Plan> {
    // Before the profile is read: what another process does to both must not come in between.
    let esp = Esp::open(&args.esp)?;
    let store = (args.store != Path::new("/")).then_some(args.store.as_path());
    let profile = Profile::open(Layout::from_environment(store)?, &args.profile)?;
    let (entries, unreadable) = generations(&profile)?;
    let (generations, no_files) = bootable(entries);
    let broken: Vec<Broken> = unreadable.into_iter().chain(no_files).collect();
    for Broken { number, reason } in &broken {
        eprintln!("keel: warning: generation {number} can't be in the boot menu: {reason}");
    }
    if !broken.is_empty() {
        eprintln!("keel: warning: nothing is removed from the ESP, it may hold what these generations need");
    }
    if generations.is_empty() {
        return Err(PlanError::NothingBootable {
            profile: args.profile.clone(),
        }
        .into());
    }
    let newest = generations
        .iter()
        .map(|generation| generation.entry.number)
        .max()
        .unwrap_or_default();
    let default = match args.default {
        Some(number) => number,
        None => match profile.current()? {
            Some(number)
                if generations
                    .iter()
                    .any(|generation| generation.entry.number == number) =>
            {
                number
            }
            _ => {
                eprintln!(
                    "keel: warning: profile {} has no current generation that can be booted; \
                     the newest one that can, {newest}, becomes the default",
                    args.profile
                );
                newest
            }
        },
    };
    let menu = Menu {
        profile: args.profile.clone(),
        generations,
        default,
        timeout: args.timeout,
    };
    let loader = loader(args, &profile, &menu)?;

    if !esp.is_fat() {
        eprintln!(
            "keel: warning: {} isn't a FAT file system; is the ESP mounted there?",
            args.esp.display()
        );
    }
    let wanted = Wanted {
        menu: &menu,
        loader: loader.as_ref(),
        keep_everything: !broken.is_empty(),
        remove_first: args.remove_first,
    };
    let plan = plan(&wanted, &esp.scan()?)?;
    for warning in &plan.warnings {
        eprintln!("keel: warning: {warning}");
    }
    if !args.dry_run {
        esp.execute(&plan)?;
    }
    report(&plan, args);
    Ok(plan)
}

fn report(plan: &Plan, args: &UpdateArgs) {
    for step in &plan.steps {
        let verb = if step.action == Action::Remove {
            "remove"
        } else {
            "write"
        };
        println!("{verb:<6} {:>10}  {}  ({})", step.bytes, step.path, step.reason);
    }
    let state = match (plan.steps.is_empty(), args.dry_run) {
        (true, _) => "the boot menu is up to date",
        (false, true) => "nothing was changed (--dry-run)",
        (false, false) => "the boot menu was updated",
    };
    println!(
        "{}: {state}; {} bytes needed at the peak, {} were free",
        args.esp.display(),
        plan.needed,
        plan.free
    );
}

/// systemd-boot as it should be on the ESP.
fn loader(args: &UpdateArgs, profile: &Profile, menu: &Menu) -> Result<Option<Content>> {
    if let Some(path) = &args.systemd_boot {
        return Ok(Some(read_content(path)?));
    }
    let Some(default) = menu
        .generations
        .iter()
        .find(|generation| generation.entry.number == menu.default)
    else {
        return Ok(None);
    };
    let path = format!("{}/{SYSTEMD_BOOT}", default.entry.system);
    match profile.root().open_at(&path, OFlag::O_RDONLY) {
        // It is copied later, by its real path: the descriptor is closed by then.
        Ok(file) => Ok(Some(read_content(&std::fs::read_link(proc_path(file.as_fd()))?)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{path} can't be read")),
    }
}

/// The generations of a profile, by number, and those that can't be read.
fn generations(profile: &Profile) -> Result<(Vec<MenuEntry>, Vec<Broken>)> {
    let (mut entries, mut broken) = (Vec::new(), Vec::new());
    for generation in profile.generations()? {
        let number = generation.number;
        match menu_entry(profile, generation) {
            Ok(entry) => entries.push(entry),
            Err(error) => broken.push(Broken {
                number,
                reason: format!("{error:#}"),
            }),
        }
    }
    Ok((entries, broken))
}

fn menu_entry(profile: &Profile, generation: Generation) -> Result<MenuEntry> {
    let system = generation.system?;
    let spec = profile.boot_spec(&system)?;
    let layout = profile.layout();
    let initrd = spec.v1.initrd.ok_or_else(|| anyhow!("it has no initrd"))?;
    Ok(MenuEntry {
        number: generation.number,
        label: spec.v1.label,
        version: spec.keel.kernel_version,
        kernel: layout.physical(&spec.v1.kernel),
        initrd: layout.physical(&initrd),
        options: spec.v1.kernel_params,
        system: system.absolute(layout.store_dir()),
    })
}
