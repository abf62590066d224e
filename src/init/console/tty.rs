//! One console: an open terminal with its line, its prompt and what waits to be shown on it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::termios::{
    ControlFlags, FlushArg, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios,
    tcflush, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use super::editor::{Event, LineEditor, characters};
use super::output::{Flushed, Output};
use super::prompt::{ERASE_LINE, Echo, Layout};
use crate::sys::{term, vt};

const BEEP: &str = "\x07";
const NO_ECHO: &str = "(no echo) ";

/// Reads in one go, before the other consoles get their turn: a line full of noise must not occupy PID 1.
const READS: usize = 16;

#[derive(Debug)]
pub(super) struct Tty {
    pub(super) name: String,
    file: File,
    /// As found; put back when the console is given up.
    saved: Termios,
    output: Output,
    editor: LineEditor,
    /// What stands behind the prompt's text on the screen; `None` while no prompt is shown.
    drawn: Option<String>,
    /// Tab turned the asterisks off.
    silent: bool,
    failed: bool,
}

/// What was typed.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// A finished line; what was typed behind it is dropped.
    pub(super) line: Option<Zeroizing<Vec<u8>>>,
    /// Any key at all.
    pub(super) key: bool,
}

impl Tty {
    /// Opens the terminal without making it the controlling one, and puts it into raw mode.
    pub(super) fn open(path: &Path, name: &str) -> io::Result<Self> {
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)?;
        if !file.metadata()?.file_type().is_char_device() {
            return Err(io::Error::from(nix::errno::Errno::ENOTTY));
        }
        let saved = tcgetattr(&file)?;
        tcsetattr(&file, SetArg::TCSANOW, &raw_mode(&saved))?;
        Ok(Self {
            name: name.to_owned(),
            file,
            saved,
            output: Output::default(),
            editor: LineEditor::default(),
            drawn: None,
            silent: false,
            failed: false,
        })
    }

    /// Number of the device, by which two names of one terminal are told.
    pub(super) fn device(&self) -> Option<u64> {
        self.file.metadata().ok().map(|metadata| metadata.rdev())
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether it's one of the kernel's virtual terminals, with the machine's own keyboard.
    pub(super) fn is_virtual(&self) -> bool {
        vt::is_virtual(self.as_fd())
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.output.is_waiting()
    }

    /// Shows a new prompt, with an empty line behind it.
    pub(super) fn start_prompt(&mut self, prompt: &Layout) {
        self.editor.clear();
        self.silent = false;
        self.drawn = Some(String::new());
        self.show(&format!("{ERASE_LINE}{}", prompt.text()), Some(prompt));
    }

    /// Ends the prompt because a line was entered on the console `name`.
    pub(super) fn end_prompt(&mut self, prompt: &Layout, name: &str) {
        self.editor.clear();
        if self.drawn.take().is_none() {
            return;
        }
        if name == self.name {
            self.show("\n", None);
        } else {
            self.show(
                &format!("{ERASE_LINE}{}(answered on {name})\n", prompt.line()),
                None,
            );
        }
    }

    /// Takes the prompt away, with what was typed.
    pub(super) fn erase_prompt(&mut self, prompt: &Layout) {
        self.editor.clear();
        if self.drawn.take().is_some() {
            self.show(&prompt.erase(), None);
        }
    }

    /// Whether something was typed behind the prompt.
    pub(super) fn has_typed(&self) -> bool {
        !self.editor.bytes().is_empty()
    }

    /// Shows a message of whole lines above the prompt.
    pub(super) fn message(&mut self, lines: &str, prompt: Option<&Layout>) {
        let shown = match (&self.drawn, prompt) {
            (Some(_), Some(prompt)) => {
                let tail = self.tail(prompt, self.editor.bytes());
                let shown = format!("{}{lines}{}{tail}", prompt.erase(), prompt.text());
                self.drawn = Some(tail);
                shown
            }
            _ => lines.to_owned(),
        };
        self.show(&shown, prompt);
    }

    /// Reads what was typed. Without a prompt it is forgotten, but for the fact.
    pub(super) fn read(&mut self, prompt: Option<&Layout>) -> Input {
        let mut input = Input::default();
        let mut bytes = Zeroizing::new([0_u8; 256]);
        for _ in 0..READS {
            match (&self.file).read(bytes.as_mut_slice()) {
                Ok(0) => self.failed = true,
                Ok(count) => {
                    let read = bytes.get(..count).unwrap_or_default();
                    match prompt {
                        Some(prompt) => input.line = self.edit(read, prompt),
                        None => input.key = true,
                    }
                    if input.line.is_none() {
                        continue;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.failed = true,
            }
            break;
        }
        input
    }

    /// Feeds one read to the line and shows what came of it.
    fn edit(&mut self, read: &[u8], prompt: &Layout) -> Option<Zeroizing<Vec<u8>>> {
        self.editor.start_read(read.first().copied());
        let mut beep = false;
        for byte in read {
            match self.editor.feed(*byte) {
                Event::Nothing | Event::Edited => {}
                Event::Full => beep = true,
                Event::Cancelled => {
                    self.drawn = Some(String::new());
                    self.show(&format!("^C\n{}", prompt.line()), Some(prompt));
                }
                Event::EchoToggled => self.silent = prompt.echo == Echo::Stars && !self.silent,
                Event::Entered(line) => {
                    self.redraw_tail(prompt, &self.tail(prompt, &line));
                    return Some(line);
                }
            }
        }
        self.redraw_tail(prompt, &self.tail(prompt, self.editor.bytes()));
        if beep {
            self.show(BEEP, Some(prompt));
        }
        None
    }

    /// What stands behind the prompt's text for `typed`. Never so long that the line wraps: a wrapped one could not be
    /// erased.
    fn tail(&self, prompt: &Layout, typed: &[u8]) -> String {
        match prompt.echo {
            Echo::Stars if self.silent => NO_ECHO.to_owned(),
            Echo::Stars => "*".repeat(characters(typed).min(prompt.room())),
            Echo::Plain => String::from_utf8_lossy(typed)
                .chars()
                .take(prompt.room())
                .collect(),
        }
    }

    /// Brings the screen from the old tail to the new one with as few bytes as possible.
    fn redraw_tail(&mut self, prompt: &Layout, new: &str) {
        let Some(old) = self.drawn.replace(new.to_owned()) else {
            return;
        };
        let change = if let Some(added) = new.strip_prefix(&old) {
            added.to_owned()
        } else if let Some(removed) = old.strip_prefix(new).filter(|removed| removed.is_ascii()) {
            "\x08 \x08".repeat(removed.len())
        } else {
            format!("{ERASE_LINE}{}{new}", prompt.line())
        };
        if !change.is_empty() {
            self.show(&change, Some(prompt));
        }
    }

    fn show(&mut self, text: &str, prompt: Option<&Layout>) {
        self.output.push(text.as_bytes());
        self.flush(prompt);
    }

    /// Writes what the terminal takes. When texts were lost while it took nothing, says so, and draws the prompt anew.
    pub(super) fn flush(&mut self, prompt: Option<&Layout>) {
        if self.failed {
            return;
        }
        match self.output.flush(&self.file) {
            Ok(Flushed::AllAfterLoss(lost)) => {
                let mut text = format!("{ERASE_LINE}[{lost} texts not shown: this console took no output]\n");
                if let (Some(_), Some(prompt)) = (&self.drawn, prompt) {
                    let tail = self.tail(prompt, self.editor.bytes());
                    text.push_str(&prompt.text());
                    text.push_str(&tail);
                    self.drawn = Some(tail);
                }
                self.output.push(text.as_bytes());
                self.failed |= self.output.flush(&self.file).is_err();
            }
            Ok(Flushed::All | Flushed::Blocked) => {}
            Err(_) => self.failed = true,
        }
    }
}

impl Drop for Tty {
    /// Leaves the terminal as it was found, without what was typed on it. Failures concern a terminal that is gone.
    fn drop(&mut self) {
        self.flush(None);
        if self.output.is_waiting() {
            // The other end takes nothing: closing would wait half a minute for it.
            let _ = tcflush(&self.file, FlushArg::TCOFLUSH);
        }
        let _ = term::wipe_input(self.file.as_fd());
        let _ = tcsetattr(&self.file, SetArg::TCSANOW, &self.saved);
    }
}

/// Byte by byte, without echo, signals and flow control by characters; output still turns LF into CR LF. Speed and
/// character size stay as the kernel's `console=` set them.
fn raw_mode(found: &Termios) -> Termios {
    let mut raw = found.clone();
    raw.input_flags.remove(
        InputFlags::BRKINT
            | InputFlags::PARMRK
            | InputFlags::ISTRIP
            | InputFlags::INLCR
            | InputFlags::IGNCR
            | InputFlags::ICRNL
            | InputFlags::IXON,
    );
    raw.input_flags.insert(InputFlags::IGNBRK);
    raw.local_flags.remove(
        LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::IEXTEN,
    );
    raw.output_flags.insert(OutputFlags::OPOST | OutputFlags::ONLCR);
    raw.control_flags
        .insert(ControlFlags::CREAD | ControlFlags::CLOCAL);
    for (index, value) in [
        (SpecialCharacterIndices::VMIN, 1),
        (SpecialCharacterIndices::VTIME, 0),
    ] {
        if let Some(slot) = raw.control_chars.get_mut(index as usize) {
            *slot = value;
        }
    }
    raw
}
