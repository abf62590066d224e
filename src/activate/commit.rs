//! What a switch leaves for the next boot: the menu with the new generation in it, the trial boot, the profile's link.

use std::path::Path;

use super::error::{Failure, code};
use super::machine::Machine;
use super::request::{Goal, Request};
use crate::boot::record::{Record, Trial, TrialState};
use crate::boot::{self, EfiVariables, PlanError, Selection, TrialBy, Update, UpdateError};
use crate::rehearse::{Outcome, Rehearsal};
use crate::root::parse_mounts;
use crate::system::generation::SYSTEM_PROFILE;
use crate::system::profile;

/// Where an ESP is looked for, in systemd's order (bootctl(1)).
const ESP_PLACES: [&str; 3] = ["/efi", "/boot", "/boot/efi"];

/// What a trial boot lacks on some machines.
const NO_TRIAL: &str = "no trial boot is possible: the boot loader that started this machine isn't systemd-boot, and \
                        doesn't take an entry for the next boot only";

/// The mount point of the ESP: a FAT file system with a `loader` directory.
pub fn find_esp() -> Option<String> {
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
    let Some(by) = EfiVariables::default().trial_by() else {
        return Err(Failure::refused(
            code::ERROR,
            format!("{NO_TRIAL}; `keel test` works without"),
        ));
    };
    if !is_proven && !request.no_rehearsal {
        rehearse(&request.new)?;
    }
    let trial = request.generation.filter(|_| !is_proven);
    let esp = Path::new(esp);
    // The trial is armed later, when everything else has gone well.
    set_menu((esp, None), menu_default_on(esp), trial, selection(by, false)).map_err(|error| {
        let is_full = matches!(error, UpdateError::Plan(PlanError::NoSpace { .. }));
        let code = if is_full { code::NO_SPACE } else { code::ERROR };
        Failure::refused(code, format!("the boot menu: {error}"))
    })
}

/// Fails unless early boot will find and open everything that the system's root lies on. No passphrase is known here:
/// volumes count as they are open now.
fn rehearse(system: &str) -> Result<(), Failure> {
    let rehearsal = Rehearsal {
        images: &[],
        parameters: None,
        system: Some(system.to_owned()),
        passphrases: Vec::new(),
    };
    let refused = |why: String| {
        Failure::refused(
            code::ERROR,
            format!(
                "the next boot would not succeed: {why}; nothing was changed; `keel rehearse` tells more, \
                 --no-rehearsal goes on all the same"
            ),
        )
    };
    let report = rehearsal.run().map_err(|error| refused(error.to_string()))?;
    if report.outcome == Outcome::Boots {
        Ok(())
    } else {
        Err(refused(report.problems.join("; ")))
    }
}

/// The generation that this machine's boot menu starts by itself, as far as that can be seen.
pub fn menu_default() -> Option<u64> {
    menu_default_on(Path::new(&find_esp()?))
}

/// The generation that the menu on an ESP starts by itself.
pub fn menu_default_on(esp: &Path) -> Option<u64> {
    let conf = std::fs::read_to_string(esp.join(boot::menu::LOADER_CONF)).unwrap_or_default();
    let named = boot::menu::default_of(&conf);
    named
        .or_else(|| {
            let mut entries = std::fs::read_dir(esp.join(boot::menu::ENTRIES)).ok()?.flatten();
            let first = entries.find(|entry| {
                std::fs::read_to_string(entry.path()).is_ok_and(|text| boot::menu::is_default_by_order(&text))
            });
            first?.file_name().into_string().ok()
        })
        .and_then(|name| boot::menu::generation_of(SYSTEM_PROFILE, &name))
}

fn selection(by: TrialBy, armed: bool) -> Selection {
    match by {
        TrialBy::Variable => Selection::ByName,
        TrialBy::Counter => Selection::ByOrder { armed },
    }
}

/// Writes the menu with a default, or that of the profile.
fn set_menu(
    (esp, store): (&Path, Option<&Path>),
    default: Option<u64>,
    trial: Option<u64>,
    selection: Selection,
) -> Result<(), UpdateError> {
    let conf = std::fs::read_to_string(esp.join(boot::menu::LOADER_CONF)).unwrap_or_default();
    let wanted = Update {
        esp,
        store,
        profile: SYSTEM_PROFILE,
        default,
        trial,
        selection,
        timeout: boot::menu::timeout_of(&conf).unwrap_or(5),
        systemd_boot: None,
        remove_first: false,
        dry_run: false,
    };
    boot::update(&wanted, &mut |warning| log::warn!("{warning}")).map(drop)
}

/// Makes the menu start `default` from now on.
pub(super) fn move_default(esp: &Path, default: u64, record: &Record) -> Result<(), UpdateError> {
    let by = EfiVariables::default().trial_by().unwrap_or(TrialBy::Variable);
    let armed = record.armed_trial().map(|trial| trial.generation);
    set_menu((esp, None), Some(default), armed, selection(by, armed.is_some()))
}

/// Makes the menu on an ESP show the generations that there are; default and trial stay what they are. `store` is the root
/// of another store than this machine's.
pub fn refresh_menu(esp: &Path, store: Option<&Path>) -> Result<(), UpdateError> {
    let (record, _) = Record::read(store.unwrap_or(Path::new("/")));
    let armed = record.armed_trial().map(|trial| trial.generation);
    let by = store
        .is_none()
        .then(|| EfiVariables::default().trial_by())
        .flatten();
    let selection = selection(by.unwrap_or(TrialBy::Variable), armed.is_some());
    set_menu((esp, store), menu_default_on(esp), armed, selection)
}

/// Whether the next boot is what `request` wants already, without a trial under way.
pub(super) fn is_committed(request: &Request) -> bool {
    let (Some(number), Some(esp)) = (request.generation, &request.esp) else {
        return false;
    };
    let (record, fault) = Record::read(Path::new("/"));
    let current = Machine::this()
        .ok()
        .and_then(|machine| machine.profile.current().ok().flatten());
    fault.is_none()
        && record.trial.is_none()
        && record.last_good.as_deref() == Some(request.new.as_str())
        && current == Some(number)
        && menu_default_on(Path::new(esp)) == Some(number)
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
    let esp = request.esp.as_deref().map(Path::new);
    arm(&record, esp).map_err(|error| failed("the trial boot can't be armed", &error))?;
    if is_good && let Some(esp) = esp {
        move_default(esp, number, &record).map_err(|error| failed("the boot menu", &error))?;
    }
    let machine = Machine::this().map_err(|error| failed("the profile", &error))?;
    profile::set_current(&machine.profile, number).map_err(|error| failed("the profile", &error))
}

/// Tells the boot loader which entry is tried next, or takes that back.
pub(super) fn arm(record: &Record, esp: Option<&Path>) -> Result<(), String> {
    let variables = EfiVariables::default();
    let trial = record.armed_trial();
    match variables.trial_by() {
        Some(TrialBy::Variable) => variables
            .set_one_shot(trial.map(|trial| trial.entry.as_str()))
            .map_err(|error| error.to_string()),
        Some(TrialBy::Counter) => {
            let Some(esp) = esp else { return Ok(()) };
            let selection = Selection::ByOrder {
                armed: trial.is_some(),
            };
            set_menu(
                (esp, None),
                menu_default_on(esp),
                trial.map(|trial| trial.generation),
                selection,
            )
            .map_err(|error| format!("the boot menu: {error}"))
        }
        None if trial.is_some() => Err(NO_TRIAL.to_owned()),
        None => Ok(()),
    }
}
