//! Running dpkg, and what a package's script said when it failed.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Lines of a failed script's output that are said again.
const LAST_LINES: usize = 30;
/// Longest line that is kept.
const LINE_MAX: usize = 2000;

/// Why packages aren't installed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DpkgError {
    /// dpkg can't be run.
    #[error("dpkg can't be run: {0}")]
    Run(#[source] io::Error),
    /// A package's script failed.
    #[error("package {package}: {what}{}", said(words))]
    Script {
        /// The package, as far as dpkg tells it.
        package: String,
        /// Which script, and how it ended: dpkg's words.
        what: String,
        /// The last lines that it said.
        words: Vec<String>,
    },
    /// Something else.
    #[error("dpkg {what} failed with {status}{}", said(words))]
    Failed {
        /// What it should do.
        what: String,
        /// How it ended.
        status: String,
        /// The last lines that it said.
        words: Vec<String>,
    },
    /// dpkg says that all went well, but a package isn't installed.
    #[error("not every package is installed: {0}")]
    Unfinished(String),
    /// The database can't be read.
    #[error("dpkg's database: {0}")]
    Database(#[source] io::Error),
}

fn said(words: &[String]) -> String {
    if words.is_empty() {
        "; it said nothing".to_owned()
    } else {
        format!("; its last words:\n  {}", words.join("\n  "))
    }
}

/// How dpkg is run.
pub(super) struct Dpkg {
    /// Options for every run.
    options: Vec<String>,
    date: i64,
}

impl Dpkg {
    /// dpkg of the root directory. `exclude` are patterns of paths that aren't installed.
    pub(super) fn new(exclude: &[String], date: i64) -> Self {
        // What a cut would lose is thrown away anyway. Nobody is there to be asked: a file that the layers below changed gives way to
        // the package's own only when nobody changed it.
        let fixed = [
            "--force-unsafe-io",
            "--force-confdef",
            "--force-confold",
            "--no-debsig",
        ];
        let mut options: Vec<String> = fixed.map(str::to_owned).into();
        options.push("--log=/dev/null".to_owned());
        options.extend(exclude.iter().map(|pattern| format!("--path-exclude={pattern}")));
        Self { options, date }
    }

    /// Runs dpkg with these options and arguments. Its words go to standard output.
    pub(super) fn run(&self, action: &[&str], arguments: &[String]) -> Result<(), DpkgError> {
        if arguments.is_empty() && !action.contains(&"--pending") {
            return Ok(());
        }
        let (reader, writer) = io::pipe().map_err(DpkgError::Run)?;
        let mut command = Command::new("/usr/bin/dpkg");
        let _ = command
            .args(&self.options)
            .args(action)
            .args(arguments)
            .env_clear()
            .envs([
                ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                ("HOME", "/root"),
                ("LC_ALL", "C.UTF-8"),
                ("LANGUAGE", "C"),
                ("TZ", "UTC"),
                ("DEBIAN_FRONTEND", "noninteractive"),
                ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
                ("DEBCONF_NOWARNINGS", "yes"),
                // Kernels are put into the boot menu by keel.
                ("KERNEL_INSTALL_BYPASS", "1"),
                ("INITRD", "No"),
                ("PYTHONHASHSEED", "0"),
                ("SYSTEMD_OFFLINE", "1"),
                ("SYSTEMD_IN_CHROOT", "1"),
            ])
            .env("SOURCE_DATE_EPOCH", self.date.to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map(OwnedFd::from).map_err(DpkgError::Run)?)
            .stderr(OwnedFd::from(writer));
        let child = command.spawn();
        // The pipe ends when nobody else has its other end.
        drop(command);
        let mut child = child.map_err(DpkgError::Run)?;
        let mut words = Words::default();
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(DpkgError::Run)? > 0 {
            // Whoever reads the log may be gone; the sandbox ends then.
            let _ignored = io::stdout().write_all(&line);
            words.hear(&String::from_utf8_lossy(&line));
            line.clear();
        }
        let status = child.wait().map_err(DpkgError::Run)?;
        if status.success() {
            return Ok(());
        }
        Err(words.failure(&action.join(" "), &status.to_string()))
    }
}

/// Checks that every package of the root's database is installed.
pub(super) fn check() -> Result<(), DpkgError> {
    let text = std::fs::read("/var/lib/dpkg/status").map_err(DpkgError::Database)?;
    let bad = unfinished(&String::from_utf8_lossy(&text));
    if bad.is_empty() {
        Ok(())
    } else {
        Err(DpkgError::Unfinished(bad.join(", ")))
    }
}

// Packages that are neither installed nor gone.
fn unfinished(status: &str) -> Vec<String> {
    let stanza = |text: &str| {
        let field = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        };
        let state = field("Status")?;
        let done = state.ends_with(" ok installed") || state.ends_with(" ok config-files");
        let name = field("Package").unwrap_or_default();
        (!done).then(|| format!("{name} ({state})"))
    };
    status.split("\n\n").filter_map(stanza).collect()
}

// What dpkg says, as far as it tells why something failed.
#[derive(Debug, Default)]
struct Words {
    // Since dpkg last began with a package.
    last: VecDeque<String>,
    failed: Option<(String, Vec<String>)>,
    what: Option<String>,
}

impl Words {
    fn hear(&mut self, line: &str) {
        let line: String = line.trim_end().chars().take(LINE_MAX).collect();
        if self.failed.is_some() && self.what.is_none() {
            self.what = Some(line.trim().to_owned());
            return;
        }
        if self.failed.is_none() {
            if let Some(package) = failed_package(&line) {
                self.failed = Some((package, std::mem::take(&mut self.last).into()));
                return;
            }
            if begins(&line) {
                self.last.clear();
                return;
            }
        }
        self.last.push_back(line);
        if self.last.len() > LAST_LINES {
            let _oldest = self.last.pop_front();
        }
    }

    fn failure(self, what: &str, status: &str) -> DpkgError {
        match (self.failed, self.what) {
            (Some((package, words)), Some(what)) => DpkgError::Script { package, what, words },
            _ => DpkgError::Failed {
                what: what.to_owned(),
                status: status.to_owned(),
                words: self.last.into(),
            },
        }
    }
}

fn begins(line: &str) -> bool {
    [
        "Setting up ",
        "Unpacking ",
        "Preparing to unpack ",
        "Processing triggers for ",
        "Selecting previously ",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

// `dpkg: error processing package NAME (--configure):`; an archive is told by its file.
fn failed_package(line: &str) -> Option<String> {
    let rest = line.strip_prefix("dpkg: error processing ")?;
    let rest = rest
        .strip_prefix("package ")
        .or_else(|| rest.strip_prefix("archive "))?;
    let name = rest.split(" (").next()?;
    let name = name.rsplit('/').next()?;
    // `0012-NAME_VERSION_ARCHITECTURE.deb`
    let name = name
        .split_once('-')
        .filter(|(digits, _)| digits.bytes().all(|b| b.is_ascii_digit()))
        .map_or(name, |(_, rest)| rest);
    Some(name.split('_').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> String {
        let mut words = Words::default();
        for line in text.lines() {
            words.hear(line);
        }
        words.failure("--configure -a", "exit status: 1").to_string()
    }

    #[test]
    fn a_failed_script_is_told_with_its_package_its_exit_code_and_its_words() {
        let text = "Setting up before (1) ...\nof another one\nSetting up bad (2) ...\nfirst\nsecond\n\
                    dpkg: error processing package bad (--configure):\n installed bad package post-installation script \
                    subprocess returned error exit status 3\nSetting up next (1) ...\n\
                    dpkg: error processing package next (--configure):\n dependency problems - leaving unconfigured\n\
                    Errors were encountered while processing:\n bad\n next\n";
        assert_eq!(
            heard(text),
            "package bad: installed bad package post-installation script subprocess returned error exit status 3; \
             its last words:\n  first\n  second"
        );
        let text = "Preparing to unpack .../0007-odd-name_1_all.deb ...\nno\n\
                    dpkg: error processing archive /run/keel/0007-odd-name_1_all.deb (--unpack):\n \
                    new odd-name package pre-installation script subprocess returned error exit status 1\n";
        assert!(heard(text).starts_with("package odd-name: new odd-name package pre-installation script"));
        assert_eq!(
            heard("dpkg: unrecoverable fatal error, aborting:\n no space\n"),
            "dpkg --configure -a failed with exit status: 1; its last words:\n  dpkg: unrecoverable fatal error, aborting:\n   no space"
        );
    }

    #[test]
    fn a_package_that_is_not_installed_is_named() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1\n\nPackage: b\nStatus: install ok half-configured\n\n";
        assert_eq!(unfinished(status), ["b (install ok half-configured)"]);
    }
}
