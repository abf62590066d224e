//! One console.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::termios::Termios;
use zeroize::Zeroizing;

use super::Prompt;
use super::editor::{Echo, Editor, Effect};
use crate::sys::term;

/// Output that a stopped serial line hasn't taken yet. More than that is dropped: the boot doesn't wait for a terminal.
const OUTPUT_LIMIT: usize = 64 << 10;
/// Back to the start of the line, and erase it (ECMA-48 EL).
const ERASE_LINE: &[u8] = b"\r\x1b[2K";
/// Up by a line, and erase it (ECMA-48 CUU, EL).
const ERASE_LINE_ABOVE: &[u8] = b"\x1b[1A\r\x1b[2K";

#[derive(Debug)]
pub(super) struct Terminal {
    name: String,
    file: File,
    mode_before: Option<Termios>,
    editor: Editor,
    pending: Vec<u8>,
    gone: bool,
}

impl Terminal {
    /// Opens `/dev/NAME` without making it the controlling terminal.
    pub(super) fn open(dev: &Path, name: &str) -> Option<Terminal> {
        // tty0 is whichever virtual terminal is in front.
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(dev.join(name))
            .inspect_err(|error| log::info!("console {name} isn't used: {error}"))
            .ok()?;
        let mode_before = term::raw_mode(&file).ok();
        Some(Terminal {
            name: name.to_owned(),
            file,
            mode_before,
            editor: Editor::default(),
            pending: Vec::new(),
            gone: false,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn has_pending_output(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn has_typed(&self) -> bool {
        !self.editor.bytes().is_empty()
    }

    pub(super) fn show_prompt(&mut self, prompt: &Prompt) {
        let _ = self.editor.clear();
        self.write(prompt.text.as_bytes());
    }

    /// Erases the prompt with all of its lines.
    pub(super) fn erase_prompt(&mut self, prompt: Option<&Prompt>) {
        let Some(prompt) = prompt else { return };
        self.write(ERASE_LINE);
        for _ in prompt.text.matches('\n') {
            self.write(ERASE_LINE_ABOVE);
        }
    }

    /// Prints a message, and below it the prompt again with what has been typed.
    pub(super) fn print(&mut self, text: &str, prompt: Option<&Prompt>) {
        self.erase_prompt(prompt);
        self.write(text.as_bytes());
        if !text.ends_with('\n') {
            self.write(b"\n");
        }
        let Some(prompt) = prompt else { return };
        self.write(prompt.text.as_bytes());
        match prompt.echo {
            Echo::Stars => self.write("*".repeat(self.editor.characters()).as_bytes()),
            Echo::Plain => {
                let typed = self.editor.bytes().to_vec();
                self.write(&typed);
            }
        }
    }

    /// Reads the keys that are there.
    pub(super) fn read(&mut self) -> Zeroizing<Vec<u8>> {
        let mut keys = Zeroizing::new(vec![0; 256]);
        match (&self.file).read(keys.as_mut_slice()) {
            Ok(0) => {
                // The line hung up. Left in, it would be ready for ever.
                keys.clear();
                self.gone = true;
            }
            Ok(length) => keys.truncate(length),
            Err(error) => {
                keys.clear();
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                    self.gone = true;
                }
            }
        }
        keys
    }

    /// Takes keys. Whether the line is complete; what was typed behind it is dropped.
    pub(super) fn type_keys(&mut self, keys: &[u8], prompt: &Prompt) -> bool {
        for key in keys {
            match self.editor.key(*key) {
                Effect::Complete => return true,
                Effect::Refused => self.write(b"\x07"),
                Effect::Removed(count) => self.write(&b"\x08 \x08".repeat(count)),
                Effect::Added if prompt.echo == Echo::Stars => self.write(b"*"),
                Effect::Added => self.write(&[*key]),
                // The rest of a character whose first byte was shown already.
                Effect::Nothing if prompt.echo == Echo::Plain && *key >= 0x80 => self.write(&[*key]),
                Effect::Nothing => {}
            }
        }
        false
    }

    pub(super) fn take_line(&mut self) -> Zeroizing<Vec<u8>> {
        self.editor.take()
    }

    /// Ends the prompt because a line is complete, here or on another console.
    pub(super) fn end_prompt(&mut self, here: bool) {
        let _ = self.editor.clear();
        self.write(if here {
            b"\n"
        } else {
            b" (answered on another console)\n"
        });
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = OUTPUT_LIMIT.saturating_sub(self.pending.len());
        self.pending
            .extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        self.flush();
    }

    /// Writes as much as the terminal takes now.
    pub(super) fn flush(&mut self) {
        while !self.pending.is_empty() {
            match (&self.file).write(&self.pending) {
                Ok(0) => return,
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    self.pending.clear();
                }
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mode) = &self.mode_before {
            let _ = term::restore_mode(&self.file, mode);
        }
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
