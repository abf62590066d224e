//! Adding a generation to a profile.

use std::io;
use std::path::Path;

use super::generation::{Profile, ProfileError};
use crate::store::locks::PathLock;
use crate::store::{StorePath, failpoint, files};

/// Why a generation can't be added.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The profile can't be read.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A link can't be made.
    #[error("{0}: {1}")]
    Link(String, #[source] io::Error),
}

/// Whether `name` can name a profile: a file of its own in the directory of profiles.
pub fn is_profile_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
}

/// The lock on a profile, as Nix takes it: two processes must not take the same number.
pub fn lock(profile: &Profile) -> Result<PathLock, SwitchError> {
    let link = profile.layout().physical(&profile.path());
    PathLock::take(&link, &mut |_| {}).map_err(|error| SwitchError::Link(link.display().to_string(), error))
}

/// Makes `system` the newest generation of `profile`, unless it is that already. The profile leads to it afterwards when
/// `make_current` says so, or when it led nowhere. Returns the number of the generation, and whether it is new. At any
/// moment the profile leads to the old or the new one. `_lock` is the one on this profile.
pub fn add_generation(
    profile: &Profile,
    system: &StorePath,
    make_current: bool,
    _lock: &PathLock,
) -> Result<(u64, bool), SwitchError> {
    let layout = profile.layout();
    let all = profile.generations()?;
    // A profile whose link is damaged is repaired by this one.
    let current = profile.current().unwrap_or(None);
    let newest = all.last();
    let same = newest.is_some_and(|newest| newest.system.as_ref().is_ok_and(|path| path == system));
    let number = match newest {
        Some(newest) if same => newest.number,
        // A number is never used twice: it may still name a boot entry, or a line in somebody's notes.
        newest => newest
            .map_or(0, |newest| newest.number)
            .max(current.unwrap_or(0))
            .saturating_add(1),
    };
    if !same {
        make_link(
            profile,
            profile.link(number),
            &system.absolute(layout.store_dir()),
        )?;
    }
    failpoint("before-profile");
    if make_current || current.is_none() {
        set_current(profile, number)?;
    }
    Ok((number, !same))
}

/// Makes `profile` lead to its generation `number`.
pub fn set_current(profile: &Profile, number: u64) -> Result<(), SwitchError> {
    if profile.current().unwrap_or(None) == Some(number) {
        return Ok(());
    }
    make_link(profile, profile.path(), &profile.link_name(number))
}

fn make_link(profile: &Profile, path: String, target: &str) -> Result<(), SwitchError> {
    files::link_atomically(Path::new(target), &profile.layout().physical(&path))
        .map_err(|error| SwitchError::Link(path, error))
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
    use crate::store::Layout;

    #[test]
    fn numbers_rise_and_an_equal_system_makes_no_generation() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("nix/var/nix/profiles")).unwrap();
        let profile = Profile::open(Layout::below(dir.path()), "system").unwrap();
        let path = |n| StorePath::from_base_name(&format!("mgvzxmm9gsamf9p3rfr8jva7rkfbwmb{n}-s")).unwrap();
        let lock = lock(&profile).unwrap();
        assert_eq!(
            add_generation(&profile, &path(1), true, &lock).unwrap(),
            (1, true)
        );
        assert_eq!(
            add_generation(&profile, &path(1), true, &lock).unwrap(),
            (1, false)
        );
        assert_eq!(
            add_generation(&profile, &path(2), true, &lock).unwrap(),
            (2, true)
        );
        std::fs::remove_file(dir.path().join("nix/var/nix/profiles/system-2-link")).unwrap();
        // The profile still led to 2.
        assert_eq!(
            add_generation(&profile, &path(3), true, &lock).unwrap(),
            (3, true)
        );
        assert_eq!(profile.current().unwrap(), Some(3));
        let systems: Vec<_> = profile
            .generations()
            .unwrap()
            .into_iter()
            .map(|g| (g.number, g.system.unwrap()))
            .collect();
        assert_eq!(systems, [(1, path(1)), (3, path(3))]);
    }

    #[test]
    fn odd_profile_names_are_refused() {
        for name in ["", ".", "../x", "a/b", "-x", "a b"] {
            assert!(!is_profile_name(name), "{name}");
        }
        assert!(is_profile_name("system") && is_profile_name("a.b-c_1"));
    }
}
