//! Deleting generations: their links, and what is remembered of systems that no generation leads to any more.

use std::io;

use super::facts::Facts;
use super::select::{Candidate, Chosen, SelectError, Selection, choose};
use crate::boot::record::{Record, RecordError};
use crate::store::files;
use crate::system::generation::{Generation, Profile, ProfileError};
use crate::system::profile::{self, SwitchError};

/// Why generations can't be deleted.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] SwitchError),
    /// The selection.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// What is remembered can't be read or written.
    #[error("{0}; it may pin generations, so nothing was deleted: mend the file, or move it away")]
    Record(#[from] RecordError),
    /// A link can't be deleted.
    #[error("{0} can't be deleted: {1}")]
    Link(String, #[source] io::Error),
}

/// Deletes what `selection` means of a profile, or only says what that is. `menu_default` is what the boot menu starts by
/// itself, as far as somebody could look.
pub fn remove(
    profile: &Profile,
    selection: &Selection,
    menu_default: Option<u64>,
    dry_run: bool,
) -> Result<Chosen, RemoveError> {
    let _lock = profile::lock(profile)?;
    let root = profile.layout().root();
    let (mut record, fault) = Record::read(root);
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    let facts = Facts::of_profile(profile, &record, menu_default)?;
    let all: Vec<Candidate> = facts.iter().map(|facts| candidate(profile, facts)).collect();
    let chosen = choose(&all, selection)?;
    if dry_run || chosen.numbers.is_empty() {
        return Ok(chosen);
    }
    for number in &chosen.numbers {
        let link = profile.link(*number);
        files::remove_file_if_there(&profile.layout().physical(&link))
            .map_err(|error| RemoveError::Link(link, error))?;
    }
    if forget(&mut record, profile)? {
        record.write(root)?;
    }
    Ok(chosen)
}

fn candidate(profile: &Profile, facts: &Facts) -> Candidate {
    let Generation {
        number,
        created,
        system,
    } = &facts.generation;
    let spec = system
        .as_ref()
        .ok()
        .and_then(|system| profile.boot_spec(system).ok());
    let label = spec.map(|spec| spec.v1.label);
    Candidate {
        number: *number,
        created: *created,
        texts: facts.tag.iter().cloned().chain(label).collect(),
        protection: facts.protection().map(super::Mark::reason),
    }
}

/// Forgets systems that no generation leads to: whether there were some. One that is built again is tried again.
fn forget(record: &mut Record, profile: &Profile) -> Result<bool, ProfileError> {
    let store = profile.layout().store_dir();
    let left: Vec<String> = profile
        .generations()?
        .iter()
        .filter_map(|generation| Some(generation.system.as_ref().ok()?.absolute(store)))
        .collect();
    let before = record.clone();
    let last_good = record.last_good.clone();
    record
        .systems
        .retain(|system, known| known.pinned || last_good.as_ref() == Some(system) || left.contains(system));
    if record
        .trial
        .as_ref()
        .is_some_and(|trial| !left.contains(&trial.system))
    {
        record.trial = None;
    }
    Ok(*record != before)
}
