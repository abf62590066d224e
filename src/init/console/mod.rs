//! The consoles of early boot: every one of them shows every message and every prompt, and the first to answer wins.
//!
//! Nothing here waits and no thread is made: PID 1's loop polls [`Consoles::poll_fds`] beside its other descriptors and
//! calls [`Consoles::handle_ready`]. No console is needed: one that vanishes, fails or takes no output never stops
//! the boot.

mod editor;
mod find;
mod kernel_log;
mod output;
mod picker;
mod prompt;
#[cfg(test)]
mod tests;
mod tty;

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags};
use zeroize::Zeroizing;

use kernel_log::KernelLog;
pub use picker::{Choice, Picker, PickerItem};
use prompt::Layout;
pub use prompt::{Echo, Prompt};
use tty::Tty;

/// A line that somebody entered.
#[derive(Debug)]
pub struct Line {
    /// What was typed, without the end of the line. The only copy outside the kernel; wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Name of the console: `ttyS0`.
    pub console: String,
}

/// All consoles.
#[derive(Debug)]
pub struct Consoles {
    dev_dir: PathBuf,
    sysfs: PathBuf,
    asked: Vec<String>,
    ttys: Vec<Tty>,
    prompt: Option<Layout>,
    kernel_log: KernelLog,
    key: bool,
}

impl Consoles {
    /// Opens every console: those that `/sys/class/tty/console/active` lists and those that the command line asks for
    /// (names without options); `/dev/console` when there is no other. What can't be opened is left out: a machine
    /// without any console still boots when it needs none. See [`Consoles::rescan`] for those that appear later.
    pub fn open(dev: &Path, sysfs: &Path, parameters: &[String]) -> Consoles {
        Self::with_log(
            dev,
            sysfs,
            parameters,
            KernelLog::new(Path::new("/proc/sys/kernel/printk")),
        )
    }

    /// No console at all: what is printed is seen by nobody.
    pub fn none() -> Consoles {
        Self {
            dev_dir: PathBuf::new(),
            sysfs: PathBuf::new(),
            asked: Vec::new(),
            ttys: Vec::new(),
            prompt: None,
            kernel_log: KernelLog::new(Path::new("/proc/sys/kernel/printk")),
            key: false,
        }
    }

    fn with_log(dev: &Path, sysfs: &Path, parameters: &[String], kernel_log: KernelLog) -> Consoles {
        let mut consoles = Self {
            dev_dir: dev.to_owned(),
            sysfs: sysfs.to_owned(),
            asked: parameters.to_owned(),
            ttys: Vec::new(),
            prompt: None,
            kernel_log,
            key: false,
        };
        consoles.rescan();
        consoles
    }

    /// Opens consoles that have appeared since, and shows the prompt on them. To be called when a `tty` device appears
    /// (a serial line over USB) or a console has vanished.
    pub fn rescan(&mut self) {
        let read = |path: &str| fs::read_to_string(self.sysfs.join(path)).unwrap_or_default();
        let active = read("class/tty/console/active");
        let mut names = find::console_names(&active, &self.asked, &read("class/tty/tty0/active"));
        names.retain(|name| !self.ttys.iter().any(|tty| tty.name == *name));
        for name in names {
            self.add(&name);
        }
        if self.ttys.is_empty() {
            self.add("console");
        }
    }

    fn add(&mut self, name: &str) {
        let Ok(mut tty) = Tty::open(&self.dev_dir.join(name), name) else {
            return;
        };
        if self.ttys.iter().any(|known| known.device() == tty.device()) {
            return;
        }
        if let Some(prompt) = &self.prompt {
            tty.start_prompt(prompt);
        }
        self.ttys.push(tty);
    }

    /// Names of the consoles in use.
    pub fn names(&self) -> Vec<&str> {
        self.ttys.iter().map(|tty| tty.name.as_str()).collect()
    }

    /// Asks on every console. A prompt still shown is replaced, with what was typed on it.
    #[allow(clippy::needless_pass_by_value, reason = "a prompt is made to be shown")]
    pub fn set_prompt(&mut self, prompt: Prompt) {
        self.clear_prompt();
        // Before the prompt is drawn: the kernel's next line would land in it.
        self.kernel_log.silence();
        let prompt = Layout::of(&prompt);
        for tty in &mut self.ttys {
            tty.start_prompt(&prompt);
        }
        self.prompt = Some(prompt);
        self.forget_failed();
    }

    /// Takes the prompt away, with what was typed, and lets the kernel print again.
    pub fn clear_prompt(&mut self) {
        let Some(prompt) = self.prompt.take() else { return };
        for tty in &mut self.ttys {
            tty.erase_prompt(&prompt);
        }
        self.kernel_log.restore();
    }

    /// Whether something of an answer has been typed.
    pub fn has_typed(&self) -> bool {
        self.ttys.iter().any(Tty::has_typed)
    }

    /// Shows a message of one or several lines on every console, above the prompt if one is shown. Control characters
    /// are replaced: names that come from a disk can't steer the terminal.
    pub fn print(&mut self, message: &str) {
        let lines = plain_text(message.trim_end_matches('\n')) + "\n";
        for tty in &mut self.ttys {
            tty.message(&lines, self.prompt.as_ref());
        }
        self.forget_failed();
    }

    /// The same, on those consoles only that have the machine's own keyboard.
    pub fn print_on_virtual(&mut self, message: &str) {
        let lines = plain_text(message.trim_end_matches('\n')) + "\n";
        for tty in self.ttys.iter_mut().filter(|tty| tty.is_virtual()) {
            tty.message(&lines, self.prompt.as_ref());
        }
        self.forget_failed();
    }

    /// The consoles that have the machine's own keyboard, not those at the end of a line.
    pub fn virtual_terminals(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ttys.iter().filter(|tty| tty.is_virtual()).map(Tty::as_fd)
    }

    /// Descriptors to wait for; what else is polled for and how they are ordered doesn't matter to `handle_ready`.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.ttys.iter().map(|tty| {
            let mut events = PollFlags::POLLIN;
            // Only while there is something to write: a terminal is nearly always ready for more.
            events.set(PollFlags::POLLOUT, tty.is_waiting());
            PollFd::new(tty.as_fd(), events)
        })
    }

    /// Reads what was typed and writes what waits, on every console, without blocking. Returns the line with which the
    /// prompt was answered; the prompt is gone then, on every console.
    pub fn handle_ready(&mut self) -> Option<Line> {
        let mut line = None;
        for tty in &mut self.ttys {
            tty.flush(self.prompt.as_ref());
            let input = tty.read(self.prompt.as_ref());
            self.key |= input.key;
            if let Some(bytes) = input.line {
                line = Some(Line {
                    bytes,
                    console: tty.name.clone(),
                });
                break;
            }
        }
        if let Some(line) = &line {
            self.end_prompt(&line.console);
        }
        self.forget_failed();
        line
    }

    /// Whether a key was pressed while no prompt was shown, since this was last asked.
    pub fn take_pending_key(&mut self) -> bool {
        std::mem::take(&mut self.key)
    }

    /// Gives the terminals back as they were found, with what was typed wiped from the kernel's buffers. Dropping does
    /// the same.
    pub fn close(&mut self) {
        self.clear_prompt();
        self.ttys.clear();
    }

    fn end_prompt(&mut self, answered_on: &str) {
        let Some(prompt) = self.prompt.take() else { return };
        for tty in &mut self.ttys {
            tty.end_prompt(&prompt, answered_on);
        }
        self.kernel_log.restore();
    }

    fn forget_failed(&mut self) {
        self.ttys.retain(|tty| !tty.has_failed());
    }
}

impl Drop for Consoles {
    fn drop(&mut self) {
        self.close();
    }
}

/// The text with control characters replaced, but for the ends of lines.
fn plain_text(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '\n',
            '\t' => ' ',
            c if c.is_control() => '?',
            c => c,
        })
        .collect()
}
