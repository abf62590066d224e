//! Looking at a machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::blocks::{Block, Blocks};
use super::machine::{Account, FileSystem, Machine, Swap};
use crate::initrd::keymap::layout_of_system;
use crate::initrd::{self, Host};
use crate::root::{Mount, parse_mounts};
use crate::sys::open_in_root::RootDir;
use crate::system::ids::{parse_group, parse_passwd};
use crate::system::packages::from_dpkg_status;

/// File systems on a block device that a machine is made of.
const KINDS: [&str; 9] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "ntfs3", "exfat",
];
/// What comes and goes below these is nobody's configuration.
const PASSING: [&str; 8] = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/media",
    "/mnt",
    "/nix/store",
];
/// Options of a mount that are worth keeping; others are the kernel's defaults.
const OPTIONS: [&str; 7] = [
    "ro",
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "nodiratime",
    "strictatime",
];
/// Options of a file system that are worth keeping, up to a `=`.
const OF_FILE_SYSTEM: [&str; 8] = [
    "subvol", "compress", "umask", "fmask", "dmask", "discard", "errors", "sync",
];
/// No file that is read here is larger.
const FILE_MAX: u64 = 64 << 20;
/// Numbers of people's accounts (Debian policy, section 9.2.2).
const PEOPLE: std::ops::Range<u32> = 1000..60_000;

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directory that holds the machine's `sys`, `proc` and `dev`: `/`.
    pub machine: &'a Path,
    /// Where the root file system is mounted that is described: `/`, or the place of an installation.
    pub root: &'a Path,
}

/// Why nothing can be described.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file or directory can't be read.
    #[error("{path} can't be read: {source}")]
    Read {
        /// It.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nothing is mounted there.
    #[error("no file system is mounted at {0}; mount the root file system there, and what belongs below it")]
    NotMounted(PathBuf),
    /// The root isn't on a disk.
    #[error("the root is {kind} ({source_name}), which lies on no block device of this machine")]
    NoDisk {
        /// Its type.
        kind: String,
        /// What is mounted.
        source_name: String,
    },
}

/// Looks at a machine.
pub fn scan(place: &Place<'_>) -> Result<Machine, ScanError> {
    let unreadable = |path: PathBuf| move |source| ScanError::Read { path, source };
    let table = place.machine.join("proc/self/mountinfo");
    let table = fs::read(&table).map_err(unreadable(table))?;
    let blocks = Blocks::new(place.machine).ok_or_else(|| ScanError::Read {
        path: place.machine.join("sys"),
        source: io::ErrorKind::NotFound.into(),
    })?;
    let root = RootDir::open(place.root).map_err(unreadable(place.root.to_owned()))?;
    let mut machine = Machine {
        efi: place.machine.join("sys/firmware/efi").exists(),
        ..Machine::default()
    };
    let mut look = Look {
        place,
        blocks: &blocks,
        machine: &mut machine,
    };
    look.mounts(&table)?;
    look.swaps();
    look.modules();
    look.processor();
    settings(&root, place.root, &mut machine);
    packages(&root, &mut machine);
    accounts(&root, &mut machine);
    machine.luks.sort_by(|a, b| a.name.cmp(&b.name));
    machine.notes.dedup();
    Ok(machine)
}

struct Look<'a> {
    place: &'a Place<'a>,
    blocks: &'a Blocks,
    machine: &'a mut Machine,
}

impl Look<'_> {
    fn mounts(&mut self, table: &[u8]) -> Result<(), ScanError> {
        let supers = options_of_file_systems(table);
        let mounts = parse_mounts(table);
        // A later mount covers an earlier one.
        let mut at: BTreeMap<PathBuf, &Mount> = BTreeMap::new();
        for mount in &mounts {
            if let Ok(below) = mount.mount_point.strip_prefix(self.place.root) {
                let _covered = at.insert(Path::new("/").join(below), mount);
            }
        }
        let root = at
            .get(Path::new("/"))
            .ok_or_else(|| ScanError::NotMounted(self.place.root.to_owned()))?;
        if self.block_of(root).is_none() {
            return Err(ScanError::NoDisk {
                kind: root.kind.clone(),
                source_name: root.source.clone(),
            });
        }
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for (point, mount) in at {
            let is_root = point == Path::new("/");
            let is_passing = PASSING.iter().any(|place| point.starts_with(place));
            if !is_root && (is_passing || !KINDS.contains(&mount.kind.as_str())) {
                continue;
            }
            let options = options(mount, supers.get(&mount.id).map_or("", String::as_str));
            let is_subvolume = mount.kind == "btrfs" && options.iter().any(|one| one.starts_with("subvol="));
            // A second place for a directory of a file system is no file system of its own.
            if !is_subvolume && (mount.root != Path::new("/") || !seen.insert(mount.device.clone())) {
                continue;
            }
            self.file_system(&point, mount, options);
        }
        Ok(())
    }

    /// Btrfs has numbers of its own; what was mounted is a device there.
    fn block_of(&self, mount: &Mount) -> Option<Block> {
        self.blocks
            .by_number(&mount.device)
            .or_else(|| self.blocks.by_path(&mount.source))
    }

    fn file_system(&mut self, point: &Path, mount: &Mount, options: Vec<String>) {
        let Some(block) = self.block_of(mount) else {
            self.machine.notes.push(format!(
                "{} ({}) lies on no block device, and was left out.",
                point.display(),
                mount.source
            ));
            return;
        };
        let notes = &mut self.machine.notes;
        self.blocks.luks_below(&block, &mut self.machine.luks, notes);
        self.machine.file_systems.push(FileSystem {
            mount_point: point.to_string_lossy().into_owned(),
            device: self.blocks.stable_name(&block, notes),
            kind: mount.kind.clone(),
            options,
            check: matches!(mount.kind.as_str(), "ext2" | "ext3" | "ext4" | "vfat"),
        });
    }

    fn swaps(&mut self) {
        let read = |path: &str| fs::read_to_string(self.place.machine.join(path)).unwrap_or_default();
        let (table, parameters) = (read("proc/swaps"), read("proc/cmdline"));
        let resumes = parameters
            .split_ascii_whitespace()
            .any(|word| word.starts_with("resume="));
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [path, kind, .., priority] = fields.as_slice() else {
                continue;
            };
            // Compressed memory isn't kept.
            if path.starts_with("/dev/zram") {
                continue;
            }
            let device = match self.blocks.by_path(path) {
                Some(block) => {
                    let notes = &mut self.machine.notes;
                    self.blocks.luks_below(&block, &mut self.machine.luks, notes);
                    self.blocks.stable_name(&block, notes)
                }
                None => (*path).to_owned(),
            };
            self.machine.swap.push(Swap {
                device,
                // The kernel gives negative ones where nobody has set one.
                priority: priority.parse().ok().filter(|priority| *priority >= 0),
                resume: resumes && *kind == "partition" && !self.machine.swap.iter().any(|swap| swap.resume),
            });
        }
    }

    /// What `keel initrd --host` would take along for the root, as far as it's a loaded module.
    fn modules(&mut self) {
        let Host {
            needs,
            loaded,
            problems,
            ..
        } = initrd::Machine(self.place.machine).look_for(self.place.root);
        let musts = needs.iter().filter(|need| need.is_must);
        let names = musts.filter_map(|need| need.names.iter().find(|name| loaded.contains(*name)));
        let names: BTreeSet<String> = names.cloned().collect();
        self.machine.modules = names.into_iter().collect();
        self.machine.notes.extend(problems);
    }

    fn processor(&mut self) {
        let path = self.place.machine.join("proc/cpuinfo");
        let text = fs::read_to_string(path).unwrap_or_default();
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim())
        };
        self.machine.processor = field("model name").map(str::to_owned);
        self.machine.is_virtual = field("flags")
            .unwrap_or_default()
            .split_ascii_whitespace()
            .any(|flag| flag == "hypervisor");
        let microcode = match field("vendor_id") {
            Some("GenuineIntel") => "intel-microcode",
            Some("AuthenticAMD") => "amd64-microcode",
            _ => return,
        };
        // Whoever runs the virtual machine brings the microcode.
        if !self.machine.is_virtual {
            self.machine.packages.push(microcode.to_owned());
        }
    }
}

/// The options of the file system itself: the last field of mountinfo, by the mount's number.
fn options_of_file_systems(table: &[u8]) -> BTreeMap<u64, String> {
    let text = String::from_utf8_lossy(table);
    let lines = text.lines().filter_map(|line| {
        let (id, rest) = line.split_once(' ')?;
        Some((id.parse().ok()?, rest.rsplit(' ').next()?.to_owned()))
    });
    lines.collect()
}

fn options(mount: &Mount, of_file_system: &str) -> Vec<String> {
    let own = mount.options.split(',').filter(|option| OPTIONS.contains(option));
    let name = |option: &str| option.split('=').next().unwrap_or_default().to_owned();
    let others = of_file_system
        .split(',')
        .filter(|option| OF_FILE_SYSTEM.contains(&name(option).as_str()))
        // What ext4 does by itself on Debian, and the whole of a Btrfs.
        .filter(|option| !matches!(*option, "errors=remount-ro" | "errors=continue" | "subvol=/"));
    own.chain(others).map(str::to_owned).collect()
}

fn read(root: &RootDir, path: &str) -> Option<String> {
    let bytes = root.read(path, FILE_MAX).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn settings(root: &RootDir, path: &Path, machine: &mut Machine) {
    let first_line = |text: String| {
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'));
        line.map(str::to_owned)
    };
    let value = |file: &str, key: &str| {
        let text = read(root, file)?;
        let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
        let (_, value) = lines.find(|(name, _)| *name == key)?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    machine.hostname = read(root, "etc/hostname").and_then(first_line);
    let zone = root.read_link("etc/localtime").ok().and_then(|target| {
        let target = target.to_string_lossy().into_owned();
        target.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
    });
    machine.time_zone = zone.or_else(|| read(root, "etc/timezone").and_then(first_line));
    machine.locale = value("etc/locale.conf", "LANG").or_else(|| value("etc/default/locale", "LANG"));
    machine.keymap = layout_of_system(&path.join("etc")).map(|layout| layout.name());
    machine.suite = value("etc/os-release", "VERSION_CODENAME")
        .or_else(|| value("usr/lib/os-release", "VERSION_CODENAME"));
}

/// Firmware that the root file system has as packages.
fn packages(root: &RootDir, machine: &mut Machine) {
    let Some(status) = read(root, "var/lib/dpkg/status").or_else(|| read(root, "usr/share/dpkg/status"))
    else {
        return;
    };
    let installed = from_dpkg_status(status.as_bytes()).packages.into_iter();
    let firmware = installed
        .map(|package| package.name)
        .filter(|name| name.starts_with("firmware-"));
    machine.packages.extend(firmware);
    machine.packages.sort();
    machine.packages.dedup();
}

fn accounts(root: &RootDir, machine: &mut Machine) {
    let bytes = |path: &str| root.read(path, FILE_MAX).unwrap_or_default();
    let users = parse_passwd(&bytes("etc/passwd")).unwrap_or_default();
    let groups = parse_group(&bytes("etc/group")).unwrap_or_default();
    let sudo = groups.iter().find(|group| group.name == "sudo");
    let people = users.into_iter().filter(|user| PEOPLE.contains(&user.uid));
    machine.accounts = people
        .map(|user| Account {
            is_administrator: sudo.is_some_and(|sudo| sudo.members.contains(&user.name)),
            uid: user.uid,
            name: user.name,
        })
        .collect();
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
