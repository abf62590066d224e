//! What a running sandbox uses, looked at from outside: the memory of all its processes together, and the disk space of its
//! outputs. The kernel's own limits hold for one process and one file only.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};

use super::run::Ended;
use super::spec::Sandbox;

/// How often processes are looked at.
const OFTEN: Duration = Duration::from_millis(250);
/// How often outputs are, at most; a large tree is looked at more seldom.
const SELDOM: Duration = Duration::from_secs(1);
/// The part of the time that looking at outputs may take: one of this many.
const PART: u32 = 20;
/// Bytes of a block as `stat` counts them (inode(7)).
const BLOCK: u64 = 512;

/// A deeper tree isn't followed: whoever archives the outputs refuses it.
const DEPTH_MAX: usize = 300;

/// What is looked at, and when.
#[derive(Debug)]
pub(super) struct Watch {
    first: u32,
    memory_max: Option<u64>,
    output_max: u64,
    outputs: PathBuf,
    processes_at: Instant,
    outputs_at: Instant,
}

impl Watch {
    /// Of the sandbox whose first process is `first`.
    pub(super) fn new(first: u32, sandbox: &Sandbox) -> Self {
        let now = Instant::now();
        Self {
            first,
            memory_max: sandbox.memory_bytes_max,
            output_max: sandbox.output_bytes_max,
            outputs: sandbox.root.join(sandbox.store_dir.trim_start_matches('/')),
            processes_at: now + OFTEN,
            outputs_at: now + SELDOM,
        }
    }

    /// How long until something has to be looked at.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let processes = self.memory_max.map(|_| self.processes_at);
        let next = processes.map_or(self.outputs_at, |at| at.min(self.outputs_at));
        next.saturating_duration_since(now)
    }

    /// Looks at what is due. Returns why the sandbox has to end.
    pub(super) fn look(&mut self, now: Instant) -> Option<Ended> {
        if let Some(max) = self.memory_max
            && now >= self.processes_at
        {
            self.processes_at = now + OFTEN;
            if exceeds(&descendants(self.first), max) {
                return Some(Ended::OutOfMemory(max));
            }
        }
        if now >= self.outputs_at {
            let mut bytes = 0;
            occupied(&self.outputs, self.output_max, DEPTH_MAX, &mut bytes);
            self.outputs_at = now + SELDOM.max(now.elapsed().saturating_mul(PART));
            if bytes > self.output_max {
                return Some(Ended::OutputTooLarge(self.output_max));
            }
        }
        None
    }
}

/// Whether processes together use more memory than that. What several share counts once.
fn exceeds(processes: &[u32], max: u64) -> bool {
    let sum = |one: fn(u32) -> Option<u64>| processes.iter().filter_map(|pid| one(*pid)).sum::<u64>();
    // The exact figure costs the kernel a walk through their page tables.
    sum(resident) > max && sum(proportional) > max
}

/// Bytes of a process's pages that are in memory (proc_pid_statm(5)).
fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten()?;
    pages.checked_mul(u64::try_from(page).ok()?)
}

/// The same, of which pages that n processes share count an nth, and those of files not at all: they can be dropped
/// (proc_pid_smaps_rollup(5)).
fn proportional(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kib("Pss_Anon:")? + kib("Pss_Shmem:")?) << 10)
}

/// A process and all that it and they started. Those of a sandbox whose parent is gone belong to its first one.
fn descendants(first: u32) -> Vec<u32> {
    let mut all = vec![first];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        let children: Vec<u32> = threads
            .filter_map(Result::ok)
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .flat_map(|text| {
                text.split_whitespace()
                    .filter_map(|pid| pid.parse().ok())
                    .collect::<Vec<_>>()
            })
            .collect();
        all.extend(children);
    }
    all
}

/// Adds what a tree takes on the disk, and stops beyond `max`. What can't be read or lies deeper than `depth` isn't counted, and a file
/// of several names is divided among them.
fn occupied(path: &Path, max: u64, depth: usize, bytes: &mut u64) {
    let Ok(metadata) = path.symlink_metadata() else {
        return;
    };
    *bytes += metadata.blocks() * BLOCK / metadata.nlink().max(1);
    if !metadata.is_dir() || *bytes > max || depth == 0 {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().filter_map(Result::ok) {
        occupied(&entry.path(), max, depth - 1, bytes);
    }
}
