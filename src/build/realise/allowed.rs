//! What a derivation says its outputs may refer to, and how large they may be (`allowedReferences` and its like;
//! `outputChecks` where attributes are structured).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::attempt::{Made, by_id};
use super::attributes;
use super::environment::EnvironmentError;
use super::failure::Cause;
use super::output::OutputError;
use crate::store::db::{Database, Direction, PathInfo};
use crate::store::derivation::Derivation;
use crate::store::{Layout, StorePath, roots};

/// An attribute, whether what it names is allowed (otherwise it's forbidden), and whether it's about the whole closure.
const RULES: [(&str, bool, bool); 4] = [
    ("allowedReferences", true, false),
    ("allowedRequisites", true, true),
    ("disallowedReferences", false, false),
    ("disallowedRequisites", false, true),
];

/// Sees that the outputs keep to what their derivation says.
pub(super) fn check(
    derivation: &Derivation,
    made: &[Made],
    layout: &Layout,
    database: &Database,
) -> Result<(), Cause> {
    let structured = attributes::of(derivation).map_err(EnvironmentError::from)?;
    let outputs = by_id(made);
    for (id, info) in &outputs {
        let checks = Checks {
            derivation,
            layout,
            database,
            outputs: &outputs,
            info,
        };
        match &structured {
            None => checks.rules(None)?,
            Some(attributes) => {
                let own = attributes.get("outputChecks").and_then(|all| all.get(id));
                if let Some(own) = own.and_then(Value::as_object) {
                    checks.rules(Some(own))?;
                    checks.sizes(own)?;
                }
            }
        }
    }
    Ok(())
}

struct Checks<'a> {
    derivation: &'a Derivation,
    layout: &'a Layout,
    database: &'a Database,
    outputs: &'a BTreeMap<&'a str, &'a PathInfo>,
    info: &'a PathInfo,
}

impl Checks<'_> {
    fn rules(&self, own: Option<&Map<String, Value>>) -> Result<(), Cause> {
        for (rule, is_allowed, is_closure) in RULES {
            let Some(words) = attributes::optional_words(self.derivation, own, rule) else {
                continue;
            };
            let named = words
                .iter()
                .map(|word| self.named(word, rule))
                .collect::<Result<BTreeSet<StorePath>, _>>()?;
            let used = if is_closure {
                let mut used = self.closure()?;
                // As Nix has it where attributes aren't structured.
                if own.is_none() {
                    let _itself = used.remove(&self.info.path);
                }
                used
            } else {
                self.info.references.iter().cloned().collect()
            };
            let wrong = used.into_iter().find(|path| named.contains(path) != is_allowed);
            if let Some(reference) = wrong {
                return Err(OutputError::Forbidden {
                    path: self.info.path.clone(),
                    reference,
                    rule,
                }
                .into());
            }
        }
        Ok(())
    }

    fn sizes(&self, own: &Map<String, Value>) -> Result<(), Cause> {
        let limits = [("maxSize", false), ("maxClosureSize", true)];
        for (rule, is_closure) in limits {
            let Some(most) = own.get(rule).and_then(Value::as_u64) else {
                continue;
            };
            let bytes = if is_closure {
                let mut sum = 0;
                for path in self.closure()? {
                    sum += match self.outputs.values().find(|info| info.path == path) {
                        Some(info) => info.nar.size,
                        None => self.database.nar(&path)?.map_or(0, |(_, size)| size),
                    };
                }
                sum
            } else {
                self.info.nar.size
            };
            if bytes > most {
                return Err(OutputError::Size {
                    path: self.info.path.clone(),
                    bytes,
                    rule,
                    most,
                }
                .into());
            }
        }
        Ok(())
    }

    fn named(&self, word: &str, rule: &'static str) -> Result<StorePath, OutputError> {
        if let Some(output) = self.derivation.outputs.get(word) {
            return output
                .path
                .clone()
                .ok_or_else(|| OutputError::Missing(word.to_owned()));
        }
        roots::in_store(self.layout, Path::new(word)).ok_or_else(|| OutputError::Specifier {
            word: word.to_owned(),
            rule,
        })
    }

    /// All that the output needs; other outputs of the same build aren't valid yet.
    fn closure(&self) -> Result<BTreeSet<StorePath>, Cause> {
        let mut all = BTreeSet::new();
        let mut open = vec![self.info.path.clone()];
        while let Some(path) = open.pop() {
            if !all.insert(path.clone()) {
                continue;
            }
            match self.outputs.values().find(|info| info.path == path) {
                Some(info) => open.extend(info.references.iter().cloned()),
                None => all.extend(self.database.closure(&[path], Direction::References)?),
            }
        }
        Ok(all)
    }
}
