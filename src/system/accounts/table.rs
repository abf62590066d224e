//! A file of lines with fields between colons, of which everything that isn't changed comes back to the byte.

use super::files::FileName;

/// A line that is understood.
#[derive(Debug)]
pub(super) struct Record {
    fields: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Line {
    Record(Record),
    /// `+` and `-` lines (nsswitch.conf(5), `compat`).
    Nis(Vec<u8>),
    /// Comments, empty and damaged lines.
    Other(Vec<u8>),
}

/// A file, line by line.
#[derive(Debug)]
pub(super) struct Table {
    file: FileName,
    original: Vec<u8>,
    lines: Vec<Line>,
    changed: bool,
}

impl Record {
    pub(super) fn name(&self) -> &[u8] {
        self.get(0)
    }

    pub(super) fn get(&self, field: usize) -> &[u8] {
        self.fields.get(field).map_or(&[], Vec::as_slice)
    }

    pub(super) fn number(&self, field: usize) -> Option<u32> {
        number(self.get(field))
    }

    /// The names of a list between commas.
    pub(super) fn list(&self, field: usize) -> impl Iterator<Item = &[u8]> {
        self.get(field)
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
    }

    pub(super) fn lists(&self, field: usize, name: &[u8]) -> bool {
        self.list(field).any(|listed| listed == name)
    }
}

/// Decimal digits alone, at most 32 bits.
pub(super) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl Table {
    pub(super) fn parse(file: FileName, text: &[u8]) -> Self {
        let body = text.strip_suffix(b"\n").unwrap_or(text);
        let lines = match text {
            [] => Vec::new(),
            _ => body
                .split(|b| *b == b'\n')
                .map(|line| parse_line(file, line))
                .collect(),
        };
        Self {
            file,
            original: text.to_owned(),
            lines,
            changed: false,
        }
    }

    /// Numbers (from 1) of the lines that are neither entries nor meant not to be.
    pub(super) fn damaged(&self) -> Vec<usize> {
        let is_damaged = |line: &Line| match line {
            Line::Other(text) => !text.trim_ascii().is_empty() && !text.starts_with(b"#"),
            _ => false,
        };
        self.lines
            .iter()
            .enumerate()
            .filter(|(_, line)| is_damaged(line))
            .map(|(index, _)| index + 1)
            .collect()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.lines.iter().filter_map(|line| match line {
            Line::Record(record) => Some(record),
            _ => None,
        })
    }

    /// The entry of that name; of several the first, as everybody else reads it.
    pub(super) fn find(&self, name: &[u8]) -> Option<&Record> {
        self.records().find(|record| record.name() == name)
    }

    /// Whether some entry of another name has that number in that field.
    pub(super) fn holder(&self, field: usize, number: u32) -> Option<&Record> {
        self.records().find(|record| record.number(field) == Some(number))
    }

    /// Replaces a field of the entry of that name.
    pub(super) fn set(&mut self, name: &[u8], field: usize, value: Vec<u8>) {
        let record = self.lines.iter_mut().find_map(|line| match line {
            Line::Record(record) if record.name() == name => Some(record),
            _ => None,
        });
        if let Some(slot) = record.and_then(|record| record.fields.get_mut(field))
            && *slot != value
        {
            *slot = value;
            self.changed = true;
        }
    }

    /// Puts the name at the end of the list in that field; says whether it wasn't there.
    pub(super) fn list_name(&mut self, entry: &[u8], field: usize, name: &[u8]) -> bool {
        let Some(record) = self.find(entry).filter(|record| !record.lists(field, name)) else {
            return false;
        };
        let mut list = record.get(field).to_owned();
        if !list.is_empty() {
            list.push(b',');
        }
        list.extend_from_slice(name);
        self.set(entry, field, list);
        true
    }

    /// Takes the name out of the list in that field; says whether it was there.
    pub(super) fn unlist_name(&mut self, entry: &[u8], field: usize, name: &[u8]) -> bool {
        let Some(record) = self.find(entry).filter(|record| record.lists(field, name)) else {
            return false;
        };
        let rest: Vec<&[u8]> = record.list(field).filter(|listed| *listed != name).collect();
        let list = rest.join(&b","[..]);
        self.set(entry, field, list);
        true
    }

    /// Adds an entry at the end, but before `+` and `-` lines: entries behind those would not count.
    pub(super) fn add(&mut self, fields: Vec<Vec<u8>>) {
        let at = self
            .lines
            .iter()
            .position(|line| matches!(line, Line::Nis(_)))
            .unwrap_or(self.lines.len());
        self.lines.insert(at, Line::Record(Record { fields }));
        self.changed = true;
    }

    /// Removes every entry of that name.
    pub(super) fn remove(&mut self, name: &[u8]) {
        let before = self.lines.len();
        self.lines
            .retain(|line| !matches!(line, Line::Record(record) if record.name() == name));
        self.changed |= self.lines.len() != before;
    }

    pub(super) fn file(&self) -> FileName {
        self.file
    }

    /// The text: the original when nothing was changed.
    pub(super) fn into_text(self) -> Vec<u8> {
        if !self.changed {
            return self.original;
        }
        let mut text = Vec::with_capacity(self.original.len() + 128);
        for line in &self.lines {
            match line {
                Line::Record(record) => text.extend_from_slice(&record.fields.join(&b":"[..])),
                Line::Nis(other) | Line::Other(other) => text.extend_from_slice(other),
            }
            text.push(b'\n');
        }
        text
    }
}

fn parse_line(file: FileName, line: &[u8]) -> Line {
    if matches!(line.first(), Some(b'+' | b'-')) {
        return Line::Nis(line.to_owned());
    }
    let fields: Vec<Vec<u8>> = line.split(|b| *b == b':').map(<[u8]>::to_vec).collect();
    let record = Record { fields };
    let whole = record.fields.len() == file.fields()
        && !record.name().is_empty()
        && !line.starts_with(b"#")
        && file.numbers().iter().all(|field| record.number(*field).is_some());
    if whole {
        Line::Record(record)
    } else {
        Line::Other(line.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]

    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"root:x:0:\n# why\n\nbroken:x\nadm:x:4:a, b,\n\xff:x:9:z\nx:x:-1:\n+:::\n+@nis:::";

    #[test]
    fn lines_of_every_kind() {
        let table = Table::parse(FileName::Group, TEXT);
        let names: Vec<&[u8]> = table.records().map(Record::name).collect();
        assert_eq!(names, [b"root".as_slice(), b"adm", b"\xff"]);
        assert_eq!(table.damaged(), [4, 7]);
        assert_eq!(table.into_text(), TEXT);
    }

    #[test]
    fn changes_touch_only_their_line() {
        let mut table = Table::parse(FileName::Group, TEXT);
        assert!(!table.list_name(b"adm", 3, b"b"));
        assert!(table.unlist_name(b"adm", 3, b"a"));
        assert!(table.list_name(b"adm", 3, b"c"));
        assert!(table.list_name(b"root", 3, b"c"));
        assert!(!table.list_name(b"nobody", 3, b"c"));
        table.add(vec![b"new".to_vec(), b"x".to_vec(), b"7".to_vec(), vec![]]);
        table.remove(b"\xff");
        let expected = b"root:x:0:c\n# why\n\nbroken:x\nadm:x:4:b,c\nx:x:-1:\nnew:x:7:\n+:::\n+@nis:::\n";
        assert_eq!(table.into_text(), expected);
    }

    proptest! {
        #[test]
        fn unchanged_text_comes_back(text in proptest::collection::vec(any::<u8>(), 0..200), lines in "([a-c+#:0-9x,-]{0,12}\n){0,9}") {
            for text in [text.as_slice(), lines.as_bytes()] {
                for file in FileName::ALL {
                    prop_assert_eq!(Table::parse(file, text).into_text(), text);
                }
            }
        }
    }
}
