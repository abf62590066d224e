//! The stages of a sandbox, each a process of its own that executes this program again: a process has to be alone, without
//! threads, to enter a user namespace, and PID 1 of a process namespace is a child of the one that made it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, getpid, setgroups, sethostname, setresgid, setresuid};

use super::spec::Sandbox;
use super::{BUILDER_GID, BUILDER_UID, IDS, mounts};
use crate::sys::loopback;
use crate::sys::mount::MountError;

/// The name of the verb that the stages are started by.
pub(super) const VERB: &str = "build-stage";

/// Which stage a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Makes the namespaces, and waits for the builder.
    Outer,
    /// Gives a process its ids, from outside of its user namespace.
    Map,
    /// Makes the file system, and becomes the builder.
    Inner,
}

/// Why a sandbox can't be made.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A system call.
    #[error("{0}: {1}")]
    Call(String, Errno),
    /// A mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The description of the sandbox.
    #[error("{path} describes no sandbox: {source}")]
    Spec {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The builder can't be executed.
    #[error("the builder {program} can't be executed: {source}")]
    Builder {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A stage that was started failed.
    #[error("giving the sandbox its ids failed")]
    Ids,
}

impl StageError {
    pub(super) fn at(what: &str) -> impl FnOnce(Errno) -> StageError {
        let what = what.to_owned();
        move |errno| StageError::Call(what, errno)
    }

    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> StageError {
        let path = path.to_owned();
        move |source| StageError::File { path, source }
    }
}

/// Runs a stage, and returns its exit code; `argument` is the description of the sandbox, or for [`Stage::Map`] the
/// first id.
pub fn stage(stage: Stage, argument: &Path) -> Result<u8, StageError> {
    match stage {
        Stage::Outer => outer(argument),
        Stage::Map => map(argument).map(|()| 0),
        Stage::Inner => inner(argument).map(|never| match never {}),
    }
}

fn read(path: &Path) -> Result<Sandbox, StageError> {
    let text = fs::read(path).map_err(StageError::file(path))?;
    serde_json::from_slice(&text).map_err(|source| StageError::Spec {
        path: path.to_owned(),
        source,
    })
}

fn outer(spec: &Path) -> Result<u8, StageError> {
    let sandbox = read(spec)?;
    // Whoever asked for the build is gone: nobody would take the outputs.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(StageError::at("prctl"))?;
    let itself = Path::new("/proc/self/exe");
    let mut mapper = Command::new(itself)
        .args([VERB, "map", &sandbox.first_id.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(StageError::file(itself))?;
    let mut flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if !sandbox.has_network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    unshare(flags).map_err(StageError::at("making the sandbox's namespaces"))?;
    if let Some(mut pipe) = mapper.stdin.take() {
        writeln!(pipe, "{}", getpid()).map_err(|_| StageError::Ids)?;
    }
    if !mapper.wait().is_ok_and(|status| status.success()) {
        return Err(StageError::Ids);
    }
    // Root of the new user namespace keeps its capabilities when it executes a program.
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).map_err(StageError::at("setresgid"))?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).map_err(StageError::at("setresuid"))?;
    let status = Command::new(itself)
        .args([VERB, "inner"])
        .arg(spec)
        .status()
        .map_err(StageError::file(itself))?;
    // As a shell tells of signals.
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}

/// Waits for a line with the number of a process, and gives that its ids.
fn map(first_id: &Path) -> Result<(), StageError> {
    let mut line = String::new();
    let _length = io::stdin()
        .take(32)
        .read_to_string(&mut line)
        .map_err(StageError::file(Path::new("/dev/stdin")))?;
    let (pid, first) = (line.trim(), first_id.display());
    if pid.is_empty() || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(StageError::Ids);
    }
    for (name, text) in [
        ("uid_map", format!("0 {first} {IDS}")),
        ("gid_map", format!("0 {first} {IDS}")),
    ] {
        let path = PathBuf::from(format!("/proc/{pid}/{name}"));
        fs::write(&path, text).map_err(StageError::file(&path))?;
    }
    Ok(())
}

enum Never {}

fn inner(spec: &Path) -> Result<Never, StageError> {
    let sandbox = read(spec)?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(StageError::at("prctl"))?;
    if !sandbox.has_network {
        loopback::up().map_err(|error| StageError::File {
            path: "lo".into(),
            source: error,
        })?;
    }
    sethostname("localhost").map_err(StageError::at("sethostname"))?;
    mounts::enter(&sandbox)?;
    let limit = |resource, bytes| setrlimit(resource, bytes, bytes).map_err(StageError::at("setrlimit"));
    limit(Resource::RLIMIT_CORE, 0)?;
    limit(Resource::RLIMIT_FSIZE, sandbox.file_bytes_max)?;
    if let Some(bytes) = sandbox.memory_bytes_max {
        limit(Resource::RLIMIT_AS, bytes)?;
    }
    let _old = umask(Mode::from_bits_truncate(0o022));
    setgroups(&[]).map_err(StageError::at("setgroups"))?;
    if !sandbox.is_root {
        let (group, user) = (Gid::from_raw(BUILDER_GID), Uid::from_raw(BUILDER_UID));
        setresgid(group, group, group).map_err(StageError::at("setresgid"))?;
        setresuid(user, user, user).map_err(StageError::at("setresuid"))?;
        // Changing the user forgets it.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(StageError::at("prctl"))?;
    }
    prctl::set_no_new_privs().map_err(StageError::at("prctl"))?;

    let os = |bytes: &Vec<u8>| std::ffi::OsString::from_vec(bytes.clone());
    let source = Command::new(os(&sandbox.builder))
        .args(sandbox.arguments.iter().map(os))
        .env_clear()
        .envs(
            sandbox
                .environment
                .iter()
                .map(|(name, value)| (os(name), os(value))),
        )
        .stdin(Stdio::null())
        .exec();
    Err(StageError::Builder {
        program: String::from_utf8_lossy(&sandbox.builder).into_owned(),
        source,
    })
}
