//! Values of a file as values of an option.

use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::check::Check;
use super::options::Kind;

/// What a value is to its option.
pub(super) enum Shape {
    /// One value.
    One(toml::Value),
    /// A list, whose elements are read one by one.
    List,
}

/// Why a value doesn't fit.
pub(super) enum Mismatch {
    /// It's of another type.
    Type(String),
    /// It's of the right type: what is wrong with it.
    Value(String),
}

impl Mismatch {
    /// For people. `name` is the option's.
    pub(super) fn message(&self, name: &str, value: &DeValue<'_>) -> String {
        match self {
            Mismatch::Type(expected) => format!("{name} takes {expected}, not {}", words(value)),
            Mismatch::Value(why) => format!("{name}: {why}"),
        }
    }
}

/// A value's type, for people.
pub(super) fn words(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Reads a value.
pub(super) fn value(kind: Kind, value: &DeValue<'_>) -> Result<Shape, Mismatch> {
    match (kind, value) {
        (Kind::Bool, DeValue::Boolean(value)) => Ok(Shape::One(toml::Value::Boolean(*value))),
        (Kind::Int(min, max), DeValue::Integer(integer)) => bounded(integer, min, max).map(Shape::One),
        (Kind::Text(check), DeValue::String(text)) => checked(check, text).map(Shape::One),
        (Kind::Choice(choices), DeValue::String(text)) => choice(choices, text).map(Shape::One),
        (Kind::List(_) | Kind::Ints(..) | Kind::Scalars(_), DeValue::Array(_)) => Ok(Shape::List),
        (Kind::Words(check), DeValue::Array(elements)) => {
            let words: Result<Vec<toml::Value>, Mismatch> = elements
                .iter()
                .map(|element| match element.get_ref() {
                    DeValue::String(text) => checked(check, text),
                    _ => Err(Mismatch::Type(expected(kind))),
                })
                .collect();
            Ok(Shape::One(toml::Value::Array(words?)))
        }
        (Kind::Scalar(check) | Kind::Scalars(check), other) => scalar(kind, check, other).map(Shape::One),
        _ => Err(Mismatch::Type(expected(kind))),
    }
}

/// Reads an element of a list.
pub(super) fn element(kind: Kind, value: &DeValue<'_>) -> Result<toml::Value, Mismatch> {
    match (kind, value) {
        (Kind::List(check), DeValue::String(text)) => checked(check, text),
        (Kind::Ints(min, max), DeValue::Integer(integer)) => bounded(integer, min, max),
        (Kind::Scalars(check), other) => scalar(kind, check, other),
        _ => Err(Mismatch::Type(format!(
            "{} with nothing else in it",
            expected(kind)
        ))),
    }
}

/// What an option takes, with its article.
pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Int(min, max) => format!("an integer from {min} to {max}"),
        Kind::Text(_) => "a text".to_owned(),
        Kind::Choice(_) => kind.words(),
        Kind::List(_) | Kind::Words(_) => "a list of texts".to_owned(),
        Kind::Ints(min, max) => format!("a list of integers from {min} to {max}"),
        Kind::Scalar(_) => "a text, an integer or a boolean".to_owned(),
        Kind::Scalars(_) => "a text, an integer, a boolean or a list of them".to_owned(),
        Kind::Free => "a table".to_owned(),
    }
}

/// How a value of the wrong type is probably to be written.
pub(super) fn help(kind: Kind, value: &DeValue<'_>) -> Option<String> {
    match (kind, value) {
        (Kind::Int(..), DeValue::String(text)) if text.parse::<i64>().is_ok() => {
            Some(format!("write {text}, without quotes"))
        }
        (Kind::Bool, DeValue::String(text)) if matches!(&**text, "true" | "false") => {
            Some(format!("write {text}, without quotes"))
        }
        (Kind::Bool, DeValue::String(text)) if matches!(&**text, "yes" | "on") => {
            Some("write true".to_owned())
        }
        (Kind::Bool, DeValue::String(text)) if matches!(&**text, "no" | "off") => {
            Some("write false".to_owned())
        }
        (Kind::Text(_) | Kind::Choice(_), DeValue::Integer(integer)) => {
            Some(format!("write \"{integer}\", in quotes"))
        }
        (Kind::List(_) | Kind::Words(_), DeValue::String(text)) => {
            Some(format!("write [{}]", toml::Value::String(text.to_string())))
        }
        (Kind::Ints(..), DeValue::Integer(integer)) => Some(format!("write [{integer}]")),
        _ => None,
    }
}

fn integer(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn bounded(value: &DeInteger<'_>, min: i64, max: i64) -> Result<toml::Value, Mismatch> {
    match integer(value) {
        Some(number) if (min..=max).contains(&number) => Ok(toml::Value::Integer(number)),
        _ => Err(Mismatch::Value(format!("{value} isn't between {min} and {max}"))),
    }
}

fn checked(check: Check, text: &str) -> Result<toml::Value, Mismatch> {
    match check.fault(text) {
        None => Ok(toml::Value::String(text.to_owned())),
        Some(fault) => Err(Mismatch::Value(format!(
            "{text:?} isn't {}: {fault}",
            check.words()
        ))),
    }
}

fn choice(choices: &[&str], text: &str) -> Result<toml::Value, Mismatch> {
    if choices.contains(&text) {
        return Ok(toml::Value::String(text.to_owned()));
    }
    let words: Vec<String> = choices.iter().map(|word| format!("{word:?}")).collect();
    Err(Mismatch::Value(format!("{text:?} isn't {}", words.join(" or "))))
}

/// A text, or what is written like one.
fn scalar(kind: Kind, check: Check, value: &DeValue<'_>) -> Result<toml::Value, Mismatch> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => match integer(number) {
            Some(number) => number.to_string(),
            None => return Err(Mismatch::Value(format!("{number} is too large"))),
        },
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(is_so) => {
            // What their reader takes.
            let (yes, no) = match check {
                Check::SshValue => ("yes", "no"),
                Check::SysctlValue => ("1", "0"),
                _ => ("true", "false"),
            };
            if *is_so { yes } else { no }.to_owned()
        }
        _ => return Err(Mismatch::Type(expected(kind))),
    };
    checked(check, &text)
}

/// Any value; nothing when it holds a number that 64 bits don't.
pub(super) fn any(value: &DeValue<'_>) -> Option<toml::Value> {
    Some(match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => toml::Value::Integer(integer(number)?),
        DeValue::Float(number) => {
            let text = number.as_str();
            let number: f64 = text.parse().ok()?;
            if number.is_infinite() && !text.contains("inf") {
                return None;
            }
            toml::Value::Float(number)
        }
        DeValue::Boolean(is_so) => toml::Value::Boolean(*is_so),
        DeValue::Datetime(datetime) => toml::Value::Datetime(*datetime),
        DeValue::Array(elements) => toml::Value::Array(any_array(elements)?),
        DeValue::Table(table) => toml::Value::Table(any_table(table)?),
    })
}

fn any_array(elements: &DeArray<'_>) -> Option<Vec<toml::Value>> {
    elements.iter().map(|element| any(element.get_ref())).collect()
}

fn any_table(table: &DeTable<'_>) -> Option<toml::Table> {
    table
        .iter()
        .map(|(key, value)| Some((key.get_ref().to_string(), any(value.get_ref())?)))
        .collect()
}
