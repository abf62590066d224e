//! `--option a.b=c`.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use super::options::{Branch, IMPORTS, Kind, root};
use super::place::{Place, Remark, Text};
use super::setting::Priority;
use super::walk::{Findings, Walk};

/// What these texts are called where problems are told.
const NAME: &str = "command line";

/// Reads one. The value is TOML, or a text where the option takes one and it isn't TOML.
pub(super) fn read(option: &str, order: usize, findings: &mut Findings) -> Option<Arc<Text>> {
    let make = |text: String| {
        Arc::new(Text {
            name: NAME.to_owned(),
            text,
            order,
        })
    };
    let Some((key, value)) = split(option) else {
        let text = make(option.to_owned());
        findings.remarks.push(
            Remark::new(
                Place::start(&text),
                "an option on the command line is written KEY=VALUE",
            )
            .help("such as --option system.hostname=nixie"),
        );
        return None;
    };
    let as_text = format!("{key} = {}", toml::Value::String(value.to_owned()));
    let as_value = format!("{key} = {value}");
    let wants_text = matches!(kind_of(key), Some(Kind::Text(_) | Kind::Choice(_)));
    let is_text = |text: &str| {
        DeTable::parse(text).is_ok_and(|table| {
            let mut value = table.get_ref().values().next().map(Spanned::get_ref);
            while let Some(toml::de::DeValue::Table(inner)) = value {
                value = inner.values().next().map(Spanned::get_ref);
            }
            value.is_some_and(toml::de::DeValue::is_str)
        })
    };
    let is_toml = DeTable::parse(&as_value).is_ok_and(|table| table.get_ref().len() == 1);
    let text = if !is_toml || (wants_text && !is_text(&as_value)) {
        as_text
    } else {
        as_value
    };
    let text = make(text);
    let table = match DeTable::parse(&text.text) {
        Ok(table) => table,
        Err(error) => {
            let place = Place::new(&text, error.span().unwrap_or(0..0));
            findings.remarks.push(Remark::new(
                place,
                format!("this isn't TOML: {}", error.message()),
            ));
            return None;
        }
    };
    if let Some((key, _)) = table.get_ref().iter().find(|(key, _)| key.get_ref() == IMPORTS) {
        let place = Place::new(&text, key.span());
        findings
            .remarks
            .push(Remark::new(place, "files are imported by files alone"));
        return None;
    }
    Walk {
        text: &text,
        directory: Path::new(""),
        priority: Priority::CommandLine,
        findings,
    }
    .file(table.get_ref());
    Some(text)
}

/// At the first `=` outside of quotes.
fn split(option: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in option.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, '=') => {
                let (key, value) = option.split_at(at);
                return Some((key.trim(), value.get(1..)?.trim()));
            }
            _ => {}
        }
    }
    None
}

/// What the option of this name takes.
fn kind_of(key: &str) -> Option<Kind> {
    let text = format!("{key} = 0");
    let table = DeTable::parse_recoverable(&text).0;
    let mut table = table.get_ref();
    let mut tree = root();
    loop {
        let (key, value) = table.iter().next()?;
        let branch = match tree.known.get(&**key.get_ref()) {
            Some(branch) => branch,
            None => &tree.chosen.as_ref()?.branch,
        };
        match (branch, value.get_ref()) {
            (Branch::Leaf(spec), _) => return Some(spec.kind),
            (Branch::Table(below), toml::de::DeValue::Table(inner)) => (tree, table) = (below, inner),
            _ => return None,
        }
    }
}
