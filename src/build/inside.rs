//! The stages of a sandbox, each a process of its own that executes this program again: a process has to be alone, without
//! threads, to enter a user namespace, and PID 1 of a process namespace is a child of the one that made it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, getpid, setgroups, sethostname, setresgid, setresuid, setsid};

use super::spec::Sandbox;
use super::{BUILDER_GID, BUILDER_UID, IDS, mounts};
use crate::sys::mount::MountError;
use crate::sys::{descriptors, keyring, loopback};

/// The name of the verb that the stages are started by.
pub(super) const VERB: &str = "build-stage";
const STDIN: &str = "/dev/stdin";
/// Processes and threads that a builder may have at once: a fork bomb ends itself.
const PROCESSES_MAX: u64 = 16_384;

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
    #[error("no sandbox is described on standard input: {0}")]
    Spec(#[from] serde_json::Error),
    /// Whoever started this stage is gone.
    #[error("whoever asked for the build is gone")]
    Alone,
    /// The next stage failed; its own words.
    #[error("{0}")]
    Next(String),
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

/// Runs a stage, and returns its exit code. `argument` is the first id for [`Stage::Map`]. The others have a socket as
/// standard input: over it comes the description of the sandbox, a line of JSON, and what went wrong before the builder
/// began goes back. It stays open as long as the one before lives.
pub fn stage(stage: Stage, argument: &Path) -> Result<u8, StageError> {
    match stage {
        Stage::Map => map(argument).map(|()| 0),
        Stage::Outer => told(outer),
        Stage::Inner => told(|line, sandbox| inner(line, sandbox).map(|never| match never {})),
    }
}

/// Reads the description, and tells of an error where it came from.
fn told(work: impl FnOnce(&UnixStream, &Sandbox) -> Result<u8, StageError>) -> Result<u8, StageError> {
    descriptors::end_at_execution().map_err(StageError::file(Path::new("close_range")))?;
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(StageError::file(Path::new(STDIN)))?;
    let line = UnixStream::from(socket);
    let result = read(&line).and_then(|sandbox| work(&line, &sandbox));
    if let Err(error) = &result {
        // Nobody may listen any more.
        let _ignored = (&line).write_all(error.to_string().as_bytes());
    }
    result
}

fn read(line: &UnixStream) -> Result<Sandbox, StageError> {
    let mut text = Vec::new();
    let _length = BufReader::new(line)
        .read_until(b'\n', &mut text)
        .map_err(StageError::file(Path::new(STDIN)))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Asks the kernel to end this process with the one that started it, and sees that that one lives. Changing the user forgets
/// it, so it is asked again after that.
fn end_with_parent(line: &UnixStream) -> Result<(), StageError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(StageError::at("prctl"))?;
    let mut fds = [PollFd::new(line.as_fd(), PollFlags::POLLIN)];
    let _ready = poll(&mut fds, PollTimeout::ZERO).map_err(StageError::at("poll"))?;
    let [fd] = fds;
    if fd
        .revents()
        .is_some_and(|events| events.contains(PollFlags::POLLHUP))
    {
        return Err(StageError::Alone);
    }
    Ok(())
}

/// Starts the next stage with a socket of its own.
fn next(stage: &str, sandbox: &Sandbox) -> Result<(Child, UnixStream), StageError> {
    let itself = Path::new("/proc/self/exe");
    let (ours, theirs) = UnixStream::pair().map_err(StageError::file(itself))?;
    let child = Command::new(itself)
        .args([VERB, stage, "-"])
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .map_err(StageError::file(itself))?;
    let mut text = serde_json::to_vec(sandbox)?;
    text.push(b'\n');
    (&ours).write_all(&text).map_err(StageError::file(itself))?;
    Ok((child, ours))
}

/// What a stage says of itself until its end of the socket closes. One that is killed before it has read its description (unix(7): closing
/// with data unread resets the other end) says nothing: how it ended tells why.
pub(super) fn heard(mut line: &UnixStream) -> io::Result<String> {
    let mut said = String::new();
    match line.read_to_string(&mut said) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
        _ => Ok(said),
    }
}

fn outer(line: &UnixStream, sandbox: &Sandbox) -> Result<u8, StageError> {
    // Without a terminal that it could be typed on.
    let _session = setsid().map_err(StageError::at("setsid"))?;
    end_with_parent(line)?;
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
    end_with_parent(line)?;
    let (mut child, socket) = next("inner", sandbox)?;
    // It ends when the builder begins, or with what kept it from that.
    let said = heard(&socket).map_err(StageError::file(itself))?;
    let status = child.wait().map_err(StageError::file(itself))?;
    if !said.is_empty() {
        return Err(StageError::Next(said));
    }
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

fn inner(line: &UnixStream, sandbox: &Sandbox) -> Result<Never, StageError> {
    end_with_parent(line)?;
    keyring::leave_session().map_err(StageError::file(Path::new("the session's keys")))?;
    if !sandbox.has_network {
        loopback::up().map_err(|error| StageError::File {
            path: "lo".into(),
            source: error,
        })?;
    }
    sethostname("localhost").map_err(StageError::at("sethostname"))?;
    mounts::enter(sandbox)?;
    // What already holds for whoever builds can't be loosened: a small machine allows fewer processes by itself.
    let limit = |resource, most| {
        let (_, hard) = getrlimit(resource).map_err(StageError::at("getrlimit"))?;
        let most = hard.min(most);
        setrlimit(resource, most, most).map_err(StageError::at("setrlimit"))
    };
    limit(Resource::RLIMIT_CORE, 0)?;
    limit(Resource::RLIMIT_FSIZE, sandbox.output_bytes_max)?;
    limit(Resource::RLIMIT_NPROC, PROCESSES_MAX)?;
    if let Some(bytes) = sandbox.memory_bytes_max {
        limit(Resource::RLIMIT_DATA, bytes)?;
    }
    let _old = umask(Mode::from_bits_truncate(0o022));
    setgroups(&[]).map_err(StageError::at("setgroups"))?;
    if !sandbox.is_root {
        let (group, user) = (Gid::from_raw(BUILDER_GID), Uid::from_raw(BUILDER_UID));
        setresgid(group, group, group).map_err(StageError::at("setresgid"))?;
        setresuid(user, user, user).map_err(StageError::at("setresuid"))?;
    }
    end_with_parent(line)?;
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
