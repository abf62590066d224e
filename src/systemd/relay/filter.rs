//! What flows from the service manager to the client, cut into messages and freed of SENDER fields, in whatever
//! pieces the socket delivers it.

use super::frame::{self, FrameError};

/// The state of one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Filter {
    phase: Phase,
    /// The begin of a message whose end hasn't come.
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Authentication, at the begin of a line.
    #[default]
    LineStart,
    /// Authentication, inside a line.
    Line,
    /// Messages until the end.
    Messages,
}

impl Filter {
    /// Takes the bytes that came, and appends to `out` those that go on.
    ///
    /// The lines of authentication pass unchanged. No line that a server may send begins with a small `l` or with a
    /// `B`, and every message does ("Authentication Protocol").
    ///
    /// # Errors
    /// When the bytes aren't D-Bus; the connection can't be used any longer then.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        while self.phase != Phase::Messages {
            let Some(first) = bytes.first() else { return Ok(()) };
            if self.phase == Phase::LineStart && matches!(first, b'l' | b'B') {
                self.phase = Phase::Messages;
                break;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            self.phase = if end.is_some() {
                Phase::LineStart
            } else {
                Phase::Line
            };
            let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |newline| newline + 1));
            out.extend_from_slice(line);
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        self.pass_messages(out)
    }

    fn pass_messages(&mut self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let mut rest = self.partial.as_slice();
        while let Some(length) = frame::message_length(rest)? {
            let Some((message, after)) = rest.split_at_checked(length) else {
                break;
            };
            frame::append_without_sender(message, out)?;
            rest = after;
        }
        let passed = self.partial.len() - rest.len();
        drop(self.partial.drain(..passed));
        Ok(())
    }
}
