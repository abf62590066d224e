//! `keel rehearse`

use std::fs;
use std::io::{BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::output::{errln, outln};
use crate::rehearse::Rehearsal;

/// Prove that the next boot will find and open everything, without changing anything.
///
/// On the running machine, or on image files of disks (no root and no device-mapper is needed there). Exit code 0 only if
/// the boot would succeed, 3 when volumes open but no root is found, 1 otherwise.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Args {
    /// An image file of a disk, a partition or a volume; may be given several times. This machine when left out.
    #[arg(long = "device", value_name = "IMAGE")]
    devices: Vec<PathBuf>,
    /// Kernel parameters; those of the generation when left out.
    #[arg(long, value_name = "PARAMETERS")]
    cmdline: Option<String>,
    /// The system that is to start; the profile's when left out.
    #[arg(long, value_name = "SYSTEM")]
    system: Option<String>,
    /// Ask for a passphrase (a line of standard input when that isn't a terminal).
    #[arg(long)]
    ask: bool,
    /// A file whose first line is a passphrase; may be given several times.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Vec<PathBuf>,
    /// A file that is a key, every byte of it; may be given several times.
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Print device-mapper's tables too.
    #[arg(long)]
    tables: bool,
    /// Everything as JSON.
    #[arg(long)]
    json: bool,
}

/// Rehearses; returns the exit code.
pub(super) fn run(args: &Args) -> Result<u8> {
    let mut passphrases = Vec::new();
    for path in &args.passphrase_file {
        let mut content = read(path)?;
        let end = content
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(content.len());
        content.truncate(end);
        passphrases.push(content);
    }
    for path in &args.key_file {
        passphrases.push(read(path)?);
    }
    if args.ask {
        passphrases.push(asked("Passphrase: ")?);
    }
    let report = Rehearsal {
        images: &args.devices,
        parameters: args.cmdline.clone(),
        system: args.system.clone(),
        passphrases,
    }
    .run()?;
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        for line in report.lines(args.tables) {
            outln!("{line}")?;
        }
    }
    Ok(report.exit_code())
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let content = fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(Zeroizing::new(content))
}

/// A line of standard input, not shown while it's typed.
pub(super) fn asked(prompt: &str) -> Result<Zeroizing<Vec<u8>>> {
    let stdin = std::io::stdin();
    let before = if stdin.is_terminal() {
        let _ = std::io::stderr().write_all(prompt.as_bytes());
        let before = tcgetattr(stdin.as_fd()).context("the terminal")?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &silent).context("the terminal")?;
        Some(before)
    } else {
        None
    };
    let mut line = Zeroizing::new(Vec::new());
    let read = stdin.lock().read_until(b'\n', &mut line);
    if let Some(before) = before {
        let _ = tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &before);
        errln!("");
    }
    let _length = read.context("no passphrase can be read")?;
    if line.last() == Some(&b'\n') {
        let _newline = line.pop();
    }
    Ok(line)
}
