//! Recipes: derivations that are written by hand, in TOML.

mod fault;
mod instantiate;
mod script;
mod shell;
mod source;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::store::path::check_name;

pub use fault::RecipeFault;
pub use instantiate::{RecipeError, Recipes};
pub use source::{Source, SourceHash};

/// Variables that a recipe doesn't give, since keel does.
const TAKEN: [&str; 10] = [
    "busybox", "PATH", "HOME", "name", "version", "system", "builder", "outputs", "patches", "TMPDIR",
];

/// A recipe as it is written.
#[derive(Debug)]
pub struct Recipe {
    file: PathBuf,
    text: String,
    table: Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    derivation: Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Spanned<String>,
    version: Option<Spanned<String>>,
    /// The kind of machine; this one's when it isn't given.
    system: Option<String>,
    outputs: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    sources: BTreeMap<String, Spanned<toml::Value>>,
    #[serde(default)]
    patches: Vec<Spanned<toml::Value>>,
    /// The source that is unpacked, entered and patched before the script runs.
    unpack: Option<Spanned<String>>,
    #[serde(default)]
    inputs: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    environment: BTreeMap<String, Spanned<String>>,
    /// The input or source with the shell.
    shell: Option<Spanned<String>>,
    busybox: Option<Spanned<shell::Busybox>>,
    #[serde(default)]
    features: Vec<String>,
    script: Spanned<String>,
}

impl Recipe {
    /// Reads a recipe; the file itself isn't opened.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(file: &Path, text: &str) -> Result<Self, RecipeFault> {
        let read: File = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            RecipeFault::new(file, text, span, error.message().replace('\n', "; "))
        })?;
        let recipe = Self {
            file: file.to_owned(),
            text: text.to_owned(),
            table: read.derivation,
        };
        recipe.check()?;
        Ok(recipe)
    }

    /// The name of what it builds: with its version.
    pub fn name(&self) -> String {
        let name = self.table.name.get_ref();
        match &self.table.version {
            Some(version) => format!("{name}-{}", version.get_ref()),
            None => name.clone(),
        }
    }

    fn fault(&self, span: Range<usize>, message: impl Into<String>) -> RecipeFault {
        RecipeFault::new(&self.file, &self.text, span, message)
    }

    fn check(&self) -> Result<(), RecipeFault> {
        let table = &self.table;
        check_name(&self.name()).map_err(|error| self.fault(table.name.span(), error.to_string()))?;
        for output in table.outputs.iter().flatten() {
            let name = output.get_ref();
            if check_name(name).is_err() || !super::is_variable(name) || TAKEN.contains(&name.as_str()) {
                return Err(self.fault(output.span(), format!("'{name}' can't be the name of an output")));
            }
        }
        if table.outputs.as_ref().is_some_and(Vec::is_empty) {
            return Err(self.fault(
                table.name.span(),
                "without outputs nothing is built: leave `outputs` out for `out`",
            ));
        }
        let sources = table.sources.iter().map(|(name, value)| (name, value.span()));
        let inputs = table.inputs.iter().map(|(name, value)| (name, value.span()));
        let variables = table.environment.iter().map(|(name, value)| (name, value.span()));
        let mut seen: Vec<&String> = self.outputs().collect();
        for (name, span) in sources.chain(inputs).chain(variables) {
            if !super::is_variable(name) {
                let text =
                    format!("'{name}' is no name for a variable of the script: letters, digits and _ are");
                return Err(self.fault(span, text));
            }
            if TAKEN.contains(&name.as_str()) || seen.contains(&name) {
                return Err(self.fault(
                    span,
                    format!("the variable '{name}' is there already: choose another name"),
                ));
            }
            seen.push(name);
        }
        let wanted = table.unpack.as_ref();
        if let Some(wanted) = wanted.filter(|wanted| !table.sources.contains_key(wanted.get_ref())) {
            let text = format!("there is no source '{}'", wanted.get_ref());
            return Err(self.fault(wanted.span(), text));
        }
        if let Some(patch) = table.patches.first().filter(|_| self.unpacked().is_none()) {
            return Err(self.fault(
                patch.span(),
                "patches are for a source that is unpacked: name it by `unpack`",
            ));
        }
        Ok(())
    }

    fn outputs(&self) -> impl Iterator<Item = &String> {
        self.table.outputs.iter().flatten().map(Spanned::get_ref)
    }

    /// The source that is unpacked: the one that is named, and the only one when there are patches.
    fn unpacked(&self) -> Option<&str> {
        let table = &self.table;
        let mut names = table.sources.keys();
        let only = match (names.next(), names.next()) {
            (Some(name), None) if !table.patches.is_empty() => Some(name.as_str()),
            _ => None,
        };
        table.unpack.as_ref().map(|name| name.get_ref().as_str()).or(only)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(text: &str) -> String {
        Recipe::parse(Path::new("r.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn faults_are_told_with_their_place() {
        let with = |more: &str| format!("[derivation]\nname = \"a\"\nscript = \"\"\n{more}");
        assert!(Recipe::parse(Path::new("r.toml"), &with("")).is_ok());
        for (more, expected) in [
            ("nme = 1\n", "r.toml:4:1: unknown field `nme`"),
            ("outputs = []\n", "r.toml:2:8: without outputs nothing is built"),
            (
                "outputs = [\"a b\"]\n",
                "r.toml:4:12: 'a b' can't be the name of an output",
            ),
            (
                "inputs = { \"a-b\" = \"x\" }\n",
                "r.toml:4:20: 'a-b' is no name for a variable",
            ),
            (
                "inputs = { PATH = \"x\" }\n",
                "r.toml:4:19: the variable 'PATH' is there already",
            ),
            (
                "sources = { a = \"x\" }\ninputs = { a = \"x\" }\n",
                "r.toml:5:16: the variable 'a' is there",
            ),
            ("unpack = \"src\"\n", "r.toml:4:10: there is no source 'src'"),
            (
                "patches = [\"x\"]\n",
                "r.toml:4:12: patches are for a source that is unpacked",
            ),
        ] {
            let said = refused(&with(more));
            assert!(said.starts_with(expected), "{more}: {said}");
        }
        assert!(refused("[derivation]\nname = \"a b\"\nscript = \"\"\n").starts_with("r.toml:2:8: "));
        assert!(refused("[derivation]\nname = \"a\n").starts_with("r.toml:2:"));
        assert!(refused("[derivation]\nname = \"a\"\n").contains("missing field `script`"));
    }
}
