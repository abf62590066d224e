//! What waits to be written to one console. Bounded, so that a serial line whose other end stopped listening costs
//! text, never memory and never time.

use std::io::{self, ErrorKind, Write};

/// Most bytes that wait for one console: more than a screen of text, 1.4 s of a serial line at 115200 baud.
const CAPACITY: usize = 16 * 1024;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(super) struct Output {
    waiting: Vec<u8>,
    /// Texts that found no room since the queue was last empty.
    lost: usize,
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Everything is written.
    All,
    /// Everything is written, but so many texts had found no room before.
    AllAfterLoss(usize),
    /// The console takes no more now.
    Blocked,
}

impl Output {
    /// Queues the text as a whole, or counts it as lost. Once one is lost all are, until the queue is empty: half of a
    /// conversation misleads.
    pub(super) fn push(&mut self, text: &[u8]) {
        if self.lost > 0 || self.waiting.len() + text.len() > CAPACITY {
            self.lost += 1;
        } else {
            self.waiting.extend_from_slice(text);
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes as much as `to` takes without blocking.
    pub(super) fn flush(&mut self, mut to: impl Write) -> io::Result<Flushed> {
        let mut written = 0;
        let result = loop {
            let Some(rest) = self.waiting.get(written..).filter(|rest| !rest.is_empty()) else {
                break Ok(match std::mem::take(&mut self.lost) {
                    0 => Flushed::All,
                    lost => Flushed::AllAfterLoss(lost),
                });
            };
            match to.write(rest) {
                Ok(0) => break Ok(Flushed::Blocked),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(Flushed::Blocked),
                Err(error) => break Err(error),
            }
        };
        drop(self.waiting.drain(..written.min(self.waiting.len())));
        result
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

    /// Takes `room` bytes, then would block.
    struct Slow {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for &mut Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let now = bytes.len().min(self.room).min(7);
            if now == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= now;
            self.taken.extend_from_slice(&bytes[..now]);
            Ok(now)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn keeps_what_does_not_fit_and_counts_what_is_lost() {
        let mut output = Output::default();
        let mut slow = Slow {
            room: 10,
            taken: vec![],
        };
        output.push(b"0123456789abcdef");
        assert_eq!(output.flush(&mut slow).unwrap(), Flushed::Blocked);
        assert_eq!(slow.taken, b"0123456789");
        for _ in 0..20 {
            output.push(&[b'x'; 1000]);
        }
        assert!(output.waiting.len() <= CAPACITY);
        slow.room = usize::MAX;
        assert_eq!(output.flush(&mut slow).unwrap(), Flushed::AllAfterLoss(4));
        assert_eq!(slow.taken.len(), 16 + 16 * 1000);
        output.push(b"again");
        assert_eq!(output.flush(&mut slow).unwrap(), Flushed::All);
        assert!(!output.is_waiting() && slow.taken.ends_with(b"again"));
    }
}
