//! `keel generations pin`, `unpin` and `tag`.

use std::time::Duration;

use anyhow::{Result, bail};

use super::Where;
use crate::activate::Machine;
use crate::boot::record::{Known, Record};
use crate::cli::output::outln;
use crate::diff::Side;
use crate::generations::facts::is_this_machine;
use crate::system::generation::Profile;

/// A tag is shown in a column.
const TAG_MAX: usize = 80;

/// Pin generations: they are never deleted, neither by hand nor to make room. (unpin: let them go again.)
#[derive(Debug, clap::Args)]
pub(super) struct PinArgs {
    /// The generations: numbers, or running, booted, default, newest.
    #[arg(value_name = "GENERATION", required = true)]
    generations: Vec<String>,
    #[command(flatten)]
    at: Where,
}

/// Give a generation a name of your own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keel generations tag 42 \"before the new graphics driver\"")]
pub(super) struct TagArgs {
    /// The generation: a number, or running, booted, default, newest.
    #[arg(value_name = "GENERATION")]
    generation: String,
    /// What it's called.
    #[arg(value_name = "TEXT", required_unless_present = "remove")]
    text: Option<String>,
    /// Take its name away.
    #[arg(long, conflicts_with = "text")]
    remove: bool,
    #[command(flatten)]
    at: Where,
}

/// Pins generations, or lets them go again.
pub(super) fn pin(args: &PinArgs, pinned: bool) -> Result<()> {
    let profile = args.at.open()?;
    let sides = args.generations.iter().map(|name| Side::named(&profile, name));
    let sides = sides.collect::<Result<Vec<_>, _>>()?;
    change(&profile, &sides, |known| known.pinned = pinned)?;
    let state = if pinned { "pinned" } else { "not pinned any more" };
    for side in &sides {
        outln!("{}: {state}", side.name())?;
    }
    Ok(())
}

/// Names a generation.
pub(super) fn tag(args: &TagArgs) -> Result<()> {
    let profile = args.at.open()?;
    let side = Side::named(&profile, &args.generation)?;
    let text = args.text.as_deref().map(str::trim).unwrap_or_default();
    if text.chars().any(char::is_control) || text.chars().count() > TAG_MAX {
        bail!("a tag is one line of at most {TAG_MAX} characters");
    }
    if text.is_empty() && !args.remove {
        bail!("a tag isn't empty; --remove takes one away");
    }
    let tag = (!args.remove).then(|| text.to_owned());
    change(&profile, std::slice::from_ref(&side), |known| {
        known.tag.clone_from(&tag);
    })?;
    match tag {
        Some(tag) => outln!("{}: {tag}", side.name())?,
        None => outln!("{}: no tag", side.name())?,
    }
    Ok(())
}

/// Changes what is remembered of systems.
fn change(profile: &Profile, sides: &[Side], change: impl Fn(&mut Known)) -> Result<()> {
    // A switch and the judge of a boot write the same file.
    let _lock = if is_this_machine(profile.layout().root()) {
        Some(Machine::this()?.lock(Duration::from_secs(5))?)
    } else {
        None
    };
    let root = profile.layout().root();
    let (mut record, fault) = Record::read(root);
    if let Some(fault) = fault {
        bail!("{fault}; nothing was changed: mend the file, or move it away");
    }
    for side in sides {
        if side.generation.is_none() {
            bail!(
                "{} has no generation of this profile; nothing was changed",
                side.system
            );
        }
        change(record.systems.entry(side.system.clone()).or_default());
    }
    // An entry that says nothing isn't kept.
    record.systems.retain(|_, known| *known != Known::default());
    record.write(root)?;
    Ok(())
}
