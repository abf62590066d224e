//! Which system's trees were in place when: `/run/keel/trees`, a line for each replacement since the machine started.
//! With it, and the time when a process started, is known whose code it runs.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file.
pub(super) const PATH: &str = "/run/keel/trees";

/// A replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Replacement {
    /// Hundredths of a second since the machine started.
    at: u64,
    /// The system's store path.
    system: String,
}

/// The replacements, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trees {
    booted: String,
    replacements: Vec<Replacement>,
}

impl Trees {
    /// Reads the file; `booted` is the system that the machine started with.
    pub(super) fn read(path: &Path, booted: &str) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        Self {
            booted: booted.to_owned(),
            replacements: text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
        }
    }

    /// Notes that `system` is in place from now on.
    pub(super) fn note(path: &Path, at: u64, system: &str) -> io::Result<()> {
        use std::io::Write;
        let line = serde_json::to_string(&Replacement {
            at,
            system: system.to_owned(),
        })?;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{line}")
    }

    /// The system whose trees were in place at a moment.
    pub(super) fn system_at(&self, moment: u64) -> &str {
        self.replacements
            .iter()
            .rev()
            .find(|replacement| replacement.at < moment)
            .map_or(&self.booted, |replacement| &replacement.system)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_runs_what_was_in_place_when_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trees");
        Trees::note(&path, 500, "/b").unwrap();
        Trees::note(&path, 900, "/c").unwrap();
        let trees = Trees::read(&path, "/a");
        for (moment, system) in [(0, "/a"), (500, "/a"), (501, "/b"), (900, "/b"), (9000, "/c")] {
            assert_eq!(trees.system_at(moment), system);
        }
        assert_eq!(
            Trees::read(&directory.path().join("none"), "/a").system_at(7),
            "/a"
        );
    }
}
