//! Terminal control sequences (ECMA-48) taken out of a console's bytes, so that text can be looked for in it.

/// Takes control sequences out of a stream of bytes that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Stripper {
    state: State,
    /// Bytes of a UTF-8 character that isn't complete yet.
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// Control sequence: until a byte of 0x40 to 0x7e.
    Control,
    /// Operating system command and its kind: until BEL or ESC.
    Command,
    /// One more byte belongs to the sequence (`ESC ( B`).
    OneMore,
}

impl Stripper {
    /// The text of `bytes`. Moving the cursor to a position counts as a new line: what follows stands elsewhere.
    pub(crate) fn strip(&mut self, bytes: &[u8]) -> String {
        let mut text = std::mem::take(&mut self.partial);
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Text, 0x1b) => State::Escape,
                (State::Text, b'\n' | b'\t' | 0x20..=0x7e | 0x80..) => {
                    text.push(byte);
                    State::Text
                }
                (State::Text, _) => State::Text,
                (State::Escape, b'[') => State::Control,
                (State::Escape, b']' | b'P' | b'_' | b'^' | b'X') => State::Command,
                (State::Escape, b'(' | b')' | b'#' | b'%') => State::OneMore,
                (State::Escape | State::OneMore, _) => State::Text,
                (State::Control, 0x40..=0x7e) => {
                    if matches!(byte, b'H' | b'f') && text.last().is_some_and(|&last| last != b'\n') {
                        text.push(b'\n');
                    }
                    State::Text
                }
                (State::Control, _) => State::Control,
                (State::Command, 0x07) => State::Text,
                (State::Command, 0x1b) => State::Escape,
                (State::Command, _) => State::Command,
            };
        }
        self.take_text(text)
    }

    fn take_text(&mut self, mut text: Vec<u8>) -> String {
        if let Err(error) = std::str::from_utf8(&text)
            && error.error_len().is_none()
        {
            self.partial = text.split_off(error.valid_up_to());
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_titles_go_and_text_stays() {
        let mut stripper = Stripper::default();
        let text = stripper.strip(b"\x1b[0;1;39mWelcome\x1b[0m \x1b]0;title\x07to \x1b(BDebian\r\n");
        assert_eq!(text, "Welcome to Debian\n");
    }

    #[test]
    fn a_sequence_may_come_in_pieces() {
        let mut stripper = Stripper::default();
        let pieces: [&[u8]; 5] = [b"a\x1b", b"[3", b"1mb\xe2", b"\x94", b"\x80c"];
        let text: String = pieces.iter().map(|piece| stripper.strip(piece)).collect();
        assert_eq!(text, "ab\u{2500}c");
    }

    #[test]
    fn a_new_position_is_a_new_line() {
        assert_eq!(
            Stripper::default().strip(b"Gen 2\x1b[16;33HGen 1"),
            "Gen 2\nGen 1"
        );
    }
}
