//! The switch journal: what was decided, done and seen, a JSON object per line in `/run/keel/switch/journal`. Written by
//! whoever works on the machine, followed by the command, and read by the revert after a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::request::Request;

/// The journal's directory.
pub(super) const DIRECTORY: &str = "/run/keel/switch";
/// A longer journal is refused: no switch says so much.
const LENGTH_MAX: u64 = 64 << 20;

/// Where a switch stands. The order is the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing has changed.
    Begun,
    /// What will be done is known.
    Planned,
    /// The new system's boot files are on the ESP; the default is what it was.
    BootFiles,
    /// If this process dies or hangs, the old system comes back.
    Guarded,
    /// Units that go, and those that have to be stopped before the trees change.
    Stop,
    /// `/usr` and `/etc` become the new ones.
    Assemble,
    /// Accounts, `sysusers`, `tmpfiles`, `sysctl`.
    Accounts,
    /// systemd reads its units again, or starts itself anew.
    Manager,
    /// Units that take over a new configuration while they run.
    Reload,
    /// Units that are started anew.
    Restart,
    /// New units, and those that were stopped.
    Start,
    /// Whether the machine is healthy.
    Health,
    /// Somebody has to confirm that the machine can still be reached.
    Confirm,
    /// The trial boot is armed: from here on there's no going back by itself.
    Commit,
    /// What isn't needed any more goes.
    Tidy,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum Event {
    /// The first line.
    Begin {
        /// What was asked for.
        request: Box<Request>,
        /// Units that were active.
        active: Vec<String>,
        /// Units that had failed.
        failed: Vec<String>,
    },
    /// The plan.
    Plan {
        /// It.
        plan: Box<Plan>,
    },
    /// A phase begins.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// Something was done with a unit.
    Unit {
        /// Its name.
        unit: String,
        /// `stop`, `start`, `restart`, `reload`
        verb: String,
        /// `done`, `failed`, `timeout`, …
        result: String,
    },
    /// Something takes long.
    Pending {
        /// What is waited for.
        text: String,
    },
    /// Something to know.
    Note {
        /// In plain words.
        text: String,
    },
    /// Something that is odd, and doesn't stop the switch.
    Warning {
        /// In plain words.
        text: String,
    },
    /// The old system is to come back.
    Revert {
        /// Why.
        reason: String,
    },
    /// The last line.
    End {
        /// The exit code of the command.
        code: u8,
        /// What came of it, in plain words.
        text: String,
    },
}

/// A line with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the machine started.
    pub usec: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The journal can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the switch journal {path}: {source}")]
pub struct JournalError {
    path: PathBuf,
    source: io::Error,
}

/// A journal that is written.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

/// The journal's file below a directory.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("journal")
}

impl Journal {
    /// A new journal; the last one's file is kept beside it until the next time.
    pub(super) fn create(directory: &Path) -> Result<Self, JournalError> {
        let path = path(directory);
        let error = |source| JournalError {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(error)?;
        match std::fs::rename(&path, directory.join("journal.last")) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(error(source)),
            _ => {}
        }
        Self::open(directory, true)
    }

    /// Goes on with the journal of a process that is gone.
    pub(super) fn resume(directory: &Path) -> Result<Self, JournalError> {
        let mut journal = Self::open(directory, false)?;
        // What was being written when it died is a line of its own, which nobody can read.
        journal.write_all(b"\n")?;
        Ok(journal)
    }

    fn open(directory: &Path, new: bool) -> Result<Self, JournalError> {
        let path = path(directory);
        let opened = OpenOptions::new()
            .append(true)
            .create_new(new)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(JournalError { path, source }),
        }
    }

    /// Writes a line.
    pub(super) fn write(&mut self, event: Event) -> Result<(), JournalError> {
        let line = Line {
            usec: crate::init::monotonic_usec(),
            event,
        };
        let mut bytes = serde_json::to_vec(&line).map_err(|source| JournalError {
            path: self.path.clone(),
            source: source.into(),
        })?;
        bytes.push(b'\n');
        self.write_all(&bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.file.write_all(bytes).map_err(|source| JournalError {
            path: self.path.clone(),
            source,
        })
    }
}

/// Reads a journal as it grows.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    offset: u64,
    rest: Vec<u8>,
}

impl Reader {
    /// Opens a journal.
    pub(super) fn open(directory: &Path) -> Result<Self, JournalError> {
        let path = path(directory);
        match File::open(&path) {
            Ok(file) => Ok(Self {
                file,
                offset: 0,
                rest: Vec::new(),
            }),
            Err(source) => Err(JournalError { path, source }),
        }
    }

    /// The lines that are new. A line that is no event of this version is left out.
    pub(super) fn more(&mut self) -> io::Result<Vec<Line>> {
        let _ = self.file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        let left = LENGTH_MAX.saturating_sub(self.offset);
        let count = (&self.file).take(left).read_to_end(&mut bytes)?;
        self.offset += count as u64;
        self.rest.append(&mut bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect())
    }
}

/// All events of a journal.
pub fn read(directory: &Path) -> Result<Vec<Event>, JournalError> {
    let lines = Reader::open(directory)?.more().map_err(|source| JournalError {
        path: path(directory),
        source,
    })?;
    Ok(lines.into_iter().map(|line| line.event).collect())
}

/// The phase that was reached.
pub(super) fn reached(events: &[Event]) -> Option<Phase> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Phase { phase } => Some(*phase),
            _ => None,
        })
        .max()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note {
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_journal_is_followed_and_survives_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(directory.path()).unwrap();
        let mut reader = Reader::open(directory.path()).unwrap();
        journal.write(note("one")).unwrap();
        journal.write(Event::Phase { phase: Phase::Stop }).unwrap();
        assert_eq!(reader.more().unwrap().len(), 2);
        assert!(reader.more().unwrap().is_empty());
        journal.write_all(b"{\"usec\":1,\"eve").unwrap();
        assert!(reader.more().unwrap().is_empty());
        let mut journal = Journal::resume(directory.path()).unwrap();
        journal.write(note("two")).unwrap();
        let more: Vec<_> = reader
            .more()
            .unwrap()
            .into_iter()
            .map(|line| line.event)
            .collect();
        assert_eq!(more, [note("two")]);
        let all = read(directory.path()).unwrap();
        assert_eq!(reached(&all), Some(Phase::Stop));
        let _new = Journal::create(directory.path()).unwrap();
        assert!(read(directory.path()).unwrap().is_empty());
    }

    #[test]
    fn the_order_of_phases_is_the_contract() {
        use Phase::*;
        let order = [
            Begun, Planned, BootFiles, Guarded, Stop, Assemble, Accounts, Manager, Reload, Restart, Start,
            Health, Confirm, Commit, Tidy,
        ];
        assert!(order.is_sorted());
    }
}
