//! From a file to a machine's configuration.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path as FilePath, PathBuf};

use serde::Deserialize;

use super::merge::{self, Merged};
use super::place::{Place, Problems, Remark, sort};
use super::read::{Reader, Sources};
use super::setting::Path;
use super::{Config, cross, overrides, required};

/// No file of a configuration is larger: an endless one must not fill the memory.
const LARGEST: u64 = 64 << 20;

/// A configuration, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All of it, defaults filled in.
    pub config: Config,
    /// What is worth to be said about it.
    pub notes: Vec<Remark>,
    /// The files that it was read from, the main one first.
    pub files: Vec<PathBuf>,
    /// The contents of the files that `etc.*.source` and `overlay.recipe` name, by what the configuration calls them.
    pub sources: BTreeMap<String, Vec<u8>>,
    /// The directory that relative paths in it begin in: the main file's.
    pub base: PathBuf,
    places: BTreeMap<Path, Place>,
    start: Place,
}

impl Loaded {
    /// The resolved configuration as TOML: all options, in a fixed order. Loaded again, it's the same configuration.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(&self.config)
    }

    /// Where an option or a table is said: the nearest table around it, when it's said nowhere.
    pub fn place(&self, path: &[&str]) -> &Place {
        let path: Path = path.iter().map(|key| (*key).to_owned()).collect();
        place_of(&self.places, &path, &self.start)
    }

    /// Where an element of a list is said.
    pub fn place_in_list(&self, path: &[&str], index: usize) -> &Place {
        let index = index.to_string();
        let mut path = path.to_vec();
        path.push(&index);
        self.place(&path)
    }
}

pub(super) fn place_of<'a>(
    places: &'a BTreeMap<Path, Place>,
    path: &[String],
    start: &'a Place,
) -> &'a Place {
    let mut path = path;
    loop {
        if let Some(place) = places.get(path) {
            return place;
        }
        match path.split_last() {
            Some((_, above)) => path = above,
            None => return start,
        }
    }
}

/// Loads a configuration: reads, merges and checks it. All problems that don't follow from each other are told.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, Problems> {
    let reader = Reader::read(sources);
    let start = reader.start();
    let is_incomplete = reader.is_incomplete;
    let texts = reader.texts;
    let mut findings = reader.findings;
    for (number, option) in sources.overrides.iter().enumerate() {
        let _text = overrides::read(option, texts.len() + number, &mut findings);
    }
    let merged = merge::merge(findings.settings, &mut findings.remarks);
    let mut problems = findings.remarks;
    if !is_incomplete {
        problems.append(&mut required::check(&merged, &findings.broken, &start));
    }
    let Merged { table, places } = merged;
    let view = cross::View {
        sources,
        places: &places,
        start: &start,
        broken: &findings.broken,
    };
    let table = cross::untyped(&view, table, &mut problems);
    let mut config = match Config::deserialize(toml::Value::Table(table)) {
        Ok(config) => config,
        Err(error) => {
            // The table of options and the types differ, or a problem is told already.
            if problems.is_empty() {
                problems.push(Remark::new(start, error.to_string().trim_end()));
            }
            return Err(Problems::sorted(problems));
        }
    };
    let mut outcome = cross::Outcome::default();
    if !is_incomplete {
        cross::check(&view, &mut config, &mut outcome);
    }
    problems.append(&mut outcome.problems);
    if !problems.is_empty() {
        return Err(Problems::sorted(problems));
    }
    sort(&mut outcome.notes);
    Ok(Loaded {
        config,
        notes: outcome.notes,
        files: texts.into_iter().map(|(path, _)| path).collect(),
        sources: outcome.sources,
        base: sources.base().to_path_buf(),
        places,
        start,
    })
}

/// Loads a configuration from the file system.
pub fn load_file(path: &FilePath, overrides: &[String]) -> Result<Loaded, Problems> {
    // A path that can't be made absolute can't be read either, which is told then.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    load(&Sources {
        path: &path,
        overrides,
        read: &read_limited,
        exists: &|path| path.is_file(),
    })
}

fn read_limited(path: &FilePath) -> io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    let _length = file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let why = format!("it's larger than {} MiB", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}
