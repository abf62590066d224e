//! `keel boot`

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::boot::{
    Action, Broken, Content, Esp, EspError, Menu, MenuEntry, Plan, PlanError, Wanted, bootable, plan,
    read_content,
};

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
    let (entries, unreadable) = generations(&args.store, &args.profile)?;
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
        None => match current(&args.store, &args.profile) {
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
    let loader = loader(args, &menu)?;

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
fn loader(args: &UpdateArgs, menu: &Menu) -> Result<Option<Content>> {
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
    match resolve(&args.store, &Path::new(&default.entry.system).join(SYSTEMD_BOOT)) {
        Ok(path) => Ok(Some(read_content(&path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("systemd-boot of {} can't be read", default.entry.system))
        }
    }
}

/// The generations of a profile below `root`, by number.
fn generations(root: &Path, profile: &str) -> Result<(Vec<MenuEntry>, Vec<Broken>)> {
    let directory = resolve(root, Path::new("/nix/var/nix/profiles"))
        .and_then(fs::read_dir)
        .with_context(|| format!("the profiles below {} can't be read", root.display()))?;
    let mut numbers = Vec::new();
    for link in directory {
        let link = link.with_context(|| format!("the profiles below {} can't be read", root.display()))?;
        numbers.extend(
            link.file_name()
                .to_str()
                .and_then(|name| link_number(profile, name)),
        );
    }
    numbers.sort_unstable();
    let (mut entries, mut broken) = (Vec::new(), Vec::new());
    for number in numbers {
        match generation(root, profile, number) {
            Ok(entry) => entries.push(entry),
            Err(error) => broken.push(Broken {
                number,
                reason: format!("{error:#}"),
            }),
        }
    }
    Ok((entries, broken))
}

fn generation(root: &Path, profile: &str, number: u64) -> Result<MenuEntry> {
    let link = root.join(format!("nix/var/nix/profiles/{profile}-{number}-link"));
    let system = fs::read_link(&link).with_context(|| format!("{} can't be read", link.display()))?;
    let system = system
        .to_str()
        .ok_or_else(|| anyhow!("{} isn't UTF-8", system.display()))?;
    let file = |path: &str| resolve(root, Path::new(path)).with_context(|| format!("{path} can't be read"));
    let path = file(&format!("{system}/boot.json"))?;
    let text = fs::read(&path).with_context(|| format!("{} can't be read", path.display()))?;
    let document: serde_json::Value =
        serde_json::from_slice(&text).with_context(|| format!("{} can't be used", path.display()))?;
    let v1 = document
        .get("org.nixos.bootspec.v1")
        .ok_or_else(|| anyhow!("{} has no bootspec v1", path.display()))?;
    let string = |key: &str| {
        let value = v1.get(key).and_then(serde_json::Value::as_str);
        value.ok_or_else(|| anyhow!("{} has no {key}", path.display()))
    };
    let parameters = v1.get("kernelParams").and_then(serde_json::Value::as_array);
    let parameters = parameters.ok_or_else(|| anyhow!("{} has no kernelParams", path.display()))?;
    let version = document
        .pointer("/io.keel.system.v1/kernelVersion")
        .and_then(serde_json::Value::as_str);
    Ok(MenuEntry {
        number,
        label: string("label")?.to_owned(),
        version: version.unwrap_or("(unknown)").to_owned(),
        kernel: file(string("kernel")?)?,
        initrd: file(string("initrd")?)?,
        options: options.ok_or_else(|| anyhow!("{} has a kernel parameter that isn't a string", path.display()))?,
            .iter()
            .filter_map(|value| Some(value.as_str()?.to_owned()))
            .collect(),
        system: system.to_owned(),
    })
}

/// Number of the profile's current generation.
fn current(root: &Path, profile: &str) -> Option<u64> {
    let target = fs::read_link(root.join("nix/var/nix/profiles").join(profile)).ok()?;
    link_number(profile, target.file_name()?.to_str()?)
}

/// `system-42-link` is generation 42 of `system`.
fn link_number(profile: &str, name: &str) -> Option<u64> {
    name.strip_prefix(profile)?
        .strip_prefix('-')?
        .strip_suffix("-link")?
        .parse()
        .ok()
}

/// The physical path of a file, with `root` as `/` for every symbolic link on the way.
fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut left: VecDeque<PathBuf> = parts(path);
    let (mut inside, mut links) = (PathBuf::new(), 0);
    while let Some(part) = left.pop_front() {
        if part.as_os_str() == ".." {
            let _ = inside.pop();
            continue;
        }
        let next = inside.join(&part);
        if !fs::symlink_metadata(root.join(&next))?.is_symlink() {
            inside = next;
            continue;
        }
        links += 1;
        if links > 40 {
            return Err(io::Error::other("too many levels of symbolic links"));
        }
        let target = fs::read_link(root.join(&next))?;
        if target.is_absolute() {
            inside = PathBuf::new();
        }
        for part in parts(&target).into_iter().rev() {
            left.push_front(part);
        }
    }
    Ok(root.join(inside))
}

fn parts(path: &Path) -> VecDeque<PathBuf> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}
