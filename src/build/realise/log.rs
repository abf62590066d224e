//! What builders say: kept where `nix-store --read-log` finds it, and told line by line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use super::{Event, Report};
use crate::store::{Layout, StorePath};

/// How many of the last lines a failure shows.
const LAST: usize = 10;
/// Longer lines are told in pieces.
const LINE_MAX: usize = 4096;

/// Where the log of a derivation is: in Nix's directories of logs, as plain text.
pub fn log_path(layout: &Layout, derivation: &StorePath) -> PathBuf {
    let (directory, file) = derivation.base_name().split_at(2);
    layout
        .physical(layout.log_dir())
        .join("drvs")
        .join(directory)
        .join(file)
}

/// The log of a derivation, when there is one. Nix's own are compressed, which the second half of the pair says.
pub fn find_log(layout: &Layout, derivation: &StorePath) -> Option<(PathBuf, bool)> {
    let plain = log_path(layout, derivation);
    if plain.is_file() {
        return Some((plain, false));
    }
    let mut compressed = plain.into_os_string();
    compressed.push(".bz2");
    let compressed = PathBuf::from(compressed);
    compressed.is_file().then_some((compressed, true))
}

/// Writes a log, and tells its lines.
pub(super) struct Log<'a> {
    file: File,
    derivation: &'a StorePath,
    report: &'a dyn Report,
    line: Vec<u8>,
    last: VecDeque<String>,
}

impl<'a> Log<'a> {
    /// A new one, in the place of an earlier one.
    pub(super) fn begin(
        layout: &Layout,
        derivation: &'a StorePath,
        report: &'a dyn Report,
    ) -> io::Result<Self> {
        let path = log_path(layout, derivation);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        // An older one of Nix's would be found first by nobody, and confuse everybody.
        if let Some((old, true)) = find_log(layout, derivation) {
            std::fs::remove_file(old)?;
        }
        Ok(Self {
            file: File::create(path)?,
            derivation,
            report,
            line: Vec::new(),
            last: VecDeque::new(),
        })
    }

    /// The last lines.
    pub(super) fn last(mut self) -> Vec<String> {
        self.end_line();
        self.last.into()
    }

    fn end_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.line);
        self.tell(&line);
    }

    fn tell(&mut self, line: &[u8]) {
        self.report.tell(Event::Line(self.derivation, line));
        if self.last.len() == LAST {
            let _oldest = self.last.pop_front();
        }
        self.last.push_back(String::from_utf8_lossy(line).into_owned());
    }
}

impl Write for Log<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if let Some(rest) = piece.strip_suffix(b"\n") {
                self.line.extend_from_slice(rest);
                let line = std::mem::take(&mut self.line);
                self.tell(line.strip_suffix(b"\r").unwrap_or(&line));
            } else {
                self.line.extend_from_slice(piece);
                if self.line.len() > LINE_MAX {
                    self.end_line();
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
