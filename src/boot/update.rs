//! Making the menu on the ESP show the generations of a profile.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::OFlag;

use super::declared::{MenuSettings, kept_systems, shown};
use super::esp::{Esp, EspError, bootable, read_content};
use super::menu::{Broken, Content, Menu, MenuEntry, Selection};
use super::plan::{Plan, PlanError, Wanted, plan};
use super::record::Record;
use crate::store::{Layout, LayoutError, StorePath};
use crate::sys::mount::proc_path;
use crate::system::generation::{Generation, Profile, ProfileError};

/// systemd-boot inside of a system.
const SYSTEMD_BOOT: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// What the menu is to show.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Mount point of the EFI system partition.
    pub esp: &'a Path,
    /// Root directory that holds `nix/store` and `nix/var`; the machine's when absent.
    pub store: Option<&'a Path>,
    /// Profile whose generations are shown.
    pub profile: &'a str,
    /// Generation that starts by itself; the profile's current one when absent.
    pub default: Option<u64>,
    /// Generation whose next boot is a trial.
    pub trial: Option<u64>,
    /// What makes the default start by itself.
    pub selection: Selection,
    /// How long the menu is shown, in seconds, when the newest generation's configuration doesn't say it.
    pub timeout: u32,
    /// The systemd-boot to install; the default generation's when absent.
    pub systemd_boot: Option<&'a Path>,
    /// Whether what no generation needs goes before anything is written, when there is no room otherwise.
    pub remove_first: bool,
    /// Whether nothing is to be done.
    pub dry_run: bool,
}

/// Why the menu stays as it is, or is half new: calling again completes it.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The place of the store.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The ESP.
    #[error(transparent)]
    Esp(#[from] EspError),
    /// No plan can be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// systemd-boot of a generation.
    #[error("{path} can't be read: {source}")]
    Loader {
        /// Its path inside of the root.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Makes the menu on the ESP show the generations; returns what was done (or, with `dry_run`, what would be). `warn` is
/// told what is odd.
pub fn update(args: &Update<'_>, warn: &mut dyn FnMut(&str)) -> Result<Plan, UpdateError> {
    // Before the profile is read: what another process does to both must not come in between.
    let esp = Esp::open(args.esp)?;
    let profile = Profile::open(Layout::from_environment(args.store)?, args.profile)?;
    let (mut entries, unreadable) = generations(&profile)?;
    let settings = limit(&profile, args, &mut entries);
    let (generations, no_files) = bootable(entries);
    let broken: Vec<Broken> = unreadable.into_iter().chain(no_files).collect();
    for Broken { number, reason } in &broken {
        warn(&format!(
            "generation {number} can't be in the boot menu: {reason}"
        ));
    }
    if !broken.is_empty() {
        warn("nothing is removed from the ESP, it may hold what these generations need");
    }
    if generations.is_empty() {
        return Err(PlanError::NothingBootable {
            profile: args.profile.to_owned(),
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
        None => match last_good(&profile)?.or(profile.current()?) {
            Some(number)
                if generations
                    .iter()
                    .any(|generation| generation.entry.number == number) =>
            {
                number
            }
            _ => {
                warn(&format!(
                    "profile {} has no current generation that can be booted; the newest one that can, {newest}, \
                     becomes the default",
                    args.profile
                ));
                newest
            }
        },
    };
    let menu = Menu {
        profile: args.profile.to_owned(),
        generations,
        default,
        timeout: settings.timeout.unwrap_or(args.timeout),
        trial: args.trial,
        selection: args.selection,
    };
    let loader = loader(args, &profile, &menu)?;

    if !esp.is_fat() {
        warn(&format!(
            "{} isn't a FAT file system; is the ESP mounted there?",
            args.esp.display()
        ));
    }
    let wanted = Wanted {
        menu: &menu,
        loader: loader.as_ref(),
        keep_everything: !broken.is_empty(),
        remove_first: args.remove_first,
    };
    let plan = plan(&wanted, &esp.scan()?)?;
    for warning in &plan.warnings {
        warn(warning);
    }
    if !args.dry_run {
        esp.execute(&plan)?;
    }
    Ok(plan)
}

/// Leaves those out that are more than the newest generation's configuration wants in the menu.
fn limit(profile: &Profile, args: &Update<'_>, entries: &mut Vec<MenuEntry>) -> MenuSettings {
    let store = profile.layout().store_dir();
    let all: Vec<(u64, StorePath)> = entries
        .iter()
        .filter_map(|entry| Some((entry.number, StorePath::from_absolute(store, &entry.system).ok()?)))
        .collect();
    let newest = entries.iter().max_by_key(|entry| entry.number);
    let settings = newest
        .map(|entry| MenuSettings::of(profile.root(), Path::new(&entry.system)))
        .unwrap_or_default();
    let named = [args.default, args.trial, profile.current().unwrap_or(None)];
    let kept = kept_systems(profile.layout());
    let shown = shown(&all, settings.generations, &|number, system| {
        named.contains(&Some(number)) || kept.contains(&system.absolute(store))
    });
    entries.retain(|entry| shown.contains(&entry.number));
    settings
}

/// The generation that booted and was healthy last: the default moves to no other by itself.
fn last_good(profile: &Profile) -> Result<Option<u64>, ProfileError> {
    let (record, _) = Record::read(profile.layout().root());
    let Some(system) = record.last_good else {
        return Ok(None);
    };
    let store = profile.layout().store_dir();
    let is = |generation: &Generation| {
        generation
            .system
            .as_ref()
            .is_ok_and(|path| path.absolute(store) == system)
    };
    let found = profile.generations()?;
    Ok(found
        .iter()
        .rev()
        .find(|generation| is(generation))
        .map(|generation| generation.number))
}

/// systemd-boot as it should be on the ESP.
fn loader(args: &Update<'_>, profile: &Profile, menu: &Menu) -> Result<Option<Content>, UpdateError> {
    if let Some(path) = args.systemd_boot {
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
        Ok(file) => {
            let real = std::fs::read_link(proc_path(file.as_fd()))
                .map_err(|source| UpdateError::Loader { path, source })?;
            Ok(Some(read_content(&real)?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(UpdateError::Loader { path, source }),
    }
}

/// The generations of a profile, by number, and those that can't be read.
fn generations(profile: &Profile) -> Result<(Vec<MenuEntry>, Vec<Broken>), UpdateError> {
    let (mut entries, mut broken) = (Vec::new(), Vec::new());
    for generation in profile.generations()? {
        let number = generation.number;
        match menu_entry(profile, generation) {
            Ok(entry) => entries.push(entry),
            Err(error) => broken.push(Broken {
                number,
                reason: error,
            }),
        }
    }
    Ok((entries, broken))
}

fn menu_entry(profile: &Profile, generation: Generation) -> Result<MenuEntry, String> {
    let system = generation.system.map_err(|damage| damage.to_string())?;
    let spec = profile.boot_spec(&system).map_err(|damage| damage.to_string())?;
    let layout = profile.layout();
    let initrd = spec.v1.initrd.ok_or("it has no initrd")?;
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
