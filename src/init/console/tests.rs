//! Consoles on real pseudo-terminals.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollTimeout, poll};
use nix::pty::openpty;

use super::*;

/// A directory that stands for /dev, with consoles that are pseudo-terminals.
struct Bench {
    dev: tempfile::TempDir,
    ends: Vec<(File, OwnedFd)>,
}

impl Bench {
    fn new(names: &[&str]) -> (Bench, Consoles) {
        let dev = tempfile::tempdir().unwrap();
        let mut ends = Vec::new();
        for name in names {
            let pty = openpty(None, None).unwrap();
            let path = nix::unistd::ttyname(&pty.slave).unwrap();
            std::os::unix::fs::symlink(path, dev.path().join(name)).unwrap();
            let master = File::from(pty.master);
            let _ = fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
            ends.push((master, pty.slave));
        }
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let consoles = Consoles::open(dev.path(), Path::new("/nonexistent"), &names);
        assert_eq!(consoles.terminals.len(), names.len());
        (Bench { dev, ends }, consoles)
    }

    fn press(&mut self, console: usize, keys: &[u8], consoles: &mut Consoles) -> Option<Line> {
        self.ends[console].0.write_all(keys).unwrap();
        let mut fds: Vec<_> = consoles.poll_fds().collect();
        let _ = poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap();
        drop(fds);
        consoles.handle_ready()
    }

    fn screen(&mut self, console: usize) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.ends[console].0.read(&mut buffer) {
            text.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8(text).unwrap()
    }
}

fn passphrase() -> Prompt {
    Prompt {
        text: "Passphrase: ".to_owned(),
        echo: Echo::Stars,
    }
}

#[test]
fn the_first_console_with_a_complete_line_wins() {
    let (mut bench, mut consoles) = Bench::new(&["ttyA", "ttyB"]);
    consoles.set_prompt(passphrase());
    assert!(bench.press(0, b"half", &mut consoles).is_none());
    let line = bench.press(1, b"secr\x7fret\r", &mut consoles).unwrap();
    assert_eq!(line.bytes.as_slice(), b"secret");
    assert_eq!(line.console, "ttyB");
    assert_eq!(
        bench.screen(0),
        "Passphrase: **** (answered on another console)\r\n"
    );
    assert_eq!(bench.screen(1), "Passphrase: ****\x08 \x08***\r\n");
    consoles.set_prompt(passphrase());
    let line = bench.press(0, b"x\r", &mut consoles).unwrap();
    assert_eq!(line.bytes.as_slice(), b"x", "the half-typed line is forgotten");
    drop(bench.dev);
}

#[test]
fn a_message_is_printed_above_the_prompt() {
    let (mut bench, mut consoles) = Bench::new(&["ttyA"]);
    consoles.set_prompt(passphrase());
    assert!(bench.press(0, "ä€".as_bytes(), &mut consoles).is_none());
    let _ = bench.screen(0);
    consoles.print("a disk appeared");
    assert_eq!(bench.screen(0), "\r\x1b[2Ka disk appeared\r\nPassphrase: **");
    consoles.clear_prompt();
    assert_eq!(bench.screen(0), "\r\x1b[2K");
}

#[test]
fn a_console_that_vanishes_is_left_out() {
    let (mut bench, mut consoles) = Bench::new(&["ttyA", "ttyB"]);
    consoles.set_prompt(passphrase());
    drop(bench.ends.remove(0));
    let mut line = bench.press(0, b"x\r", &mut consoles);
    // The hang-up may be noticed before the keys have come through.
    while line.is_none() {
        line = bench.press(0, b"", &mut consoles);
    }
    assert_eq!(line.unwrap().console, "ttyB");
    assert_eq!(consoles.terminals.len(), 1);
}

#[test]
fn a_key_without_a_prompt_is_remembered_once() {
    let (mut bench, mut consoles) = Bench::new(&["ttyA"]);
    assert!(bench.press(0, b" ", &mut consoles).is_none());
    assert!(consoles.take_pending_key());
    assert!(!consoles.take_pending_key());
}
