//! `keel generations list`.

use anyhow::Result;
use serde::Serialize;

use super::{Where, facts};
use crate::cli::output::color::{Ink, Style};
use crate::cli::output::{self, outln};
use crate::generations::facts::Health;
use crate::generations::{Facts, Mark};
use crate::system::generation::{Damage, Generation, Profile};
use crate::system::packages::Packages;

/// A longer packages.json is not counted.
const PACKAGES_MAX: u64 = 64 << 20;

/// List the generations of a profile.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a field of the JSON, independent of the others"
)]
struct Row {
    generation: u64,
    /// RFC 3339, UTC.
    created: String,
    system: Option<String>,
    label: Option<String>,
    kernel: Option<String>,
    packages: Option<usize>,
    intact: bool,
    damage: Option<String>,
    /// Another system's, such as NixOS's: kept, but never booted by keel.
    foreign: bool,
    /// The profile leads to it.
    profile: bool,
    /// It is the running system.
    running: bool,
    /// The machine was booted into it.
    booted: bool,
    /// It boots when nobody chooses.
    default: bool,
    /// It booted and was healthy last.
    last_good: bool,
    /// The next boot tries it.
    trial: bool,
    /// It never goes by itself.
    pinned: bool,
    /// The administrator's words for it.
    tag: Option<String>,
    health: Health,
}

/// Runs the verb.
pub(super) fn run(args: &ListArgs) -> Result<()> {
    let profile = args.at.open()?;
    let rows: Vec<_> = facts(&profile)?
        .into_iter()
        .map(|facts| row(&profile, facts))
        .collect();
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&rows)?)?;
    } else if rows.is_empty() {
        outln!(
            "The profile {} has no generations (keel import makes one).",
            args.at.profile
        )?;
    } else {
        output::write(format_args!("{}", table(&rows, Style::stdout())))?;
    }
    Ok(())
}

fn row(profile: &Profile, facts: Facts) -> Row {
    let store_dir = profile.layout().store_dir();
    let Facts {
        generation,
        marks,
        health,
        tag,
        ..
    } = facts;
    let Generation {
        number,
        created,
        system,
    } = generation;
    let spec = system
        .as_ref()
        .ok()
        .and_then(|system| profile.boot_spec(system).ok());
    let packages = system.as_ref().ok().and_then(|system| {
        let bytes = profile
            .root()
            .read(
                format!("{}/packages.json", system.absolute(store_dir)),
                PACKAGES_MAX,
            )
            .ok()?;
        Some(serde_json::from_slice::<Packages>(&bytes).ok()?.packages.len())
    });
    let path = system.as_ref().ok().map(|system| system.absolute(store_dir));
    let is = |mark| marks.contains(&mark);
    let damage: Option<Damage> = system.and_then(|system| profile.intact(&system)).err();
    Row {
        generation: number,
        created: rfc3339(created),
        system: path,
        label: spec.as_ref().map(|spec| spec.v1.label.clone()),
        kernel: spec.map(|spec| spec.keel.kernel_version),
        packages,
        intact: damage.is_none(),
        damage: damage.map(|damage| damage.to_string()),
        foreign: is(Mark::Foreign),
        profile: is(Mark::Profile),
        running: is(Mark::Running),
        booted: is(Mark::Booted),
        default: is(Mark::Default),
        last_good: is(Mark::LastGood),
        trial: is(Mark::Trial),
        pinned: is(Mark::Pinned),
        tag,
        health,
    }
}

fn table(rows: &[Row], style: Style) -> String {
    let header = [
        "GENERATION",
        "CREATED (UTC)",
        "LABEL",
        "KERNEL",
        "PACKAGES",
        "STATE",
    ]
    .map(str::to_owned);
    let mut cells = vec![header];
    let mut inks = vec![Some(Ink::Bold)];
    for row in rows {
        let unknown = || "?".to_owned();
        let mut state = vec![match &row.damage {
            _ if row.foreign => "foreign".to_owned(),
            None => "intact".to_owned(),
            Some(why) => format!("damaged: {why}"),
        }];
        let marks = [
            (row.profile, "profile"),
            (row.running, "running"),
            (row.booted, "booted"),
            (row.default, "default"),
            (row.last_good, "last good"),
            (row.trial, "on trial"),
            (row.pinned, "pinned"),
        ];
        state.extend(
            marks
                .into_iter()
                .filter(|(is, _)| *is)
                .map(|(_, mark)| mark.to_owned()),
        );
        match &row.health {
            Health::Healthy { .. } => state.push("healthy".to_owned()),
            Health::Failed { .. } => state.push("failed".to_owned()),
            Health::TrialFailed { .. } => state.push("trial failed".to_owned()),
            Health::Unknown => {}
        }
        if let Some(tag) = &row.tag {
            state.push(format!("\u{201c}{tag}\u{201d}"));
        }
        inks.push(match &row.health {
            _ if row.damage.is_some() && !row.foreign => Some(Ink::Red),
            _ if row.running => Some(Ink::Green),
            Health::Failed { .. } | Health::TrialFailed { .. } => Some(Ink::Yellow),
            _ => None,
        });
        cells.push([
            row.generation.to_string(),
            row.created.get(..16).unwrap_or_default().replace('T', " "),
            row.label.clone().unwrap_or_else(unknown),
            row.kernel.clone().unwrap_or_else(unknown),
            row.packages.map_or_else(unknown, |count| count.to_string()),
            state.join(", "),
        ]);
    }
    let widths: Vec<usize> = (0..6)
        .map(|column| {
            cells
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (row, ink) in cells.into_iter().zip(inks) {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Numbers to the right.
            let padded = if matches!(at, 0 | 4) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            };
            line.push_str(&padded);
            line.push_str("  ");
        }
        let line = line.trim_end();
        match ink {
            Some(ink) => text.push_str(&style.paint(ink, line).to_string()),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

// Days to a date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
pub(in crate::cli) fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;

    #[test]
    fn dates_are_those_of_date() {
        // date -u -d @SECONDS +%FT%TZ
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_382_595, "2026-11-22T21:23:15Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), date);
        }
    }
}
