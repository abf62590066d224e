//! The verbs of `keel profile` that change nothing.

use serde::Serialize;

use super::super::generations::rfc3339;
use super::super::output::outln;
use super::Common;
use super::print::{print_changes, print_table};
use crate::profile::diff::{self, Difference, Found};
use crate::profile::{Generation, History, HistoryError, Manifest};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    profile: String,
    generation: Option<u64>,
    elements: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    found: Found,
    /// The recipe that it was built from.
    recipe: Option<String>,
    /// Where Nix has it from.
    source: Option<String>,
}

pub(super) fn list(common: &Common) -> anyhow::Result<()> {
    let history = common.history()?;
    let generation = history.current()?;
    let store_dir = history.layout().store_dir();
    let manifest = match generation {
        Some(number) => history.manifest(number)?,
        None => Manifest::default(),
    };
    let row = |element: &crate::profile::Element| Row {
        found: Found::of(element, store_dir),
        recipe: element.recipe.clone(),
        source: element.source(),
    };
    let listed = Listed {
        profile: history.link().display().to_string(),
        generation,
        elements: manifest.elements.iter().map(row).collect(),
    };
    if common.json {
        outln!("{}", serde_json::to_string_pretty(&listed)?)?;
        return Ok(());
    }
    if listed.elements.is_empty() {
        outln!(
            "Nothing is installed in {} (keel profile install does).",
            listed.profile
        )?;
        return Ok(());
    }
    let mut table = vec![
        ["NAME", "VERSION", "PRIORITY", "FROM", "PATH"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in listed.elements {
        let found = row.found;
        let from = match (row.recipe, row.source, found.active) {
            (_, _, false) => "not linked".to_owned(),
            (Some(recipe), _, _) => recipe,
            (None, Some(source), _) => source,
            (None, None, _) => "store path".to_owned(),
        };
        table.push(vec![
            found.name,
            found.version,
            found.priority.to_string(),
            from,
            found.store_paths.join(" "),
        ]);
    }
    print_table(&table)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Past {
    generation: u64,
    /// RFC 3339, UTC.
    created: String,
    current: bool,
    path: Option<String>,
    /// Against the generation before.
    changes: Vec<Difference>,
    /// Why it can't be switched to.
    damage: Option<String>,
}

pub(super) fn history(common: &Common) -> anyhow::Result<()> {
    let history = common.history()?;
    let current = history.current()?;
    let store_dir = history.layout().store_dir();
    let mut before = Manifest::default();
    let mut all = Vec::new();
    for generation in history.generations()? {
        let Generation {
            number,
            created,
            path,
        } = generation;
        let path = path.map_err(HistoryError::from);
        let shown = path.as_ref().ok().map(|path| path.absolute(store_dir));
        let read = path.and_then(|path| history.manifest_of(&path));
        let (changes, damage) = match read {
            Ok(manifest) => {
                let changes = diff::compare(&before, &manifest, store_dir);
                before = manifest;
                (changes, None)
            }
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        all.push(Past {
            generation: number,
            created: rfc3339(created),
            current: current == Some(number),
            path: shown,
            changes,
            damage,
        });
    }
    if common.json {
        outln!("{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    if all.is_empty() {
        outln!("{} has no generation yet.", history.link().display())?;
    }
    for past in all {
        let mark = if past.current { ", current" } else { "" };
        let time = past.created.get(..16).unwrap_or_default().replace('T', " ");
        outln!("{} ({time} UTC{mark})", past.generation)?;
        match past.damage {
            Some(damage) => outln!("  damaged: {damage}")?,
            None => print_changes(&past.changes)?,
        }
    }
    Ok(())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Differs {
    profile: String,
    from: Option<u64>,
    to: u64,
    changes: Vec<Difference>,
}

pub(super) fn diff(common: &Common, from: Option<u64>, to: Option<u64>) -> anyhow::Result<()> {
    let history = common.history()?;
    let to = match to {
        Some(to) => to,
        None => history.must_have_current()?,
    };
    let from = match from {
        Some(from) => Some(from),
        None => before(&history, to)?,
    };
    let old = match from {
        Some(from) => history.manifest(from)?,
        None => Manifest::default(),
    };
    let new = history.manifest(to)?;
    let differs = Differs {
        profile: history.link().display().to_string(),
        from,
        to,
        changes: diff::compare(&old, &new, history.layout().store_dir()),
    };
    if common.json {
        outln!("{}", serde_json::to_string_pretty(&differs)?)?;
        return Ok(());
    }
    let from = from.map_or("nothing".to_owned(), |from| format!("generation {from}"));
    outln!("From {from} to generation {to} of {}:", differs.profile)?;
    print_changes(&differs.changes)
}

fn before(history: &History, number: u64) -> anyhow::Result<Option<u64>> {
    let all = history.generations()?.into_iter().map(|one| one.number);
    Ok(all.filter(|one| *one < number).max())
}
