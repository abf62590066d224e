//! Terminals: raw mode, and the level up to which the kernel prints on consoles.

use std::io;
use std::os::fd::AsFd;

use nix::sys::termios::{self, SetArg, SpecialCharacterIndices, Termios};

/// syslog(2): sets the level up to which messages reach the consoles.
const SYSLOG_ACTION_CONSOLE_LEVEL: libc::c_int = 8;

/// Puts a terminal into the mode in which keys arrive one by one and unechoed. Returns the mode that it had.
///
/// Output processing stays on: a line feed still returns the carriage.
pub fn raw_mode(terminal: impl AsFd) -> io::Result<Termios> {
    let before = termios::tcgetattr(&terminal)?;
    let mut raw = before.clone();
    raw.local_flags.remove(
        termios::LocalFlags::ICANON
            | termios::LocalFlags::ECHO
            | termios::LocalFlags::ECHONL
            | termios::LocalFlags::ISIG
            | termios::LocalFlags::IEXTEN,
    );
    raw.input_flags
        .remove(termios::InputFlags::IXON | termios::InputFlags::BRKINT);
    raw.input_flags
        .insert(termios::InputFlags::ICRNL | termios::InputFlags::IGNBRK);
    raw.output_flags
        .insert(termios::OutputFlags::OPOST | termios::OutputFlags::ONLCR);
    // With VMIN 0 an empty line and a line that hung up would read the same.
    for (index, value) in [
        (SpecialCharacterIndices::VMIN, 1),
        (SpecialCharacterIndices::VTIME, 0),
    ] {
        if let Some(character) = raw.control_chars.get_mut(index as usize) {
            *character = value;
        }
    }
    termios::tcsetattr(&terminal, SetArg::TCSANOW, &raw)?;
    Ok(before)
}

/// Gives a terminal back the mode that it had. What was typed and not read goes.
pub fn restore_mode(terminal: impl AsFd, mode: &Termios) -> io::Result<()> {
    termios::tcsetattr(&terminal, SetArg::TCSAFLUSH, mode)?;
    Ok(())
}

/// Sets the level up to which the kernel prints messages on the consoles, 1 to 8 (`loglevel=`).
pub fn set_console_level(level: i32) -> io::Result<()> {
    // SAFETY: this action takes no buffer; the level is a plain number.
    let result = unsafe {
        libc::klogctl(
            SYSLOG_ACTION_CONSOLE_LEVEL,
            std::ptr::null_mut(),
            level.clamp(1, 8),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
