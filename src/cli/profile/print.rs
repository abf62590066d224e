//! What `keel profile` says.

use serde::Serialize;

use super::super::output::{self, errln, outln};
use crate::profile::diff::Difference;

/// A change of a profile that was made, or wasn't needed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) profile: String,
    /// The current generation afterwards.
    pub(super) generation: Option<u64>,
    /// The generation that was current before.
    pub(super) before: Option<u64>,
    /// The store path of the current generation, when it is new.
    pub(super) path: Option<String>,
    pub(super) changes: Vec<Difference>,
    /// What of the packages couldn't be linked.
    pub(super) left_out: Vec<String>,
    /// What was asked for and can't be done, or needs not.
    pub(super) notes: Vec<String>,
}

impl Report {
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            outln!("{}", serde_json::to_string_pretty(self)?)?;
            return Ok(());
        }
        for note in self.notes.iter().chain(&self.left_out) {
            errln!("keel: {note}");
        }
        match self.generation {
            Some(number) if self.before == Some(number) => {
                outln!("Nothing to do: {} stays at generation {number}.", self.profile)?;
            }
            Some(number) => {
                outln!("{} is at generation {number}:", self.profile)?;
                print_changes(&self.changes)?;
            }
            None => outln!("Nothing to do: {} has no generation yet.", self.profile)?,
        }
        Ok(())
    }
}

/// The differences, a line each.
pub(super) fn print_changes(changes: &[Difference]) -> anyhow::Result<()> {
    if changes.is_empty() {
        outln!("  the same packages")?;
    }
    for change in changes {
        outln!("  {change}")?;
    }
    Ok(())
}

/// Rows below each other, the first one being the heads; the last column isn't padded.
pub(super) fn print_table(rows: &[Vec<String>]) -> anyhow::Result<()> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(output::write(format_args!("{text}"))?)
}
