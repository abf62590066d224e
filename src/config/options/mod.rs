//! The table of options: what there is to say in a configuration. The check of files, `keel options`, the manual page, completion
//! and the JSON schema come from it; a test holds it against the types in [`crate::config`].

mod accounts;
mod boot;
mod branch;
mod files;
mod keel;
mod networking;
mod packages;
mod programs;
mod security;
mod services;
mod storage;
mod system;

pub(super) use branch::{Branch, Table, root};

use super::check::Check;

/// An option.
#[derive(Debug)]
pub struct Spec {
    /// Its place: keys with dots between them; `<word>` is a key that the user chooses, `[]` an element of a list of tables.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody says.
    pub default: Preset,
    /// A value, as TOML.
    pub example: &'static str,
    /// What it's for.
    pub description: &'static str,
}

/// What an option is when nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// It has to be said where its table is.
    Required,
    /// Nothing.
    Unset,
    /// A value, as TOML.
    Is(&'static str),
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// An integer within bounds.
    Int(i64, i64),
    /// A text.
    Text(Check),
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A list of texts; lists of several files add up.
    List(Check),
    /// A list of integers within bounds; lists of several files add up.
    Ints(i64, i64),
    /// A list of texts that is one value, such as a command.
    Words(Check),
    /// A text, an integer or a boolean, kept as a text.
    Scalar(Check),
    /// The same, or a list of them; lists of several files add up.
    Scalars(Check),
    /// A table of whatever its reader takes.
    Free,
}

impl Kind {
    /// For people: `list of host names` and so on.
    pub fn words(self) -> String {
        match self {
            Kind::Bool => "boolean".to_owned(),
            Kind::Int(min, max) => format!("integer from {min} to {max}"),
            Kind::Text(Check::Any) => "text".to_owned(),
            Kind::Text(check) => format!("text: {}", check.words()),
            Kind::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", words.join(", "))
            }
            Kind::List(check) => format!("list of texts, each {}", check.words()),
            Kind::Ints(min, max) => format!("list of integers from {min} to {max}"),
            Kind::Words(_) => "list of texts, taken as one value".to_owned(),
            Kind::Scalar(_) => "text, integer or boolean".to_owned(),
            Kind::Scalars(_) => "text, integer, boolean, or a list of them".to_owned(),
            Kind::Free => "table".to_owned(),
        }
    }

    /// Whether what several files say adds up.
    pub fn adds_up(self) -> bool {
        matches!(
            self,
            Kind::List(_) | Kind::Ints(..) | Kind::Scalars(_) | Kind::Free
        )
    }
}

/// What several tables of options need.
const fn option(
    path: &'static str,
    kind: Kind,
    default: Preset,
    example: &'static str,
    description: &'static str,
) -> Spec {
    Spec {
        path,
        kind,
        default,
        example,
        description,
    }
}

/// `imports` isn't part of a machine: it's gone when files are merged.
pub(super) const IMPORTS: &str = "imports";

/// All options, by table in the order in which they're explained.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    [
        keel::FILE,
        system::OPTIONS,
        boot::OPTIONS,
        storage::OPTIONS,
        packages::OPTIONS,
        accounts::OPTIONS,
        services::OPTIONS,
        networking::OPTIONS,
        programs::OPTIONS,
        files::OPTIONS,
        security::OPTIONS,
        keel::OPTIONS,
    ]
    .into_iter()
    .flatten()
}

/// The options whose path or description has all the words, in any case; all options for no words.
pub fn search(words: &[String]) -> Vec<&'static Spec> {
    let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let has = |spec: &Spec, word: &String| {
        spec.path.to_lowercase().contains(word) || spec.description.to_lowercase().contains(word)
    };
    all()
        .filter(|spec| words.iter().all(|word| has(spec, word)))
        .collect()
}
