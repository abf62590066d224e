//! `keel generations`: listing, showing, comparing, pinning, naming and deleting generations.

mod change;
mod delete;
mod list;
mod show;

use anyhow::Result;

use super::StoreArgs;
use crate::boot::record::Record;
use crate::generations::Facts;
use crate::generations::facts::is_this_machine;
use crate::system::generation::{Profile, SYSTEM_PROFILE};

pub(super) use list::rfc3339;

/// List the generations; show, compare, pin, name or delete them.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: list::ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(list::ListArgs),
    Show(show::Args),
    Diff(DiffArgs),
    Pin(change::PinArgs),
    Unpin(change::PinArgs),
    Tag(change::TagArgs),
    Delete(delete::Args),
}

/// Which profile.
#[derive(Debug, clap::Args)]
struct Where {
    /// The profile.
    #[arg(long, default_value = SYSTEM_PROFILE, value_name = "PROFILE")]
    profile: String,
    #[command(flatten)]
    store: StoreArgs,
}

impl Where {
    fn open(&self) -> Result<Profile> {
        Ok(Profile::open(self.store.layout()?, &self.profile)?)
    }
}

/// Show what differs between two generations; the same as `keel diff`.
#[derive(Debug, clap::Args)]
struct DiffArgs {
    /// The system before: a number, a store path, running, booted, default or newest.
    #[arg(value_name = "A")]
    from: String,
    /// The system after.
    #[arg(value_name = "B", default_value = "newest")]
    to: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<()> {
    match &args.verb {
        None => list::run(&args.list),
        Some(Verb::List(args)) => list::run(args),
        Some(Verb::Show(args)) => show::run(args),
        Some(Verb::Diff(args)) => super::diff::show(&args.at.open()?, (&args.from, &args.to), args.json),
        Some(Verb::Pin(args)) => change::pin(args, true),
        Some(Verb::Unpin(args)) => change::pin(args, false),
        Some(Verb::Tag(args)) => change::tag(args),
        Some(Verb::Delete(args)) => delete::run(args),
    }
}

/// What is known of a profile's generations.
fn facts(profile: &Profile) -> Result<Vec<Facts>> {
    let (record, fault) = Record::read(profile.layout().root());
    if let Some(fault) = fault {
        super::output::errln!("keel: warning: {fault}; pins, tags and health aren't known");
    }
    Ok(Facts::of_profile(profile, &record, menu_default(profile))?)
}

/// What the boot menu starts by itself; nothing when that can't be seen, or is no matter of this machine.
fn menu_default(profile: &Profile) -> Option<u64> {
    let is_here = is_this_machine(profile.layout().root()) && profile.path().ends_with("/system");
    is_here.then(crate::activate::menu_default)?
}
