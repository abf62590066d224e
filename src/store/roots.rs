//! The roots of garbage collection, as Nix defines them: links below `gcroots` and `profiles`, links elsewhere that those
//! lead to, what running processes use, and the temporary roots of those that work with the store.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::locks::read_temp_roots;
use super::path::StorePath;
use super::{Layout, processes};

/// The links to systems of this machine, below the root.
const SYSTEM_LINKS: [&str; 2] = ["run/current-system", "run/booted-system"];
/// Directories in `gcroots` and `profiles` are no deeper than this, unless they are meant to keep us busy.
const DEPTH_MAX: usize = 64;

/// Why the roots can't be found. Without all of them nothing is deleted.
#[derive(Debug, thiserror::Error)]
#[error("looking for the roots of garbage collection: {path}: {source}")]
pub struct RootsError {
    /// Where.
    pub path: String,
    /// Why.
    pub source: io::Error,
}

/// What makes a path a root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RootKind {
    /// A link, or a file named like the path, below `gcroots` or `profiles`.
    Link,
    /// A link elsewhere that one in `gcroots` leads to.
    Indirect,
    /// The running or the booted system.
    System,
    /// What this machine keeps besides: pinned systems, the last good one, the one on trial. It says which.
    Kept(&'static str),
    /// A running process uses it.
    Process,
    /// A running process asked for it to be kept.
    Temporary,
}

impl RootKind {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Indirect => "indirect",
            Self::System => "system",
            Self::Kept(which) => which,
            Self::Process => "process",
            Self::Temporary => "temporary",
        }
    }
}

/// A root. The path need not be valid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// The path that is kept, with all that it refers to.
    pub path: StorePath,
    /// What makes it a root.
    pub kind: RootKind,
    /// The link, file or process.
    pub from: String,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of the paths.
    pub roots: BTreeSet<Root>,
    /// Links in `gcroots/auto` to what isn't there any more.
    pub stale: Vec<PathBuf>,
    /// What could not be read, and was passed over as Nix does.
    pub unreadable: Vec<String>,
}

/// Finds all roots of the store. Whoever holds the lock on collection finds all that there will be, but for those that
/// running processes announce later.
pub fn find(layout: &Layout) -> Result<Found, RootsError> {
    let mut found = Found::default();
    for directory in ["gcroots", "profiles"] {
        let path = layout.physical(layout.state_dir()).join(directory);
        found.look(layout, &path, 0)?;
    }
    for link in SYSTEM_LINKS {
        let path = layout.root().join(link);
        if let Some(target) = std::fs::read_link(&path)
            .ok()
            .and_then(|target| in_store(layout, &target))
        {
            found.add(target, RootKind::System, &path);
        }
    }
    let directory = layout.physical(layout.state_dir()).join("temproots");
    let temporary = read_temp_roots(layout).map_err(at(&directory))?;
    for process in temporary {
        let from = directory.join(&process.pid);
        for path in process
            .paths
            .iter()
            .filter_map(|path| in_store(layout, Path::new(path)))
        {
            found.add(path, RootKind::Temporary, &from);
        }
    }
    let proc = Path::new("/proc");
    for (path, from) in processes::used_paths(proc, layout.store_dir()).map_err(at(proc))? {
        found.add(path, RootKind::Process, &from);
    }
    Ok(found)
}

/// The store path that `target` is or lies in.
pub fn in_store(layout: &Layout, target: &Path) -> Option<StorePath> {
    let inside = target.strip_prefix(layout.store_dir()).ok()?;
    let Component::Normal(base) = inside.components().next()? else {
        return None;
    };
    StorePath::from_base_name(base.to_str()?).ok()
}

impl Found {
    fn add(&mut self, path: StorePath, kind: RootKind, from: &Path) {
        let from = from.display().to_string();
        let _new = self.roots.insert(Root { path, kind, from });
    }

    fn look(&mut self, layout: &Layout, path: &Path, depth: usize) -> Result<(), RootsError> {
        match self.look_at(layout, path, depth) {
            Err(error) if is_lasting(&error.source) => {
                // A state directory that has none of them yet is no news.
                if depth > 0 {
                    self.unreadable.push(error.to_string());
                }
                Ok(())
            }
            other => other,
        }
    }

    fn look_at(&mut self, layout: &Layout, path: &Path, depth: usize) -> Result<(), RootsError> {
        let kind = path.symlink_metadata().map_err(at(path))?.file_type();
        if kind.is_dir() {
            if depth > DEPTH_MAX {
                return Err(at(path)(io::Error::other("directories are nested too deeply")));
            }
            for entry in std::fs::read_dir(path).map_err(at(path))? {
                self.look(layout, &entry.map_err(at(path))?.path(), depth + 1)?;
            }
        } else if kind.is_symlink() {
            let target = std::fs::read_link(path).map_err(at(path))?;
            match in_store(layout, &target) {
                Some(target) => self.add(target, RootKind::Link, path),
                None => self.look_behind(layout, path, &target)?,
            }
        } else if kind.is_file() {
            // A file whose name is a store path's keeps that one.
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if let Ok(target) = StorePath::from_base_name(name) {
                self.add(target, RootKind::Link, path);
            }
        }
        Ok(())
    }

    // A link to somewhere else: what lies there counts when it's a link into the store itself.
    fn look_behind(&mut self, layout: &Layout, link: &Path, target: &Path) -> Result<(), RootsError> {
        let absolute = clean(&link.parent().unwrap_or(Path::new("/")).join(target));
        // Made by a process that has the root directory as its own, or by one that hasn't: both are looked at.
        let mut places = vec![absolute.clone()];
        if layout.root() != Path::new("/") && target.is_absolute() {
            places.push(clean(&layout.physical(&target.to_string_lossy())));
        }
        let mut is_there = false;
        for place in places {
            match std::fs::read_link(&place) {
                Ok(second) => {
                    is_there = true;
                    let second = clean(&place.parent().unwrap_or(Path::new("/")).join(second));
                    if let Some(path) = in_store(layout, &second) {
                        self.add(path, RootKind::Indirect, &place);
                    }
                }
                // A directory or a file. Profiles are looked at by themselves.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => is_there = true,
                Err(error) if is_lasting(&error) && error.kind() != io::ErrorKind::PermissionDenied => {}
                // Whether it's there, nobody knows: it isn't stale.
                Err(error) if is_lasting(&error) => {
                    is_there = true;
                    self.unreadable.push(at(&place)(error).to_string());
                }
                Err(error) => return Err(at(&place)(error)),
            }
        }
        let auto = layout.physical(layout.state_dir()).join("gcroots/auto");
        if !is_there && link.parent() == Some(&auto) {
            self.stale.push(link.to_owned());
        }
        Ok(())
    }
}

// Those that Nix passes over: they'd be the same the next time.
fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RootsError {
    let path = String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
    move |source| RootsError { path, source }
}

// Without `.` and `..`, by the text alone.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                let _root = clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn base(letter: char) -> String {
        let hash: String = std::iter::repeat_n(letter, 32).collect();
        format!("{hash}-{letter}")
    }

    #[test]
    fn every_kind_of_link_is_a_root_and_only_dead_ones_of_auto_are_stale() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::below(dir.path());
        let state = dir.path().join("nix/var/nix");
        let store = |letter| format!("/nix/store/{}", base(letter));
        for name in ["gcroots/auto", "gcroots/deep/er", "profiles/per-user/joe"] {
            fs::create_dir_all(state.join(name)).unwrap();
        }
        symlink(store('a'), state.join("gcroots/a")).unwrap();
        symlink(store('b') + "/bin/b", state.join("gcroots/deep/er/b")).unwrap();
        fs::write(state.join("gcroots").join(base('c')), "").unwrap();
        symlink(store('d'), state.join("profiles/system-1-link")).unwrap();
        symlink(store('f'), state.join("profiles/per-user/joe/profile-3-link")).unwrap();
        symlink("system-1-link", state.join("profiles/system")).unwrap();
        // An indirect one, one to a directory, and two to what is gone.
        symlink(store('g'), dir.path().join("result")).unwrap();
        symlink(dir.path().join("result"), state.join("gcroots/auto/1")).unwrap();
        symlink(dir.path(), state.join("gcroots/auto/2")).unwrap();
        symlink(dir.path().join("gone"), state.join("gcroots/auto/3")).unwrap();
        symlink(dir.path().join("gone"), state.join("gcroots/4")).unwrap();
        fs::create_dir_all(dir.path().join("run")).unwrap();
        symlink(store('h'), dir.path().join("run/booted-system")).unwrap();
        // By its logical name.
        fs::create_dir_all(dir.path().join("home")).unwrap();
        symlink(store('i'), dir.path().join("home/result")).unwrap();
        symlink("/home/result", state.join("gcroots/auto/5")).unwrap();
        let found = find(&layout).unwrap();
        let links: Vec<_> = found
            .roots
            .iter()
            .filter(|root| root.kind != RootKind::Process)
            .map(|root| (root.path.name(), root.kind.name()))
            .collect();
        assert_eq!(
            links,
            [
                ("a", "link"),
                ("b", "link"),
                ("c", "link"),
                ("d", "link"),
                ("d", "indirect"),
                ("f", "link"),
                ("g", "indirect"),
                ("h", "system"),
                ("i", "indirect")
            ]
        );
        assert_eq!(found.stale, [state.join("gcroots/auto/3")]);
    }

    #[test]
    fn a_link_in_a_circle_is_no_root_and_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let roots = dir.path().join("nix/var/nix/gcroots");
        fs::create_dir_all(&roots).unwrap();
        symlink("circle", roots.join("circle")).unwrap();
        let found = find(&Layout::below(dir.path())).unwrap();
        assert!(found.roots.iter().all(|root| root.kind == RootKind::Process));
        assert!(found.stale.is_empty());
    }
}
