//! What is shown of builds: a line that changes on a terminal, plain lines elsewhere. All of it goes to standard error.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::build::realise::{Event, Failure, Report};
use crate::cli::output::errln;
use crate::store::cache::copy::Progress;
use crate::store::derivation::name_of;
use crate::store::{Layout, StorePath};

/// How often the line changes at most.
const EVERY: Duration = Duration::from_millis(100);
const WIDTH: usize = 100;

/// Shows what happens.
pub(super) struct Show {
    store_dir: String,
    is_terminal: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    planned: usize,
    done: usize,
    running: Vec<StorePath>,
    shown: Option<Instant>,
}

impl Show {
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            store_dir: layout.store_dir().to_owned(),
            is_terminal: std::io::stderr().is_terminal(),
            state: Mutex::default(),
        }
    }

    /// Takes away the line that changes.
    pub(super) fn end(&self) {
        if self.is_terminal {
            clear();
        }
    }

    /// The last lines of a builder that failed: elsewhere than on a terminal they were shown already.
    pub(super) fn last_lines(&self, failure: &Failure) {
        if self.is_terminal {
            for line in &failure.last {
                errln!("  {}", printable(line.as_bytes()));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: std::fmt::Arguments<'_>) {
        self.end();
        errln!("keel: {text}");
    }
}

impl State {
    fn status(&mut self, derivation: &StorePath, line: &[u8]) {
        if self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let names: Vec<&str> = self.running.iter().map(short).collect();
        let said: String = printable(line).chars().take(WIDTH).collect();
        let _ignored = write!(
            std::io::stderr(),
            "\r\x1b[K[{}/{} built] {}: {said}",
            self.done,
            self.planned,
            if names.is_empty() {
                short(derivation).to_owned()
            } else {
                names.join(", ")
            },
        );
    }
}

fn clear() {
    let _ignored = write!(std::io::stderr(), "\r\x1b[K");
}

fn short(derivation: &StorePath) -> &str {
    name_of(derivation).unwrap_or(derivation.base_name())
}

/// Nothing that moves the cursor.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

impl Report for Show {
    fn fetching(&self, progress: &Progress, work: &mut dyn FnMut()) {
        crate::cli::copy::shown(progress, work);
    }

    fn tell(&self, event: Event<'_>) {
        let mut state = self.state();
        match event {
            Event::Planned { builds, fetches } => {
                state.planned = builds;
                self.line(format_args!("{builds} to build, {fetches} to copy from caches"));
            }
            Event::Fetched(paths) => {
                for path in paths {
                    self.line(format_args!("copied {}", path.absolute(&self.store_dir)));
                }
            }
            Event::Started(derivation) => {
                state.running.push(derivation.clone());
                if self.is_terminal {
                    state.status(derivation, b"");
                } else {
                    self.line(format_args!("building {}", derivation.absolute(&self.store_dir)));
                }
            }
            Event::Line(derivation, line) => {
                if self.is_terminal {
                    state.status(derivation, line);
                } else {
                    errln!("{}> {}", short(derivation), printable(line));
                }
            }
            Event::Built(derivation, time) => {
                state.done += 1;
                state.running.retain(|running| running != derivation);
                self.line(format_args!(
                    "built {} in {:.1} s",
                    derivation.absolute(&self.store_dir),
                    time.as_secs_f64()
                ));
            }
            Event::Failed(failure) => state.running.retain(|running| *running != failure.derivation),
            Event::Waiting(lock) => self.line(format_args!(
                "waiting for another process (lock {})",
                lock.display()
            )),
            Event::Warning(text) => self.line(format_args!("{text}")),
        }
    }
}
