//! The table of options, written for readers: people, editors, programs.

mod manual;
mod markdown;
mod schema;

pub use manual::manual;
pub use markdown::markdown;
pub use schema::schema;

use serde::Serialize;

use super::options::{Preset, Spec};

/// An option, for programs.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Its path, as [`Spec::path`] has it.
    pub path: &'static str,
    /// Its type, in words.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it has to be said where its table is.
    pub required: bool,
    /// Its default as TOML.
    pub default: Option<&'static str>,
    /// A line of TOML.
    pub example: String,
    /// What it's for.
    pub description: &'static str,
}

/// Options as data.
pub fn list(specs: &[&'static Spec]) -> Vec<Entry> {
    specs
        .iter()
        .map(|spec| Entry {
            path: spec.path,
            kind: spec.kind.words(),
            required: spec.default == Preset::Required,
            default: match spec.default {
                Preset::Is(value) => Some(value),
                Preset::Required | Preset::Unset => None,
            },
            example: example(spec),
            description: spec.description,
        })
        .collect()
}

/// A name for each key that the user chooses, as it's written.
const NAMES: &[(&str, &str)] = &[
    ("<mapping>", "root"),
    ("<path>", "\"/srv\""),
    ("<user>", "kirans"),
    ("<group>", "web"),
    ("<keyword>", "X11Forwarding"),
    ("<address>", "\"192.0.2.1\""),
    ("<alias>", "ll"),
    ("<unit>", "\"backup.service\""),
    ("<section>", "Service"),
    ("<key>", "ExecStart"),
    ("<dropin>", "10-limits"),
    ("<file>", "motd"),
    ("<sysctl>", "\"net.ipv4.ip_forward\""),
    ("<variable>", "EDITOR"),
    ("<name>", "web"),
];

/// A line of TOML that sets the option, from the top of a file.
pub fn example(spec: &Spec) -> String {
    let mut path = spec.path.to_owned();
    for (word, name) in NAMES {
        path = path.replace(word, name);
    }
    match path.split_once("[].") {
        Some((list, key)) => format!("[[{list}]] {key} = {}", spec.example),
        None => format!("{path} = {}", spec.example),
    }
}

/// The table that an option stands in, as a header names it: `[users.<user>]`, `[[swap]]`; nothing at the top.
fn table_of(spec: &Spec) -> String {
    match spec.path.rsplit_once('.') {
        None => String::new(),
        Some((table, _)) => match table.strip_suffix("[]") {
            Some(list) => format!("[[{list}]]"),
            None => format!("[{table}]"),
        },
    }
}

/// Words in lines of at most `width` characters, as far as words allow.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_ascii_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::config::options::all;

    #[test]
    fn the_schema_has_every_option() {
        let schema = schema();
        for spec in all() {
            let mut place = &schema;
            for word in spec.path.split('.') {
                place = match word.strip_suffix("[]") {
                    Some(list) => &place["properties"][list]["items"],
                    None if word.starts_with('<') => &place["additionalProperties"],
                    None => &place["properties"][word],
                };
            }
            assert_eq!(place["description"], spec.description, "{}", spec.path);
        }
    }

    #[test]
    fn the_manual_has_every_option_and_no_stray_requests() {
        let manual = manual();
        for spec in all() {
            let name = spec.path.rsplit('.').next().unwrap().replace('-', "\\-");
            assert!(manual.contains(&name), "{}", spec.path);
        }
        let known = [".TH", ".SH", ".SS", ".TP", ".B", ".RB", ".BR", ".br"];
        for line in manual.lines().filter(|line| line.starts_with(['.', '\''])) {
            let request = line.split(' ').next().unwrap();
            assert!(known.contains(&request), "{line}");
        }
    }

    #[test]
    fn lines_are_no_longer_than_asked() {
        let lines = wrapped("a bb ccc dddd", 5);
        assert_eq!(lines, ["a bb", "ccc", "dddd"]);
        assert_eq!(wrapped("", 5), Vec::<String>::new());
    }
}
