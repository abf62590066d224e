//! Where the dynamic loader finds libraries (ld.so(8), "DESCRIPTION" and "Hardware capabilities").

use std::collections::HashMap;
use std::sync::Mutex;

use super::sources::{Found, Sources, resolve};

/// A longer ld.so.conf isn't read.
const CONF_MAX: usize = 1 << 16;
/// `include` nests no deeper.
const INCLUDES_MAX: usize = 8;
/// Variants for newer processors: which one is loaded depends on the machine, so all that are there count.
const CAPABILITIES: [&str; 4] = [
    "",
    "glibc-hwcaps/x86-64-v4/",
    "glibc-hwcaps/x86-64-v3/",
    "glibc-hwcaps/x86-64-v2/",
];

type Key = (String, String);

/// The directories of a root where libraries lie, and what was found there.
pub(crate) struct Libraries<'a> {
    sources: &'a dyn Sources,
    configured: Vec<String>,
    // Directory and name -> the files of that name there. Asked for again and again: every program needs libc.
    found: Mutex<HashMap<Key, Vec<String>>>,
}

impl<'a> Libraries<'a> {
    /// Reads `/etc/ld.so.conf`. What can't be read names no directories.
    pub(crate) fn new(sources: &'a dyn Sources) -> Self {
        let mut configured = Vec::new();
        read_conf(sources, "/etc/ld.so.conf", &mut configured, 0);
        Self {
            sources,
            configured,
            found: Mutex::default(),
        }
    }

    /// The files that `name` stands for in a program for `machine`, links followed; `first` are searched first. Several
    /// when there are variants for newer processors.
    pub(crate) fn find(&self, name: &str, first: &[String], machine: u16) -> Vec<String> {
        if name.contains('/') {
            return self.files(name, "");
        }
        for directory in self.directories(first, machine) {
            let found = self.in_directory(directory, name);
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// The path under which the loader opens `name`, its own links not followed. Variants for newer processors don't count.
    #[cfg(feature = "tools")]
    pub(crate) fn place(&self, name: &str, first: &[String], machine: u16) -> Option<String> {
        let there = |path: &String| {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            !self.files(&format!("{directory}/"), name).is_empty()
        };
        if name.contains('/') {
            return Some(name.to_owned()).filter(there);
        }
        self.directories(first, machine)
            .map(|directory| format!("{directory}/{name}"))
            .find(there)
    }

    fn directories<'b>(&'b self, first: &'b [String], machine: u16) -> impl Iterator<Item = &'b str> {
        let configured = self.configured.iter().map(String::as_str);
        let first = first.iter().map(String::as_str);
        first.chain(configured).chain(defaults(machine).iter().copied())
    }

    fn in_directory(&self, directory: &str, name: &str) -> Vec<String> {
        let key = (directory.to_owned(), name.to_owned());
        if let Ok(found) = self.found.lock()
            && let Some(known) = found.get(&key)
        {
            return known.clone();
        }
        let found: Vec<String> = CAPABILITIES
            .iter()
            .flat_map(|variant| self.files(&format!("{directory}/{variant}"), name))
            .collect();
        if let Ok(mut known) = self.found.lock() {
            let _old = known.insert(key, found.clone());
        }
        found
    }

    fn files(&self, directory: &str, name: &str) -> Vec<String> {
        match resolve(self.sources, &format!("{directory}{name}")) {
            Ok(Some(resolved)) if matches!(resolved.found, Found::File { .. }) => vec![resolved.path],
            _ => Vec::new(),
        }
    }
}

/// `$ORIGIN` is the directory of the file that says it; other variables aren't known here.
pub(crate) fn expand(directories: &[String], origin: &str) -> Vec<String> {
    let parent = origin.rsplit_once('/').map_or("", |(parent, _)| parent);
    let expanded = directories
        .iter()
        .map(|directory| directory.replace("${ORIGIN}", parent).replace("$ORIGIN", parent));
    expanded
        .filter(|directory| directory.starts_with('/') && !directory.contains('$'))
        .collect()
}

// The trusted directories of Debian's loader, by `e_machine`.
fn defaults(machine: u16) -> &'static [&'static str] {
    match machine {
        62 => &[
            "/lib/x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu",
            "/lib64",
            "/usr/lib64",
            "/lib",
            "/usr/lib",
        ],
        183 => &[
            "/lib/aarch64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/lib",
            "/usr/lib",
        ],
        243 => &[
            "/lib/riscv64-linux-gnu",
            "/usr/lib/riscv64-linux-gnu",
            "/lib",
            "/usr/lib",
        ],
        21 => &[
            "/lib/powerpc64le-linux-gnu",
            "/usr/lib/powerpc64le-linux-gnu",
            "/lib",
            "/usr/lib",
        ],
        _ => &["/lib", "/usr/lib"],
    }
}

fn read_conf(sources: &dyn Sources, path: &str, directories: &mut Vec<String>, depth: usize) {
    let Ok(Some(resolved)) = resolve(sources, path) else {
        return;
    };
    let Ok(bytes) = sources.read(&resolved.path, CONF_MAX) else {
        return;
    };
    for line in String::from_utf8_lossy(&bytes).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line
            .strip_prefix("include")
            .filter(|rest| rest.starts_with([' ', '\t']))
        {
            Some(pattern) if depth < INCLUDES_MAX => {
                for path in matching(sources, pattern.trim()) {
                    read_conf(sources, &path, directories, depth + 1);
                }
            }
            None if line.starts_with('/') => directories.push(line.to_owned()),
            _ => {}
        }
    }
}

// Patterns are `directory/*ending`, as every distribution writes them.
fn matching(sources: &dyn Sources, pattern: &str) -> Vec<String> {
    let pattern = if pattern.starts_with('/') {
        pattern.to_owned()
    } else {
        format!("/etc/{pattern}")
    };
    let Some((directory, name)) = pattern.rsplit_once('/') else {
        return Vec::new();
    };
    let Some((start, end)) = name.split_once('*') else {
        return vec![pattern];
    };
    let listed = match resolve(sources, directory) {
        Ok(Some(resolved)) => sources.list(&resolved.path).unwrap_or_default(),
        _ => Vec::new(),
    };
    let fits = |name: &String| {
        name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
    };
    let mut names: Vec<_> = listed.into_iter().filter(fits).collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| format!("{directory}/{name}"))
        .collect()
}
