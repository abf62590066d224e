//! A serial console: what it said, when, and waiting for what it says next.

use std::fs::File;
use std::io::{self, BufWriter, PipeReader, Read, Write};
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
    /// Its other end is closed when the machine closes the console.
    end: PipeReader,
    /// Texts that end a wait at once, because what was waited for can't come any more.
    fatal: Vec<String>,
}

/// Gets the console's bytes as they are.
pub(crate) type Tap = Box<dyn Write + Send>;

/// What was found by a wait.
#[derive(Clone, Debug)]
pub(crate) struct Found {
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
        let (start, length) = wanted
            .iter()
            .filter_map(|text| unread.find(text).map(|start| (start, text.len())))
            .min()?;
        let before = unread.get(..start).unwrap_or_default().to_owned();
        self.cursor += start + length;
        Some(Found {
            before,
            at: self.arrival(self.cursor),
        })
    }
}

impl Console {
    /// Reads `stream` from now on; every byte goes to `log`, each line with the seconds since `started`, and to `tap`.
    pub(crate) fn new(stream: UnixStream, log: &Path, started: Instant, tap: Option<Tap>) -> Result<Console> {
        let shared = Arc::new(Shared::default());
        let log =
            BufWriter::new(File::create(log).with_context(|| format!("{} can't be made", log.display()))?);
        let (end, open) = io::pipe().context("a pipe can't be made")?;
        let reader = {
            let stream = stream
                .try_clone()
                .context("the console's socket can't be shared")?;
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                read(
                    stream,
                    Log {
                        file: log,
                        at_line_start: true,
                        started,
                        tap,
                    },
                    &shared,
                );
                drop(open);
            })
        };
        Ok(Console {
            stream,
            shared,
            reader: Some(reader),
            end,
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
        last.iter().map(|line| ["    | ", line, "\n"].concat()).collect()
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
}

impl Console {
    /// Where somebody else may type.
    pub(crate) fn sender(&self) -> Result<UnixStream> {
        self.stream
            .try_clone()
            .context("the console's socket can't be shared")
    }

    /// Becomes readable when the machine closes the console.
    pub(crate) fn end(&self) -> Result<PipeReader> {
        self.end.try_clone().context("a pipe can't be shared")
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

fn read(mut stream: UnixStream, mut log: Log<BufWriter<File>>, shared: &Shared) {
    let mut stripper = Stripper::default();
    let mut buffer = [0; 8192];
    loop {
        let bytes = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let now = log.started.elapsed();
        // A log that can't be written must not stop the scenario.
        let _ = log.write(bytes, now);
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

/// Where everything is kept.
struct Log<W> {
    file: W,
    at_line_start: bool,
    started: Instant,
    tap: Option<Tap>,
}

impl<W: Write> Log<W> {
    fn write(&mut self, bytes: &[u8], now: Duration) -> io::Result<()> {
        if let Some(tap) = &mut self.tap {
            tap.write_all(bytes)?;
            tap.flush()?;
        }
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.at_line_start {
                write!(self.file, "[{:9.3}] ", now.as_secs_f64())?;
            }
            self.file.write_all(line)?;
            self.at_line_start = line.ends_with(b"\n");
        }
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pair(fatal: &[&str]) -> (Console, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut console = Console::new(ours, Path::new("/dev/null"), Instant::now(), None).unwrap();
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
        assert_eq!(found.before, "one ");
        let _ = console.expect("three", Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn a_fatal_text_ends_the_wait_and_shows_the_last_lines() {
        let (console, mut machine) = pair(&["Kernel panic"]);
        machine.write_all(b"first\nKernel panic - not syncing\n").unwrap();
        let error = console
            .expect("login:", Duration::from_mins(10))
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
            .expect("login:", Duration::from_mins(10))
            .unwrap_err()
            .to_string();
        assert!(error.contains("the machine ended"), "{error}");
    }

    #[test]
    fn the_log_has_a_time_on_every_line() {
        let mut log = Log {
            file: Vec::new(),
            at_line_start: true,
            started: Instant::now(),
            tap: None,
        };
        for piece in [&b"a\nb"[..], b"c\n"] {
            log.write(piece, Duration::from_millis(1500)).unwrap();
        }
        assert_eq!(
            String::from_utf8(log.file).unwrap(),
            "[    1.500] a\n[    1.500] bc\n"
        );
    }
}
