//! One line of input: a pure function from keys to what the terminal shows.

use zeroize::Zeroizing;

/// cryptsetup's limit for an interactive passphrase (`LUKS2_PASSPHRASE_LENGTH_MAX` of its tools, 512).
const CAPACITY: usize = 512;

/// How input is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// An asterisk a character.
    Stars,
    /// As typed.
    Plain,
}

/// What a key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing to show.
    Nothing,
    /// One more character.
    Added,
    /// This many characters went.
    Removed(usize),
    /// The key can't be taken.
    Refused,
    /// The line is complete.
    Complete,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Started,
    /// Inside of a control sequence (ECMA-48, section 5.4), until its final byte.
    Sequence,
}

/// The editor of one console. Its buffer is allocated once, so that no copy of a passphrase is left behind by growth.
#[derive(Debug)]
pub struct Editor {
    buffer: Zeroizing<Vec<u8>>,
    escape: Escape,
}

impl Default for Editor {
    fn default() -> Self {
        Editor {
            buffer: Zeroizing::new(Vec::with_capacity(CAPACITY)),
            escape: Escape::None,
        }
    }
}

impl Editor {
    /// Takes one byte from the terminal.
    pub fn key(&mut self, byte: u8) -> Effect {
        match (self.escape, byte) {
            (Escape::None, 0x1b) => {
                self.escape = Escape::Started;
                return Effect::Nothing;
            }
            (Escape::None, _) => {}
            (Escape::Started, b'[' | b'O') => {
                self.escape = Escape::Sequence;
                return Effect::Nothing;
            }
            (Escape::Started, _) => self.escape = Escape::None,
            (Escape::Sequence, 0x20..=0x3f) => return Effect::Nothing,
            (Escape::Sequence, 0x40..=0x7e) => {
                self.escape = Escape::None;
                return Effect::Nothing;
            }
            (Escape::Sequence, _) => self.escape = Escape::None,
        }
        match byte {
            b'\n' | b'\r' => Effect::Complete,
            0x7f | 0x08 => self.remove_last(),
            // Ctrl-U, and Ctrl-C, which people press to start again.
            0x15 | 0x03 => self.clear(),
            // Ctrl-W
            0x17 => self.remove_word(),
            _ if byte < 0x20 => Effect::Nothing,
            _ if self.buffer.len() == CAPACITY => Effect::Refused,
            _ => {
                self.buffer.push(byte);
                // The bytes that continue a character add nothing to see.
                if is_continuation(byte) {
                    Effect::Nothing
                } else {
                    Effect::Added
                }
            }
        }
    }

    /// What has been typed.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Number of characters typed.
    pub fn characters(&self) -> usize {
        self.buffer.iter().filter(|byte| !is_continuation(**byte)).count()
    }

    /// Hands out the line and starts an empty one.
    pub fn take(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(self).buffer
    }

    /// Empties the line.
    pub fn clear(&mut self) -> Effect {
        let removed = self.characters();
        // Shortening alone would leave the bytes in place.
        self.buffer.iter_mut().for_each(|byte| *byte = 0);
        self.buffer.clear();
        Effect::Removed(removed)
    }

    fn remove_last(&mut self) -> Effect {
        while let Some(byte) = self.pop() {
            if !is_continuation(byte) {
                return Effect::Removed(1);
            }
        }
        Effect::Nothing
    }

    fn remove_word(&mut self) -> Effect {
        let before = self.characters();
        while self.buffer.last() == Some(&b' ') {
            let _ = self.pop();
        }
        while self.buffer.last().is_some_and(|byte| *byte != b' ') {
            let _ = self.pop();
        }
        Effect::Removed(before - self.characters())
    }

    fn pop(&mut self) -> Option<u8> {
        let last = self.buffer.last_mut()?;
        let byte = std::mem::take(last);
        let _ = self.buffer.pop();
        Some(byte)
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(keys: &[u8]) -> Editor {
        let mut editor = Editor::default();
        for key in keys {
            let _ = editor.key(*key);
        }
        editor
    }

    #[test]
    fn backspace_takes_a_whole_character() {
        assert_eq!(typed("aä€".as_bytes()).characters(), 3);
        assert_eq!(typed("aä€\x7f".as_bytes()).bytes(), "aä".as_bytes());
        assert_eq!(typed("aä€\x7f\x08\x7f\x7f".as_bytes()).bytes(), b"");
    }

    #[test]
    fn control_keys_clear_and_cut() {
        assert_eq!(typed(b"abc\x15d").bytes(), b"d");
        assert_eq!(typed(b"abc\x03d").bytes(), b"d");
        assert_eq!(typed(b"correct horse  \x17").bytes(), b"correct ");
        assert_eq!(typed(b"a\tb\x01").bytes(), b"ab");
    }

    #[test]
    fn arrows_and_other_sequences_enter_nothing() {
        assert_eq!(typed(b"a\x1b[A\x1b[1;5Cb\x1bOPc\x1b[3~d").bytes(), b"abcd");
    }

    #[test]
    fn a_full_line_refuses_more() {
        let mut editor = typed(&[b'x'; CAPACITY]);
        assert_eq!(editor.key(b'y'), Effect::Refused);
        assert_eq!(editor.bytes().len(), CAPACITY);
        assert_eq!(editor.key(b'\r'), Effect::Complete);
    }

    proptest! {
        #[test]
        fn what_is_shown_matches_what_is_typed(keys: Vec<u8>) {
            let mut editor = Editor::default();
            let mut shown = 0_usize;
            for key in keys {
                match editor.key(key) {
                    Effect::Added => shown += 1,
                    Effect::Removed(count) => shown -= count,
                    Effect::Nothing | Effect::Refused | Effect::Complete => {}
                }
                prop_assert_eq!(shown, editor.characters());
                prop_assert!(editor.bytes().len() <= CAPACITY);
            }
        }
    }
}
