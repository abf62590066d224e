//! Files of a system's tree, copied with the links that lead to them and the libraries that they ask for.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::plan::{BuildError, Parts};
use crate::system::units::elf::{self, Dynamic};
use crate::system::units::libraries::{Libraries, expand};
use crate::system::units::sources::{Found, Sources, resolve};

/// A larger file isn't for an initrd.
const LARGEST_FILE: u64 = 256 << 20;
/// As many links as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Directories in each other.
const DEPTH_MAX: usize = 32;

/// Whether something must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// An image without it is none.
    Required,
    /// It goes in when it's there.
    Optional,
}

/// The tree of a system.
pub(super) struct SystemTree<'a> {
    sources: &'a dyn Sources,
    root: PathBuf,
    done: BTreeSet<String>,
}

impl<'a> SystemTree<'a> {
    /// The tree that `sources` show; messages say that it's at `root`.
    pub(super) fn new(sources: &'a dyn Sources, root: &Path) -> Self {
        SystemTree {
            sources,
            root: root.to_owned(),
            done: BTreeSet::new(),
        }
    }

    /// Names in a directory, sorted; none when there is no such directory.
    pub(super) fn list(&self, path: &str) -> Result<Vec<String>, BuildError> {
        let at = format!("/{path}");
        let listed = match resolve(self.sources, &at) {
            Ok(Some(resolved)) if resolved.found == Found::Directory => self.sources.list(&resolved.path),
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let mut names = listed.map_err(|source| self.unreadable(&at, source))?;
        names.sort_unstable();
        Ok(names)
    }

    /// The content of a text file; empty when there is none.
    pub(super) fn text(&self, path: &str) -> Result<String, BuildError> {
        let at = format!("/{path}");
        let read = match resolve(self.sources, &at) {
            Ok(Some(resolved)) => self.bytes(&resolved.path),
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let bytes = read.map_err(|source| self.unreadable(&at, source))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Copies a file or a directory with everything in it, the links on the way, and the libraries of programs.
    pub(super) fn copy(
        &mut self,
        parts: &mut Parts,
        path: &str,
        reason: &str,
        presence: Presence,
    ) -> Result<(), BuildError> {
        let mut pending = vec![(format!("/{path}"), reason.to_owned(), 0, Vec::new())];
        let there = resolve(self.sources, &format!("/{path}"))
            .map_err(|source| self.unreadable(path, source))?
            .is_some();
        if !there {
            return match presence {
                Presence::Optional => Ok(()),
                Presence::Required => Err(BuildError::Lacks {
                    path: path.to_owned(),
                    tree: self.root.clone(),
                }),
            };
        }
        while let Some((path, reason, depth, inherited)) = pending.pop() {
            let Some(at) = self.follow(parts, &path, &reason)? else {
                // A link that leads nowhere is copied as it is.
                continue;
            };
            if !self.done.insert(at.clone()) {
                continue;
            }
            match self.look(&at)? {
                Some(Found::Directory) if depth < DEPTH_MAX => {
                    for name in self.list(at.trim_start_matches('/'))? {
                        pending.push((format!("{at}/{name}"), reason.clone(), depth + 1, Vec::new()));
                    }
                }
                Some(Found::File { executable, .. }) => {
                    let content = self.bytes(&at).map_err(|source| self.unreadable(&at, source))?;
                    let (libraries, inherited) = self.libraries(&at, &content, &inherited)?;
                    let reason_of = format!("a library of {}", at.trim_start_matches('/'));
                    for library in libraries {
                        pending.push((library, reason_of.clone(), 0, inherited.clone()));
                    }
                    if executable && content.starts_with(b"#!") {
                        parts.note(format!(
                            "{at} is a script: it needs its interpreter, which no image holds unless --include names it"
                        ));
                    }
                    let mode = if executable { 0o755 } else { 0o644 };
                    parts.file(at.trim_start_matches('/'), mode, content, &reason)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Follows the links of `path`, and copies those that aren't there yet. Where it leads, if anywhere.
    fn follow(&self, parts: &mut Parts, path: &str, reason: &str) -> Result<Option<String>, BuildError> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let directory = resolve(self.sources, parent).map_err(|source| self.unreadable(&path, source))?;
            let Some(directory) = directory else {
                return Ok(None);
            };
            let at = format!("{}/{name}", directory.path.trim_end_matches('/'));
            let Some(found) = self.look(&at)? else {
                return Ok(None);
            };
            let Found::Symlink(target) = found else {
                return Ok(Some(at));
            };
            let link = at.trim_start_matches('/');
            if !parts.has(link) {
                parts.link(link, &target, reason)?;
            }
            path = if target.starts_with('/') {
                target
            } else {
                format!("{}/{target}", directory.path.trim_end_matches('/'))
            };
        }
        Ok(None)
    }

    /// Paths of the libraries that a program asks for, and of those that it opens when they're there (`.note.dlopen`).
    /// `inherited` are the directories of what was loaded before: a library that the program itself has loaded isn't looked
    /// for again, wherever it lies. Returned with those of `path` added.
    fn libraries(
        &self,
        path: &str,
        content: &[u8],
        inherited: &[String],
    ) -> Result<(Vec<String>, Vec<String>), BuildError> {
        let dynamic = elf::read(&content.to_vec()).map_err(|source| self.unreadable(path, source))?;
        let Some(dynamic) = dynamic else {
            return Ok((Vec::new(), Vec::new()));
        };
        let libraries = Libraries::new(self.sources);
        let mut first = first_directories(&dynamic, path);
        first.extend_from_slice(inherited);
        let find = |name: &str| libraries.place(name, &first, dynamic.machine);
        let mut found = Vec::new();
        for name in dynamic.needed.iter().chain(&dynamic.interpreter) {
            let place = find(name).ok_or_else(|| BuildError::Library {
                program: self.root.join(path.trim_start_matches('/')),
                library: name.clone(),
            })?;
            found.push(place);
        }
        for names in &dynamic.optional {
            found.extend(names.iter().find_map(|name| find(name)));
        }
        Ok((found, first))
    }

    fn look(&self, path: &str) -> Result<Option<Found>, BuildError> {
        self.sources
            .look(path)
            .map_err(|source| self.unreadable(path, source))
    }

    fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.sources.open(path)?;
        let _length = file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST_FILE) {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::FileTooLarge.into())
        }
    }

    fn unreadable(&self, path: &str, source: io::Error) -> BuildError {
        BuildError::Read {
            path: self.root.join(path.trim_start_matches('/')),
            source,
        }
    }
}

/// Directories that a program's libraries are searched for in before all others.
fn first_directories(dynamic: &Dynamic, path: &str) -> Vec<String> {
    let own = if dynamic.runpath.is_empty() {
        &dynamic.rpath
    } else {
        &dynamic.runpath
    };
    expand(own, path)
}

#[cfg(test)]
#[path = "system_tree_tests.rs"]
mod tests;
