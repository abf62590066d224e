//! Deleting old generations of profiles, so that what only they keep becomes garbage.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::GcError;
use crate::store::locks::PathLock;
use crate::store::{Layout, StorePath, files, roots};

/// Directories of profiles are no deeper than this.
const DEPTH_MAX: usize = 16;

/// Which generations of a profile go. The one that the profile leads to never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// All others.
    All,
    /// Those that weren't in use any more at this time (seconds since 1970): the newest one made before it was, and stays.
    Before(i64),
    /// All but this many of the newest.
    Beyond(usize),
}

/// A generation's link that goes, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The link.
    pub link: PathBuf,
    /// Where it leads.
    pub target: PathBuf,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Links that are deleted.
    pub deleted: Vec<Deleted>,
    /// Links that the rule would delete, and why they stay.
    pub kept: Vec<(PathBuf, &'static str)>,
}

/// What must not go, whatever the rule: paths, and why.
pub type Protected<'a> = dyn Fn(&StorePath) -> Option<&'static str> + 'a;

/// Deletes old generations of every profile below the store's directory of profiles.
pub fn delete_old(
    layout: &Layout,
    rules: &[Old],
    protected: &Protected<'_>,
    dry_run: bool,
) -> Result<Outcome, GcError> {
    let mut outcome = Outcome::default();
    let mut profiles = Vec::new();
    find_profiles(&layout.physical(&layout.profiles_dir()), 0, &mut profiles)?;
    for profile in profiles {
        let lock = PathLock::take(&profile, &mut |_| {}).map_err(GcError::at(&profile))?;
        delete_of(layout, &profile, rules, (protected, dry_run), &mut outcome)?;
        drop(lock);
    }
    Ok(outcome)
}

fn find_profiles(directory: &Path, depth: usize, profiles: &mut Vec<PathBuf>) -> Result<(), GcError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || depth > DEPTH_MAX => return Ok(()),
        other => other.map_err(GcError::at(directory))?,
    };
    for entry in entries {
        let path = entry.map_err(GcError::at(directory))?.path();
        let kind = path.symlink_metadata().map_err(GcError::at(&path))?.file_type();
        if kind.is_dir() {
            find_profiles(&path, depth + 1, profiles)?;
        } else if kind.is_symlink()
            && std::fs::read_link(&path).is_ok_and(|target| number_of(&path, &target).is_some())
        {
            profiles.push(path);
        }
    }
    profiles.sort();
    Ok(())
}

// The number in `<profile>-<number>-link` beside it.
fn number_of(profile: &Path, link: &Path) -> Option<u64> {
    let name = profile.file_name()?.to_str()?;
    let digits = link
        .file_name()?
        .to_str()?
        .strip_prefix(name)?
        .strip_prefix('-')?
        .strip_suffix("-link")?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

fn delete_of(
    layout: &Layout,
    profile: &Path,
    rules: &[Old],
    (protected, dry_run): (&Protected<'_>, bool),
    outcome: &mut Outcome,
) -> Result<(), GcError> {
    let directory = profile.parent().unwrap_or(Path::new("/"));
    let current = std::fs::read_link(profile).map_err(GcError::at(profile))?;
    let current = number_of(profile, &current);
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(GcError::at(directory))? {
        let link = entry.map_err(GcError::at(directory))?.path();
        if let Some(number) = number_of(profile, &link) {
            let time = link.symlink_metadata().map_err(GcError::at(&link))?.mtime();
            let _none = all.insert(number, (time, link));
        }
    }
    let times: Vec<(u64, i64)> = all.iter().map(|(&number, &(time, _))| (number, time)).collect();
    for number in old_ones(&times, current, rules) {
        let Some((_, link)) = all.remove(&number) else {
            continue;
        };
        let target = std::fs::read_link(&link).map_err(GcError::at(&link))?;
        let reason = roots::in_store(layout, &target).and_then(|path| protected(&path));
        if let Some(reason) = reason {
            outcome.kept.push((link, reason));
            continue;
        }
        if !dry_run {
            files::remove_file_if_there(&link).map_err(GcError::at(&link))?;
        }
        outcome.deleted.push(Deleted { link, target });
    }
    Ok(())
}

// Those that every rule gives up, the oldest first. `all` holds numbers and times.
fn old_ones(all: &[(u64, i64)], current: Option<u64>, rules: &[Old]) -> Vec<u64> {
    let mut kept: HashSet<u64> = current.into_iter().collect();
    for rule in rules {
        let newest_first = all.iter().rev();
        match *rule {
            Old::All => {}
            Old::Before(time) => {
                let younger = newest_first.clone().take_while(|generation| generation.1 >= time);
                let count = younger.count();
                kept.extend(newest_first.take(count + 1).map(|generation| generation.0));
            }
            Old::Beyond(count) => kept.extend(newest_first.take(count).map(|generation| generation.0)),
        }
    }
    let numbers = all.iter().map(|generation| generation.0);
    numbers.filter(|number| !kept.contains(number)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;

    #[test]
    fn each_rule_keeps_what_it_says_and_always_the_current_one() {
        let all = [(1, 100), (2, 200), (3, 300), (7, 700)];
        for (current, rules, expected) in [
            (7, &[Old::All][..], &[1, 2, 3][..]),
            (1, &[Old::All], &[2, 3, 7]),
            // At the time 350 the third one was in use.
            (7, &[Old::Before(350)], &[1, 2]),
            (7, &[Old::Before(50)], &[]),
            (7, &[Old::Before(900)], &[1, 2, 3]),
            (1, &[Old::Beyond(2)], &[2]),
            (7, &[Old::Beyond(0)], &[1, 2, 3]),
            // What one rule keeps stays.
            (7, &[Old::Before(900), Old::Beyond(3)], &[1]),
        ] {
            assert_eq!(old_ones(&all, Some(current), rules), expected, "{rules:?}");
        }
        assert!(old_ones(&[], None, &[Old::All]).is_empty());
    }

    #[test]
    fn only_names_of_generations_are_generations() {
        let number = |link: &str| number_of(Path::new("/p/system"), Path::new(link));
        assert_eq!(number("system-12-link"), Some(12));
        for odd in [
            "system-012-link",
            "system-+1-link",
            "system--link",
            "other-1-link",
            "system-1",
        ] {
            assert_eq!(number(odd), None, "{odd}");
        }
    }
}
