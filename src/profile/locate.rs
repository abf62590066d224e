//! Where profiles lie: one for each user, one for the machine, and any other by its path.

use std::path::{Path, PathBuf};

use crate::store::Layout;
use crate::system::accounts::{File, Table};
use crate::system::profile::is_profile_name;

/// As many links lead to a profile at most.
const LINKS_MAX: usize = 8;

/// Which profile is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// That of a user.
    User(&'a str),
    /// That of everybody.
    System,
    /// The one whose link lies here.
    Path(&'a Path),
}

/// Why a profile can't be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// A user's name that can't be that of a directory.
    #[error("the user '{0}' has a name that can't name a directory: give the profile's path with --profile")]
    BadUser(String),
    /// A path that isn't one.
    #[error("'{0}' is no path of a profile")]
    BadPath(String),
}

/// The physical place of the link of a profile, where Nix has it, too.
pub fn locate(layout: &Layout, which: Which<'_>) -> Result<PathBuf, LocateError> {
    let profiles = layout.physical(&layout.profiles_dir());
    match which {
        Which::System => Ok(profiles.join("default")),
        Which::User(name) if is_profile_name(name) => {
            Ok(profiles.join("per-user").join(name).join("profile"))
        }
        Which::User(name) => Err(LocateError::BadUser(name.chars().take(100).collect())),
        Which::Path(path) => {
            let bad = || LocateError::BadPath(path.display().to_string());
            followed(std::path::absolute(path).map_err(|_| bad())?).ok_or_else(bad)
        }
    }
}

// `~/.nix-profile` is a link to a profile, and the profile a link to its generation, which lies beside it.
fn followed(mut path: PathBuf) -> Option<PathBuf> {
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&path) else {
            return Some(path);
        };
        let name = path.file_name()?.to_str()?;
        let generation = target
            .to_str()
            .and_then(|target| target.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('-') && rest.ends_with("-link"));
        if generation {
            return Some(path);
        }
        let next = path.parent()?.join(target);
        // What is there, and no link, is no profile: the link is said to be bad, and nothing is done beside its target.
        if next.symlink_metadata().is_ok_and(|there| !there.is_symlink()) {
            return Some(path);
        }
        path = next;
    }
    None
}

/// The name of the user `uid` by the text of `/etc/passwd`: a static program can't ask the name service.
pub fn user_name(passwd: &[u8], uid: u32) -> Option<String> {
    let table = Table::parse(File::Passwd, passwd);
    let entry = table.entries().find(|entry| entry.number(2) == Some(uid))?;
    String::from_utf8(entry.name().to_vec()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn profiles_lie_where_nix_has_them() {
        let layout = Layout::below("/");
        let at = |which| locate(&layout, which).unwrap();
        assert_eq!(at(Which::System), Path::new("/nix/var/nix/profiles/default"));
        assert_eq!(
            at(Which::User("anna")),
            Path::new("/nix/var/nix/profiles/per-user/anna/profile")
        );
        assert_eq!(
            at(Which::Path(Path::new("/nonexistent/p"))),
            Path::new("/nonexistent/p")
        );
        for bad in ["", "..", "a/b", ".x"] {
            assert!(locate(&layout, Which::User(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_link_to_a_profile_means_the_profile() {
        let dir = tempfile::tempdir().unwrap();
        let link =
            |target: &str, name: &str| std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        link("/nix/store/x", "profile-3-link");
        link("profile-3-link", "profile");
        link("profile", ".nix-profile");
        link("a", "b");
        link("b", "a");
        link("/etc", "wrong");
        let layout = Layout::below("/");
        let at = |name: &str| locate(&layout, Which::Path(&dir.path().join(name)));
        assert_eq!(at(".nix-profile").unwrap(), dir.path().join("profile"));
        assert_eq!(at("profile").unwrap(), dir.path().join("profile"));
        assert_eq!(at("wrong").unwrap(), dir.path().join("wrong"));
        assert!(at("a").is_err());
    }

    #[test]
    fn users_are_found_by_number() {
        let passwd = b"root:x:0:0::/root:/bin/sh\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).unwrap(), "anna");
        assert_eq!(user_name(passwd, 0).unwrap(), "root");
        assert_eq!(user_name(passwd, 7), None);
    }
}
