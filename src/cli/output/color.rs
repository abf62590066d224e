//! Colour: `--color`, `NO_COLOR` (no-color.org), and whether a terminal is there at all.

use std::fmt;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// When the output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum When {
    /// On a terminal, unless the environment has NO_COLOR.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// What `--color` said; once, when the arguments were read.
static CHOICE: OnceLock<When> = OnceLock::new();

/// Keeps what `--color` said.
pub(in crate::cli) fn choose(when: When) {
    // A second choice can only come from a test that runs in the same process.
    let _ = CHOICE.set(when);
}

/// Colours of the terminal's own palette, which its owner has chosen to be readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    dead_code,
    reason = "a palette is whole, whether or not each verb uses all of it"
)]
pub(in crate::cli) enum Ink {
    /// What matters in a line.
    Bold,
    /// What may be overlooked.
    Dim,
    /// What is gone or wrong.
    Red,
    /// What is new or good.
    Green,
    /// What changed, or needs attention.
    Yellow,
    /// What is a place.
    Blue,
    /// What is unusual.
    Magenta,
    /// What is a name.
    Cyan,
}

impl Ink {
    fn code(self) -> u8 {
        match self {
            Ink::Bold => 1,
            Ink::Dim => 2,
            Ink::Red => 31,
            Ink::Green => 32,
            Ink::Yellow => 33,
            Ink::Blue => 34,
            Ink::Magenta => 35,
            Ink::Cyan => 36,
        }
    }
}

/// How a stream is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Style {
    /// Whether it's coloured.
    pub(in crate::cli) is_coloured: bool,
}

impl Style {
    /// Standard output's.
    pub(in crate::cli) fn stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    /// Standard error's.
    pub(in crate::cli) fn stderr() -> Self {
        Self::of(std::io::stderr().is_terminal())
    }

    fn of(is_terminal: bool) -> Self {
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        Self {
            is_coloured: match CHOICE.get().copied().unwrap_or_default() {
                When::Always => true,
                When::Never => false,
                When::Auto => is_terminal && variable("NO_COLOR").is_empty() && variable("TERM") != "dumb",
            },
        }
    }

    /// The text in a colour, where there is colour. Width and alignment of the format apply to the text alone.
    pub(in crate::cli) fn paint<T: fmt::Display>(self, ink: Ink, text: T) -> Painted<T> {
        Painted {
            ink: self.is_coloured.then_some(ink),
            text,
        }
    }
}

/// A text that is written in a colour.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Painted<T> {
    ink: Option<Ink>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ink) = self.ink else {
            return self.text.fmt(f);
        };
        write!(f, "\x1b[{}m", ink.code())?;
        self.text.fmt(f)?;
        f.write_str("\x1b[0m")
    }
}

/// Columns of the terminal that a stream goes to; none when it's no terminal, or one that doesn't know.
pub(in crate::cli) fn width(stream: impl AsFd) -> Option<usize> {
    crate::sys::term::columns(stream.as_fd()).map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_is_the_texts() {
        let coloured = Style { is_coloured: true };
        let plain = Style::default();
        assert_eq!(
            format!("[{:>4}]", coloured.paint(Ink::Red, "ab")),
            "[\x1b[31m  ab\x1b[0m]"
        );
        assert_eq!(format!("[{:<4}]", plain.paint(Ink::Red, "ab")), "[ab  ]");
    }
}
