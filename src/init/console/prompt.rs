//! A question, as it stands on the consoles.

use super::plain_text;

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
    pub(super) echo: Echo,
    above: String,
    line: String,
}

impl Prompt {
    /// A question whose last line stands before what is typed, usually with a blank at its end; earlier lines are
    /// shown once, above it. Control characters are replaced. A last line that leaves too little room on 80 columns is
    /// shown above as well, and `> ` stands in its place.
    pub fn new(text: &str, echo: Echo) -> Self {
        let text = plain_text(text);
        let (above, line) = text.rsplit_once('\n').unwrap_or(("", &text));
        let mut above = if above.is_empty() {
            String::new()
        } else {
            format!("{above}\n")
        };
        let mut line = line.to_owned();
        if line.chars().count() + ROOM_AT_LEAST > COLUMNS {
            above.push_str(line.trim_end());
            above.push('\n');
            "> ".clone_into(&mut line);
        }
        Self { echo, above, line }
    }

    /// Lines above the prompt's own, each ended.
    pub(super) fn above(&self) -> &str {
        &self.above
    }

    /// The prompt's own line.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Columns for what is typed, so that cursor and text stay on one line.
    pub(super) fn room(&self) -> usize {
        COLUMNS.saturating_sub(self.line.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Echo, Prompt};

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
            ("\u{1b}[2Jx\ty: ", "", "?[2Jx y: ", 70),
            (&long, &(long.trim_end().to_owned() + "\n"), "> ", 77),
        ];
        for (text, above, line, room) in table {
            let prompt = Prompt::new(text, Echo::Stars);
            assert_eq!(
                (prompt.above(), prompt.line(), prompt.room()),
                (above, line, room)
            );
        }
    }
}
