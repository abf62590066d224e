//! What an initrd for this very machine needs: the drivers of the root's disks, of its keyboards, and the ciphers in use.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::attached::drivers;
use super::depmod::underscored;
use crate::block::luks::Header;
use crate::root::parse_mounts;

/// Keys that a keyboard has and a power button hasn't: 1, Q, Enter, A, Space (Linux,
/// include/uapi/linux/input-event-codes.h).
const KEYS_OF_A_KEYBOARD: [usize; 5] = [2, 16, 28, 30, 57];
/// Deeper than any chain of mappings.
const DEPTH_MAX: usize = 16;

/// What keel-init needs to bring the root of a machine up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// What has to be in the image.
    pub needs: Vec<Need>,
    /// Modules that are loaded now, with `_` for `-`.
    pub loaded: BTreeSet<String>,
    /// What can't be looked at, or can't be brought up by keel-init at all, a sentence each.
    pub problems: Vec<String>,
    /// What should be known.
    pub notes: Vec<String>,
}

/// A module, by one of several names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The module, then aliases that stand for it. The first that the kernel knows counts.
    pub names: Vec<String>,
    /// What needs it.
    pub by: String,
    /// Whether the machine can't boot without it.
    pub is_must: bool,
}

/// A machine to look at: the directory that holds its `sys`, `proc` and `dev`.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a>(pub &'a Path);

impl Machine<'_> {
    /// Looks. What can't be found out is among the problems.
    pub fn look(self) -> Host {
        self.look_for(Path::new("/"))
    }

    /// Looks for what the root file system needs that is mounted at `root`.
    pub fn look_for(self, root: &Path) -> Host {
        let mut host = Host {
            loaded: self.loaded(),
            ..Host::default()
        };
        // Drivers are told by where a device lies, so links in the way would lead nowhere.
        let Ok(sysfs) = fs::canonicalize(self.0.join("sys")) else {
            host.problems
                .push(format!("{}/sys can't be read", self.0.display()));
            return host;
        };
        let mut look = Look {
            machine: self,
            sysfs: &sysfs,
            host: &mut host,
            seen: BTreeSet::new(),
        };
        look.root(root);
        look.swap();
        look.keyboards();
        host.needs.sort();
        // What the root and the swap both need stays a must.
        host.needs.dedup_by(|later, first| {
            let is_same = later.names == first.names;
            first.is_must |= is_same && later.is_must;
            is_same
        });
        host
    }

    fn loaded(self) -> BTreeSet<String> {
        let modules = fs::read_dir(self.0.join("sys/module"))
            .into_iter()
            .flatten()
            .flatten();
        // What is built in has parameters there, but no state.
        let loaded = modules.filter(|entry| entry.path().join("initstate").exists());
        loaded
            .map(|entry| underscored(&entry.file_name().to_string_lossy()))
            .collect()
    }
}

struct Look<'a> {
    machine: Machine<'a>,
    sysfs: &'a Path,
    host: &'a mut Host,
    /// Devices that were looked at, or are being.
    seen: BTreeSet<PathBuf>,
}

impl Look<'_> {
    fn need(&mut self, names: &[&str], by: &str, is_must: bool) {
        self.host.needs.push(Need {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            by: by.to_owned(),
            is_must,
        });
    }

    fn root(&mut self, place: &Path) {
        let table = fs::read(self.machine.0.join("proc/self/mountinfo")).unwrap_or_default();
        let mounts = parse_mounts(&table);
        let root = mounts.iter().rfind(|mount| mount.mount_point == place);
        let Some(root) = root else {
            let problem = "proc/self/mountinfo names no root; is /proc mounted?";
            self.host.problems.push(problem.to_owned());
            return;
        };
        // Btrfs has numbers of its own; what was mounted is a device there.
        let by_number = self.sysfs.join("dev/block").join(&root.device);
        let device = fs::canonicalize(by_number)
            .ok()
            .or_else(|| self.named(Path::new(&root.source)));
        let Some(device) = device else {
            self.host.problems.push(format!(
                "the root is {} ({}), which lies on no block device of this machine; use --set, and --module for what \
                 its disk needs",
                root.source, root.kind
            ));
            return;
        };
        self.need(
            &[&root.kind, &format!("fs-{}", root.kind)],
            "the root file system",
            true,
        );
        self.block(&device, "the root's disk", true);
    }

    /// The directory of a device in `/dev`.
    fn named(&self, path: &Path) -> Option<PathBuf> {
        let name = path.strip_prefix("/dev").ok()?;
        let class = self.sysfs.join("class/block");
        if let Ok(found) = fs::canonicalize(class.join(name.file_name()?)) {
            return Some(found);
        }
        // /dev/mapper/NAME
        let mapped = name.strip_prefix("mapper").ok()?.to_str()?;
        let entries = fs::read_dir(&class).ok()?.flatten();
        entries
            .map(|entry| entry.path())
            .find(|path| fs::read_to_string(path.join("dm/name")).is_ok_and(|name| name.trim() == mapped))
            .and_then(|path| fs::canonicalize(path).ok())
    }

    /// Swap may hold a hibernated system (`resume=`).
    fn swap(&mut self) {
        let table = fs::read_to_string(self.machine.0.join("proc/swaps")).unwrap_or_default();
        let devices = table
            .lines()
            .skip(1)
            .filter_map(|line| line.split_ascii_whitespace().next());
        let devices: Vec<PathBuf> = devices.filter_map(|path| self.named(Path::new(path))).collect();
        for device in devices {
            // Compressed memory isn't kept.
            if !device.to_string_lossy().contains("/zram") {
                self.block(&device, "the swap's disk", false);
            }
        }
    }

    /// A block device, and all that it's made of.
    fn block(&mut self, device: &Path, by: &str, is_must: bool) {
        if self.seen.len() > DEPTH_MAX * DEPTH_MAX || !self.seen.insert(device.to_owned()) {
            return;
        }
        let name = device
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let uuid = fs::read_to_string(device.join("dm/uuid")).ok();
        let parts: Vec<PathBuf> = fs::read_dir(device.join("slaves"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::canonicalize(entry.path()).ok())
            .collect();
        match uuid.as_deref().map(str::trim) {
            Some(uuid) if uuid.starts_with("LVM-") => self.need(&["dm_mod"], "LVM", is_must),
            Some(uuid) if uuid.starts_with("CRYPT-LUKS") => {
                self.need(&["dm_crypt"], &format!("{name}, a LUKS volume"), is_must);
                for part in &parts {
                    self.cipher(part, is_must);
                }
            }
            Some(uuid) => self.unsupported(&format!("{name} (device-mapper, {uuid})"), is_must),
            None if device.join("md").exists() => {
                self.unsupported(&format!("{name} (software RAID)"), is_must);
            }
            None if device.join("loop").exists() => {
                self.unsupported(&format!("{name} (a loop device)"), is_must);
            }
            None => {}
        }
        for driver in drivers(self.sysfs, device) {
            let names = [driver.module.as_deref(), driver.modalias.as_deref()];
            let names: Vec<&str> = names.into_iter().flatten().collect();
            if !names.is_empty() {
                self.need(&names, by, is_must && driver.module.is_some());
            }
        }
        for part in parts {
            self.block(&part, by, is_must);
        }
    }

    fn unsupported(&mut self, what: &str, is_must: bool) {
        let text = format!("{what} is nothing that keel-init can bring up");
        if is_must {
            self.host.problems.push(text);
        } else {
            self.host.notes.push(text);
        }
    }

    /// The cipher of a volume, as its header says.
    fn cipher(&mut self, device: &Path, is_must: bool) {
        let name = device.file_name().unwrap_or_default();
        let path = self.machine.0.join("dev").join(name);
        let header = File::open(&path)
            .map_err(|error| error.to_string())
            .and_then(|file| Header::read(&file).map_err(|error| error.to_string()));
        let (header, _) = match header {
            Ok(read) => read,
            Err(why) => {
                self.host.notes.push(format!(
                    "the LUKS header on {} can't be read ({why}); the usual ciphers and those in use now are put in",
                    path.display()
                ));
                return;
            }
        };
        // What comes third makes initialisation vectors; dm-crypt knows the plain ones itself.
        let words = header.cipher().split(['-', ':', '(', ')', ',']);
        for word in words.filter(|word| !word.is_empty() && !word.starts_with("plain")) {
            let by = format!("{}, encrypted with {}", name.to_string_lossy(), header.cipher());
            self.need(&[&format!("crypto-{word}")], &by, is_must);
        }
    }

    fn keyboards(&mut self) {
        let inputs = fs::read_dir(self.sysfs.join("class/input"))
            .into_iter()
            .flatten()
            .flatten();
        let mut found = false;
        for input in inputs {
            let Ok(device) = fs::canonicalize(input.path()) else {
                continue;
            };
            let keys = fs::read_to_string(device.join("capabilities/key")).unwrap_or_default();
            if !is_keyboard(&keys) {
                continue;
            }
            found = true;
            let name = fs::read_to_string(device.join("name")).unwrap_or_default();
            let by = format!("the keyboard {}", name.trim());
            for driver in drivers(self.sysfs, &device) {
                let names = [driver.module.as_deref(), driver.modalias.as_deref()];
                let names: Vec<&str> = names.into_iter().flatten().collect();
                if !names.is_empty() {
                    self.need(&names, &by, false);
                }
            }
        }
        if !found {
            let note = "no keyboard is connected now; drivers of usual ones are put in";
            self.host.notes.push(note.to_owned());
        }
    }
}

/// Whether a bitmap of keys (words of 64 bits in hexadecimal digits, the highest first) is a keyboard's.
fn is_keyboard(capabilities: &str) -> bool {
    let words: Option<Vec<u64>> = capabilities
        .split_ascii_whitespace()
        .rev()
        .map(|word| u64::from_str_radix(word, 16).ok())
        .collect();
    let words = words.unwrap_or_default();
    KEYS_OF_A_KEYBOARD.iter().all(|key| {
        words
            .get(key / 64)
            .is_some_and(|word| word >> (key % 64) & 1 == 1)
    })
}

#[cfg(test)]
#[path = "host_tests.rs"]
pub(crate) mod tests;
