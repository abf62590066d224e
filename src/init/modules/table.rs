//! The module table of an initrd image: everything that depmod's files and modprobe.d say about the modules in it,
//! resolved when the image is built.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use super::glob::{glob_match, literal_prefix, underscored_pattern};

const MAGIC: &str = "keel-modules";
const FORMAT: &str = "1";
/// More than any distribution's kernel has.
const MODULES_MAX: usize = 1 << 16;

/// The table. As text, one thing on each line:
///
/// ```text
/// keel-modules 1 6.12.107+deb13-amd64
/// module nvme_core kernel/drivers/nvme/host/nvme-core.ko
/// module nvme kernel/drivers/nvme/host/nvme.ko
/// depends 0
/// options use_threaded_interrupts=1
/// alias 1 pci:v*d*sv*sd*bc01sc08i02*
/// builtin vfat
/// builtin-alias fs-vfat
/// blacklist floppy
/// end
/// ```
///
/// `depends`, `before`, `after` (soft dependencies) and `options` belong to the `module` above them. Numbers count
/// modules from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The version of the kernel that the modules belong to.
    pub kernel: String,
    /// The modules in the image.
    pub modules: Vec<Module>,
    /// Patterns of aliases (fnmatch(3)), each with the index of its module.
    pub aliases: Vec<(String, usize)>,
    /// Names of what is built into the kernel, with `_` for `-`.
    pub builtin: Vec<String>,
    /// Patterns of aliases of what is built into the kernel.
    pub builtin_aliases: Vec<String>,
    /// Names that no alias loads, with `_` for `-`. Asked for by name, or as a dependency, they are loaded all the same.
    pub blacklist: Vec<String>,
}

/// A kernel module in the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// With `_` for `-`.
    pub name: String,
    /// Below `/lib/modules/<version>/`; not compressed.
    pub file: String,
    /// Modules that must be loaded before, as indices.
    pub depends: Vec<usize>,
    /// Modules that should be loaded before, as indices; when one fails, this one is loaded all the same.
    pub soft_before: Vec<usize>,
    /// Modules that should be loaded afterwards, as indices.
    pub soft_after: Vec<usize>,
    /// Parameters, separated by spaces, as the kernel takes them.
    pub options: String,
}

/// A damaged table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TableError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: TableProblem,
}

/// What is wrong with a line of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    /// Not text.
    #[error("it isn't UTF-8 text")]
    Encoding,
    /// The first line.
    #[error("it isn't `{MAGIC} {FORMAT} KERNEL`; this keel-init reads no other format")]
    Header,
    /// No `end`.
    #[error("the table ends without `end`: it was cut off")]
    Truncated,
    /// Something behind `end`.
    #[error("there is something behind `end`")]
    Trailing,
    /// An unknown first word.
    #[error("`{0}` is no known kind of line")]
    Keyword(String),
    /// A line that belongs to a module stands before the first one.
    #[error("no `module` line stands before it")]
    NoModule,
    /// A name or pattern is empty or holds blanks or control characters.
    #[error("{0:?} is no name")]
    Name(String),
    /// A file name that leads out of the directory of modules.
    #[error("{0:?} is no file name below the directory of modules")]
    File(String),
    /// Control characters.
    #[error("the options hold control characters")]
    Options,
    /// Not the index of a module.
    #[error("{0:?} isn't the number of a module")]
    Index(String),
    /// Too many modules, or the same one twice.
    #[error("module {0} is there twice, or there are more than {MODULES_MAX}")]
    Modules(String),
}

impl Table {
    /// The text form. Line breaks in strings become spaces.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{MAGIC} {FORMAT} {}\n", self.kernel);
        let mut line = |words: std::fmt::Arguments<'_>| {
            let start = text.len();
            // Writing to a string can't fail.
            let _ = text.write_fmt(words);
            if text.get(start..).is_some_and(|line| line.contains('\n')) {
                let flat = text.split_off(start).replace('\n', " ");
                text.push_str(&flat);
            }
            text.push('\n');
        };
        for module in &self.modules {
            line(format_args!("module {} {}", module.name, module.file));
            for (keyword, indices) in [
                ("depends", &module.depends),
                ("before", &module.soft_before),
                ("after", &module.soft_after),
            ] {
                if !indices.is_empty() {
                    let indices: Vec<_> = indices.iter().map(usize::to_string).collect();
                    line(format_args!("{keyword} {}", indices.join(" ")));
                }
            }
            if !module.options.is_empty() {
                line(format_args!("options {}", module.options));
            }
        }
        for (pattern, index) in &self.aliases {
            line(format_args!("alias {index} {pattern}"));
        }
        for (keyword, names) in [
            ("builtin", &self.builtin),
            ("builtin-alias", &self.builtin_aliases),
            ("blacklist", &self.blacklist),
        ] {
            for name in names {
                line(format_args!("{keyword} {name}"));
            }
        }
        text.push_str("end\n");
        text.into_bytes()
    }

    /// Reads the text form. What it allocates is in proportion to `bytes`.
    ///
    /// # Errors
    /// The first line that can't be understood.
    pub fn parse(bytes: &[u8]) -> Result<Table, TableError> {
        Reader::default().read(bytes)
    }

    /// The module with this name (`-` and `_` are the same).
    pub fn find(&self, name: &str) -> Option<usize> {
        let name = underscored(name);
        self.modules.iter().position(|module| module.name == name)
    }

    /// Whether something that is built into the kernel answers to an alias.
    pub fn has_builtin_alias(&self, modalias: &str) -> bool {
        let modalias = underscored(modalias);
        self.builtin_aliases
            .iter()
            .any(|pattern| glob_match(underscored_pattern(pattern).as_bytes(), modalias.as_bytes()))
    }

    /// The modules with an alias that matches. Looks at each alias: for more than a few questions there is [`Index`].
    pub fn matching(&self, modalias: &str) -> impl Iterator<Item = usize> {
        let modalias = underscored(modalias);
        let matches =
            |pattern: &str| glob_match(underscored_pattern(pattern).as_bytes(), modalias.as_bytes());
        let found: BTreeSet<_> = self
            .aliases
            .iter()
            .filter(|(pattern, _)| matches(pattern))
            .map(|(_, index)| *index)
            .collect();
        found.into_iter()
    }
}

/// With `_` for `-`, as the kernel names modules.
pub(super) fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

#[derive(Default)]
struct Reader {
    table: Table,
    names: BTreeSet<String>,
    /// Where indices were read, to be checked when all modules are known: line and index.
    indices: Vec<(usize, usize)>,
}

impl Reader {
    fn read(mut self, bytes: &[u8]) -> Result<Table, TableError> {
        let mut lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let mut last = 1;
        let mut ended = false;
        for (number, line) in lines.by_ref() {
            let at = |problem| TableError {
                line: number + 1,
                problem,
            };
            let line = std::str::from_utf8(line).map_err(|_| at(TableProblem::Encoding))?;
            last = number + 1;
            if number == 0 {
                self.table.kernel = header(line).map_err(at)?;
            } else if line == "end" {
                ended = true;
                break;
            } else {
                self.take(last, line).map_err(at)?;
            }
        }
        if !ended {
            return Err(TableError {
                line: last,
                problem: TableProblem::Truncated,
            });
        }
        if let Some((number, _)) = lines.find(|(_, line)| !line.is_empty()) {
            return Err(TableError {
                line: number + 1,
                problem: TableProblem::Trailing,
            });
        }
        match self
            .indices
            .iter()
            .find(|(_, index)| *index >= self.table.modules.len())
        {
            Some((line, index)) => Err(TableError {
                line: *line,
                problem: TableProblem::Index(index.to_string()),
            }),
            None => Ok(self.table),
        }
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), TableProblem> {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        match keyword {
            "module" => {
                let (name, file) = rest
                    .split_once(' ')
                    .ok_or_else(|| TableProblem::File(String::new()))?;
                let (name, file) = (self::name(name)?, file_name(file)?);
                if self.table.modules.len() >= MODULES_MAX || !self.names.insert(name.clone()) {
                    return Err(TableProblem::Modules(name));
                }
                self.table.modules.push(Module {
                    name,
                    file,
                    ..Module::default()
                });
            }
            "depends" | "before" | "after" | "options" => self.take_of_module(number, keyword, rest)?,
            "alias" => {
                let (index, pattern) = rest
                    .split_once(' ')
                    .ok_or_else(|| TableProblem::Name(String::new()))?;
                let pattern = name(pattern)?;
                let index = self.index(number, index)?;
                self.table.aliases.push((pattern, index));
            }
            "builtin" => self.table.builtin.push(name(rest)?),
            "builtin-alias" => self.table.builtin_aliases.push(name(rest)?),
            "blacklist" => self.table.blacklist.push(name(rest)?),
            _ => return Err(TableProblem::Keyword(keyword.chars().take(40).collect())),
        }
        Ok(())
    }

    fn take_of_module(&mut self, number: usize, keyword: &str, rest: &str) -> Result<(), TableProblem> {
        if keyword == "options" && rest.contains(char::is_control) {
            return Err(TableProblem::Options);
        }
        let indices = match keyword {
            "options" => Vec::new(),
            _ => rest
                .split(' ')
                .map(|word| self.index(number, word))
                .collect::<Result<Vec<_>, _>>()?,
        };
        let module = self.table.modules.last_mut().ok_or(TableProblem::NoModule)?;
        match keyword {
            "depends" => module.depends = indices,
            "before" => module.soft_before = indices,
            "after" => module.soft_after = indices,
            _ => rest.clone_into(&mut module.options),
        }
        Ok(())
    }

    fn index(&mut self, line: usize, word: &str) -> Result<usize, TableProblem> {
        let index = word.parse().map_err(|_| TableProblem::Index(word.to_owned()))?;
        self.indices.push((line, index));
        Ok(index)
    }
}

fn header(line: &str) -> Result<String, TableProblem> {
    let kernel = line.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' '));
    let kernel = kernel
        .and_then(|rest| rest.strip_prefix(FORMAT))
        .and_then(|rest| rest.strip_prefix(' '));
    let kernel = kernel.ok_or(TableProblem::Header)?;
    // It becomes part of a path.
    if kernel.contains('/') || kernel == "." || kernel == ".." {
        return Err(TableProblem::Name(kernel.to_owned()));
    }
    name(kernel)
}

fn name(word: &str) -> Result<String, TableProblem> {
    let bad = word.is_empty()
        || word.contains(|character: char| character.is_whitespace() || character.is_control());
    if bad {
        Err(TableProblem::Name(word.to_owned()))
    } else {
        Ok(word.to_owned())
    }
}

fn file_name(file: &str) -> Result<String, TableProblem> {
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(char::is_control);
    if file.split('/').any(bad) {
        Err(TableProblem::File(file.to_owned()))
    } else {
        Ok(file.to_owned())
    }
}

/// Patterns by the bytes before their first special one. A question looks up each beginning of the alias, so that it
/// costs as many look-ups as the alias has bytes, and not a comparison with each of twenty thousand patterns.
#[derive(Debug, Default)]
pub struct Index {
    patterns: HashMap<Vec<u8>, Vec<(String, usize)>>,
    longest: usize,
}

impl Index {
    /// Of patterns, each with a value that [`Index::matching`] gives back.
    pub fn new<'a>(patterns: impl IntoIterator<Item = (&'a str, usize)>) -> Index {
        let mut index = Index::default();
        for (pattern, value) in patterns {
            let pattern = underscored_pattern(pattern);
            let key = literal_prefix(pattern.as_bytes()).to_vec();
            index.longest = index.longest.max(key.len());
            index.patterns.entry(key).or_default().push((pattern, value));
        }
        index
    }

    /// The values of the patterns that match, each once, in ascending order.
    pub fn matching(&self, modalias: &str) -> impl Iterator<Item = usize> {
        let modalias = underscored(modalias);
        let modalias = modalias.as_bytes();
        let mut found = BTreeSet::new();
        for end in 0..=self.longest.min(modalias.len()) {
            let patterns = modalias
                .get(..end)
                .and_then(|beginning| self.patterns.get(beginning));
            for (pattern, value) in patterns.into_iter().flatten() {
                if !found.contains(value) && glob_match(pattern.as_bytes(), modalias) {
                    let _ = found.insert(*value);
                }
            }
        }
        found.into_iter()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
