//! Where a store lies: logical names, and the root directory that they are below.

use std::path::{Path, PathBuf};

use super::path::StorePath;

/// Why a store can't be located.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A variable of the environment holds no clean absolute path.
    #[error("{variable}={value}: an absolute path without '.', '..' or a trailing slash is needed")]
    NotAbsolute {
        /// `NIX_STORE_DIR`, `NIX_STATE_DIR` or `NIX_LOG_DIR`.
        variable: &'static str,
        /// What it held.
        value: String,
    },
}

/// Where a store lies. Logical names (`/nix/store/…`) are what links and databases hold; physical ones are below
/// the root directory, as with Nix's chroot stores (`--store ROOT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    store_dir: String,
    state_dir: String,
    log_dir: String,
}

impl Layout {
    /// The usual directories below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            store_dir: "/nix/store".into(),
            state_dir: "/nix/var/nix".into(),
            log_dir: "/nix/var/log/nix".into(),
        }
    }

    /// Below `store` when given (`--store ROOT`); otherwise on this machine, where `NIX_STORE_DIR`, `NIX_STATE_DIR` and
    /// `NIX_LOG_DIR` are honoured.
    pub fn from_environment(store: Option<&Path>) -> Result<Self, LayoutError> {
        if let Some(root) = store {
            // apt and builders work elsewhere; a path that can't be made absolute is told of by whoever opens it.
            return Ok(Self::below(
                std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
            ));
        }
        let mut layout = Self::below("/");
        for (variable, slot) in [
            ("NIX_STORE_DIR", &mut layout.store_dir),
            ("NIX_STATE_DIR", &mut layout.state_dir),
            ("NIX_LOG_DIR", &mut layout.log_dir),
        ] {
            if let Some(value) = std::env::var_os(variable) {
                let value = value.to_string_lossy().into_owned();
                let clean = value.strip_prefix('/').is_some_and(|rest| {
                    !rest.is_empty() && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
                });
                if !clean {
                    return Err(LayoutError::NotAbsolute { variable, value });
                }
                *slot = value;
            }
        }
        Ok(layout)
    }

    /// The same logical names below another root.
    #[must_use]
    pub fn with_root(&self, root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            ..self.clone()
        }
    }

    /// The directory that physical names are below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `/nix/store`.
    pub fn store_dir(&self) -> &str {
        &self.store_dir
    }

    /// `/nix/var/nix/db`.
    pub fn database_dir(&self) -> String {
        format!("{}/db", self.state_dir)
    }

    /// `/nix/var/nix`.
    pub fn state_dir(&self) -> &str {
        &self.state_dir
    }

    /// `/nix/var/log/nix`: what builders said.
    pub fn log_dir(&self) -> &str {
        &self.log_dir
    }

    /// `/nix/var/nix/profiles`.
    pub fn profiles_dir(&self) -> String {
        format!("{}/profiles", self.state_dir)
    }

    /// `/nix/var/keel`: beside Nix's own state.
    pub fn keel_dir(&self) -> String {
        let parent = self.state_dir.rsplit_once('/').map_or("", |(parent, _)| parent);
        format!("{parent}/keel")
    }

    /// `/nix/var/keel/objects`.
    pub fn objects_dir(&self) -> String {
        format!("{}/objects", self.keel_dir())
    }

    /// The stamp that says that all objects of a system's images are linked.
    pub fn stamp(&self, system: &StorePath) -> String {
        format!("{}/complete/{}", self.objects_dir(), system.base_name())
    }

    /// Where the logical name `logical` is physically.
    pub fn physical(&self, logical: &str) -> PathBuf {
        self.root.join(logical.trim_start_matches('/'))
    }

    /// Where a store path is physically.
    pub fn physical_path(&self, path: &StorePath) -> PathBuf {
        self.physical(&self.store_dir).join(path.base_name())
    }
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
    fn a_root_that_is_given_holds_for_programs_that_work_elsewhere() {
        let layout = Layout::from_environment(Some(Path::new("machine"))).unwrap();
        assert_eq!(layout.root(), std::env::current_dir().unwrap().join("machine"));
    }

    #[test]
    fn physical_names_are_below_the_root() {
        let layout = Layout::below("/sysroot");
        assert_eq!(
            layout.physical(&layout.profiles_dir()),
            Path::new("/sysroot/nix/var/nix/profiles")
        );
        let path = StorePath::from_base_name("mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f").unwrap();
        assert_eq!(
            layout.physical_path(&path),
            Path::new("/sysroot/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f")
        );
        assert_eq!(
            layout.stamp(&path),
            "/nix/var/keel/objects/complete/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f"
        );
    }
}
