//! What is to be built: words of the command line, and Nix expressions.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::build::realise::Want;
use crate::build::recipe::{RecipeError, Recipes};
use crate::cli::gc::say_waiting;
use crate::cli::output::errln;
use crate::store::derivation::{Library, name_of};
use crate::store::locks::TempRoots;
use crate::store::{Addition, Layout, StorePath, roots};

/// What the words ask for. Recipes become derivations, which stay as long as `temporary` does.
pub(super) fn named(
    layout: &Layout,
    words: &[String],
    temporary: &mut TempRoots,
) -> anyhow::Result<Vec<Want>> {
    let recipes: Vec<&Path> = words
        .iter()
        .map(|word| Path::new(parts(word).0))
        .filter(|path| is_recipe(path))
        .collect();
    let mut made = instantiate(layout, &recipes, temporary)?.into_iter();
    words
        .iter()
        .map(|word| {
            let (path, outputs) = parts(word);
            let outputs = outputs.map(|ids| ids.split(',').map(str::to_owned).collect());
            let derivation = if is_recipe(Path::new(path)) {
                made.next()
            } else {
                derivation(layout, path)
            };
            let derivation = derivation.with_context(|| {
                format!(
                    "'{path}' is no derivation of the store ({}/….drv) and no recipe (….toml)",
                    layout.store_dir()
                )
            })?;
            Ok(Want { derivation, outputs })
        })
        .collect()
}

/// The path, and the outputs that stand behind `^`; all of them without, or with `*`.
fn parts(word: &str) -> (&str, Option<&str>) {
    match word.rsplit_once('^') {
        Some((path, "*")) => (path, None),
        Some((path, outputs)) => (path, Some(outputs)),
        None => (word, None),
    }
}

fn is_recipe(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

fn derivation(layout: &Layout, text: &str) -> Option<StorePath> {
    roots::in_store(layout, Path::new(text))
        .or_else(|| StorePath::from_base_name(text).ok())
        .filter(|path| name_of(path).is_some())
}

/// The derivations of recipes, valid and kept.
pub(super) fn instantiate(
    layout: &Layout,
    files: &[&Path],
    temporary: &mut TempRoots,
) -> anyhow::Result<Vec<StorePath>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut library = Library::new(layout);
    let mut addition = Addition::begin(layout, &mut say_waiting)?;
    let mut recipes = Recipes::new(layout, &mut library, &mut addition)?;
    let mut made = Vec::new();
    for file in files {
        made.push(recipes.instantiate(file).map_err(shown)?);
    }
    // No collection begins while something is added: they are announced before one can.
    addition.commit()?;
    temporary
        .add_all(&made)
        .context("temporary roots can't be noted")?;
    Ok(made)
}

/// A recipe's fault, below the line that it is in.
fn shown(error: RecipeError) -> RecipeError {
    if let RecipeError::Fault(fault) = &error {
        for line in fault.excerpt() {
            errln!("{line}");
        }
    }
    error
}

/// The derivations that a Nix expression is, by the real Nix.
pub(super) fn instantiated(
    layout: &Layout,
    file: &Path,
    attributes: &[String],
    temporary: &mut TempRoots,
) -> anyhow::Result<Vec<Want>> {
    const PROGRAM: &str = "nix-instantiate";
    let directory = tempfile::tempdir().context("a temporary directory can't be made")?;
    let mut command = Command::new(PROGRAM);
    // A root keeps each until we have announced it.
    let _ = command
        .arg(std::path::absolute(file)?)
        .arg("--indirect")
        .arg("--add-root")
        .arg(directory.path().join("derivation"))
        .stderr(Stdio::inherit());
    for attribute in attributes {
        let _ = command.args(["-A", attribute]);
    }
    if layout.root() != Path::new("/") {
        let _ = command.arg("--store").arg(layout.root());
    }
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!(
            "Nix expressions are read by {PROGRAM}, which isn't installed: apt install nix-bin"
        ),
        _ => anyhow::anyhow!("{PROGRAM} can't be run: {error}"),
    })?;
    if !output.status.success() {
        anyhow::bail!("{PROGRAM} can't read {}: its reason stands above", file.display());
    }
    let mut wants = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (link, output) = line.rsplit_once('!').unwrap_or((line, ""));
        let target = std::fs::read_link(link).unwrap_or_else(|_| PathBuf::from(link));
        let derivation = roots::in_store(layout, &target)
            .with_context(|| format!("{PROGRAM} answers '{line}', which is no derivation of this store"))?;
        let outputs = (!output.is_empty()).then(|| [output.to_owned()].into());
        wants.push(Want { derivation, outputs });
    }
    let derivations: Vec<StorePath> = wants.iter().map(|want| want.derivation.clone()).collect();
    temporary
        .add_all(&derivations)
        .context("temporary roots can't be noted")?;
    Ok(wants)
}
