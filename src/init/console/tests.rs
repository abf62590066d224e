#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]
//! Two pseudo-terminals stand for a screen and a serial line.

use super::editor::MAX_LINE;
use super::*;
use nix::fcntl::OFlag;
use nix::poll::{PollTimeout, poll};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn prompt(text: &str, echo: Echo) -> Prompt {
    Prompt {
        text: text.to_owned(),
        echo,
    }
}

/// The other end of a console.
struct Screen {
    master: File,
    /// Keeps the terminal there while no console has it open.
    slave: Option<OwnedFd>,
}

impl Screen {
    fn new(dev: &Path, name: &str) -> Self {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        symlink(nix::unistd::ttyname(&slave).unwrap(), dev.join(name)).unwrap();
        nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        Self {
            master: File::from(master),
            slave: Some(slave),
        }
    }

    fn mode(&self) -> Termios {
        tcgetattr(self.slave.as_ref().unwrap()).unwrap()
    }

    fn is_raw(&self) -> bool {
        !self
            .mode()
            .local_flags
            .intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG)
    }

    /// Everything that was shown since this was last asked: up to `end`, which must come.
    fn shown_until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut part = [0; 4096];
            match self.master.read(&mut part) {
                Ok(count) => bytes.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
                    let ready = poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap();
                    assert_eq!(
                        ready,
                        1,
                        "waiting for {end:?}, have {:?}",
                        String::from_utf8_lossy(&bytes)
                    );
                }
                Err(error) => panic!("{error}"),
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    fn has_nothing(&mut self) -> bool {
        self.master.read(&mut [0; 16]).is_err()
    }
}

struct Machine {
    dir: TempDir,
    consoles: Consoles,
    screen: Screen,
    serial: Screen,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (dev, sys) = (dir.path().join("dev"), dir.path().join("sys"));
        fs::create_dir_all(&dev).unwrap();
        fs::create_dir_all(sys.join("class/tty/console")).unwrap();
        fs::write(sys.join("class/tty/console/active"), "tty0 ttyS0\n").unwrap();
        fs::write(dir.path().join("printk"), "7 4 1 7\n").unwrap();
        let (screen, serial) = (Screen::new(&dev, "tty0"), Screen::new(&dev, "ttyS0"));
        let log = KernelLog::new(&dir.path().join("printk"));
        let asked = ["ttyS0".to_owned(), "ttyUSB0".to_owned()];
        let consoles = Consoles::with_log(&dev, &sys, &asked, log);
        Self {
            dir,
            consoles,
            screen,
            serial,
        }
    }

    /// Handles events until a line was entered.
    fn line(&mut self) -> (String, String) {
        loop {
            self.wait();
            if let Some(line) = self.consoles.handle_ready() {
                return (String::from_utf8_lossy(&line.bytes).into_owned(), line.console);
            }
        }
    }

    fn wait(&self) {
        let mut fds: Vec<_> = self.consoles.poll_fds().collect();
        assert!(
            poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap() > 0,
            "no event"
        );
    }

    /// Handles what was typed, of which no line comes.
    fn handle(&mut self) {
        self.wait();
        assert!(self.consoles.handle_ready().is_none());
    }

    fn ask(&mut self) {
        self.consoles.set_prompt(prompt("Passphrase: ", Echo::Stars));
        assert_eq!(self.screen.shown_until(": "), "\r\x1b[KPassphrase: ");
        assert_eq!(self.serial.shown_until(": "), "\r\x1b[KPassphrase: ");
    }

    fn log_level(&self) -> String {
        fs::read_to_string(self.dir.path().join("printk")).unwrap()
    }
}

#[test]
fn the_first_console_with_a_line_wins() {
    let mut m = Machine::new();
    assert_eq!(m.consoles.names(), ["tty0", "ttyS0"]);
    m.ask();
    assert_eq!(m.log_level(), "1");
    m.screen.master.write_all(b"half").unwrap();
    m.handle();
    assert_eq!(m.screen.shown_until("****"), "****");
    m.serial.master.write_all("gehöim\x7fm!\r".as_bytes()).unwrap();
    assert_eq!(m.line(), ("gehöim!".to_owned(), "ttyS0".to_owned()));
    assert_eq!(m.serial.shown_until("\n"), "*******\r\n");
    assert_eq!(
        m.screen.shown_until("\n"),
        "\r\x1b[KPassphrase: (answered on ttyS0)\r\n"
    );
    assert_eq!(m.log_level(), "7");
    assert!(!m.consoles.has_typed());

    m.ask();
    m.screen.master.write_all(b"\r").unwrap();
    assert_eq!(m.line(), (String::new(), "tty0".to_owned()));
}

#[test]
fn editing_shows() {
    let mut m = Machine::new();
    m.ask();
    let mut step = |keys: &str, shown: &str| {
        m.serial.master.write_all(keys.as_bytes()).unwrap();
        m.handle();
        assert_eq!(m.serial.shown_until(shown), shown, "{keys:?}");
    };
    step("aö€", "***");
    step("\x7f", "\x08 \x08");
    step("\x15", "\x08 \x08\x08 \x08");
    step("abc", "***");
    step("\t", "\r\x1b[KPassphrase: (no echo) ");
    step("d\t", "\r\x1b[KPassphrase: ****");
    step("\x03", "^C\r\nPassphrase: ");
    step(&"x".repeat(100), &"*".repeat(67));
    m.serial.master.write_all(&[0x7f; 34]).unwrap();
    m.handle();
    assert_eq!(m.serial.shown_until("\x08 \x08"), "\x08 \x08");
    m.serial.master.write_all(b"\n").unwrap();
    assert_eq!(m.line(), ("x".repeat(66), "ttyS0".to_owned()));
}

#[test]
fn plain_echo() {
    let mut m = Machine::new();
    m.consoles.set_prompt(prompt("Pick\n\nNumber: ", Echo::Plain));
    assert_eq!(m.screen.shown_until(": "), "\r\x1b[KPick\r\n\r\nNumber: ");
    m.screen.master.write_all(b"4\t2\x7f").unwrap();
    m.handle();
    assert_eq!(m.screen.shown_until("4"), "4");
    m.consoles.print("note");
    assert_eq!(
        m.screen.shown_until(": 4"),
        "\r\x1b[K\x1b[A\r\x1b[K\x1b[A\r\x1b[Knote\r\nPick\r\n\r\nNumber: 4"
    );
    m.screen.master.write_all(b"1\r").unwrap();
    assert_eq!(m.line().0, "41");
    assert_eq!(m.screen.shown_until("\n"), "1\r\n");
}

#[test]
fn a_message_leaves_the_prompt_as_it_was() {
    let mut m = Machine::new();
    m.consoles.print("before\n");
    assert_eq!(m.screen.shown_until("\n"), "before\r\n");
    assert_eq!(m.serial.shown_until("\n"), "before\r\n");
    m.ask();
    m.screen.master.write_all(b"abc").unwrap();
    m.handle();
    assert_eq!(m.screen.shown_until("***"), "***");
    m.consoles.print("disk \x1b[2J\nfound");
    assert_eq!(
        m.screen.shown_until("***"),
        "\r\x1b[Kdisk ?[2J\r\nfound\r\nPassphrase: ***"
    );
    assert_eq!(
        m.serial.shown_until(": "),
        "\r\x1b[Kdisk ?[2J\r\nfound\r\nPassphrase: "
    );
    m.screen.master.write_all(b"d\r").unwrap();
    assert_eq!(m.line().0, "abcd");
}

#[test]
fn a_full_line_beeps() {
    let mut m = Machine::new();
    m.ask();
    m.serial.master.write_all(&[b'x'; MAX_LINE + 10]).unwrap();
    m.handle();
    let shown = m.serial.shown_until("\x07");
    assert_eq!(shown.matches('*').count(), 67);
    m.serial.master.write_all(b"\r").unwrap();
    assert_eq!(m.line().0.len(), MAX_LINE);
}

#[test]
fn a_console_that_vanishes_is_dropped() {
    let mut m = Machine::new();
    m.ask();
    let Machine {
        dir: _dir,
        mut consoles,
        screen,
        mut serial,
    } = m;
    drop(screen);
    assert!(
        poll(
            &mut consoles.poll_fds().collect::<Vec<_>>(),
            PollTimeout::from(10_000_u16)
        )
        .unwrap()
            > 0
    );
    assert!(consoles.handle_ready().is_none());
    assert_eq!(consoles.names(), ["ttyS0"]);
    consoles.print("still there");
    serial.shown_until("Passphrase: ");
    drop(serial);
    consoles.print("nobody hears");
    consoles.handle_ready();
    assert_eq!(consoles.names(), [""; 0]);
    assert_eq!(consoles.poll_fds().count(), 0);
    consoles.set_prompt(prompt("? ", Echo::Plain));
    consoles.close();
}

#[test]
fn a_console_that_appears_later_gets_the_prompt() {
    let mut m = Machine::new();
    m.ask();
    let mut usb = Screen::new(&m.dir.path().join("dev"), "ttyUSB0");
    m.consoles.rescan();
    assert_eq!(m.consoles.names(), ["tty0", "ttyS0", "ttyUSB0"]);
    assert_eq!(usb.shown_until(": "), "\r\x1b[KPassphrase: ");
    assert!(m.screen.has_nothing());
    usb.master.write_all(b"x\r").unwrap();
    assert_eq!(m.line(), ("x".to_owned(), "ttyUSB0".to_owned()));
}

#[test]
fn dev_console_only_without_others_and_one_terminal_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut console = Screen::new(dir.path(), "console");
    fs::write(dir.path().join("ttyfile"), "not a terminal").unwrap();
    let asked = ["ttyfile".to_owned(), "ttyS9".to_owned()];
    let mut consoles = Consoles::with_log(dir.path(), dir.path(), &asked, KernelLog::untouched());
    assert_eq!(consoles.names(), ["console"]);
    symlink(
        fs::read_link(dir.path().join("console")).unwrap(),
        dir.path().join("ttyS9"),
    )
    .unwrap();
    consoles.rescan();
    assert_eq!(consoles.names(), ["console"]);
    consoles.print("x");
    assert_eq!(console.shown_until("\n"), "x\r\n");
    assert_eq!(
        fs::read_to_string(dir.path().join("ttyfile")).unwrap(),
        "not a terminal"
    );
}

#[test]
fn keys_without_a_prompt_are_noticed_and_forgotten() {
    let mut m = Machine::new();
    assert!(!m.consoles.take_pending_key());
    m.serial.master.write_all(b"xyz").unwrap();
    m.handle();
    m.ask();
    assert!(m.consoles.take_pending_key());
    assert!(!m.consoles.take_pending_key());
    m.serial.master.write_all(b"a\r").unwrap();
    assert_eq!(m.line().0, "a");
    assert!(!m.consoles.take_pending_key());
}

#[test]
fn a_console_that_takes_no_output_costs_text_only() {
    let mut m = Machine::new();
    for number in 0..3000 {
        m.consoles.print(&format!("line {number} of a long boot"));
        if number % 50 == 49 {
            m.screen.shown_until(&format!("line {number} of a long boot\r\n"));
        }
    }
    m.consoles.set_prompt(prompt("Passphrase: ", Echo::Stars));
    assert_eq!(m.screen.shown_until(": "), "\r\x1b[KPassphrase: ");
    m.screen.master.write_all(b"a").unwrap();
    m.handle();
    m.screen.shown_until("*");
    // The serial line's other end begins to read.
    let mut shown = String::new();
    while !shown.ends_with("Passphrase: ") {
        let mut part = [0; 4096];
        if let Ok(count) = m.serial.master.read(&mut part) {
            shown.push_str(&String::from_utf8_lossy(&part[..count]));
        }
        assert!(m.consoles.handle_ready().is_none());
    }
    assert!(shown.starts_with("line 0 of a long boot\r\n"));
    assert!(shown.contains(" texts not shown: this console took no output]\r\n"));
    m.serial.master.write_all(b"b\r").unwrap();
    assert_eq!(m.line(), ("b".to_owned(), "ttyS0".to_owned()));
}

#[test]
fn terminals_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let mut screen = Screen::new(dir.path(), "tty0");
    let before = screen.mode();
    let mut consoles = Consoles::with_log(
        dir.path(),
        dir.path(),
        &["tty0".to_owned()],
        KernelLog::untouched(),
    );
    assert!(screen.is_raw());
    consoles.set_prompt(prompt("? ", Echo::Stars));
    screen.master.write_all(b"typed ahead").unwrap();
    consoles.close();
    assert_eq!(screen.mode(), before);
    assert_eq!(screen.shown_until("? \r\x1b[K"), "\r\x1b[K? \r\x1b[K");
    // Nothing of it is left for whoever reads next.
    screen.master.write_all(b"login\n").unwrap();
    let mut slave = File::from(screen.slave.take().unwrap());
    let mut line = [0; 64];
    let count = slave.read(&mut line).unwrap();
    assert_eq!(&line[..count], b"login\n");
}
