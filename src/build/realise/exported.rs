//! The graph of references that a builder asks for (`exportReferencesGraph`).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::environment::{EnvironmentError, Surroundings};
use super::failure::Cause;
use crate::store::db::{Direction, PathInfo};
use crate::store::derivation::{Derivation, Text, name_of};
use crate::store::path::check_name;
use crate::store::{StorePath, base32};

const ATTRIBUTE: &str = "exportReferencesGraph";

/// The files of a derivation without structured attributes: each lists a closure, as `nix-store --register-validity` reads it.
pub(super) fn files(
    derivation: &Derivation,
    around: &Surroundings<'_>,
) -> Result<Vec<(String, Text)>, Cause> {
    let Some(text) = derivation.variable(ATTRIBUTE) else {
        return Ok(Vec::new());
    };
    let mut words = text.split_ascii_whitespace();
    let mut files = Vec::new();
    while let Some(name) = words.next() {
        let path = words.next().ok_or(EnvironmentError::Pairs)?;
        if check_name(name).is_err() {
            return Err(EnvironmentError::FileName(name.to_owned()).into());
        }
        let store_dir = around.layout.store_dir();
        let mut text = String::new();
        for info in closure(around, &[path])? {
            let count = info.references.len();
            let _ignored = writeln!(text, "{}\n\n{count}", info.path.absolute(store_dir));
            for reference in &info.references {
                let _ignored = writeln!(text, "{}", reference.absolute(store_dir));
            }
        }
        files.push((name.to_owned(), text.into_bytes()));
    }
    Ok(files)
}

/// Structured attributes with the outputs, and with the graphs that are asked for in their places.
pub(super) fn into_attributes(
    attributes: &Map<String, Value>,
    derivation: &Derivation,
    around: &Surroundings<'_>,
) -> Result<Value, Cause> {
    let store_dir = around.layout.store_dir();
    let mut attributes = attributes.clone();
    let outputs: Map<String, Value> = derivation
        .outputs
        .iter()
        .filter_map(|(id, output)| Some((id.clone(), output.path.as_ref()?.absolute(store_dir).into())))
        .collect();
    let _old = attributes.insert("outputs".to_owned(), outputs.into());
    let graphs = attributes.get(ATTRIBUTE).and_then(Value::as_object).cloned();
    for (name, paths) in graphs.into_iter().flatten() {
        let paths = super::attributes::strings(&paths);
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let infos = closure(around, &paths)?;
        let listed: Vec<Value> = infos
            .iter()
            .map(|info| listed(info, around))
            .collect::<Result<_, _>>()?;
        let _old = attributes.insert(name, listed.into());
    }
    Ok(attributes.into())
}

/// One path, as `nix path-info --json` tells of it.
fn listed(info: &PathInfo, around: &Surroundings<'_>) -> Result<Value, Cause> {
    let store_dir = around.layout.store_dir();
    let references: Vec<String> = info
        .references
        .iter()
        .map(|path| path.absolute(store_dir))
        .collect();
    let mut size = 0;
    for path in around
        .database
        .closure(std::slice::from_ref(&info.path), Direction::References)?
    {
        size += around.database.nar(&path)?.map_or(0, |(_, size)| size);
    }
    let mut value = json!({
        "path": info.path.absolute(store_dir),
        "narHash": format!("sha256:{}", base32::encode(&info.nar.sha256)),
        "narSize": info.nar.size,
        "references": references,
        "closureSize": size,
    });
    if let (Some(ca), Some(object)) = (&info.ca, value.as_object_mut()) {
        let _none = object.insert("ca".to_owned(), ca.clone().into());
    }
    Ok(value)
}

/// All that `paths` need; of derivations among that their outputs, too.
fn closure(around: &Surroundings<'_>, paths: &[&str]) -> Result<Vec<PathInfo>, Cause> {
    let mut roots = Vec::new();
    for text in paths {
        let path = crate::store::roots::in_store(around.layout, std::path::Path::new(text))
            .filter(|path| around.inputs.binary_search(path).is_ok())
            .ok_or_else(|| EnvironmentError::NoInput((*text).to_owned()))?;
        roots.push(path);
    }
    let mut all: BTreeSet<StorePath> = BTreeSet::new();
    all.extend(around.database.closure(&roots, Direction::References)?);
    let derivations: Vec<StorePath> = all
        .iter()
        .filter(|path| name_of(path).is_some())
        .cloned()
        .collect();
    for derivation in derivations {
        for (_, output) in around.database.derivation_outputs(&derivation)? {
            if around.database.is_valid(&output)? {
                all.extend(around.database.closure(&[output], Direction::References)?);
            }
        }
    }
    let mut infos = Vec::new();
    for path in all {
        infos.extend(around.database.path_info(&path)?);
    }
    Ok(infos)
}
