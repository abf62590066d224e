//! Structured attributes (`__structuredAttrs`): JSON that builders read as a file, and as a shell's variables.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::store::derivation::Derivation;

/// Where a derivation has them.
const VARIABLE: &str = "__json";

/// Why a derivation's attributes can't be read.
#[derive(Debug, thiserror::Error)]
pub enum AttributesError {
    /// No JSON.
    #[error("its attributes (__json) are no JSON: {0}")]
    Json(serde_json::Error),
    /// No object.
    #[error("its attributes (__json) are no object of JSON")]
    NoObject,
}

/// The attributes, when the derivation has structured ones.
pub(super) fn of(derivation: &Derivation) -> Result<Option<Map<String, Value>>, AttributesError> {
    let Some(text) = derivation.environment.get(VARIABLE.as_bytes()) else {
        return Ok(None);
    };
    match serde_json::from_slice(text).map_err(AttributesError::Json)? {
        Value::Object(attributes) => Ok(Some(attributes)),
        _ => Err(AttributesError::NoObject),
    }
}

/// The words of an attribute: a list of strings, or, where they aren't structured, a text with spaces between.
pub(super) fn words(
    derivation: &Derivation,
    attributes: Option<&Map<String, Value>>,
    name: &str,
) -> Vec<String> {
    optional_words(derivation, attributes, name).unwrap_or_default()
}

/// The same; nothing when there is no such attribute, which differs from an empty one.
pub(super) fn optional_words(
    derivation: &Derivation,
    attributes: Option<&Map<String, Value>>,
    name: &str,
) -> Option<Vec<String>> {
    match attributes {
        Some(attributes) => attributes.get(name).map(strings),
        None => derivation
            .variable(name)
            .map(|text| text.split_ascii_whitespace().map(str::to_owned).collect()),
    }
}

/// The texts of a list.
pub(super) fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// The declarations of bash that `.attrs.sh` is made of, as Nix 2.8 writes them: what has no form there is left out.
pub(super) fn as_shell(attributes: &Value) -> String {
    let mut text = String::new();
    for (name, value) in attributes.as_object().into_iter().flatten() {
        if !super::super::is_variable(name) {
            continue;
        }
        let line = match value {
            Value::Array(list) => list
                .iter()
                .map(|one| simple(one).map(|word| word + " "))
                .collect::<Option<String>>()
                .map(|words| format!("declare -a {name}=({words})")),
            Value::Object(pairs) => pairs
                .iter()
                .map(|(key, one)| simple(one).map(|word| format!("[{}]={word} ", quoted(key))))
                .collect::<Option<String>>()
                .map(|words| format!("declare -A {name}=({words})")),
            other => simple(other).map(|word| format!("declare {name}={word}")),
        };
        if let Some(line) = line {
            // To a text it can't fail.
            let _ignored = writeln!(text, "{line}");
        }
    }
    text
}

fn simple(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(quoted(text)),
        Value::Null => Some("''".to_owned()),
        Value::Bool(true) => Some("1".to_owned()),
        Value::Bool(false) => Some(String::new()),
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().and_then(whole))
            .map(|number| number.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number of bash's, which knows no fractions.
fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "it is whole, and smaller than what an i64 holds"
    )]
    (number.fract() == 0.0 && number.abs() < LIMIT).then_some(number as i64)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_become_declarations_of_bash() {
        let value = serde_json::json!({
            "text": "it's", "number": 42, "fraction": 1.5, "whole": 2.0, "yes": true, "no": false, "none": null,
            "list": ["a b", 1], "nested": [["x"]], "pairs": {"a-b": "c"}, "not a name": "x",
        });
        let lines = [
            "declare -a list=('a b' 1 )",
            "declare no=",
            "declare none=''",
            "declare number=42",
            "declare -A pairs=(['a-b']='c' )",
            "declare text='it'\\''s'",
            "declare whole=2",
            "declare yes=1",
        ];
        assert_eq!(as_shell(&value).lines().collect::<Vec<_>>(), lines);
    }
}
