//! Lines of passwd(5), group(5), shadow(5), gshadow(5), subuid(5) and subgid(5).
//!
//! Texts are bytes: a full name in Latin-1 is no reason to lose an account. A line that isn't understood is kept
//! byte for byte in its place.

use std::collections::BTreeMap;
use std::fmt;

/// One of the six files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum File {
    /// `passwd`: name, password, uid, gid, gecos, home, shell.
    Passwd,
    /// `group`: name, password, gid, members.
    Group,
    /// `shadow`: name, password, seven fields about ages.
    Shadow,
    /// `gshadow`: name, password, administrators, members.
    Gshadow,
    /// `subuid`: name or uid, first number, count.
    Subuid,
    /// `subgid`: name or uid, first number, count.
    Subgid,
}

/// The texts of the files that exist.
pub type Texts = BTreeMap<File, Vec<u8>>;

impl File {
    /// All six, in an order in which they can be replaced one by one: a new account never stands in `passwd` before its
    /// line in `shadow` and its group exist.
    pub const ALL: [Self; 6] = [
        Self::Gshadow,
        Self::Group,
        Self::Shadow,
        Self::Passwd,
        Self::Subuid,
        Self::Subgid,
    ];

    /// File name below `/etc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passwd => "passwd",
            Self::Group => "group",
            Self::Shadow => "shadow",
            Self::Gshadow => "gshadow",
            Self::Subuid => "subuid",
            Self::Subgid => "subgid",
        }
    }

    /// Whether the file has passwords, which only root and the group `shadow` may read.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Shadow | Self::Gshadow)
    }

    fn columns(self) -> usize {
        match self {
            Self::Passwd => 7,
            Self::Group | Self::Gshadow => 4,
            Self::Shadow => 9,
            Self::Subuid | Self::Subgid => 3,
        }
    }

    fn numbers(self) -> &'static [usize] {
        match self {
            Self::Passwd => &[2, 3],
            Self::Group => &[2],
            Self::Shadow | Self::Gshadow => &[],
            Self::Subuid | Self::Subgid => &[1, 2],
        }
    }

    /// The program that edits the file under its lock.
    fn editor(self) -> &'static str {
        match self {
            Self::Passwd => "vipw",
            Self::Group => "vigr",
            Self::Shadow => "vipw -s",
            Self::Gshadow => "vigr -s",
            Self::Subuid | Self::Subgid => "an editor",
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A line with the right number of fields, a name, and numbers where numbers belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    fields: Vec<Vec<u8>>,
}

impl Entry {
    /// Joins `fields`, which hold no `:` and no newline.
    pub(super) fn new(fields: &[&str]) -> Self {
        Self {
            fields: fields.iter().map(|field| field.as_bytes().to_vec()).collect(),
        }
    }

    /// The field, empty when there is none at `index`.
    pub fn get(&self, index: usize) -> &[u8] {
        self.fields.get(index).map_or(&[], Vec::as_slice)
    }

    /// Name of the user or group.
    pub fn name(&self) -> &[u8] {
        self.get(0)
    }

    /// The field as a number.
    pub fn number(&self, index: usize) -> Option<u32> {
        number(self.get(index))
    }

    /// The parts of a field that is a list of names.
    pub fn list(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        self.get(index)
            .split(|byte| *byte == b',')
            .filter(|part| !part.is_empty())
    }

    pub(super) fn lists(&self, index: usize, name: &[u8]) -> bool {
        self.list(index).any(|part| part == name)
    }

    pub(super) fn set(&mut self, index: usize, value: &[u8]) {
        if let Some(field) = self.fields.get_mut(index) {
            *field = value.to_vec();
        }
    }

    /// Adds `name` to a list; false when it's there already.
    pub(super) fn list_add(&mut self, index: usize, name: &[u8]) -> bool {
        if self.lists(index, name) {
            return false;
        }
        let mut parts: Vec<&[u8]> = self.list(index).collect();
        parts.push(name);
        let value = parts.join(&b',');
        self.set(index, &value);
        true
    }

    /// Takes `name` out of a list; false when it isn't there.
    pub(super) fn list_remove(&mut self, index: usize, name: &[u8]) -> bool {
        if !self.lists(index, name) {
            return false;
        }
        let parts: Vec<&[u8]> = self.list(index).filter(|part| *part != name).collect();
        let value = parts.join(&b',');
        self.set(index, &value);
        true
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Entry(Entry),
    /// `+…` and `-…`: the compatibility lines of NIS.
    Nis(Vec<u8>),
    /// Comments and empty lines.
    Blank(Vec<u8>),
    /// Bytes of the line, and what is wrong with it.
    Damaged(Vec<u8>, String),
}

/// A file, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    file: File,
    lines: Vec<Line>,
    ends_with_newline: bool,
}

impl Table {
    /// Never fails: what isn't understood is kept, see [`Table::damages`].
    pub fn parse(file: File, text: &[u8]) -> Self {
        let body = text.strip_suffix(b"\n").unwrap_or(text);
        let lines = if text.is_empty() {
            Vec::new()
        } else {
            body.split(|byte| *byte == b'\n')
                .map(|line| parse_line(file, line))
                .collect()
        };
        Self {
            file,
            lines,
            ends_with_newline: text.is_empty() || text.ends_with(b"\n"),
        }
    }

    /// The text. Equal to the parsed one, byte for byte, when nothing was changed.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for line in &self.lines {
            match line {
                Line::Entry(entry) => text.extend_from_slice(&entry.fields.join(&b':')),
                Line::Nis(bytes) | Line::Blank(bytes) | Line::Damaged(bytes, _) => {
                    text.extend_from_slice(bytes);
                }
            }
            text.push(b'\n');
        }
        if !self.ends_with_newline {
            let _ = text.pop();
        }
        text
    }

    /// One sentence for every damaged line. The line itself is not quoted: it may hold a password.
    pub fn damages(&self) -> impl Iterator<Item = String> {
        self.lines
            .iter()
            .enumerate()
            .filter_map(|(index, line)| match line {
                Line::Damaged(_, why) => Some(format!(
                    "{} line {}: {why}; kept as it is, mend it with {}",
                    self.file,
                    index + 1,
                    self.file.editor()
                )),
                _ => None,
            })
    }

    /// The lines that are understood, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry),
            _ => None,
        })
    }

    /// Numbers that damaged lines still show in field `index`: files may belong to them. Those of `name` left out.
    pub(super) fn damaged_numbers(&self, index: usize, name: &[u8]) -> impl Iterator<Item = u32> {
        self.lines.iter().filter_map(move |line| match line {
            Line::Damaged(bytes, _) => {
                let mut fields = bytes.split(|byte| *byte == b':');
                if fields.clone().next() == Some(name) {
                    return None;
                }
                fields.nth(index).and_then(number)
            }
            _ => None,
        })
    }

    /// The first line of `name`, the one that libc's readers take.
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.entries().find(|entry| entry.name() == name)
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry),
            _ => None,
        })
    }

    pub(super) fn find_mut(&mut self, name: &[u8]) -> Option<&mut Entry> {
        self.entries_mut().find(|entry| entry.name() == name)
    }

    /// Adds a line at the end, but before the first line of NIS: what stands behind a `+` is never reached.
    pub(super) fn add(&mut self, entry: Entry) {
        let at = self
            .lines
            .iter()
            .position(|line| matches!(line, Line::Nis(_)))
            .unwrap_or(self.lines.len());
        if at == self.lines.len() {
            self.ends_with_newline = true;
        }
        self.lines.insert(at, Line::Entry(entry));
    }

    /// Removes all lines of `name`.
    pub(super) fn remove(&mut self, name: &[u8]) {
        self.lines
            .retain(|line| !matches!(line, Line::Entry(entry) if entry.name() == name));
        if self.lines.is_empty() {
            self.ends_with_newline = true;
        }
    }
}

fn parse_line(file: File, line: &[u8]) -> Line {
    let trimmed = line.trim_ascii();
    if trimmed.is_empty() || trimmed.starts_with(b"#") {
        return Line::Blank(line.to_vec());
    }
    if line.starts_with(b"+") || line.starts_with(b"-") {
        return Line::Nis(line.to_vec());
    }
    let fields: Vec<Vec<u8>> = line.split(|byte| *byte == b':').map(<[u8]>::to_vec).collect();
    let entry = Entry { fields };
    match complaint(file, &entry) {
        None => Line::Entry(entry),
        Some(why) => Line::Damaged(line.to_vec(), why),
    }
}

fn complaint(file: File, entry: &Entry) -> Option<String> {
    let count = entry.fields.len();
    if count != file.columns() {
        return Some(format!("{count} fields instead of {}", file.columns()));
    }
    let name = entry.name();
    if name.is_empty() {
        return Some("no name".into());
    }
    if name
        .iter()
        .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    {
        return Some("a blank or a control character in the name".into());
    }
    if entry.fields.iter().any(|field| field.contains(&0)) {
        return Some("a zero byte".into());
    }
    file.numbers()
        .iter()
        .find(|index| entry.number(**index).is_none())
        .map(|index| format!("field {} is not a number", index + 1))
}

/// Decimal digits only: no sign, no blank, within 32 bits.
fn number(field: &[u8]) -> Option<u32> {
    if field.is_empty() || !field.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}
