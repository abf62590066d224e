//! The running machine: its lock, its systems, and what the phases do to it that isn't systemd's.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::error::Failure;
use super::processes;
use super::tools;
use super::trees::{self, Trees};
use crate::root::{self, Identity, LiveError};
use crate::store::{Layout, StorePath, files};
use crate::system::generation::{Damage, Profile, ProfileError, SYSTEM_PROFILE};

/// Where the trees are prepared.
const SCRATCH: &str = "/run/keel/next";
/// Held by whoever changes the machine.
const LOCK: &str = "/run/keel/lock";
/// The system that runs, and the one that the machine booted.
pub(super) const CURRENT: &str = "/run/current-system";
pub(super) const BOOTED: &str = "/run/booted-system";
/// How often a lock is tried.
const LOCK_EVERY: Duration = Duration::from_millis(50);

/// Why the machine can't be worked on.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Somebody else does.
    #[error(
        "another process switches this machine (it holds {LOCK}); `keel status` shows it; try again when it's done"
    )]
    Locked,
    /// A file of keel's state.
    #[error("{path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It wasn't booted by keel.
    #[error(
        "this machine doesn't run a system of keel's ({CURRENT}: {0}); `keel boot` prepares the first boot into one"
    )]
    NotKeel(io::Error),
    /// The profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// There is no such generation.
    #[error("profile {SYSTEM_PROFILE} has no generation {0}; `keel generations` lists them")]
    NoGeneration(u64),
    /// The profile is empty.
    #[error("profile {SYSTEM_PROFILE} has no generation to go to; `keel generations` lists them")]
    NoOther,
    /// What was named is neither a generation nor a system.
    #[error(
        "'{0}' is neither a generation's number nor a system in the store; `keel generations` lists them"
    )]
    NoTarget(String),
    /// The system isn't whole.
    #[error(
        "{system} isn't intact: {damage}; nothing was changed; `keel store repair` or another generation"
    )]
    Damaged {
        /// The system.
        system: String,
        /// What is wrong.
        damage: Box<Damage>,
    },
}

/// A system to switch to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its store path.
    pub system: String,
    /// Its generation, when it has one.
    pub generation: Option<u64>,
}

/// The machine that keel runs on.
#[derive(Debug)]
pub struct Machine {
    /// Its profile.
    pub profile: Profile,
}

impl Machine {
    /// This one.
    pub fn this() -> Result<Self, MachineError> {
        Ok(Self {
            profile: Profile::open(Layout::below(Path::new("/")), SYSTEM_PROFILE)?,
        })
    }

    /// The system that runs.
    pub fn current(&self) -> Result<String, MachineError> {
        linked(CURRENT).map_err(MachineError::NotKeel)
    }

    /// The number of the newest generation that is this system.
    pub fn generation_of(&self, system: &str) -> Option<u64> {
        let generations = self.profile.generations().ok()?;
        let is = |found: &Result<StorePath, Damage>| {
            found
                .as_ref()
                .is_ok_and(|path| path.absolute(self.profile.layout().store_dir()) == system)
        };
        generations
            .iter()
            .rev()
            .find(|generation| is(&generation.system))
            .map(|generation| generation.number)
    }

    /// What `name` means: a generation's number, a store path, or (without one) the newest generation.
    pub fn target(&self, name: Option<&str>) -> Result<Target, MachineError> {
        let store = self.profile.layout().store_dir();
        let generations = self.profile.generations()?;
        let of_number = |number: u64| {
            let found = generations.iter().find(|generation| generation.number == number);
            let found = found.ok_or(MachineError::NoGeneration(number))?;
            match &found.system {
                Ok(path) => Ok(Target {
                    system: path.absolute(store),
                    generation: Some(number),
                }),
                Err(damage) => Err(MachineError::NoTarget(format!("generation {number} ({damage})"))),
            }
        };
        let Some(name) = name else {
            return of_number(generations.last().ok_or(MachineError::NoOther)?.number);
        };
        if let Ok(number) = name.parse() {
            return of_number(number);
        }
        let path = fs::canonicalize(name).unwrap_or_else(|_| PathBuf::from(name));
        let path = StorePath::from_absolute(store, &path.to_string_lossy())
            .map_err(|_| MachineError::NoTarget(name.to_owned()))?;
        let system = path.absolute(store);
        Ok(Target {
            generation: self.generation_of(&system),
            system,
        })
    }

    /// Fails unless a system is intact.
    pub fn check_intact(&self, system: &str) -> Result<(), MachineError> {
        let damaged = |damage| MachineError::Damaged {
            system: system.to_owned(),
            damage: Box::new(damage),
        };
        let path = StorePath::from_absolute(self.profile.layout().store_dir(), system)
            .map_err(|_| MachineError::NoTarget(system.to_owned()))?;
        self.profile.intact(&path).map(drop).map_err(damaged)
    }

    /// Takes the lock, trying for a while.
    pub fn lock(&self, patience: Duration) -> Result<Flock<File>, MachineError> {
        let state = |source| MachineError::State {
            path: LOCK.into(),
            source,
        };
        fs::create_dir_all("/run/keel").map_err(state)?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(LOCK)
            .map_err(state)?;
        let deadline = Instant::now() + patience;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((back, nix::errno::Errno::EWOULDBLOCK)) => file = back,
                Err((_, errno)) => return Err(state(errno.into())),
            }
            if Instant::now() >= deadline {
                return Err(MachineError::Locked);
            }
            std::thread::sleep(LOCK_EVERY);
        }
    }
}

fn linked(path: &str) -> io::Result<String> {
    Ok(fs::read_link(path)?.to_string_lossy().into_owned())
}

/// The system that the machine booted.
pub(super) fn booted() -> String {
    linked(BOOTED).unwrap_or_default()
}

/// Puts the trees of `system` in place, and notes when.
pub fn replace_trees(system: &str) -> Result<(), LiveError> {
    let kernel_modules = root::modules_for_running_kernel(Path::new("/"), system);
    let namespaces = root::Namespaces::look();
    root::replace_live(&root::Request {
        root: Path::new("/"),
        system,
        scratch: Path::new(SCRATCH),
        kernel_modules: kernel_modules.as_deref(),
        machine_id: None,
    })?;
    // What can't be mended shows when units on the old trees are looked for.
    for unmended in namespaces.mend() {
        log::warn!("{}: {}", unmended.unit, unmended.why);
    }
    let noted = Trees::note(Path::new(trees::PATH), processes::now(), system)
        .and_then(|()| files::link_atomically(Path::new(system), Path::new(CURRENT)));
    noted.map_err(LiveError::Mounts)
}

/// Settles accounts and stamps, and lets systemd's own tools take over what differs from the system `old`. Returns what
/// was odd.
pub(super) fn settle(old: &str, new: &str) -> Result<Vec<String>, Failure> {
    let warnings = root::settle(&Identity {
        root: Path::new("/"),
        system: new,
        machine_id: None,
    });
    let mut odd: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    odd.extend(tools::run(old, new)?);
    Ok(odd)
}
