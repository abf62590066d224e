//! What a switch leaves for the next boot: the menu with the new generation in it, the trial boot, the profile's link.

use std::path::Path;

use super::error::{Failure, code};
use super::machine::Machine;
use super::request::{Goal, Request};
use crate::boot::record::{Record, Trial, TrialState};
use crate::boot::{self, EfiVariables, PlanError, Update, UpdateError};
use crate::root::parse_mounts;
use crate::system::generation::SYSTEM_PROFILE;
use crate::system::profile;

/// Where an ESP is looked for, in systemd's order (bootctl(1)).
const ESP_PLACES: [&str; 3] = ["/efi", "/boot", "/boot/efi"];

/// What a trial boot lacks on some machines.
const NO_ONE_SHOT: &str = "no trial boot is possible: the boot loader doesn't take an entry for the next boot only (it \
                           isn't systemd-boot, or the machine has no EFI variables)";

/// The mount point of the ESP: a FAT file system with a `loader` directory.
pub(super) fn find_esp() -> Option<String> {
    let mounts = parse_mounts(&std::fs::read("/proc/self/mountinfo").ok()?);
    // An automount point shows its file system only when somebody looks.
    let _mounted = ESP_PLACES.map(|place| Path::new(place).join("loader").exists());
    let mounts = parse_mounts(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
        .into_iter()
        .chain(mounts);
    let fat: Vec<_> = mounts.filter(|mount| mount.kind == "vfat").collect();
    ESP_PLACES
        .into_iter()
        .find(|place| fat.iter().any(|mount| mount.mount_point == Path::new(place)))
        .map(str::to_owned)
}

/// Writes the new system's boot files and its entry. The default stays what it is.
pub(super) fn write_boot_files(request: &Request) -> Result<(), Failure> {
    let Some(esp) = &request.esp else {
        return Err(Failure::refused(
            code::ERROR,
            "no EFI system partition is mounted at /efi, /boot or /boot/efi, so the next boot can't be prepared; mount \
             it, or use `keel test`",
        ));
    };
    let is_proven = Record::read(Path::new("/")).0.is_proven(&request.new);
    if !is_proven && !EfiVariables::default().knows_one_shot() {
        return Err(Failure::refused(
            code::ERROR,
            format!("{NO_ONE_SHOT}; `keel test` works without"),
        ));
    }
    let trial = request.generation.filter(|_| !is_proven);
    update_menu(Path::new(esp), trial).map_err(|error| {
        let is_full = matches!(error, UpdateError::Plan(PlanError::NoSpace { .. }));
        let code = if is_full { code::NO_SPACE } else { code::ERROR };
        Failure::refused(code, format!("the boot menu: {error}"))
    })
}

/// Writes the menu with the default that it has; `trial` is the generation whose entry is on trial.
fn update_menu(esp: &Path, trial: Option<u64>) -> Result<(), UpdateError> {
    let present = boot::menu::default_of(
        &std::fs::read_to_string(esp.join(boot::menu::LOADER_CONF)).unwrap_or_default(),
    );
    let default = present.and_then(|name| boot::menu::generation_of(SYSTEM_PROFILE, &name));
    set_menu(esp, default, trial)
}

/// Writes the menu with a default, or that of the profile.
pub(super) fn set_menu(esp: &Path, default: Option<u64>, trial: Option<u64>) -> Result<(), UpdateError> {
    let conf = std::fs::read_to_string(esp.join(boot::menu::LOADER_CONF)).unwrap_or_default();
    let wanted = Update {
        esp,
        store: None,
        profile: SYSTEM_PROFILE,
        default,
        trial,
        timeout: boot::menu::timeout_of(&conf).unwrap_or(5),
        systemd_boot: None,
        remove_first: false,
        dry_run: false,
    };
    boot::update(&wanted, &mut |warning| log::warn!("{warning}")).map(drop)
}

/// Whether the next boot is what `request` wants already, without a trial under way.
pub(super) fn is_committed(request: &Request) -> bool {
    let (Some(number), Some(esp)) = (request.generation, &request.esp) else {
        return false;
    };
    let (record, fault) = Record::read(Path::new("/"));
    let conf = std::fs::read_to_string(Path::new(esp).join(boot::menu::LOADER_CONF)).unwrap_or_default();
    let current = Machine::this()
        .ok()
        .and_then(|machine| machine.profile.current().ok().flatten());
    fault.is_none()
        && record.trial.is_none()
        && record.last_good.as_deref() == Some(request.new.as_str())
        && current == Some(number)
        && boot::menu::default_of(&conf) == Some(boot::menu::entry_name(SYSTEM_PROFILE, number))
}

/// Arms the trial boot, and makes the profile lead to the generation. Can be done again.
pub(super) fn commit(request: &Request) -> Result<(), Failure> {
    let failed = |what: &str, why: &dyn std::fmt::Display| Failure::activation(what, why);
    let (Some(number), Goal::Switch | Goal::Boot) = (request.generation, request.goal) else {
        return Ok(());
    };
    let root = Path::new("/");
    let (mut record, _) = Record::read(root);
    // What has booted well once needs no trial.
    let is_good = record.is_proven(&request.new);
    if is_good {
        record.last_good = Some(request.new.clone());
        record.trial = None;
    } else {
        let entry = boot::menu::entry_name(SYSTEM_PROFILE, number);
        record.trial = Some(Trial {
            system: request.new.clone(),
            generation: number,
            entry,
            attempts: 1,
            state: TrialState::Armed,
        });
    }
    record
        .write(root)
        .map_err(|error| failed("the trial boot can't be noted", &error))?;
    arm(&record).map_err(|error| failed("the trial boot can't be armed", &error))?;
    if is_good && let Some(esp) = &request.esp {
        set_menu(Path::new(esp), Some(number), None).map_err(|error| failed("the boot menu", &error))?;
    }
    let machine = Machine::this().map_err(|error| failed("the profile", &error))?;
    profile::set_current(&machine.profile, SYSTEM_PROFILE, number)
        .map_err(|error| failed("the profile", &error))
}

/// Tells the boot loader which entry is tried next, or takes that back.
pub(super) fn arm(record: &Record) -> Result<(), String> {
    let variables = EfiVariables::default();
    let entry = record
        .trial
        .as_ref()
        .filter(|trial| trial.state == TrialState::Armed)
        .map(|trial| trial.entry.as_str());
    if entry.is_some() && !variables.knows_one_shot() {
        return Err(NO_ONE_SHOT.to_owned());
    }
    variables.set_one_shot(entry).map_err(|error| error.to_string())
}
