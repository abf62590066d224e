//! `keel generations show`: all that is known of one.

use anyhow::Result;
use serde::Serialize;

use super::{Where, facts, rfc3339};
use crate::boot::record::Boot;
use crate::cli::output::color::{Ink, Style};
use crate::cli::output::outln;
use crate::cli::units::shown_bytes;
use crate::diff::Side;
use crate::generations::Mark;
use crate::generations::facts::Health;
use crate::store::db::Database;
use crate::system::generation::{Generation, Profile};
use crate::system::packages::Packages;

/// A longer packages.json is not counted.
const PACKAGES_MAX: u64 = 64 << 20;

/// Show all that is known of a generation.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A number, or running, booted, default, newest.
    #[arg(value_name = "GENERATION")]
    generation: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    generation: u64,
    created: String,
    tag: Option<String>,
    system: String,
    label: Option<String>,
    kernel: Option<String>,
    kernel_params: Vec<String>,
    packages: Option<usize>,
    /// Bytes of its store paths, as archives.
    closure_bytes: Option<u64>,
    closure_paths: Option<usize>,
    damage: Option<String>,
    marks: Vec<Mark>,
    health: Health,
    boots: Vec<Boot>,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<()> {
    let profile = args.at.open()?;
    let side = Side::named(&profile, &args.generation)?;
    let facts = facts(&profile)?
        .into_iter()
        .find(|facts| Some(facts.generation.number) == side.generation);
    let Some(facts) = facts else {
        anyhow::bail!("{} has no generation of this profile", side.system);
    };
    let spec = profile.boot_spec(&side.path).ok();
    let (paths, bytes) = closure(&profile, &side);
    let Generation { number, created, .. } = facts.generation;
    let said = Said {
        generation: number,
        created: rfc3339(created),
        tag: facts.tag,
        label: spec.as_ref().map(|spec| spec.v1.label.clone()),
        kernel: spec.as_ref().map(|spec| spec.keel.kernel_version.clone()),
        kernel_params: spec.map(|spec| spec.v1.kernel_params).unwrap_or_default(),
        packages: count_packages(&profile, &side),
        closure_bytes: bytes,
        closure_paths: paths,
        damage: profile.intact(&side.path).err().map(|damage| damage.to_string()),
        marks: facts.marks,
        health: facts.health,
        boots: facts.known.boots,
        system: side.system,
    };
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&said)?)?;
        return Ok(());
    }
    print(&said, Style::stdout())
}

fn count_packages(profile: &Profile, side: &Side) -> Option<usize> {
    let path = format!("{}/packages.json", side.system);
    let bytes = profile.root().read(path, PACKAGES_MAX).ok()?;
    Some(serde_json::from_slice::<Packages>(&bytes).ok()?.packages.len())
}

// How many store paths it consists of, and their bytes, as far as they are known.
fn closure(profile: &Profile, side: &Side) -> (Option<usize>, Option<u64>) {
    let Ok(mut paths) = profile.closure(&side.path) else {
        return (None, None);
    };
    paths.push(side.path.clone());
    let count = paths.len();
    let layout = profile.layout();
    let directory = layout.physical(&layout.database_dir());
    let sum = || -> Option<u64> {
        // Opening makes one where there is none.
        if !directory.join("db.sqlite").exists() {
            return None;
        }
        let database = Database::open(&directory, layout.store_dir()).ok()?;
        let sizes = paths.iter().map(|path| Some(database.nar(path).ok()??.1));
        sizes.sum()
    };
    (Some(count), sum())
}

fn print(said: &Said, style: Style) -> Result<()> {
    let unknown = || "not known".to_owned();
    let marks: Vec<&str> = said.marks.iter().map(|mark| mark.name()).collect();
    let mut rows = vec![
        ("generation", style.paint(Ink::Bold, said.generation).to_string()),
        ("tag", said.tag.clone().unwrap_or_default()),
        ("created", said.created.clone()),
        ("system", said.system.clone()),
        ("label", said.label.clone().unwrap_or_else(unknown)),
        ("kernel", said.kernel.clone().unwrap_or_else(unknown)),
        ("parameters", said.kernel_params.join(" ")),
        (
            "packages",
            said.packages.map_or_else(unknown, |count| count.to_string()),
        ),
        (
            "closure",
            match (said.closure_paths, said.closure_bytes) {
                (Some(paths), Some(bytes)) => format!("{paths} paths, {}", shown_bytes(bytes)),
                (Some(paths), None) => format!("{paths} paths"),
                _ => unknown(),
            },
        ),
        ("state", marks.join(", ")),
        (
            "intact",
            match &said.damage {
                None => "yes".to_owned(),
                Some(why) => format!("{} {why}", style.paint(Ink::Red, "no:")),
            },
        ),
        ("health", health(&said.health, style)),
    ];
    for boot in said.boots.iter().rev() {
        let time = rfc3339(i64::try_from(boot.time).unwrap_or(i64::MAX));
        let how = if boot.healthy {
            style.paint(Ink::Green, "healthy".to_owned())
        } else {
            style.paint(Ink::Red, format!("not healthy: {}", boot.reason))
        };
        rows.push(("boot", format!("{time}  {how}")));
    }
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        outln!("{name:<12}{value}")?;
    }
    Ok(())
}

/// How the last boot went, in words.
pub(super) fn health(health: &Health, style: Style) -> String {
    match health {
        Health::Healthy { .. } => style.paint(Ink::Green, "healthy").to_string(),
        Health::Failed { reason, .. } => format!("{}: {reason}", style.paint(Ink::Red, "failed")),
        Health::TrialFailed { reason } => format!("{}: {reason}", style.paint(Ink::Red, "trial failed")),
        Health::Unknown => "never booted".to_owned(),
    }
}
