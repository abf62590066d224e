//! What runs: the processes of each unit, since when, and which files of `/usr` they have mapped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::root::{processes, unit_of_cgroup};

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, hundredths of a second since the machine started (`CLOCK_BOOTTIME`).
    pub started: u64,
}

/// The processes of all units. Threads of the kernel belong to none.
pub(super) fn by_unit() -> BTreeMap<String, Vec<Process>> {
    let mut found: BTreeMap<String, Vec<Process>> = BTreeMap::new();
    for (pid, process) in processes() {
        // A process that ends meanwhile is left out.
        let (Ok(cgroup), Ok(stat)) = (
            fs::read_to_string(process.join("cgroup")),
            fs::read_to_string(process.join("stat")),
        ) else {
            continue;
        };
        if let Some(started) = start_time(&stat)
            && cgroup.trim_end() != "0::/"
        {
            found
                .entry(unit_of_cgroup(&cgroup))
                .or_default()
                .push(Process { pid, started });
        }
    }
    found
}

/// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)). The name before it may hold anything, closing brackets too.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Now, in the same unit.
pub(super) fn now() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().unwrap_or_default();
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    whole.parse::<u64>().unwrap_or(0) * 100 + part.parse::<u64>().unwrap_or(0)
}

/// Paths below `/usr` that a process has mapped to execute.
pub(super) fn mapped(pid: u32) -> BTreeSet<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    mapped_paths(&maps)
}

fn mapped_paths(maps: &str) -> BTreeSet<String> {
    maps.lines()
        .filter(|line| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|mode| mode.contains('x'))
        })
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .filter_map(|path| in_usr(path.trim_end_matches(" (deleted)")))
        .collect()
}

/// A path below `/usr`. Files of a tree that was replaced are shown without the place where it was.
fn in_usr(path: &str) -> Option<String> {
    if path.starts_with("/usr/") {
        return Some(path.to_owned());
    }
    let first = path.trim_start_matches('/').split('/').next()?;
    [
        "bin", "games", "lib", "lib32", "lib64", "libexec", "libx32", "sbin", "share",
    ]
    .contains(&first)
    .then(|| format!("/usr{path}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_are_found_behind_odd_names() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time(""), None);
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let started = start_time(&own).unwrap();
        assert!(started > 0 && started <= now() + 1);
    }

    #[test]
    fn only_code_of_usr_counts() {
        let maps = "7f00-7f01 r-xp 00000000 00:1a 99 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f01-7f02 r--p 00000000 00:1a 99 /usr/share/data\n\
                    7f02-7f03 r-xp 00000000 00:1a 98 /usr/bin/a b (deleted)\n\
                    7f03-7f04 r-xp 00000000 00:00 0 [vdso]\n\
                    7f04-7f05 r-xp 00000000 00:19 7 /lib/of-a-replaced-tree.so\n\
                    7f05-7f06 r-xp 00000000 00:19 7 /nix/store/x/bin/keel\n";
        let paths: Vec<_> = mapped_paths(maps).into_iter().collect();
        assert_eq!(
            paths,
            [
                "/usr/bin/a b",
                "/usr/lib/of-a-replaced-tree.so",
                "/usr/lib/x86_64-linux-gnu/libc.so.6"
            ]
        );
    }
}
