//! What is wrong with a recipe, and where.

use std::ops::Range;
use std::path::Path;

/// A fault in a recipe.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct RecipeFault {
    /// The recipe's file.
    pub file: String,
    /// The number of the line, from 1.
    pub line: usize,
    /// The number of the character in it, from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
    text: String,
    width: usize,
}

impl RecipeFault {
    /// A fault at the bytes `span` of the recipe `text`.
    pub fn new(file: &Path, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text
            .get(line_start..)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let meant = text
            .get(start..span.end.min(text.len()).max(start))
            .unwrap_or_default();
        let width = meant.lines().next().unwrap_or_default().chars().count().max(1);
        Self {
            file: file.display().to_string(),
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: column + 1,
            message: message.into(),
            text: line
                .replace('\t', " ")
                .chars()
                .filter(|c| !c.is_control())
                .collect(),
            width,
        }
    }

    /// The line, and below it what of it is meant.
    pub fn excerpt(&self) -> [String; 2] {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(self.column - 1);
        [
            format!("{number} | {}", self.text),
            format!("{margin} | {indent}{}", "^".repeat(self.width)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_shown_below_its_line() {
        let text = "[derivation]\nname = \"ä\"\nversion = 3\n";
        let start = text.find('3').unwrap_or_default();
        let fault = RecipeFault::new(Path::new("a.toml"), text, start..start + 1, "a text is needed");
        assert_eq!(fault.to_string(), "a.toml:3:11: a text is needed");
        assert_eq!(fault.excerpt(), ["3 | version = 3", "  |           ^"]);
        let fault = RecipeFault::new(Path::new("a.toml"), text, 20..99, "x");
        assert_eq!(fault.excerpt(), ["2 | name = \"ä\"", "  |        ^^^"]);
    }
}
