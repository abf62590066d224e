//! Running a sandbox from outside: its log, and what it may not exceed.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::inside::{VERB, heard};
use super::spec::Sandbox;
use super::watch::Watch;

/// What a build may not exceed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From its start to its end.
    pub time: Duration,
    /// Without a word on its output.
    pub silence: Duration,
    /// Bytes of its log.
    pub log_bytes: u64,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code; 128 and the number of a signal that killed it.
    Exited(i32),
    /// Killed: it took longer than this.
    OutOfTime(Duration),
    /// Killed: it said nothing for this long.
    Silent(Duration),
    /// Killed: it said more than this.
    LogTooLong(u64),
    /// Killed: its processes together used more memory than this, in bytes.
    OutOfMemory(u64),
    /// Killed: its outputs took more than this on the disk, in bytes.
    OutputTooLarge(u64),
}

/// Why a sandbox can't be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The sandbox can't be made: the builder didn't begin.
    #[error("the sandbox can't be made: {0}")]
    SetUp(String),
    /// The description can't be written.
    #[error("the sandbox can't be described: {0}")]
    Spec(#[from] serde_json::Error),
    /// Waiting failed.
    #[error("a build can't be waited for: {0}")]
    Wait(io::Error),
    /// The log can't be written.
    #[error("the build's log can't be written: {0}")]
    Log(io::Error),
}

/// Runs a sandbox to its end; what its builder says goes to `log`. `program` is this program (`/proc/self/exe`). When this
/// process is killed, the builder and all that it started are killed as well.
pub fn run(
    program: &std::path::Path,
    sandbox: &Sandbox,
    limits: Limits,
    log: &mut dyn Write,
) -> Result<Ended, RunError> {
    let failed = |source| RunError::File {
        path: program.to_owned(),
        source,
    };
    let (ours, theirs) = UnixStream::pair().map_err(RunError::Wait)?;
    let (reader, writer) = io::pipe().map_err(RunError::Wait)?;
    let mut command = Command::new(program);
    let _ = command
        .args([VERB, "outer", "-"])
        .stdin(OwnedFd::from(theirs))
        .stdout(writer.try_clone().map_err(RunError::Wait)?)
        .stderr(writer);
    let child = command.spawn();
    // The pipe ends when nobody else has its other end.
    drop(command);
    let mut running = Running {
        child: child.map_err(failed)?,
        log: reader,
    };
    let mut text = serde_json::to_vec(sandbox)?;
    text.push(b'\n');
    (&ours).write_all(&text).map_err(failed)?;
    let watch = Watch::new(running.child.id(), sandbox);
    let ended = follow(&mut running, limits, watch, log)?;
    drop(running);
    let said = heard(&ours).map_err(RunError::Wait)?;
    if said.is_empty() {
        Ok(ended)
    } else {
        Err(RunError::SetUp(said))
    }
}

/// Kills the sandbox when dropped.
struct Running {
    child: Child,
    log: PipeReader,
}

/// How long the processes of a sandbox may take to be gone, once its first one was killed.
const GONE: Duration = Duration::from_secs(10);

impl Drop for Running {
    fn drop(&mut self) {
        // Its PID 1 dies with it, and with that everything in it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The log ends with the last of them: nobody writes to the outputs any more.
        let deadline = Instant::now() + GONE;
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(self.log.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(Errno::EINTR) => continue,
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if matches!(self.log.read(&mut buffer), Ok(0) | Err(_)) {
                return;
            }
        }
    }
}

fn follow(
    running: &mut Running,
    limits: Limits,
    mut watch: Watch,
    log: &mut dyn Write,
) -> Result<Ended, RunError> {
    let started = Instant::now();
    let mut heard = started;
    let mut bytes = 0;
    let mut buffer = [0; 16 << 10];
    loop {
        let now = Instant::now();
        if now.duration_since(started) >= limits.time {
            return Ok(Ended::OutOfTime(limits.time));
        }
        if now.duration_since(heard) >= limits.silence {
            return Ok(Ended::Silent(limits.silence));
        }
        if let Some(ended) = watch.look(now) {
            return Ok(ended);
        }
        let left = (limits.time.saturating_sub(now.duration_since(started)))
            .min(limits.silence.saturating_sub(now.duration_since(heard)))
            .min(watch.pause(Instant::now()));
        let timeout = PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
        match poll(
            &mut [PollFd::new(running.log.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(RunError::Wait(errno.into())),
        }
        let length = running.log.read(&mut buffer).map_err(RunError::Wait)?;
        if length == 0 {
            break;
        }
        heard = Instant::now();
        bytes += u64::try_from(length).unwrap_or(u64::MAX);
        log.write_all(buffer.get(..length).unwrap_or_default())
            .map_err(RunError::Log)?;
        if bytes > limits.log_bytes {
            return Ok(Ended::LogTooLong(limits.log_bytes));
        }
    }
    let status: ExitStatus = running.child.wait().map_err(RunError::Wait)?;
    Ok(Ended::Exited(status.code().unwrap_or(1)))
}
