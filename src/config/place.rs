//! Where something is written, and what is said about it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A text of configuration: a file, or what the command line said.
#[derive(Debug, PartialEq, Eq)]
pub struct Text {
    /// The file's path, or `command line`.
    pub name: String,
    /// All of it.
    pub text: String,
    /// Its number in the order of reading: problems are told in this order.
    pub(super) order: usize,
}

/// Some bytes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    text: Arc<Text>,
    span: Range<usize>,
}

impl Place {
    /// The bytes `span` of a text; what lies outside of it is left out.
    pub(super) fn new(text: &Arc<Text>, span: Range<usize>) -> Self {
        let whole = text.text.as_str();
        let mut start = span.start.min(whole.len());
        while !whole.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = span.end.clamp(start, whole.len());
        while !whole.is_char_boundary(end) {
            end += 1;
        }
        Self {
            text: Arc::clone(text),
            span: start..end,
        }
    }

    /// The beginning of a text: where something is that is written nowhere.
    pub(super) fn start(text: &Arc<Text>) -> Self {
        Self::new(text, 0..0)
    }

    /// The file, or `command line`.
    pub fn file(&self) -> &str {
        &self.text.name
    }

    fn before(&self) -> &str {
        self.text.text.get(..self.span.start).unwrap_or_default()
    }

    /// The number of the line, from 1.
    pub fn line(&self) -> usize {
        self.before().bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    /// The number of the character in the line, from 1.
    pub fn column(&self) -> usize {
        let line_start = self.before().rfind('\n').map_or(0, |at| at + 1);
        let before = self.before().get(line_start..).unwrap_or_default();
        before.chars().count() + 1
    }

    /// The line, without its end.
    pub fn line_text(&self) -> &str {
        let start = self.before().rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.text.get(start..).unwrap_or_default();
        rest.lines().next().unwrap_or_default()
    }

    /// How many characters of the line are meant: at least one.
    pub fn width(&self) -> usize {
        let rest = self.text.text.get(self.span.clone()).unwrap_or_default();
        rest.lines().next().unwrap_or_default().chars().count().max(1)
    }

    fn sort_key(&self) -> (usize, usize, usize) {
        (self.text.order, self.span.start, self.span.end)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", printable(self.file()), self.line(), self.column())
    }
}

/// A text without the characters that a terminal acts on.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| match c {
        '\t' => " ".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// Something that is wrong with a configuration, or worth to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Other places that have to do with it, and what is there.
    pub also: Vec<(String, Place)>,
}

impl Remark {
    /// A remark that says nothing but a message.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            place,
            message: message.into(),
            help: None,
            also: Vec::new(),
        }
    }

    /// The same with what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with another place.
    #[must_use]
    pub fn also(mut self, what: impl Into<String>, place: Place) -> Self {
        self.also.push((what.into(), place));
        self
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, printable(&self.message))?;
        for (what, place) in &self.also {
            write!(f, "; {} {place}", printable(what))?;
        }
        match &self.help {
            Some(help) => write!(f, "; {}", printable(help)),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a configuration: by file in the order of reading, then by line. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Remark>);

impl Problems {
    pub(super) fn sorted(mut remarks: Vec<Remark>) -> Self {
        sort(&mut remarks);
        Self(remarks)
    }
}

/// Sorts by place, and leaves out what is said twice.
pub(super) fn sort(remarks: &mut Vec<Remark>) {
    remarks.sort_by(|a, b| {
        let by_place = a.place.sort_key().cmp(&b.place.sort_key());
        by_place.then_with(|| a.message.cmp(&b.message))
    });
    remarks.dedup();
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Arc<Text> {
        Arc::new(Text {
            name: "a.toml".to_owned(),
            text: text.to_owned(),
            order: 0,
        })
    }

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let text = text("a = 1\nä = \"ö\"\n");
        let place = Place::new(&text, 11..15);
        assert_eq!((place.line(), place.column(), place.width()), (2, 5, 3));
        assert_eq!(place.line_text(), "ä = \"ö\"");
        assert_eq!(place.to_string(), "a.toml:2:5");
    }

    #[test]
    fn what_is_outside_is_the_end() {
        let text = text("a = 1");
        for span in [90..100, 5..5, 3..900] {
            let place = Place::new(&text, span);
            assert_eq!((place.line(), place.width()), (1, place.width().max(1)));
            assert_eq!(place.line_text(), "a = 1");
        }
    }

    #[test]
    fn nothing_reaches_the_terminal_as_it_is() {
        let remark = Remark::new(Place::start(&text("")), "\x1b[2J\n");
        assert_eq!(remark.to_string(), "a.toml:1:1: \\u{1b}[2J\\n");
    }
}
