//! `keel diff`: what differs between two systems.

mod render;

use anyhow::Result;

use super::StoreArgs;
use super::output::color::Style;
use super::output::{self, OutputError, outln};
use crate::diff::{Diff, Side, between};
use crate::system::generation::{Profile, SYSTEM_PROFILE};

pub(super) use render::render;

/// Show what differs between two systems: packages, kernel, units, files of /etc, accounts, sizes.
///
/// A system is a generation's number, a store path, or one of: running, booted, default (what boots when nobody chooses),
/// newest.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  keel diff                 what the newest generation has other than what runs\n  \
                        keel diff 41 42\n  keel diff booted running --json"
)]
pub(super) struct Args {
    /// The system before.
    #[arg(value_name = "A", default_value = "running")]
    from: String,
    /// The system after.
    #[arg(value_name = "B", default_value = "newest")]
    to: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<()> {
    let profile = Profile::open(args.store.layout()?, SYSTEM_PROFILE)?;
    show(&profile, (&args.from, &args.to), args.json)
}

/// Compares two systems that are named, and prints what differs.
pub(super) fn show(profile: &Profile, (from, to): (&str, &str), json: bool) -> Result<()> {
    let (from, to) = (Side::named(profile, from)?, Side::named(profile, to)?);
    let diff = between(profile.layout(), &from, &to)?;
    if json {
        outln!("{}", serde_json::to_string_pretty(&diff)?)?;
    } else {
        print(&diff, Style::stdout())?;
    }
    Ok(())
}

/// Prints what differs, for people.
pub(super) fn print(diff: &Diff, style: Style) -> Result<(), OutputError> {
    output::write(format_args!("{}", render(diff, style)))
}
