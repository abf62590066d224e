//! Generations of a profile, and whether a system is intact. Everything is resolved inside of a root directory, so that
//! the initrd can look at a mounted root.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::OFlag;

use super::bootspec::{self, BootSpec};
use crate::sys::open_in_root::open_in_root;

/// The profile of the machine itself.
pub const SYSTEM_PROFILE: &str = "system";
/// Where profiles are, below the root.
const PROFILES: &str = "nix/var/nix/profiles";
/// Where stamps are, below the root.
const STAMPS: &str = "nix/var/keel/objects/complete";
/// A closure of a million paths; what is larger isn't read.
const LARGEST_CLOSURE: u64 = 128 << 20;

/// A profile that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("profile {name} can't be read in {path}: {source}")]
pub struct ProfileError {
    name: String,
    path: PathBuf,
    source: io::Error,
}

/// A numbered link of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// The store path that it points to, as seen inside of the root.
    pub system: String,
    /// When the link was made.
    pub created: Option<SystemTime>,
}

/// The generations of a profile.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// By number.
    pub generations: Vec<Generation>,
    /// Number of the current one.
    pub current: Option<u64>,
}

/// Whether a system can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// Everything is there.
    Intact,
    /// Something is missing or can't be read; says what.
    Damaged(String),
    /// Another kind of system, such as NixOS's.
    Foreign,
}

impl Profile {
    /// Reads the profile `name` below `root`. Links that don't point into a store are left out.
    pub fn read(root: &Path, name: &str) -> Result<Profile, ProfileError> {
        let path = root.join(PROFILES);
        let error = |source| ProfileError { name: name.to_owned(), path: path.clone(), source };
        let mut generations = Vec::new();
        for entry in fs::read_dir(&path).map_err(error)? {
            let entry = entry.map_err(error)?;
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let Some(number) = link_number(name, &file_name) else { continue };
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let Some(system) = store_path(&target) else { continue };
            let created = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            generations.push(Generation { number, system, created });
        }
        generations.sort_by_key(|generation| generation.number);
        let current = fs::read_link(path.join(name)).ok().and_then(|target| {
            link_number(name, &target.file_name()?.to_string_lossy())
        });
        Ok(Profile { generations, current })
    }

    /// The current generation.
    pub fn current_generation(&self) -> Option<&Generation> {
        let number = self.current?;
        self.generations.iter().find(|generation| generation.number == number)
    }

    /// The newest generation that points to `system`.
    pub fn number_of(&self, system: &str) -> Option<u64> {
        self.generations.iter().rev().find(|generation| generation.system == system).map(|found| found.number)
    }
}

/// `system-42-link` is generation 42 of `system`.
fn link_number(profile: &str, file_name: &str) -> Option<u64> {
    file_name.strip_prefix(profile)?.strip_prefix('-')?.strip_suffix("-link")?.parse().ok()
}

/// An absolute path with a usable last part.
fn store_path(target: &Path) -> Option<String> {
    let text = target.to_str()?;
    let plain = target.is_absolute() && target.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    (plain && target.file_name().is_some()).then(|| text.to_owned())
}

/// A system below a root.
#[derive(Debug)]
pub struct System {
    root: OwnedFd,
    path: String,
}

impl System {
    /// The system at `path`, inside of `root`. Nothing is looked at yet.
    pub fn at(root: &Path, path: &str) -> io::Result<System> {
        Ok(System { root: File::open(root)?.into(), path: path.to_owned() })
    }

    /// Reads `boot.json`.
    pub fn boot_spec(&self) -> Result<BootSpec, String> {
        let bytes = self.read("boot.json", bootspec::LARGEST)?;
        BootSpec::parse(&bytes).map_err(|error| error.to_string())
    }

    /// Reads a file of the system that isn't larger than `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, String> {
        let path = format!("{}/{name}", self.path);
        let read = || -> io::Result<Vec<u8>> {
            let file = File::from(open_in_root(self.root.as_fd(), Path::new(&path), OFlag::O_RDONLY)?);
            let mut bytes = Vec::new();
            if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
                return Err(io::Error::other("it is too large"));
            }
            Ok(bytes)
        };
        read().map_err(|error| format!("{path}: {error}"))
    }

    /// Whether everything that the system needs is there: every path of its closure, and the stamp of its objects.
    /// Store paths appear by one rename after all in them is on the disk, so existence is enough.
    pub fn integrity(&self) -> Integrity {
        match self.boot_spec() {
            Ok(spec) if spec.keel.is_none() => return Integrity::Foreign,
            Ok(_) => {}
            Err(reason) => return Integrity::Damaged(reason),
        }
        let closure = match self.read("closure", LARGEST_CLOSURE) {
            Ok(bytes) => bytes,
            Err(reason) => return Integrity::Damaged(reason),
        };
        for line in String::from_utf8_lossy(&closure).lines() {
            if !line.starts_with('/') || !self.exists(line) {
                return Integrity::Damaged(format!("{line} is missing"));
            }
        }
        let name = self.path.rsplit('/').next().unwrap_or_default();
        if !self.exists(&format!("{STAMPS}/{name}")) {
            return Integrity::Damaged("its objects are not complete".to_owned());
        }
        Integrity::Intact
    }

    fn exists(&self, path: &str) -> bool {
        open_in_root(self.root.as_fd(), Path::new(path), OFlag::O_PATH).is_ok()
    }
}
