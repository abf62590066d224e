//! A unit file's text as systemd reads it: systemd.syntax(7), and in detail `config_parse()` of systemd 257.

use std::borrow::Cow;

/// A line, or what continuations make of several, must be shorter (`LONG_LINE_MAX`).
pub const LINE_MAX: usize = 1 << 20;
/// A larger file is refused. systemd knows no such limit; the largest real unit has some kilobytes.
pub const FILE_MAX: usize = 16 << 20;

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The section, without brackets.
    pub section: String,
    /// What stands before the `=`.
    pub key: String,
    /// What stands behind it: continuations joined, blanks around it gone, quotes and escapes as they are.
    pub value: String,
    /// The line it begins on; the first is 1.
    pub line: u32,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No section came before.
    #[error("an assignment outside of any section")]
    OutsideOfSection,
    /// No `=`.
    #[error("no '=' in the line")]
    NoEquals,
    /// Nothing before the `=`.
    #[error("no key before '='")]
    NoKey,
    /// `[` without `]`; ends the file.
    #[error("a section header without ']'")]
    OpenHeader,
    /// Control characters, quotes or backslashes in a section's name; ends the file.
    #[error("a section header with characters that it can't have")]
    BadHeader,
    /// Ends the file.
    #[error("it isn't UTF-8")]
    NotUtf8,
    /// Ends the file.
    #[error("a line of {LINE_MAX} bytes or more")]
    LongLine,
    /// The file isn't read at all.
    #[error("the file is larger than {FILE_MAX} bytes")]
    TooLarge,
}

impl Fault {
    // systemd reads no further, and a fragment with such a fault isn't loaded.
    fn ends_file(self) -> bool {
        !matches!(self, Self::OutsideOfSection | Self::NoEquals | Self::NoKey)
    }
}

/// A fault and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct Warning {
    /// The line; the first is 1.
    pub line: u32,
    /// What is wrong there.
    pub fault: Fault,
}

/// What a unit file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the file.
    pub assignments: Vec<Assignment>,
    /// Lines that are ignored.
    pub warnings: Vec<Warning>,
    /// Where systemd stopped reading, when it did: a fragment isn't loaded then, and the rest of a drop-in is ignored.
    pub broken: Option<Warning>,
}

/// Reads a unit file. Never fails: what systemd ignores is a warning, and where it stops this stops.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut reader = Reader::default();
    if bytes.len() > FILE_MAX {
        reader.fault(0, Fault::TooLarge);
        return reader.parsed;
    }
    let mut rest = bytes;
    let mut number = 0;
    while let Some(line) = next_line(&mut rest) {
        number += 1;
        if line.len() >= LINE_MAX {
            reader.fault(number, Fault::LongLine);
        } else {
            reader.physical_line(number, line);
        }
        if reader.parsed.broken.is_some() {
            return reader.parsed;
        }
    }
    if let Some((begin, joined)) = reader.continued.take() {
        reader.logical_line(begin, &joined);
    }
    reader.parsed
}

#[derive(Default)]
struct Reader {
    parsed: Parsed,
    section: Option<String>,
    byte_order_mark_seen: bool,
    // The line that it begins on, and what it is so far.
    continued: Option<(u32, Vec<u8>)>,
}

impl Reader {
    fn fault(&mut self, line: u32, fault: Fault) {
        let warning = Warning { line, fault };
        if fault.ends_file() {
            self.parsed.broken = Some(warning);
        } else {
            self.parsed.warnings.push(warning);
        }
    }

    fn physical_line(&mut self, number: u32, line: &[u8]) {
        // A comment is skipped also between the lines of a continuation.
        if matches!(trim_start(line).first(), Some(b'#' | b';')) {
            return;
        }
        let mut line = line;
        if !self.byte_order_mark_seen
            && let Some(rest) = line.strip_prefix(b"\xef\xbb\xbf")
        {
            self.byte_order_mark_seen = true;
            line = rest;
        }
        let (begin, joined) = match self.continued.take() {
            None => (number, Cow::Borrowed(line)),
            Some((begin, mut joined)) => {
                if joined.len() + line.len() > LINE_MAX {
                    return self.fault(begin, Fault::LongLine);
                }
                joined.extend_from_slice(line);
                (begin, Cow::Owned(joined))
            }
        };
        if ends_escaped(line) {
            let mut joined = joined.into_owned();
            // The backslash becomes a blank.
            let _backslash = joined.pop();
            joined.push(b' ');
            self.continued = Some((begin, joined));
        } else {
            self.logical_line(begin, &joined);
        }
    }

    fn logical_line(&mut self, number: u32, line: &[u8]) {
        let line = trim(line);
        if line.is_empty() {
            return;
        }
        let Some(line) = str::from_utf8(line)
            .ok()
            .filter(|line| line.chars().all(is_character))
        else {
            return self.fault(number, Fault::NotUtf8);
        };
        if let Some(header) = line.strip_prefix('[') {
            match header.strip_suffix(']') {
                None => self.fault(number, Fault::OpenHeader),
                Some(name) if name.chars().any(is_unsafe) => self.fault(number, Fault::BadHeader),
                Some(name) => self.section = Some(name.to_owned()),
            }
            return;
        }
        let Some(section) = &self.section else {
            return self.fault(number, Fault::OutsideOfSection);
        };
        match line.split_once('=') {
            None => self.fault(number, Fault::NoEquals),
            Some(("", _)) => self.fault(number, Fault::NoKey),
            Some((key, value)) => self.parsed.assignments.push(Assignment {
                section: section.clone(),
                key: key.trim_matches(is_blank).to_owned(),
                value: value.trim_matches(is_blank).to_owned(),
                line: number,
            }),
        }
    }
}

// A line ends at LF, CR or NUL, or at several of them: each at most once, NUL last.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
    if rest.is_empty() {
        return None;
    }
    let length = rest.iter().position(is_end).unwrap_or(rest.len());
    let (line, mut behind) = rest.split_at(length);
    let mut seen = Vec::with_capacity(3);
    while let Some((byte, after)) = behind.split_first() {
        if !is_end(byte) || seen.contains(byte) || seen.contains(&0) {
            break;
        }
        seen.push(*byte);
        behind = after;
    }
    *rest = behind;
    Some(line)
}

// A backslash at the end that isn't itself escaped. What was joined before ends in a blank, so the line alone decides.
fn ends_escaped(line: &[u8]) -> bool {
    line.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_unsafe(c: char) -> bool {
    c < ' ' || matches!(c, '"' | '\'' | '\\' | '\x7f')
}

// Unicode's non-characters are no text for systemd.
fn is_character(c: char) -> bool {
    let code = u32::from(c);
    !(0xfdd0..=0xfdef).contains(&code) && code & 0xfffe != 0xfffe
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let from = bytes.iter().position(|&byte| !is_blank(char::from(byte)));
    from.and_then(|from| bytes.get(from..)).unwrap_or_default()
}

fn trim(bytes: &[u8]) -> &[u8] {
    let bytes = trim_start(bytes);
    let to = bytes.iter().rposition(|&byte| !is_blank(char::from(byte)));
    to.and_then(|to| bytes.get(..=to)).unwrap_or_default()
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
