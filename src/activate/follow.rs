//! The command's side of a switch: it starts the executor, tells what happens, and ends as the switch ends. The switch
//! goes on without it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::back::revert;
use super::commit;
use super::error::code;
use super::guard;
use super::journal::{self, DIRECTORY, Event, Line, Reader};
use super::machine::{Machine, MachineError, Target};
use super::request::{Goal, Request};
use crate::store::files;
use crate::sys::pidfd;
use crate::systemd::Manager;

/// How long the guard may take to come, once the executor is gone.
const AFTERWARDS: Duration = Duration::from_mins(5);
/// How long without an executor until it's looked whether there is a guard: one that was cut short early has none.
const GUARD_COMES: Duration = Duration::from_secs(2);
/// How often the journal is looked at though nothing said that it has grown.
const AT_LEAST_EVERY: u16 = 1000;

/// How a switch is to be made.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is to come of it.
    pub goal: Goal,
    /// Where to.
    pub target: Target,
    /// Mount point of the ESP; found when absent.
    pub esp: Option<PathBuf>,
    /// Seconds within which somebody has to confirm.
    pub confirm: Option<u64>,
    /// Seconds until the old system comes back, whatever hangs.
    pub deadline: u64,
    /// Seconds that a unit may take.
    pub unit_deadline: u64,
    /// Whether a switch that failed is left as it is.
    pub leave_failed: bool,
    /// Whether inhibitors are passed over.
    pub ignore_inhibitors: bool,
    /// Whether the next boot isn't rehearsed.
    pub no_rehearsal: bool,
}

/// Switches. `tell` gets every line of the journal. Returns the exit code and the closing words.
pub fn switch(
    machine: &Machine,
    options: &Options,
    tell: &mut dyn FnMut(&Line),
) -> Result<(u8, String), MachineError> {
    // Whoever holds it works on the machine; the executor takes it for itself.
    drop(machine.lock(Duration::ZERO)?);
    machine.check_intact(&options.target.system)?;
    let request = Request {
        goal: options.goal,
        old: machine.current()?,
        new: options.target.system.clone(),
        generation: options.target.generation,
        esp: match &options.esp {
            Some(path) => Some(path.to_string_lossy().into_owned()),
            None if options.goal.persists() => commit::find_esp(),
            None => None,
        },
        confirm: options.confirm,
        deadline: options.deadline,
        unit_deadline: options.unit_deadline,
        leave_failed: options.leave_failed,
        ignore_inhibitors: options.ignore_inhibitors,
        no_rehearsal: options.no_rehearsal,
    };
    let is_kept = !request.goal.persists() || commit::is_committed(&request);
    if request.old == request.new && is_kept {
        return Ok((
            code::DONE,
            format!("the machine runs {} already; nothing to do", request.describe()),
        ));
    }
    let state = |source| MachineError::State {
        path: DIRECTORY.into(),
        source,
    };
    let path = Path::new(DIRECTORY).join(format!("request-{}.json", std::process::id()));
    fs::create_dir_all(DIRECTORY).map_err(state)?;
    let bytes = serde_json::to_vec(&request).map_err(|error| state(error.into()))?;
    files::write_atomically(&path, &bytes, 0o600).map_err(state)?;
    let before = inode(&journal::path(Path::new(DIRECTORY)));
    let inotify = watch().map_err(state)?;
    let started = Manager::connect()
        .map_err(|error| error.to_string())
        .and_then(|mut manager| guard::start_executor(&mut manager, &path));
    let pid = match started {
        Ok(pid) => pid,
        Err(text) => {
            let _ = fs::remove_file(&path);
            return Ok((
                code::ERROR,
                format!("the switch can't be started: {text}; nothing was changed"),
            ));
        }
    };
    // A process that is gone already has said all that it had to say.
    let process = pidfd::open(pid).ok();
    follow(machine, before, &inotify, process.as_ref(), tell).map_err(state)
}

fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|found| found.ino())
}

fn watch() -> io::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let _watch = inotify.add_watch(DIRECTORY, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MODIFY)?;
    Ok(inotify)
}

/// Follows the journal that isn't the one of inode `before`, until its last line.
fn follow(
    machine: &Machine,
    before: Option<u64>,
    inotify: &Inotify,
    process: Option<&OwnedFd>,
    tell: &mut dyn FnMut(&Line),
) -> io::Result<(u8, String)> {
    let directory = Path::new(DIRECTORY);
    let mut reader: Option<Reader> = None;
    let mut alive = process.is_some();
    let mut gone_since: Option<Instant> = None;
    let mut is_seen_to = false;
    loop {
        if reader.is_none() && inode(&journal::path(directory)) != before {
            reader = Reader::open(directory).ok();
        }
        for line in reader.as_mut().map(Reader::more).transpose()?.unwrap_or_default() {
            tell(&line);
            if let Event::End { code, text } = line.event {
                return Ok((code, text));
            }
        }
        if !alive {
            let since = *gone_since.get_or_insert_with(Instant::now);
            if !is_seen_to && reader.is_some() && since.elapsed() > GUARD_COMES && !guard::is_there() {
                is_seen_to = true;
                // Whoever comes second finds the end in the journal.
                match revert(machine) {
                    Ok(_) => continue,
                    Err(text) => return Ok((code::ACTIVATION, text)),
                }
            }
            let patience = if reader.is_some() {
                AFTERWARDS
            } else {
                Duration::from_secs(3)
            };
            if since.elapsed() > patience {
                let text = "the switch ended without a word; `keel status` and `journalctl -u keel-switch -u keel-revert` \
                            tell more";
                return Ok((code::ACTIVATION, text.to_owned()));
            }
        }
        let fds: Vec<BorrowedFd<'_>> = [Some(inotify.as_fd()), process.filter(|_| alive).map(AsFd::as_fd)]
            .into_iter()
            .flatten()
            .collect();
        let mut fds: Vec<PollFd<'_>> = fds
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, PollTimeout::from(AT_LEAST_EVERY)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if fds.get(1).is_some_and(|fd| fd.any() == Some(true)) {
            alive = false;
        }
        while inotify.read_events().is_ok() {}
    }
}
