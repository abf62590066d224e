//! A root shell in early boot: only in an image that was built with one, and only when the kernel is told so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use log::info;

use super::InitError;
use super::boot::Boot;
use super::console::{Consoles, Echo, Prompt};
use crate::sys::session::run_on_terminal;

/// What the image says of its shell: the program's path.
const BUILT_IN: &str = "/etc/keel/shell";
/// Where programs of the image are, for the shell.
const PATH: &str = "/usr/bin:/usr/sbin:/bin:/sbin";

/// A moment at which a shell can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShellPoint {
    /// Before anything is unlocked.
    Start,
    /// The root file system is mounted, no generation is chosen.
    Root,
    /// The root is assembled; systemd is next.
    HandOff,
}

impl ShellPoint {
    const NAMES: [(&str, ShellPoint); 3] = [
        ("start", ShellPoint::Start),
        ("root", ShellPoint::Root),
        ("hand-off", ShellPoint::HandOff),
    ];

    /// What stands behind `keel.shell=`: names of points, separated by commas; nothing for none.
    pub(super) fn parse_list(text: &str) -> Result<BTreeSet<ShellPoint>, String> {
        let named = |word: &str| {
            Self::NAMES
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, point)| *point)
        };
        text.split(',')
            .filter(|word| !matches!(*word, "" | "trouble"))
            .map(|word| named(word).ok_or_else(|| "it takes start, root, hand-off or trouble".to_owned()))
            .collect()
    }

    fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, point)| *point == self)
            .map_or("", |(name, _)| name)
    }
}

impl Boot {
    /// Finds out whether there is a shell to be had: when the kernel is told so, and the image has one. To be called
    /// once, at the start.
    pub(super) fn allow_shell(&mut self) {
        if self.cmdline.shell.is_none() {
            return;
        }
        match built_in(Path::new(BUILT_IN)) {
            Some(program) => self.shell = Some(program),
            None => self.warn(
                "keel.shell is ignored: this initrd has no shell; `keel initrd --shell` builds one that has",
            ),
        }
    }

    /// Whether a shell can be offered.
    pub(super) fn has_shell(&self) -> bool {
        self.shell.is_some()
    }

    /// Offers a shell when `keel.shell=` names this point, the first time that it's reached.
    pub(super) fn shell_at(&mut self, point: ShellPoint) -> Result<(), InitError> {
        let asked = self
            .cmdline
            .shell
            .as_mut()
            .is_some_and(|points| points.remove(&point));
        if !asked || !self.has_shell() {
            return Ok(());
        }
        let prompt = Prompt {
            text: format!(
                "keel.shell={}: s for a root shell, Enter to go on: ",
                point.name()
            ),
            echo: Echo::Plain,
        };
        let deadline = self.unattended_deadline();
        self.consoles.set_prompt(prompt.clone());
        loop {
            let wake = self.wait(deadline)?;
            if wake.timed_out {
                self.consoles.clear_prompt();
                return Ok(());
            }
            let Some(line) = wake.line else { continue };
            if line.bytes.trim_ascii().is_empty() {
                return Ok(());
            }
            if line.bytes.trim_ascii() == b"s" {
                self.run_shell(&line.console);
            }
            self.consoles.set_prompt(prompt.clone());
        }
    }

    /// Runs the shell on a console until it ends. The other consoles rest meanwhile.
    pub(super) fn run_shell(&mut self, console: &str) {
        let Some(program) = self.shell.clone() else { return };
        info!("a root shell on {console}");
        self.report
            .warn(format!("a root shell was started on {console} (keel.shell)"));
        self.consoles.print(&format!(
            "A root shell on {console}; `exit` ends it, and the boot goes on."
        ));
        // The terminals go back to lines and echo.
        self.consoles.close();
        let status = run(&program, &Path::new("/dev").join(console));
        self.consoles = Consoles::open(Path::new("/dev"), Path::new("/sys"), &self.cmdline.consoles);
        if let Err(error) = status {
            self.warn(&format!(
                "{} can't be run on {console}: {error}",
                program.display()
            ));
        }
        // What was loaded or unplugged meanwhile.
        self.look_again();
    }
}

/// The image's shell.
fn built_in(record: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(record).ok()?;
    let program = PathBuf::from(text.trim());
    (program.is_absolute() && program.is_file()).then_some(program)
}

fn run(program: &Path, terminal: &Path) -> std::io::Result<()> {
    let is_busybox = program.file_name().is_some_and(|name| name == "busybox");
    let mut shell = Command::new(program);
    if is_busybox {
        // Links for all of its commands. Without them the shell still has its own.
        let _ = fs::create_dir_all("/bin");
        let _ = Command::new(program).args(["--install", "-s", "/bin"]).status();
        let _shell = shell.arg("sh");
    }
    let _shell = shell
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/")
        .env("TERM", "linux")
        .env("PS1", "keel initrd # ")
        .current_dir("/");
    // How the shell ends is nobody's business.
    run_on_terminal(&mut shell, terminal).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn points_are_named() {
        let parse = ShellPoint::parse_list;
        assert_eq!(parse(""), Ok(BTreeSet::new()));
        assert_eq!(parse("trouble"), Ok(BTreeSet::new()));
        assert_eq!(
            parse("hand-off,start"),
            Ok([ShellPoint::Start, ShellPoint::HandOff].into())
        );
        assert!(parse("now").is_err() && parse("start,/bin/sh").is_err());
        for (name, point) in ShellPoint::NAMES {
            assert_eq!(point.name(), name);
        }
    }

    #[test]
    fn only_a_program_that_the_image_names_and_has_is_its_shell() {
        let place = tempfile::tempdir().unwrap();
        let record = place.path().join("shell");
        assert_eq!(built_in(&record), None);
        for (text, expected) in [
            ("/bin/sh\n", Some(PathBuf::from("/bin/sh"))),
            ("", None),
            ("/nonexistent\n", None),
            ("/bin\n", None),
            ("sh\n", None),
        ] {
            fs::write(&record, text).unwrap();
            assert_eq!(built_in(&record), expected, "{text}");
        }
    }
}
