//! What is said: results on standard output, everything else on standard error. A reader that is gone is no fault of the
//! program, and stops nothing.

pub(in crate::cli) mod color;

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Standard output can't be written to.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// Its reader is gone, such as `head`.
    #[error("standard output was closed")]
    Closed,
    /// Another reason, such as a full disk.
    #[error("standard output can't be written: {0}")]
    Write(std::io::Error),
}

/// Writes text.
pub(super) fn write(text: Arguments<'_>) -> Result<(), OutputError> {
    std::io::stdout().write_fmt(text).map_err(failed)
}

/// Writes what need not be text.
pub(super) fn write_bytes(bytes: &[u8]) -> Result<(), OutputError> {
    std::io::stdout().write_all(bytes).map_err(failed)
}

fn failed(error: std::io::Error) -> OutputError {
    match error.kind() {
        ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::Write(error),
    }
}

/// Writes a line, as `println!` does, but returns an error where that panics.
macro_rules! outln {
    ($($argument:tt)*) => {
        $crate::cli::output::write(format_args!("{}\n", format_args!($($argument)*)))
    };
}
pub(super) use outln;

/// Writes a line on standard error, as `eprintln!` does, but goes on where that panics.
macro_rules! errln {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = std::io::stderr().write_fmt(format_args!("{}\n", format_args!($($argument)*)));
    }};
}
pub(super) use errln;
