//! A question, as it stands on the consoles.

use super::plain_text;

/// Back to the first column, and erase to the end of the line (ECMA-48 EL): every terminal since the VT100, the
/// kernel's own and what serial lines end at know it.
pub(super) const ERASE_LINE: &str = "\r\x1b[K";
/// Up by a line, and erase it (ECMA-48 CUU, EL).
const ERASE_LINE_ABOVE: &str = "\x1b[A\r\x1b[K";

/// Columns that every console has.
const COLUMNS: usize = 80;
/// Columns that a prompt leaves for what is typed.
const ROOM_AT_LEAST: usize = 16;

/// What shows of what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// An asterisk for each character, until Tab turns them off.
    Stars,
    /// The text itself.
    Plain,
}

/// A question, shown on every console at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Shown before the input, which stands behind its last line. Control characters are replaced.
    pub text: String,
    /// How input is shown.
    pub echo: Echo,
}

/// A prompt as it stands on the screen.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) echo: Echo,
    /// Lines above the prompt's own, each ended.
    above: String,
    line: String,
}

impl Layout {
    /// A last line that leaves too little room on 80 columns is shown above, and `> ` stands in its place.
    pub(super) fn of(prompt: &Prompt) -> Self {
        let text = plain_text(&prompt.text);
        let (above, line) = text
            .rsplit_once('\n')
            .map_or(("", text.as_str()), |(above, line)| (above, line));
        let mut above = if text.contains('\n') {
            format!("{above}\n")
        } else {
            String::new()
        };
        let mut line = line.to_owned();
        if line.chars().count() + ROOM_AT_LEAST > COLUMNS {
            above.push_str(line.trim_end());
            above.push('\n');
            "> ".clone_into(&mut line);
        }
        Self {
            echo: prompt.echo,
            above,
            line,
        }
    }

    /// Everything before the input.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.above, self.line)
    }

    /// The line on which the input stands, before it.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Erases everything, with the cursor behind the input.
    pub(super) fn erase(&self) -> String {
        format!(
            "{ERASE_LINE}{}",
            ERASE_LINE_ABOVE.repeat(self.above.matches('\n').count())
        )
    }

    /// Columns for what is typed, so that cursor and text stay on one line.
    pub(super) fn room(&self) -> usize {
        COLUMNS.saturating_sub(self.line.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Echo, Layout, Prompt};

    #[test]
    fn the_last_line_is_the_prompt() {
        let long = "Passphrase for ".to_owned() + &"x".repeat(70) + ": ";
        let table = [
            ("Passphrase: ", "", "Passphrase: ", 67),
            (
                "Two volumes:\n  a\n  b\nPassphrase: ",
                "Two volumes:\n  a\n  b\n",
                "Passphrase: ",
                67,
            ),
            ("\nPassphrase: ", "\n", "Passphrase: ", 67),
            ("\u{1b}[2Jx\ty: ", "", "?[2Jx y: ", 70),
            (&long, &(long.trim_end().to_owned() + "\n"), "> ", 77),
        ];
        for (text, above, line, room) in table {
            let layout = Layout::of(&Prompt {
                text: text.to_owned(),
                echo: Echo::Stars,
            });
            assert_eq!(
                (layout.above.as_str(), layout.line(), layout.room()),
                (above, line, room)
            );
        }
    }
}
