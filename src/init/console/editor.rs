//! A line editor for one console, without any I/O. What is typed may be a passphrase: it is held in one buffer of
//! fixed size, never copied, never reallocated, and wiped.

use zeroize::{Zeroize, Zeroizing};

/// Longest line, in bytes: what LUKS takes as a typed passphrase (`LUKS2` and cryptsetup's `MAX_PASSPHRASE_SIZE`).
pub(super) const MAX_LINE: usize = 512;

/// What a typed byte did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing that shows.
    Nothing,
    /// The line changed.
    Edited,
    /// There was no room: worth a beep.
    Full,
    /// Ctrl-C: the line was cleared.
    Cancelled,
    /// Tab: asterisks off or on again.
    EchoToggled,
    /// Enter: here is the line.
    Entered(Zeroizing<Vec<u8>>),
}

/// Position within an escape sequence (ECMA-48, section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// ESC was the last byte.
    Started,
    /// Behind `ESC [`.
    ControlSequence {
        first: bool,
    },
    /// The next byte ends it: behind `ESC O`, or the Linux console's `ESC [ [`.
    Last,
}

/// The line of one console.
#[derive(Debug)]
pub(super) struct LineEditor {
    line: Zeroizing<Vec<u8>>,
    escape: Escape,
    after_return: bool,
}

impl Default for LineEditor {
    fn default() -> Self {
        Self {
            line: empty_line(),
            escape: Escape::None,
            after_return: false,
        }
    }
}

fn empty_line() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(MAX_LINE))
}

impl LineEditor {
    /// To be called before the bytes of each read: keys come whole in one read, so an ESC that ended the last one was
    /// the Escape key itself. Without this the first character of a passphrase typed after it would be swallowed.
    /// (`[` still continues it, as a slow serial line may split a sequence.)
    pub(super) fn start_read(&mut self, first: Option<u8>) {
        if self.escape == Escape::Started && first != Some(b'[') {
            self.escape = Escape::None;
        }
        self.after_return = false;
    }

    /// Takes one byte.
    pub(super) fn feed(&mut self, byte: u8) -> Event {
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        if self.swallow(byte) {
            return Event::Nothing;
        }
        match byte {
            // The second half of a CR LF is no line of its own.
            b'\n' if after_return => Event::Nothing,
            b'\r' | b'\n' => Event::Entered(std::mem::replace(&mut self.line, empty_line())),
            0x08 | 0x7f => self.shorten(|line| line.len() - last_character(line)),
            // Ctrl-U, Ctrl-W, Ctrl-C
            0x15 => self.shorten(|_| 0),
            0x17 => self.shorten(word_start),
            0x03 => {
                self.clear();
                Event::Cancelled
            }
            b'\t' => Event::EchoToggled,
            0x00..0x20 => Event::Nothing,
            _ if self.line.len() >= MAX_LINE => Event::Full,
            _ => {
                self.line.push(byte);
                Event::Edited
            }
        }
    }

    /// The bytes typed so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.line
    }

    /// Wipes the line.
    pub(super) fn clear(&mut self) {
        self.line.zeroize();
        self.escape = Escape::None;
    }

    /// Whether the byte belongs to an escape sequence. A control character ends one, so that Enter always is Enter.
    fn swallow(&mut self, byte: u8) -> bool {
        let (next, swallowed) = match (self.escape, byte) {
            (_, 0x1b) => (Escape::Started, true),
            (Escape::None, _) | (_, 0x00..0x20 | 0x7f) => (Escape::None, false),
            (Escape::Started, b'[') => (Escape::ControlSequence { first: true }, true),
            (Escape::Started, b'O') | (Escape::ControlSequence { first: true }, b'[') => (Escape::Last, true),
            (Escape::ControlSequence { .. }, 0x20..0x40) => (Escape::ControlSequence { first: false }, true),
            (Escape::Started | Escape::ControlSequence { .. } | Escape::Last, _) => (Escape::None, true),
        };
        self.escape = next;
        swallowed
    }

    fn shorten(&mut self, keep: impl FnOnce(&[u8]) -> usize) -> Event {
        let keep = keep(&self.line);
        if keep >= self.line.len() {
            return Event::Nothing;
        }
        if let Some(removed) = self.line.get_mut(keep..) {
            removed.zeroize();
        }
        self.line.truncate(keep);
        Event::Edited
    }
}

/// Characters in a line; a byte sequence that isn't UTF-8 counts as one.
pub(super) fn characters(line: &[u8]) -> usize {
    line.utf8_chunks()
        .map(|c| c.valid().chars().count() + usize::from(!c.invalid().is_empty()))
        .sum()
}

/// Length in bytes of the last character.
fn last_character(line: &[u8]) -> usize {
    let Some(last) = line.utf8_chunks().last() else {
        return 0;
    };
    match last.invalid() {
        [] => last.valid().chars().next_back().map_or(0, char::len_utf8),
        broken => broken.len(),
    }
}

/// Where the last word begins, blanks behind it included.
fn word_start(line: &[u8]) -> usize {
    let end = line.iter().rposition(|b| *b != b' ').map_or(0, |at| at + 1);
    line.iter()
        .take(end)
        .rposition(|b| *b == b' ')
        .map_or(0, |at| at + 1)
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

    /// Feeds each item as one read; returns the lines entered and what is left.
    fn typed(reads: &[&[u8]]) -> (Vec<String>, String) {
        let mut editor = LineEditor::default();
        let mut lines = Vec::new();
        for read in reads {
            editor.start_read(read.first().copied());
            for byte in *read {
                if let Event::Entered(line) = editor.feed(*byte) {
                    lines.push(String::from_utf8_lossy(&line).into_owned());
                }
            }
        }
        (lines, String::from_utf8_lossy(editor.bytes()).into_owned())
    }

    #[test]
    fn keys() {
        let table: [(&[u8], &str); 17] = [
            (b"abc", "abc"),
            (b"abc\x7f", "ab"),
            (b"abc\x08\x08\x08\x08x", "x"),
            ("aö€😀\u{7f}".as_bytes(), "aö€"),
            ("aö€\u{7f}".as_bytes(), "aö"),
            ("aö\u{7f}".as_bytes(), "a"),
            (b"a\xff\xfe\x7f", "a\u{fffd}"),
            (b"a\xe2\x82\x7f", "a"),
            (b"abc\x15d", "d"),
            (b"abc\x03d", "d"),
            (b"one two  \x17", "one "),
            (b"one\x17", ""),
            (b"a\x01\x04\x00b\t", "ab"),
            (b"a\x1b[Ab\x1b[1;5Dc\x1bOPd\x1b[3~e\x1b[[Bf", "abcdef"),
            (b"a\x1bxb", "ab"),
            (b"a\x1b\x1b[Cb", "ab"),
            (b"a\x1b[\x7f", ""),
        ];
        for (keys, left) in table {
            assert_eq!(typed(&[keys]), (vec![], left.to_owned()), "{keys:?}");
        }
    }

    #[test]
    fn enter_ends_a_line() {
        let lines = |reads: &[&[u8]]| typed(reads).0;
        assert_eq!(lines(&[b"a\rb\nc"]), ["a", "b"]);
        assert_eq!(lines(&[b"a\r\nb\r\n"]), ["a", "b"]);
        assert_eq!(lines(&[b"a\r", b"\n"]), ["a", ""]);
        assert_eq!(lines(&[b"a\x1b\r"]), ["a"]);
        assert_eq!(lines(&[b"\n\n"]), ["", ""]);
    }

    #[test]
    fn the_escape_key_swallows_nothing_typed_after_it() {
        assert_eq!(typed(&[b"\x1b", b"secret"]).1, "secret");
        assert_eq!(typed(&[b"\x1b", b"Open"]).1, "Open");
        assert_eq!(typed(&[b"\x1b", b"[Ax"]).1, "x");
        assert_eq!(typed(&[b"\x1b[", b"1", b"~x"]).1, "x");
    }

    #[test]
    fn a_full_line_takes_no_more() {
        let mut editor = LineEditor::default();
        let before = editor.bytes().as_ptr();
        for _ in 0..MAX_LINE {
            assert_eq!(editor.feed(b'x'), Event::Edited);
        }
        assert_eq!(editor.feed(b'x'), Event::Full);
        assert_eq!(
            (editor.bytes().len(), editor.bytes().as_ptr()),
            (MAX_LINE, before)
        );
        let Event::Entered(line) = editor.feed(b'\r') else {
            panic!()
        };
        assert_eq!((line.len(), line.as_ptr()), (MAX_LINE, before));
    }

    #[test]
    fn what_is_deleted_is_wiped() {
        let mut editor = LineEditor::default();
        for byte in b"secret\x15" {
            editor.feed(*byte);
        }
        // Within the capacity, so that the bytes behind the length are looked at through pushes of zeros.
        editor.line.resize(6, 0);
        assert_eq!(&**editor.line, [0; 6]);
        assert_eq!(editor.line.capacity(), MAX_LINE);
    }

    proptest! {
        #[test]
        fn never_longer_than_allowed(reads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)) {
            let mut editor = LineEditor::default();
            for read in reads {
                editor.start_read(read.first().copied());
                for byte in read {
                    if let Event::Entered(line) = editor.feed(byte) {
                        prop_assert!(line.len() <= MAX_LINE);
                        prop_assert!(!line.iter().any(|b| *b < 0x20 || *b == 0x7f));
                    }
                    prop_assert!(editor.bytes().len() <= MAX_LINE);
                    prop_assert!(characters(editor.bytes()) <= editor.bytes().len());
                }
            }
        }

        #[test]
        fn as_many_backspaces_as_characters_empty_the_line(bytes in proptest::collection::vec(0x20_u8.., 0..600)) {
            let mut editor = LineEditor::default();
            for byte in bytes {
                editor.feed(byte);
            }
            for left in (0..characters(editor.bytes())).rev() {
                editor.feed(0x7f);
                prop_assert_eq!(characters(editor.bytes()), left);
            }
            prop_assert!(editor.bytes().is_empty());
        }

        #[test]
        fn printable_text_is_taken_as_it_is(text in "[^\\x00-\\x1f\\x7f]{0,120}") {
            let line = format!("{text}\n");
            prop_assert_eq!(typed(&[line.as_bytes()]).0, vec![text]);
        }
    }
}
