//! The options as a JSON schema (draft 7, which editors of TOML read).

use serde_json::{Map, Value, json};

use crate::config::options::{Branch, Kind, Preset, Spec, Table, root};

/// The schema of a file.
pub fn schema() -> Value {
    let mut schema = table(root());
    set(
        &mut schema,
        "$schema",
        json!("http://json-schema.org/draft-07/schema#"),
    );
    set(&mut schema, "title", json!("keel: system.toml"));
    schema
}

fn set(schema: &mut Value, key: &str, value: Value) {
    if let Value::Object(members) = schema {
        let _earlier = members.insert(key.to_owned(), value);
    }
}

/// What one file doesn't say another may: no key of a table is required.
fn table(table: &Table) -> Value {
    let mut properties = Map::new();
    for (key, branch) in &table.known {
        let _new = properties.insert((*key).to_owned(), self::branch(branch));
    }
    let others = match &table.chosen {
        Some(chosen) => self::branch(&chosen.branch),
        None => json!(false),
    };
    json!({ "type": "object", "properties": properties, "additionalProperties": others })
}

fn branch(branch: &Branch) -> Value {
    match branch {
        Branch::Table(inner) => table(inner),
        Branch::List(inner) => {
            let required: Vec<&str> = inner
                .known
                .iter()
                .filter(
                    |(_, branch)| matches!(branch, Branch::Leaf(spec) if spec.default == Preset::Required),
                )
                .map(|(key, _)| *key)
                .collect();
            let mut items = table(inner);
            set(&mut items, "required", json!(required));
            json!({ "type": "array", "items": items })
        }
        Branch::Leaf(spec) => leaf(spec),
    }
}

fn leaf(spec: &Spec) -> Value {
    let value = kind(spec.kind);
    let wrapped = |key: &str| json!({ "type": "object", "properties": { key: value }, "required": [key], "additionalProperties": false });
    // An element of a list of tables isn't merged, and a free table takes any key.
    let is_plain = spec.kind == Kind::Free || spec.path.contains("[]") || !spec.path.contains('.');
    let mut schema = if is_plain {
        value.clone()
    } else {
        json!({ "anyOf": [value, wrapped("default"), wrapped("force")] })
    };
    set(&mut schema, "description", json!(spec.description));
    if let Some(value) = parsed(spec.example) {
        set(&mut schema, "examples", json!([value]));
    }
    if let Preset::Is(text) = spec.default
        && let Some(value) = parsed(text)
    {
        set(&mut schema, "default", value);
    }
    schema
}

fn kind(kind: Kind) -> Value {
    let scalar = json!({ "type": ["string", "integer", "number", "boolean"] });
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Text(_) => json!({ "type": "string" }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::List(_) | Kind::Words(_) => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Ints(min, max) => {
            json!({ "type": "array", "items": { "type": "integer", "minimum": min, "maximum": max } })
        }
        Kind::Scalar(_) => scalar,
        Kind::Scalars(_) => json!({ "anyOf": [scalar, { "type": "array", "items": scalar }] }),
        Kind::Free => json!({ "type": "object" }),
    }
}

/// A value of the table of options. Each is TOML: a test loads them all.
fn parsed(text: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
}
