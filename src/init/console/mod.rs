//! Consoles: one prompt on all of them, messages that don't tear it, the picker.

mod editor;
mod picker;
mod terminal;

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use nix::poll::{PollFd, PollFlags};
use zeroize::Zeroizing;

pub use editor::{Echo, Editor, Effect};
pub use picker::{Choice, Picker, PickerItem};
use terminal::Terminal;

use crate::sys::term;

/// Only emergencies reach the consoles while a prompt is up: anything else would tear it.
const QUIET_LEVEL: i32 = 1;
/// The kernel's default, when the current level can't be read.
const DEFAULT_LEVEL: i32 = 7;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Shown before the input. Its last line is the one that is redrawn.
    pub text: String,
    /// How input is shown.
    pub echo: Echo,
}

/// A line that somebody typed and ended with Enter.
#[derive(Debug)]
pub struct Line {
    /// The bytes, without the line end.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The console it was typed on, such as `ttyS0`.
    pub console: String,
}

/// Every console of the machine.
#[derive(Debug)]
pub struct Consoles {
    terminals: Vec<Terminal>,
    prompt: Option<Prompt>,
    level_before: Option<i32>,
    key_pressed: bool,
}

impl Consoles {
    /// Opens the kernel's active consoles and those of `console=` parameters. One that can't be opened is left out: a
    /// machine without any console still boots when it needs none.
    pub fn open(dev: &Path, sysfs: &Path, parameters: &[String]) -> Consoles {
        let active = fs::read_to_string(sysfs.join("class/tty/console/active")).unwrap_or_default();
        let mut names: Vec<&str> = Vec::new();
        for name in active
            .split_ascii_whitespace()
            .chain(parameters.iter().map(String::as_str))
        {
            let harmless = !name.is_empty() && !name.contains('/') && name != "ttynull";
            if harmless && !names.contains(&name) {
                names.push(name);
            }
        }
        let terminals = names
            .into_iter()
            .filter_map(|name| Terminal::open(dev, name))
            .collect();
        Consoles {
            terminals,
            prompt: None,
            level_before: None,
            key_pressed: false,
        }
    }

    /// Descriptors to wait for.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        // A serial line that is stopped by flow control is waited for only while there is something to write.
        self.terminals.iter().map(|terminal| {
            let mut events = PollFlags::POLLIN;
            events.set(PollFlags::POLLOUT, terminal.has_pending_output());
            PollFd::new(terminal.as_fd(), events)
        })
    }

    /// Shows a prompt on every console, instead of one that may be there. What was typed so far is forgotten.
    pub fn set_prompt(&mut self, prompt: Prompt) {
        self.hush();
        for terminal in &mut self.terminals {
            terminal.erase_prompt(self.prompt.as_ref());
            terminal.show_prompt(&prompt);
        }
        self.prompt = Some(prompt);
    }

    /// Takes the prompt away, and lets the kernel print again.
    pub fn clear_prompt(&mut self) {
        for terminal in &mut self.terminals {
            terminal.erase_prompt(self.prompt.as_ref());
        }
        self.prompt = None;
        self.unhush();
    }

    /// Prints a message above the prompt, on every console.
    pub fn print(&mut self, text: &str) {
        for terminal in &mut self.terminals {
            terminal.print(text, self.prompt.as_ref());
        }
    }

    /// Reads what was typed. Returns the first line that is complete; the prompt is then over on every console.
    pub fn handle_ready(&mut self) -> Option<Line> {
        let mut line = None;
        for terminal in &mut self.terminals {
            terminal.flush();
            let keys = terminal.read();
            self.key_pressed |= !keys.is_empty();
            let Some(prompt) = &self.prompt else { continue };
            if terminal.type_keys(&keys, prompt) && line.is_none() {
                line = Some(Line {
                    bytes: terminal.take_line(),
                    console: terminal.name().to_owned(),
                });
            }
        }
        self.terminals.retain(|terminal| !terminal.is_gone());
        let line = line?;
        for terminal in &mut self.terminals {
            terminal.end_prompt(terminal.name() == line.console);
        }
        self.prompt = None;
        self.unhush();
        Some(line)
    }

    /// Whether somebody pressed a key since the last time, while nothing was asked.
    pub fn take_pending_key(&mut self) -> bool {
        std::mem::take(&mut self.key_pressed)
    }

    /// Whether something of an answer has been typed.
    pub fn has_typed(&self) -> bool {
        self.terminals.iter().any(Terminal::has_typed)
    }

    /// Gives the consoles back as they were.
    pub fn close(&mut self) {
        self.clear_prompt();
        self.terminals.clear();
    }

    fn hush(&mut self) {
        if self.level_before.is_none() && !self.terminals.is_empty() {
            self.level_before = Some(console_level().unwrap_or(DEFAULT_LEVEL));
            // Without the right to do so (in tests) messages may tear the prompt; it still works.
            let _ = term::set_console_level(QUIET_LEVEL);
        }
    }

    fn unhush(&mut self) {
        if let Some(level) = self.level_before.take() {
            let _ = term::set_console_level(level);
        }
    }
}

/// The first number of `/proc/sys/kernel/printk` is the current level.
fn console_level() -> Option<i32> {
    fs::read_to_string("/proc/sys/kernel/printk")
        .ok()?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
