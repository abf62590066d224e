//! `keel generate-config`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::output::{errln, outln, write};
use crate::generate::{FilesError, Outcome, Place, Plan, hardware, scan, system};

/// Write a first configuration: hardware.toml from what this machine is, and a commented system.toml.
///
/// A system.toml that is there is never touched. A hardware.toml that differs is replaced only with --force.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  keel generate-config\n  keel generate-config --root /mnt     during an installation\n  \
                        keel generate-config --stdout"
)]
pub(super) struct Args {
    /// The root file system that is described, mounted with all that belongs below it.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Where the files go; etc/keel of the root when left out.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write a hardware.toml that differs anew; the old one is kept as hardware.toml.old.
    #[arg(long)]
    force: bool,
    /// Print hardware.toml, and write nothing.
    #[arg(long, conflicts_with_all = ["dir", "force"])]
    stdout: bool,
    /// The directory that holds the machine's sys, proc and dev.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    machine: PathBuf,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<()> {
    // Mount points are compared as they are, so links and dots in the name would hide them.
    let root = std::fs::canonicalize(&args.root).unwrap_or_else(|_| args.root.clone());
    let machine = scan(&Place {
        machine: &args.machine,
        root: &root,
    })?;
    for note in &machine.notes {
        errln!("keel: note: {note}");
    }
    let (hardware, system) = (hardware(&machine), system(&machine));
    if args.stdout {
        write(format_args!("{hardware}"))?;
        return Ok(());
    }
    let directory = args.dir.clone().unwrap_or_else(|| root.join("etc/keel"));
    let plan = Plan {
        directory: &directory,
        hardware: &hardware,
        system: &system,
        force: args.force,
    };
    let differences = plan.differences()?;
    let written = plan.write();
    if let Err(FilesError::Differs { .. }) = &written {
        for line in &differences {
            errln!("{line}");
        }
    }
    for (path, outcome) in written? {
        outln!("{}: {}", path.display(), said(outcome, &path))?;
    }
    Ok(())
}

fn said(outcome: Outcome, path: &Path) -> String {
    match outcome {
        Outcome::Written => "written".to_owned(),
        Outcome::Same => "up to date".to_owned(),
        Outcome::Replaced => format!("written anew; the old one is {}.old", path.display()),
        Outcome::Left => "left as it is".to_owned(),
    }
}
