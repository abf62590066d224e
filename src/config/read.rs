//! Reading files and what they import, each once.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::options::IMPORTS;
use super::place::{Place, Remark, Text};
use super::setting::Priority;
use super::walk::{Findings, Walk};

/// What is read, and how.
pub struct Sources<'a> {
    /// The main file.
    pub path: &'a Path,
    /// What `--option` gave, as `a.b=c`.
    pub overrides: &'a [String],
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// Whether there is a file.
    pub exists: &'a dyn Fn(&Path) -> bool,
}

impl Sources<'_> {
    /// The directory that relative paths of a resolved configuration begin in.
    pub fn base(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// The files that were read, and what they say.
pub(super) struct Reader<'a> {
    sources: &'a Sources<'a>,
    /// In the order of reading.
    pub(super) texts: Vec<(PathBuf, Arc<Text>)>,
    pub(super) findings: Findings,
    /// Whether some file couldn't be understood: what is missing may be in there.
    pub(super) is_incomplete: bool,
    known: BTreeSet<PathBuf>,
    /// The files between the main one and the one that is read.
    chain: Vec<PathBuf>,
}

impl<'a> Reader<'a> {
    /// Reads all of it.
    pub(super) fn read(sources: &'a Sources<'a>) -> Self {
        let mut reader = Self {
            sources,
            texts: Vec::new(),
            findings: Findings::default(),
            is_incomplete: false,
            known: BTreeSet::new(),
            chain: Vec::new(),
        };
        reader.file(sources.path, None);
        reader
    }

    /// The beginning of the main file.
    pub(super) fn start(&self) -> Place {
        match self.texts.first() {
            Some((_, text)) => Place::start(text),
            None => Place::start(&Arc::new(Text {
                name: self.sources.path.display().to_string(),
                text: String::new(),
                order: 0,
            })),
        }
    }

    fn file(&mut self, path: &Path, asked: Option<Place>) {
        let normal = normalised(path);
        if let (Some(at), Some(place)) = (self.chain.iter().position(|file| *file == normal), &asked) {
            let mut names: Vec<String> = self
                .chain
                .iter()
                .skip(at)
                .map(|file| file.display().to_string())
                .collect();
            names.push(normal.display().to_string());
            let message = format!("files import each other in a circle: {}", names.join(" → "));
            self.fault(
                Remark::new(place.clone(), message)
                    .help("move what both need into a file that imports neither"),
            );
            return;
        }
        if !self.known.insert(normal.clone()) {
            return;
        }
        let bytes = match (self.sources.read)(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("{} can't be read: {error}", path.display());
                let remark = match asked {
                    Some(place) => Remark::new(place, message),
                    None => Remark::new(self.start(), message)
                        .help("`keel generate-config` writes a configuration for this machine"),
                };
                self.fault(remark);
                return;
            }
        };
        let (text, fault) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                (text, Some(at))
            }
        };
        let text = Arc::new(Text {
            name: path.display().to_string(),
            text,
            order: self.texts.len(),
        });
        self.texts.push((path.to_path_buf(), Arc::clone(&text)));
        if let Some(at) = fault {
            let place = Place::new(&text, at..at + 1);
            self.fault(Remark::new(place, "the file isn't UTF-8").help("save it as UTF-8"));
            return;
        }
        self.chain.push(normal);
        self.understand(path, &text);
        let _this = self.chain.pop();
    }

    fn understand(&mut self, path: &Path, text: &Arc<Text>) {
        let (table, errors) = DeTable::parse_recoverable(&text.text);
        let is_whole = errors.is_empty();
        self.syntax(text, &errors);
        let table = table.get_ref();
        self.imports(path, text, table);
        if is_whole {
            let directory = relative(self.sources.base(), path.parent().unwrap_or(Path::new("")));
            let mut walk = Walk {
                text,
                directory: &directory,
                priority: Priority::Normal,
                findings: &mut self.findings,
            };
            walk.file(table);
        }
    }

    /// One fault makes the parser stumble over what follows it: the first in each line is told.
    fn syntax(&mut self, text: &Arc<Text>, errors: &[toml::de::Error]) {
        let mut lines = BTreeSet::new();
        for error in errors {
            let place = Place::new(text, error.span().unwrap_or(0..0));
            if lines.insert(place.line()) {
                self.fault(Remark::new(
                    place,
                    format!("this isn't TOML: {}", error.message()),
                ));
            }
        }
    }

    fn imports(&mut self, path: &Path, text: &Arc<Text>, table: &DeTable<'_>) {
        let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == IMPORTS) else {
            return;
        };
        let DeValue::Array(elements) = value.get_ref() else {
            // Told with the other wrong types.
            self.is_incomplete = true;
            return;
        };
        for element in elements {
            if let DeValue::String(name) = element.get_ref() {
                let directory = path.parent().unwrap_or(Path::new(""));
                let place = Place::new(text, element.span());
                self.file(&directory.join(&**name), Some(place));
            }
        }
    }

    fn fault(&mut self, remark: Remark) {
        self.is_incomplete = true;
        self.findings.remarks.push(remark);
    }
}

/// A path without `.` and, as far as its text tells, without `..`.
pub(super) fn normalised(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match normal.components().next_back() {
                Some(Component::Normal(_)) => {
                    let _popped = normal.pop();
                }
                Some(Component::RootDir) => {}
                _ => normal.push(".."),
            },
            other => normal.push(other),
        }
    }
    normal
}

/// How `to` is named from the directory `from`; `to` itself where their texts don't tell.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to) = (normalised(from), normalised(to));
    let shared = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up: Vec<Component<'_>> = from.components().skip(shared).collect();
    if from.is_absolute() != to.is_absolute() || up.contains(&Component::ParentDir) {
        return to;
    }
    let mut path: PathBuf = up.iter().map(|_| "..").collect();
    path.extend(to.components().skip(shared));
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_without_detours() {
        for (path, expected) in [
            ("/etc/keel/../x.toml", "/etc/x.toml"),
            ("a/./b/../../c", "c"),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("", ""),
        ] {
            assert_eq!(normalised(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn directories_seen_from_others() {
        for (from, to, expected) in [
            ("/etc/keel", "/etc/keel", ""),
            ("/etc/keel", "/etc/keel/hosts", "hosts"),
            ("/etc/keel/hosts", "/etc/keel/common", "../common"),
            ("", "a", "a"),
            ("a", "../b", "../../b"),
            ("../a", "b", "b"),
            ("/a", "b", "b"),
        ] {
            let path = relative(Path::new(from), Path::new(to));
            assert_eq!(path, Path::new(expected), "{from} {to}");
        }
    }
}
