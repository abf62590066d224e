//! The code that units run: programs, the interpreters of scripts, and all libraries that they are linked with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;

use super::elf::{self, Dynamic};
use super::libraries::{Libraries, expand};
use super::sources::{Found, Sources, resolve};

/// Where systemd looks up a program without a path (`DEFAULT_PATH_NORMAL`).
const SEARCH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];
/// The kernel reads no longer first line of a script (`BINPRM_BUF_SIZE`).
const SCRIPT_LINE: u64 = 256;
/// A script's interpreter may itself be a script, as often as the kernel allows.
const INTERPRETERS_MAX: usize = 5;
/// A program that is linked with more isn't followed further.
const LIBRARIES_MAX: usize = 2000;

/// Programs of a root, each looked at once.
pub(super) struct Programs<'a> {
    sources: &'a dyn Sources,
    libraries: Libraries<'a>,
    dynamics: BTreeMap<String, Option<Dynamic>>,
    closures: BTreeMap<String, Vec<String>>,
}

impl<'a> Programs<'a> {
    pub(super) fn new(sources: &'a dyn Sources) -> Self {
        Self {
            sources,
            libraries: Libraries::new(sources),
            dynamics: BTreeMap::new(),
            closures: BTreeMap::new(),
        }
    }

    /// Programs and the libraries of each, as far as [`Programs::run`] came upon them.
    pub(super) fn into_closures(self) -> BTreeMap<String, Vec<String>> {
        self.closures
    }

    /// The libraries of a program that was come upon.
    #[cfg(test)]
    pub(super) fn closure(&self, program: &str) -> Vec<String> {
        self.closures.get(program).cloned().unwrap_or_default()
    }

    /// What runs when `program` (a path or a name) is run: itself and, for a script, its interpreters. Files that
    /// aren't there are left out.
    pub(super) fn run(&mut self, program: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut next = self.find(program);
        while let Some(path) = next.take() {
            if found.contains(&path) || found.len() >= INTERPRETERS_MAX {
                break;
            }
            self.follow(&path);
            next = self.interpreter(&path).and_then(|name| self.find(&name));
            found.push(path);
        }
        found
    }

    /// The path of a regular file, links followed.
    pub(super) fn find(&self, program: &str) -> Option<String> {
        let at = |path: &str| match resolve(self.sources, path) {
            Ok(Some(found)) if matches!(found.found, Found::File { .. }) => Some(found.path),
            _ => None,
        };
        if program.starts_with('/') {
            at(program)
        } else if program.contains('/') {
            None
        } else {
            SEARCH
                .iter()
                .find_map(|directory| at(&format!("{directory}/{program}")))
        }
    }

    // The program that a script's first line names; behind `env` the one that it looks up.
    fn interpreter(&self, path: &str) -> Option<String> {
        let mut line = Vec::new();
        let file = self.sources.open(path).ok()?;
        let _length = file.take(SCRIPT_LINE).read_to_end(&mut line).ok()?;
        let line = line.split(|&byte| byte == b'\n').next()?;
        let mut words = str::from_utf8(line).ok()?.strip_prefix("#!")?.split_whitespace();
        let program = words.next()?;
        let looked_up = if program.ends_with("/env") {
            words.find(|word| !word.starts_with('-') && !word.contains('='))
        } else {
            None
        };
        Some(looked_up.unwrap_or(program).to_owned())
    }

    // Notes the libraries of `program`: breadth first, as the loader does it.
    fn follow(&mut self, program: &str) {
        if self.closures.contains_key(program) {
            return;
        }
        let mut found = BTreeSet::new();
        let own = self.dynamic(program);
        let machine = own.as_ref().map_or(0, |dynamic| dynamic.machine);
        // Without a RUNPATH of its own an object is searched for by the RPATH of the program too.
        let inherited = own
            .as_ref()
            .map(|dynamic| expand(&dynamic.rpath, program))
            .unwrap_or_default();
        let mut pending: VecDeque<(String, Dynamic)> =
            own.map(|own| (program.to_owned(), own)).into_iter().collect();
        while let Some((path, dynamic)) = pending.pop_front() {
            let first = if dynamic.runpath.is_empty() {
                let mut first = expand(&dynamic.rpath, &path);
                first.extend(inherited.iter().cloned());
                first
            } else {
                expand(&dynamic.runpath, &path)
            };
            let mut names = dynamic.needed;
            names.extend(dynamic.interpreter);
            let found_here: Vec<_> = names
                .iter()
                .flat_map(|name| self.libraries.find(name, &first, machine))
                .collect();
            for library in found_here {
                if found.len() < LIBRARIES_MAX
                    && !found.contains(&library)
                    && let Some(dynamic) = self
                        .dynamic(&library)
                        .filter(|dynamic| dynamic.machine == machine)
                {
                    let _new = found.insert(library.clone());
                    pending.push_back((library, dynamic));
                }
            }
        }
        let _new = self
            .closures
            .insert(program.to_owned(), found.into_iter().collect());
    }

    fn dynamic(&mut self, path: &str) -> Option<Dynamic> {
        if let Some(known) = self.dynamics.get(path) {
            return known.clone();
        }
        let file = self.sources.open(path).ok();
        let dynamic = file.and_then(|file| elf::read(&file).ok().flatten());
        let _new = self.dynamics.insert(path.to_owned(), dynamic.clone());
        dynamic
    }
}
