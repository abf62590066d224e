//! From recipes to derivations in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::script;
use super::source::{Source, SourceHash};
use super::{Recipe, RecipeFault};
use crate::store::content::Method;
use crate::store::db::{Database, DbError};
use crate::store::derivation::{Algorithm, Derivation, FixedHash, Library, LibraryError, Output, name_of};
use crate::store::{AddError, Addition, Layout, StorePath, roots};

/// Larger recipes aren't read.
const BYTES_MAX: u64 = 4 << 20;

/// Why a recipe doesn't become a derivation.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Its file can't be read.
    #[error("the recipe {} can't be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is wrong.
    #[error(transparent)]
    Fault(#[from] Box<RecipeFault>),
    /// Its derivation can't be made.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// Something can't be added to the store.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Makes derivations of recipes, within one addition to the store. Each recipe becomes one, however many name it.
pub struct Recipes<'a> {
    layout: &'a Layout,
    library: &'a mut Library,
    addition: &'a mut Addition,
    database: Database,
    known: BTreeMap<PathBuf, StorePath>,
    open: Vec<PathBuf>,
}

/// A derivation while it's put together.
#[derive(Default)]
struct Draft {
    derivation: Derivation,
    /// Directories with programs.
    path: Vec<String>,
}

impl Draft {
    fn set(&mut self, name: &str, value: impl Into<String>) {
        let _old = self
            .derivation
            .environment
            .insert(name.as_bytes().to_vec(), value.into().into_bytes());
    }
}

impl<'a> Recipes<'a> {
    /// None read yet. The derivations are valid once `addition` is committed.
    ///
    /// # Errors
    /// When the database can't be opened.
    pub fn new(
        layout: &'a Layout,
        library: &'a mut Library,
        addition: &'a mut Addition,
    ) -> Result<Self, RecipeError> {
        let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
        Ok(Self {
            layout,
            library,
            addition,
            database,
            known: BTreeMap::new(),
            open: Vec::new(),
        })
    }

    /// The derivation of the recipe in `file`, and of all recipes that it names.
    ///
    /// # Errors
    /// What can't be read, or is wrong with one of them.
    pub fn instantiate(&mut self, file: &Path) -> Result<StorePath, RecipeError> {
        let failed = |source| RecipeError::Read {
            path: file.to_owned(),
            source,
        };
        let file_id = std::fs::canonicalize(file).map_err(failed)?;
        if let Some(known) = self.known.get(&file_id) {
            return Ok(known.clone());
        }
        if file_id.metadata().map_err(failed)?.len() > BYTES_MAX {
            return Err(failed(io::Error::other("it is too long")));
        }
        let text = std::fs::read_to_string(&file_id).map_err(failed)?;
        let recipe = Recipe::parse(file, &text).map_err(Box::new)?;
        self.open.push(file_id.clone());
        let path = self.one(&recipe, &file_id)?;
        let _this = self.open.pop();
        let _none = self.known.insert(file_id, path.clone());
        Ok(path)
    }

    fn one(&mut self, recipe: &Recipe, file: &Path) -> Result<StorePath, RecipeError> {
        let directory = file.parent().unwrap_or(Path::new("/"));
        let table = &recipe.table;
        let mut draft = Draft::default();
        let mut shells = BTreeMap::new();
        for (name, value) in &table.inputs {
            let place = (recipe, value.span());
            let path = self.input(&mut draft, value.get_ref(), directory, place)?;
            draft.path.push(format!("{path}/bin"));
            draft.set(name, path.clone());
            let _none = shells.insert(name.as_str(), path);
        }
        for (name, value) in &table.sources {
            let path = self.source(&mut draft, value.get_ref(), directory, (recipe, value.span()))?;
            draft.set(name, path.clone());
            let _none = shells.insert(name.as_str(), path);
        }
        let mut patches = Vec::new();
        for value in &table.patches {
            patches.push(self.source(&mut draft, value.get_ref(), directory, (recipe, value.span()))?);
        }
        draft.set("patches", patches.join(" "));
        let shell = self.shell(&mut draft, recipe, &shells)?;
        let script = script::whole(recipe.unpacked(), table.script.get_ref());
        let script_name = format!("{}-script", table.name.get_ref());
        let script = self
            .addition
            .add_text(&script_name, script.as_bytes(), Vec::new())?;

        let name = recipe.name();
        let outputs: Vec<&str> = match &table.outputs {
            Some(_) => recipe.outputs().map(String::as_str).collect(),
            None => vec!["out"],
        };
        draft.set("name", name.clone());
        draft.set(
            "version",
            table.version.as_ref().map_or("", |version| version.get_ref()),
        );
        draft.set("outputs", outputs.join(" "));
        draft.set("PATH", draft.path.join(":"));
        if !table.features.is_empty() {
            draft.set("requiredSystemFeatures", table.features.join(" "));
        }
        for (name, value) in &table.environment {
            draft.set(name, value.get_ref().as_str());
        }
        let usual = format!("{}-linux", std::env::consts::ARCH);
        let system = table.system.clone().unwrap_or(usual);
        draft.set("system", system.clone());
        draft.set("builder", shell.clone());
        let mut derivation = draft.derivation;
        derivation.outputs = outputs
            .into_iter()
            .map(|id| (id.to_owned(), Output::default()))
            .collect();
        derivation.system = system.into_bytes();
        derivation.builder = shell.into_bytes();
        derivation.arguments = vec![b"-e".to_vec(), self.absolute(&script).into_bytes()];
        let _new = derivation.input_sources.insert(script);
        Ok(self.library.add(self.addition, &name, &mut derivation)?)
    }

    /// The program that runs the script.
    fn shell(
        &mut self,
        draft: &mut Draft,
        recipe: &Recipe,
        named: &BTreeMap<&str, String>,
    ) -> Result<String, RecipeError> {
        let table = &recipe.table;
        let mut found = None;
        if let Some(busybox) = &table.busybox {
            let added = busybox.get_ref().add(self.addition);
            let path = added.map_err(|text| fault(recipe, busybox.span(), text))?;
            let shown = self.absolute(&path);
            let _new = draft.derivation.input_sources.insert(path);
            draft.path.push(format!("{shown}/bin"));
            draft.set("busybox", shown.clone());
            found = Some(format!("{shown}/bin/sh"));
        }
        if let Some(shell) = &table.shell {
            let name = shell.get_ref().as_str();
            let path = named.get(name).ok_or_else(|| {
                fault(
                    recipe,
                    shell.span(),
                    format!("there is no input or source '{name}'"),
                )
            })?;
            let is_input = table.inputs.contains_key(name);
            found = Some(if is_input {
                format!("{path}/bin/sh")
            } else {
                path.clone()
            });
        }
        found.ok_or_else(|| {
            let text = "nothing runs the script: name an input with bin/sh by `shell`, or a busybox of this machine by \
                        `busybox = { hash = \"…\" }`";
            fault(recipe, table.script.span(), text)
        })
    }

    /// A store path, a derivation or a recipe; an output of these is named behind `^`.
    fn input(
        &mut self,
        draft: &mut Draft,
        text: &str,
        directory: &Path,
        (recipe, span): (&Recipe, Range<usize>),
    ) -> Result<String, RecipeError> {
        let wrong = |text: String| fault(recipe, span.clone(), text);
        let (what, output) = text.rsplit_once('^').unwrap_or((text, ""));
        let derivation = if Path::new(what)
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let file = directory.join(what);
            let is_open = std::fs::canonicalize(&file).is_ok_and(|file| self.open.contains(&file));
            if is_open {
                return Err(wrong(format!("{what} needs itself")));
            }
            if !file.is_file() {
                return Err(wrong(format!("there is no recipe {}", file.display())));
            }
            Some(self.instantiate(&file)?)
        } else {
            let path = roots::in_store(self.layout, Path::new(what)).ok_or_else(|| {
                wrong(format!(
                    "'{what}' is no store path, derivation or recipe (….toml)"
                ))
            })?;
            if !self.database.is_valid(&path)? {
                return Err(wrong(format!(
                    "{} is not valid in this store: copy or build it first",
                    self.absolute(&path)
                )));
            }
            if name_of(&path).is_none() {
                let shown = self.absolute(&path);
                let _new = draft.derivation.input_sources.insert(path);
                return Ok(shown);
            }
            Some(path)
        };
        let Some(derivation) = derivation else {
            return Err(wrong(format!("'{what}' is nothing that can be built")));
        };
        let built = self.library.get(&derivation)?;
        let id = match output {
            "" if built.outputs.contains_key("out") => "out".to_owned(),
            "" => built.outputs.keys().next().cloned().unwrap_or_default(),
            id => id.to_owned(),
        };
        let path = built.outputs.get(&id).and_then(|output| output.path.as_ref());
        let path = path.ok_or_else(|| wrong(format!("{what} has no output '{id}'")))?;
        let shown = self.absolute(path);
        let outputs = draft.derivation.input_derivations.entry(derivation).or_default();
        let _new = outputs.insert(id);
        Ok(shown)
    }

    fn source(
        &mut self,
        draft: &mut Draft,
        value: &toml::Value,
        directory: &Path,
        (recipe, span): (&Recipe, Range<usize>),
    ) -> Result<String, RecipeError> {
        let wrong = |text: String| fault(recipe, span.clone(), text);
        match Source::read(value).map_err(wrong)? {
            Source::Local { path, hash } => {
                let file = directory.join(&path);
                let metadata = file
                    .metadata()
                    .map_err(|error| wrong(format!("{} can't be read: {error}", file.display())))?;
                let real = std::fs::canonicalize(&file)
                    .map_err(|error| wrong(format!("{} can't be read: {error}", file.display())))?;
                if let Some(should) = hash {
                    let is = local_hash(&real, should.algorithm, metadata.is_file()).map_err(wrong)?;
                    if is != should {
                        return Err(wrong(format!(
                            "{} has the hash {is}, and should have {should}",
                            file.display()
                        )));
                    }
                }
                let name = real
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                let added = self.addition.copy(&real, name, Method::SOURCE);
                let added = added.map_err(|error| wrong(format!("{}: {error}", file.display())))?;
                let shown = self.absolute(&added);
                let _new = draft.derivation.input_sources.insert(added);
                Ok(shown)
            }
            Source::Url { url, hash, name } => {
                let mut download = fetch(&url, &name, hash);
                let derivation = self.library.add(self.addition, &name, &mut download)?;
                let output = download
                    .outputs
                    .get("out")
                    .and_then(|output| output.path.as_ref());
                let shown = output.map(|path| self.absolute(path)).unwrap_or_default();
                let outputs = draft.derivation.input_derivations.entry(derivation).or_default();
                let _new = outputs.insert("out".to_owned());
                Ok(shown)
            }
        }
    }

    fn absolute(&self, path: &StorePath) -> String {
        path.absolute(self.layout.store_dir())
    }
}

fn fault(recipe: &Recipe, span: Range<usize>, text: impl Into<String>) -> RecipeError {
    Box::new(recipe.fault(span, text)).into()
}

/// The hash of a file's bytes, or of a directory's archive.
fn local_hash(path: &Path, algorithm: Algorithm, is_file: bool) -> Result<SourceHash, String> {
    let method = Method {
        algorithm,
        flat: is_file,
    };
    let bytes = method.hash(path).map_err(|error| error.to_string())?;
    Ok(SourceHash { algorithm, bytes })
}

/// A download, as Nix's own `fetchurl.nix` has it.
fn fetch(url: &str, name: &str, hash: SourceHash) -> Derivation {
    let environment = [
        ("name", name),
        ("url", url),
        ("builder", "builtin:fetchurl"),
        ("system", "builtin"),
        ("outputHash", &hash.to_string()),
        ("outputHashAlgo", hash.algorithm.name()),
        ("outputHashMode", "flat"),
        ("preferLocalBuild", "1"),
    ];
    let fixed = FixedHash {
        recursive: false,
        algorithm: hash.algorithm,
        hash: hash.bytes,
    };
    let output = Output {
        path: None,
        fixed: Some(fixed),
    };
    Derivation {
        outputs: BTreeMap::from([("out".to_owned(), output)]),
        input_derivations: BTreeMap::new(),
        input_sources: BTreeSet::new(),
        system: b"builtin".to_vec(),
        builder: b"builtin:fetchurl".to_vec(),
        arguments: Vec::new(),
        environment: environment
            .into_iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect(),
    }
}
