//! The verbs of `keel profile` that change something.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::super::output::outln;
use super::print::Report;
use super::{Common, user, waiting};
use crate::cli::build::ProfileRecipes;
use crate::profile::age::{Age, prunable};
use crate::profile::edit::{self, EditError};
use crate::profile::item::{Item, debian_answer};
use crate::profile::recipe::{Upgrade, built};
use crate::profile::{self, Element, History, Manifest, PRIORITY_DEFAULT, diff};
use crate::store::locks::PathLock;

pub(super) fn install(common: &Common, priority: Option<i64>, words: &[String]) -> anyhow::Result<()> {
    let history = common.history()?;
    let mut items = Vec::new();
    let mut debian = Vec::new();
    for word in words {
        match Item::parse(word, history.layout())? {
            Item::Debian(name) => debian.push(name),
            other => items.push(other),
        }
    }
    if !debian.is_empty() {
        anyhow::bail!(
            "nothing was installed: {}",
            debian_answer(&debian, asking_user().as_deref())
        );
    }
    let mut recipes = ProfileRecipes::new(history.layout());
    let mut elements = Vec::new();
    for item in items {
        match item {
            Item::Path(path) => elements.push(Element::new(path, PRIORITY_DEFAULT)),
            Item::Recipe(recipe) => elements.push(built(&mut recipes, &recipe)?),
            Item::Debian(_) => {}
        }
    }
    let mut edit = |manifest: &mut Manifest| {
        edit::install(manifest, elements.clone(), priority);
        Ok(())
    };
    apply(&history, &mut edit, Vec::new())?.print(common.json)
}

pub(super) fn remove(common: &Common, names: &[String]) -> anyhow::Result<()> {
    let history = common.history()?;
    let store_dir = history.layout().store_dir();
    let mut edit = |manifest: &mut Manifest| edit::remove(manifest, names, store_dir);
    apply(&history, &mut edit, Vec::new())?.print(common.json)
}

pub(super) fn upgrade(common: &Common, names: &[String]) -> anyhow::Result<()> {
    let history = common.history()?;
    let installed = history.current_manifest()?;
    let mut wanted = Vec::new();
    for name in names {
        wanted.push(edit::find(&installed, name, history.layout().store_dir())?);
    }
    let chosen = (!names.is_empty()).then_some(wanted.as_slice());
    // What it built is kept from the collector until the end of this function.
    let mut recipes = ProfileRecipes::new(history.layout());
    let upgrade = Upgrade::build(&installed, chosen, &mut recipes)?;
    let mut edit = |manifest: &mut Manifest| {
        upgrade.apply(manifest);
        Ok(())
    };
    apply(&history, &mut edit, upgrade.notes.clone())?.print(common.json)
}

pub(super) fn rollback(common: &Common, to: Option<u64>) -> anyhow::Result<()> {
    let history = common.history()?;
    let lock = history.lock(&mut waiting)?;
    let to = match to {
        Some(to) => to,
        None => history.before_current()?,
    };
    switched(common, &history, to, &lock)
}

pub(super) fn switch(common: &Common, to: u64) -> anyhow::Result<()> {
    let history = common.history()?;
    let lock = history.lock(&mut waiting)?;
    switched(common, &history, to, &lock)
}

fn switched(common: &Common, history: &History, to: u64, lock: &PathLock) -> anyhow::Result<()> {
    let before = history.current()?;
    let store_dir = history.layout().store_dir();
    let path = history.switch(to, lock)?;
    // A generation that can't be read may be left, and even switched to.
    let manifest = |number: Option<u64>| number.and_then(|number| history.manifest(number).ok());
    let (old, new) = (manifest(before), manifest(Some(to)));
    let report = Report {
        profile: history.link().display().to_string(),
        generation: Some(to),
        before,
        path: Some(path.absolute(store_dir)),
        changes: diff::compare(&old.unwrap_or_default(), &new.unwrap_or_default(), store_dir),
        left_out: Vec::new(),
        notes: Vec::new(),
    };
    report.print(common.json)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Forgotten {
    profile: String,
    generations: Vec<u64>,
    dry_run: bool,
}

pub(super) fn wipe_history(common: &Common, older_than: Option<Age>, dry_run: bool) -> anyhow::Result<()> {
    let history = common.history()?;
    let lock = history.lock(&mut waiting)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    let before = older_than.map(|age| now.saturating_sub(age.seconds));
    let all: Vec<_> = history
        .generations()?
        .iter()
        .map(|one| (one.number, one.created))
        .collect();
    let generations = prunable(&all, history.current()?, before);
    if !dry_run {
        history.forget(&generations, &lock)?;
    }
    let forgotten = Forgotten {
        profile: history.link().display().to_string(),
        generations,
        dry_run,
    };
    if common.json {
        outln!("{}", serde_json::to_string_pretty(&forgotten)?)?;
        return Ok(());
    }
    let numbers: Vec<_> = forgotten.generations.iter().map(u64::to_string).collect();
    match (numbers.as_slice(), dry_run) {
        ([], _) => outln!("{}: no generation to forget.", forgotten.profile)?,
        (numbers, true) => outln!("{}: would forget {}.", forgotten.profile, numbers.join(", "))?,
        (numbers, false) => outln!("{}: forgot {}.", forgotten.profile, numbers.join(", "))?,
    }
    Ok(())
}

fn apply(
    history: &History,
    edit: &mut dyn FnMut(&mut Manifest) -> Result<(), EditError>,
    notes: Vec<String>,
) -> anyhow::Result<Report> {
    let store_dir = history.layout().store_dir();
    let profile = history.link().display().to_string();
    let Some(changed) = profile::change(history, edit, &mut waiting)? else {
        let current = history.current()?;
        return Ok(Report {
            profile,
            generation: current,
            before: current,
            path: None,
            changes: Vec::new(),
            left_out: Vec::new(),
            notes,
        });
    };
    Ok(Report {
        profile,
        generation: Some(changed.generation),
        before: changed.replaced,
        path: Some(changed.path.absolute(store_dir)),
        changes: diff::compare(&changed.before, &changed.after, store_dir),
        left_out: changed.left_out,
        notes,
    })
}

// Whom the answer about Debian packages is for: root asks for the one that called sudo.
fn asking_user() -> Option<String> {
    let sudo = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    match user() {
        Some(name) if name == "root" => sudo,
        other => other,
    }
}
