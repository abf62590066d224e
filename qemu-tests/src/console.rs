//! A serial console: what it said, when, and waiting for what it says next.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::ansi::Stripper;

/// How many of the last lines a failure shows.
const LAST_LINES: usize = 40;

/// A console that is being read by a thread of its own.
pub(crate) struct Console {
    stream: UnixStream,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    /// Texts that end a wait at once, because what was waited for can't come any more.
    fatal: Vec<String>,
}

/// What was found by a wait.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Which of the texts that were waited for.
    pub which: usize,
    /// The console's text before it, from the end of what was found last.
    pub before: String,
    /// When it came, since the machine was started.
    pub at: Duration,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
}

/// Everything that the console said, without control sequences.
#[derive(Default)]
struct Heard {
    text: String,
    /// Up to where waits have looked.
    cursor: usize,
    /// Length of the text, and when it had that length.
    arrivals: Vec<(usize, Duration)>,
    closed: bool,
}

impl Heard {
    fn unread(&self) -> &str {
        self.text.get(self.cursor..).unwrap_or_default()
    }

    /// When the text had at least this length.
    fn arrival(&self, length: usize) -> Duration {
        let index = self.arrivals.partition_point(|(up_to, _)| *up_to < length);
        self.arrivals.get(index).map_or(Duration::ZERO, |(_, at)| *at)
    }

    /// The first of `wanted` in what is unread; the cursor goes behind it.
    fn find(&mut self, wanted: &[&str]) -> Option<Found> {
        let unread = self.unread();
        let (start, which, length) = wanted
            .iter()
            .enumerate()
            .filter_map(|(which, text)| unread.find(text).map(|start| (start, which, text.len())))
            .min()?;
        let before = unread.get(..start).unwrap_or_default().to_owned();
        self.cursor += start + length;
        Some(Found {
            which,
            before,
            at: self.arrival(self.cursor),
        })
    }
}

impl Console {
    /// Reads `stream` from now on; every byte goes to `log`, each line with the seconds since `started`.
    pub(crate) fn new(stream: UnixStream, log: &Path, started: Instant) -> Result<Console> {
        let shared = Arc::new(Shared::default());
        let log =
            BufWriter::new(File::create(log).with_context(|| format!("{} can't be made", log.display()))?);
        let reader = {
            let stream = stream
                .try_clone()
                .context("the console's socket can't be shared")?;
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || read(stream, log, started, &shared))
        };
        Ok(Console {
            stream,
            shared,
            reader: Some(reader),
            fatal: Vec::new(),
        })
    }

    /// Texts that end a wait at once.
    pub(crate) fn set_fatal(&mut self, texts: &[&str]) {
        self.fatal = texts.iter().map(|text| (*text).to_owned()).collect();
    }

    /// Waits until the console says `text`.
    pub(crate) fn expect(&self, text: &str, within: Duration) -> Result<Found> {
        self.expect_any(&[text], within)
    }

    /// Waits until the console says one of `texts`.
    pub(crate) fn expect_any(&self, texts: &[&str], within: Duration) -> Result<Found> {
        let deadline = Instant::now() + within;
        let mut heard = lock(&self.shared.heard);
        loop {
            if let Some(found) = heard.find(texts) {
                return Ok(found);
            }
            let fatal = self
                .fatal
                .iter()
                .find(|text| heard.unread().contains(text.as_str()))
                .cloned();
            let left = deadline.saturating_duration_since(Instant::now());
            if fatal.is_some() || heard.closed || left.is_zero() {
                drop(heard);
                let why = match fatal {
                    Some(text) => format!("the console said {text:?}"),
                    None if left.is_zero() => format!("{} s went by", within.as_secs()),
                    None => "the machine ended".to_owned(),
                };
                bail!(
                    "waited for {}: {why}. Last lines:\n{}",
                    alternatives(texts),
                    self.last_lines()
                );
            }
            heard = self
                .shared
                .changed
                .wait_timeout(heard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// What was said since the last find, without waiting.
    pub(crate) fn unread(&self) -> String {
        lock(&self.shared.heard).unread().to_owned()
    }

    /// Everything that was said.
    pub(crate) fn everything(&self) -> String {
        lock(&self.shared.heard).text.clone()
    }

    /// Types `text`.
    pub(crate) fn send(&self, text: &str) -> Result<()> {
        self.send_bytes(text.as_bytes())
    }

    /// Types `text` and the Enter key.
    pub(crate) fn send_line(&self, text: &str) -> Result<()> {
        self.send_bytes(format!("{text}\r").as_bytes())
    }

    /// Types bytes.
    pub(crate) fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        (&self.stream)
            .write_all(bytes)
            .context("the machine's console can't be written to")
    }

    /// The last lines, for a failure's message.
    pub(crate) fn last_lines(&self) -> String {
        let heard = lock(&self.shared.heard);
        let lines: Vec<&str> = heard
            .text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = lines
            .get(lines.len().saturating_sub(LAST_LINES)..)
            .unwrap_or_default();
        last.iter().map(|line| format!("    | {line}\n")).collect()
    }

    /// Waits until the machine closes the console.
    pub(crate) fn expect_end(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        let mut heard = lock(&self.shared.heard);
        while !heard.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(heard);
                bail!(
                    "the machine still runs after {} s. Last lines:\n{}",
                    within.as_secs(),
                    self.last_lines()
                );
            }
            heard = self
                .shared
                .changed
                .wait_timeout(heard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(())
    }

    /// Calls `sink` with the bytes as they come, instead of keeping them for waits; returns when the machine ends.
    pub(crate) fn raw(&self) -> Result<UnixStream> {
        self.stream
            .try_clone()
            .context("the console's socket can't be shared")
    }

    /// Passes on every byte that comes from now on, until the machine ends.
    pub(crate) fn follow(&self, mut sink: impl FnMut(&str) -> io::Result<()>) -> Result<()> {
        let mut heard = lock(&self.shared.heard);
        loop {
            let unread = heard.unread().to_owned();
            heard.cursor = heard.text.len();
            let closed = heard.closed;
            drop(heard);
            sink(&unread).context("the terminal can't be written to")?;
            if closed {
                return Ok(());
            }
            heard = lock(&self.shared.heard);
            if heard.unread().is_empty() && !heard.closed {
                heard = self
                    .shared
                    .changed
                    .wait(heard)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn alternatives(texts: &[&str]) -> String {
    texts
        .iter()
        .map(|text| format!("{text:?}"))
        .collect::<Vec<_>>()
        .join(" or ")
}

fn read(mut stream: UnixStream, mut log: BufWriter<File>, started: Instant, shared: &Shared) {
    let mut stripper = Stripper::default();
    let mut buffer = [0; 8192];
    let mut at_line_start = true;
    loop {
        let bytes = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let now = started.elapsed();
        // A log that can't be written must not stop the scenario.
        let _ = write_log(&mut log, bytes, now, &mut at_line_start);
        let mut heard = lock(&shared.heard);
        heard.text.push_str(&stripper.strip(bytes));
        let length = heard.text.len();
        heard.arrivals.push((length, now));
        drop(heard);
        shared.changed.notify_all();
    }
    lock(&shared.heard).closed = true;
    shared.changed.notify_all();
}

fn write_log(log: &mut impl Write, bytes: &[u8], now: Duration, at_line_start: &mut bool) -> io::Result<()> {
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if *at_line_start {
            write!(log, "[{:9.3}] ", now.as_secs_f64())?;
        }
        log.write_all(line)?;
        *at_line_start = line.ends_with(b"\n");
    }
    log.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pair(fatal: &[&str]) -> (Console, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut console = Console::new(ours, Path::new("/dev/null"), Instant::now()).unwrap();
        console.set_fatal(fatal);
        (console, theirs)
    }

    #[test]
    fn the_first_of_several_texts_is_found_and_later_text_stays_unread() {
        let (console, mut machine) = pair(&[]);
        machine.write_all(b"\x1b[1mone\x1b[0m two three").unwrap();
        let found = console
            .expect_any(&["three", "two"], Duration::from_secs(10))
            .unwrap();
        assert_eq!((found.which, found.before.as_str()), (1, "one "));
        console.expect("three", Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn a_fatal_text_ends_the_wait_and_shows_the_last_lines() {
        let (console, mut machine) = pair(&["Kernel panic"]);
        machine.write_all(b"first\nKernel panic - not syncing\n").unwrap();
        let error = console
            .expect("login:", Duration::from_secs(600))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("| first") && error.contains("Kernel panic"),
            "{error}"
        );
    }

    #[test]
    fn the_end_of_the_machine_ends_the_wait() {
        let (console, machine) = pair(&[]);
        drop(machine);
        let error = console
            .expect("login:", Duration::from_secs(600))
            .unwrap_err()
            .to_string();
        assert!(error.contains("the machine ended"), "{error}");
    }

    #[test]
    fn the_log_has_a_time_on_every_line() {
        let mut log = Vec::new();
        let mut at_line_start = true;
        for piece in [&b"a\nb"[..], b"c\n"] {
            write_log(&mut log, piece, Duration::from_millis(1500), &mut at_line_start).unwrap();
        }
        assert_eq!(String::from_utf8(log).unwrap(), "[    1.500] a\n[    1.500] bc\n");
    }
}
