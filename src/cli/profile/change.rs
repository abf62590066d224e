//! The verbs of `keel profile` that change something.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::super::output::outln;
use super::print::Report;
use super::{Common, user, waiting};
use crate::profile::age::{Age, prunable};
use crate::profile::edit::{self, EditError};
use crate::profile::item::{Item, debian_answer};
use crate::profile::recipe::{NoRecipes, RecipeError, Recipes};
use crate::profile::{self, Element, History, Manifest, PRIORITY_DEFAULT, diff};

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
    let mut recipes = NoRecipes;
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
    let mut recipes = NoRecipes;
    let (mut elements, mut notes) = (Vec::new(), Vec::new());
    for (index, element) in installed.elements.iter().enumerate() {
        if !names.is_empty() && !wanted.contains(&index) {
            continue;
        }
        let package = element.package();
        match (&element.recipe, element.source()) {
            // Before the lock is taken: a build may take hours.
            (Some(recipe), _) => elements.push(built(&mut recipes, recipe)?),
            (None, Some(source)) => notes.push(format!(
                "{package} comes from {source}, which keel can't look up: `nix profile upgrade` can"
            )),
            (None, None) => notes.push(format!(
                "{package} is a plain store path, which has no newer version: remove it and install another"
            )),
        }
    }
    let mut edit = |manifest: &mut Manifest| {
        // What was removed meanwhile stays removed.
        let kept = |element: &&Element| manifest.elements.iter().any(|one| one.recipe == element.recipe);
        let kept: Vec<Element> = elements.iter().filter(kept).cloned().collect();
        edit::install(manifest, kept, None);
        Ok(())
    };
    apply(&history, &mut edit, notes)?.print(common.json)
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

fn switched(common: &Common, history: &History, to: u64, lock: &profile::ProfileLock) -> anyhow::Result<()> {
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
    let before = history.current()?;
    let store_dir = history.layout().store_dir();
    let profile = history.link().display().to_string();
    Ok(match profile::change(history, edit, &mut waiting)? {
        Some(changed) => Report {
            profile,
            generation: Some(changed.generation),
            before,
            path: Some(changed.path.absolute(store_dir)),
            changes: diff::compare(&changed.before, &changed.after, store_dir),
            left_out: changed.left_out,
            notes,
        },
        None => Report {
            profile,
            generation: before,
            before,
            path: None,
            changes: Vec::new(),
            left_out: Vec::new(),
            notes,
        },
    })
}

fn built(recipes: &mut dyn Recipes, recipe: &str) -> Result<Element, RecipeError> {
    let outputs = recipes.build(recipe)?;
    Element::built(outputs, PRIORITY_DEFAULT, recipe.to_owned()).ok_or_else(|| RecipeError {
        recipe: recipe.to_owned(),
        why: "it was built to nothing".into(),
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
