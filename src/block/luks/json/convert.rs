//! The objects of the metadata as they are written, and their conversion. Numbers of 64 bits are strings there.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Area, CryptParameters, Digest, JsonError, Keyslot, KeyslotKind, KeyslotParameters, Metadata, Segment,
    Token, invalid,
};
use crate::block::luks::kdf::{ArgonVariant, Kdf};

#[derive(Deserialize)]
struct RawKeyslot {
    #[serde(rename = "type")]
    kind: String,
    key_size: u32,
    area: Map<String, Value>,
    priority: Option<Value>,
    kdf: Option<Map<String, Value>>,
    af: Option<RawAf>,
}

#[derive(Deserialize)]
struct RawArea {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
}

#[derive(Deserialize)]
struct RawLuks2Area {
    encryption: String,
    key_size: i64,
}

#[derive(Deserialize)]
struct RawAf {
    #[serde(rename = "type")]
    kind: String,
    hash: Option<String>,
    stripes: Option<i64>,
}

#[derive(Deserialize)]
struct RawPbkdf2 {
    hash: String,
    iterations: i64,
    salt: String,
}

#[derive(Deserialize)]
struct RawArgon2 {
    time: i64,
    memory: i64,
    cpus: i64,
    salt: String,
}

#[derive(Deserialize)]
struct RawToken {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
}

#[derive(Deserialize)]
struct RawSegment {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Deserialize)]
struct RawCrypt {
    iv_tweak: String,
    encryption: String,
    sector_size: u32,
    integrity: Option<RawIntegrity>,
}

#[derive(Deserialize)]
struct RawIntegrity {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RawDigest {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    hash: Option<Value>,
    iterations: Option<Value>,
    salt: Option<Value>,
    digest: Option<Value>,
}

#[derive(Deserialize)]
struct RawConfig {
    json_size: String,
    keyslots_size: String,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    requirements: RawRequirements,
}

#[derive(Default, Deserialize)]
struct RawRequirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

fn read<T: for<'de> Deserialize<'de>>(object: &str, value: Value) -> Result<T, JsonError> {
    serde_json::from_value(value).map_err(|error| invalid(object, error.to_string()))
}

fn number<T: std::str::FromStr>(object: &str, field: &str, text: &str) -> Result<T, JsonError> {
    let number = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    };
    number.ok_or_else(|| invalid(object, format!("{field} {text:?} is no number in range")))
}

fn numbers(object: &str, field: &str, texts: &[String]) -> Result<Vec<u32>, JsonError> {
    let canonical = |text: &String| match number::<u32>(object, field, text) {
        Ok(id) if id.to_string() != *text => {
            Err(invalid(object, format!("{field} {text:?} is no plain number")))
        }
        other => other,
    };
    texts.iter().map(canonical).collect()
}

fn nonempty(object: &str, field: &str, text: String) -> Result<String, JsonError> {
    if text.is_empty() {
        Err(invalid(object, format!("{field} is empty")))
    } else {
        Ok(text)
    }
}

/// Converts every member of one section; the members' names are numbers.
fn section<T>(
    root: &mut Map<String, Value>,
    name: &str,
    convert: impl Fn(&str, u32, Value) -> Result<T, JsonError>,
) -> Result<Vec<T>, JsonError> {
    let Some(Value::Object(members)) = root.remove(name) else {
        return Err(invalid(name, "the section is missing"));
    };
    let singular = name.trim_end_matches('s');
    let mut converted = Vec::with_capacity(members.len());
    for (key, value) in members {
        let id: u32 = number(name, "the name", &key)?;
        if id.to_string() != key {
            return Err(invalid(name, format!("the name {key:?} is no plain number")));
        }
        converted.push((id, convert(&format!("{singular} {id}"), id, value)?));
    }
    converted.sort_by_key(|&(id, _)| id);
    Ok(converted.into_iter().map(|(_, member)| member).collect())
}

impl Metadata {
    pub(super) fn from_sections(root: &mut Map<String, Value>) -> Result<Self, JsonError> {
        let config = root
            .remove("config")
            .ok_or_else(|| invalid("config", "the section is missing"))?;
        let config: RawConfig = read("config", config)?;
        Ok(Self {
            keyslots: section(root, "keyslots", keyslot)?,
            tokens: section(root, "tokens", token)?,
            segments: section(root, "segments", segment)?,
            digests: section(root, "digests", digest)?,
            json_size: number("config", "json_size", &config.json_size)?,
            keyslots_size: number("config", "keyslots_size", &config.keyslots_size)?,
            flags: config.flags,
            requirements: config.requirements.mandatory,
        })
    }
}

fn keyslot(object: &str, id: u32, value: Value) -> Result<Keyslot, JsonError> {
    let raw: RawKeyslot = read(object, value)?;
    let kind = nonempty(object, "type", raw.kind)?;
    let area: RawArea = read(object, Value::Object(raw.area.clone()))?;
    let parameters = match (kind.as_str(), raw.kdf, raw.af) {
        ("luks2", Some(kdf), Some(af)) => {
            let (Some(af_hash), Some(af_stripes), "luks1") = (af.hash, af.stripes, af.kind.as_str()) else {
                return Err(invalid(
                    object,
                    "the anti-forensic parameters are not of the type luks1",
                ));
            };
            if area.kind != "raw" {
                return Err(invalid(
                    object,
                    format!("the area is of the type {:?}, not raw", area.kind),
                ));
            }
            let luks2: RawLuks2Area = read(object, Value::Object(raw.area))?;
            let (kdf, salt) = key_derivation(object, kdf)?;
            KeyslotKind::Luks2(KeyslotParameters {
                key_size: raw.key_size,
                area_encryption: nonempty(object, "encryption", luks2.encryption)?,
                area_key_size: u32::try_from(luks2.key_size).unwrap_or(0),
                af_hash: nonempty(object, "af hash", af_hash)?,
                af_stripes,
                kdf,
                salt,
            })
        }
        ("luks2", ..) => return Err(invalid(object, "kdf or af is missing")),
        _ => KeyslotKind::Other(kind),
    };
    Ok(Keyslot {
        id,
        area: Area {
            offset: number(object, "area offset", &area.offset)?,
            size: number(object, "area size", &area.size)?,
        },
        // A priority of another kind is none of those that are tried.
        priority: raw.priority.map_or(1, |value| value.as_i64().unwrap_or(-1)),
        kind: parameters,
    })
}

/// The function and its salt. As in cryptsetup, costs out of range spoil this keyslot, not the header, and members that
/// belong to another function are ignored.
fn key_derivation(object: &str, raw: Map<String, Value>) -> Result<(Kdf, String), JsonError> {
    let name = match raw.get("type") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        _ => return Err(invalid(object, "kdf type is missing")),
    };
    let cost = |number: i64| u32::try_from(number).ok();
    let out_of_range = || Kdf::Unknown {
        name: format!("{name} with costs out of range"),
    };
    match name.as_str() {
        "pbkdf2" => {
            let kdf: RawPbkdf2 = read(object, Value::Object(raw))?;
            let hash = nonempty(object, "kdf hash", kdf.hash)?;
            let known = cost(kdf.iterations).map(|iterations| Kdf::Pbkdf2 { hash, iterations });
            Ok((
                known.unwrap_or_else(out_of_range),
                nonempty(object, "kdf salt", kdf.salt)?,
            ))
        }
        "argon2i" | "argon2id" => {
            let variant = if name == "argon2i" {
                ArgonVariant::Argon2i
            } else {
                ArgonVariant::Argon2id
            };
            let kdf: RawArgon2 = read(object, Value::Object(raw))?;
            let known = match (cost(kdf.time), cost(kdf.memory), cost(kdf.cpus)) {
                (Some(time), Some(memory_kib), Some(lanes)) => Kdf::Argon2 {
                    variant,
                    time,
                    memory_kib,
                    lanes,
                },
                _ => out_of_range(),
            };
            Ok((known, nonempty(object, "kdf salt", kdf.salt)?))
        }
        _ => Ok((Kdf::Unknown { name }, String::new())),
    }
}

fn token(object: &str, id: u32, value: Value) -> Result<Token, JsonError> {
    let raw: RawToken = read(object, value)?;
    Ok(Token {
        id,
        kind: nonempty(object, "type", raw.kind)?,
        keyslots: numbers(object, "keyslot", &raw.keyslots)?,
    })
}

fn segment(object: &str, id: u32, value: Value) -> Result<Segment, JsonError> {
    let raw: RawSegment = read(object, value.clone())?;
    let kind = nonempty(object, "type", raw.kind)?;
    let crypt = if matches!(kind.as_str(), "crypt" | "hw-opal-crypt") {
        let crypt: RawCrypt = read(object, value)?;
        Some(CryptParameters {
            iv_tweak: number(object, "iv_tweak", &crypt.iv_tweak)?,
            encryption: nonempty(object, "encryption", crypt.encryption)?,
            sector_size: crypt.sector_size,
            integrity: crypt.integrity.map(|integrity| integrity.kind),
        })
    } else {
        None
    };
    Ok(Segment {
        id,
        kind,
        offset: number(object, "offset", &raw.offset)?,
        size: if raw.size == "dynamic" {
            None
        } else {
            Some(number(object, "size", &raw.size)?)
        },
        flags: raw.flags,
        crypt,
    })
}

fn digest(object: &str, id: u32, value: Value) -> Result<Digest, JsonError> {
    let raw: RawDigest = read(object, value)?;
    let string = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let iterations = raw.iterations.and_then(|value| value.as_u64());
    Ok(Digest {
        id,
        kind: nonempty(object, "type", raw.kind)?,
        keyslots: numbers(object, "keyslot", &raw.keyslots)?,
        segments: numbers(object, "segment", &raw.segments)?,
        hash: string(raw.hash),
        iterations: iterations.and_then(|count| u32::try_from(count).ok()),
        salt: string(raw.salt),
        digest: string(raw.digest),
    })
}
