//! A kernel's tree of modules, and the closure of those that an image needs (modules.dep(5), modprobe.d(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::init::modules::{Module, Table};

/// A decompressed module larger than this isn't one.
const LARGEST_MODULE: u64 = 256 << 20;

/// Why modules can't be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A file of the tree.
    #[error(
        "{path} can't be read: {source}; is {tree} the module directory of a kernel, and was depmod run?"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The tree.
        tree: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that can't be.
    #[error("{path}, line {line}: {reason}; `depmod` writes it again")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What doesn't fit.
        reason: &'static str,
    },
    /// A name that the kernel doesn't have.
    #[error("kernel {kernel} has no module {name}{nearest}")]
    Unknown {
        /// Version of the kernel.
        kernel: String,
        /// The name that was asked for.
        name: String,
        /// A name that looks like it, as a clause.
        nearest: String,
    },
    /// A module needs itself.
    #[error("module {0} depends on itself; `depmod` writes modules.dep again")]
    Cycle(String),
    /// Compression that failed.
    #[error("module {path} can't be decompressed: {source}")]
    Decompress {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    /// Path below the tree.
    path: String,
    /// Names of modules, nearest first.
    depends: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct SoftDependencies {
    before: Vec<String>,
    after: Vec<String>,
}

/// What depmod wrote about a kernel's modules, and what modprobe.d says about them.
#[derive(Clone, Debug)]
pub struct ModuleTree {
    directory: PathBuf,
    kernel: String,
    modules: BTreeMap<String, Entry>,
    aliases: Vec<(String, String)>,
    soft: BTreeMap<String, SoftDependencies>,
    builtin: BTreeSet<String>,
    builtin_aliases: Vec<String>,
    options: BTreeMap<String, Vec<String>>,
    blacklist: BTreeSet<String>,
}

/// The modules of an image.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The table for the initrd.
    pub table: Table,
    /// Files of the tree, in the order of the table's modules.
    pub files: Vec<PathBuf>,
}

impl ModuleTree {
    /// Reads `directory`, such as `/usr/lib/modules/6.12.57+deb13-amd64`, and the modprobe.d directories given.
    pub fn read(directory: &Path, kernel: &str, modprobe_d: &[PathBuf]) -> Result<ModuleTree, ResolveError> {
        let mut tree = ModuleTree {
            directory: directory.to_owned(),
            kernel: kernel.to_owned(),
            modules: BTreeMap::new(),
            aliases: Vec::new(),
            soft: BTreeMap::new(),
            builtin: BTreeSet::new(),
            builtin_aliases: Vec::new(),
            options: BTreeMap::new(),
            blacklist: BTreeSet::new(),
        };
        tree.read_dependencies()?;
        for line in tree.lines("modules.alias")? {
            if let ["alias", pattern, name] = words(&line)[..] {
                tree.aliases.push((pattern.to_owned(), underscored(name)));
            }
        }
        for line in tree.optional_lines("modules.softdep") {
            tree.configure(&line);
        }
        for line in tree.optional_lines("modules.builtin") {
            let _ = tree.builtin.insert(module_name(&line));
        }
        tree.read_builtin_aliases();
        for directory in modprobe_d {
            for line in configuration(directory) {
                tree.configure(&line);
            }
        }
        Ok(tree)
    }

    fn read_dependencies(&mut self) -> Result<(), ResolveError> {
        for (index, line) in self.lines("modules.dep")?.into_iter().enumerate() {
            let Some((path, depends)) = line.split_once(':') else {
                return Err(ResolveError::Line {
                    path: self.directory.join("modules.dep"),
                    line: index + 1,
                    reason: "a colon is missing",
                });
            };
            let depends = depends.split_ascii_whitespace().map(module_name).collect();
            let _ = self.modules.insert(
                module_name(path),
                Entry {
                    path: path.to_owned(),
                    depends,
                },
            );
        }
        Ok(())
    }

    /// `modules.builtin.modinfo`: records `module.key=value`, each ended by a NUL byte.
    fn read_builtin_aliases(&mut self) {
        let Ok(bytes) = fs::read(self.directory.join("modules.builtin.modinfo")) else {
            return;
        };
        for record in bytes.split(|byte| *byte == 0) {
            let Ok(record) = std::str::from_utf8(record) else {
                continue;
            };
            let Some((name, value)) = record.split_once('=') else {
                continue;
            };
            if let Some((module, "alias")) = name.rsplit_once('.') {
                let _ = self.builtin.insert(underscored(module));
                self.builtin_aliases.push(value.to_owned());
            }
        }
    }

    fn lines(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        let path = self.directory.join(name);
        let text = fs::read_to_string(&path).map_err(|source| ResolveError::Read {
            path,
            tree: self.directory.clone(),
            source,
        })?;
        Ok(meaningful(&text))
    }

    fn optional_lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.directory.join(name))
            .map(|text| meaningful(&text))
            .unwrap_or_default()
    }

    /// Takes a line of modprobe.d(5). `install` and `remove` run programs, which an initrd doesn't have.
    fn configure(&mut self, line: &str) {
        match words(line)[..] {
            ["softdep", name, ref rest @ ..] => {
                let soft = self.soft.entry(underscored(name)).or_default();
                let mut after = false;
                for word in rest {
                    match *word {
                        "pre:" => after = false,
                        "post:" => after = true,
                        name if after => soft.after.push(underscored(name)),
                        name => soft.before.push(underscored(name)),
                    }
                }
            }
            ["options", name, ref rest @ ..] => {
                self.options
                    .entry(underscored(name))
                    .or_default()
                    .push(rest.join(" "));
            }
            ["alias", pattern, name] => self.aliases.push((pattern.to_owned(), underscored(name))),
            ["blacklist", name] => {
                let _ = self.blacklist.insert(underscored(name));
            }
            _ => {}
        }
    }

    /// The closure of what is asked for. A name that ends with `?` may be missing; one that ends with `/` stands for
    /// every module below that directory of the kernel's tree.
    pub fn resolve<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Resolved, ResolveError> {
        let mut wanted = BTreeSet::new();
        for name in names {
            if let Some(directory) = name.strip_suffix('/') {
                wanted.extend(self.below(directory));
                continue;
            }
            let optional = name.ends_with('?');
            let name = underscored(name.trim_end_matches('?'));
            if self.modules.contains_key(&name) {
                let _ = wanted.insert(name);
                continue;
            }
            let meant = self.meant_by(&name);
            if meant.is_empty() && !optional && !self.builtin.contains(&name) {
                return Err(self.unknown(&name));
            }
            wanted.extend(meant);
        }
        let mut order = Order {
            tree: self,
            done: BTreeMap::new(),
            modules: Vec::new(),
        };
        for name in &wanted {
            let _ = order.place(name, &mut Vec::new())?;
        }
        Ok(order.finish())
    }

    fn below(&self, directory: &str) -> impl Iterator<Item = String> {
        let prefix = format!("kernel/{directory}/");
        let matching = self
            .modules
            .iter()
            .filter(move |(_, entry)| entry.path.starts_with(&prefix));
        matching.map(|(name, _)| name.clone())
    }

    /// The modules that a name means: itself, or all that have it as an alias (`crc32c` is what several can do).
    fn meant_by(&self, name: &str) -> Vec<String> {
        if self.modules.contains_key(name) {
            return vec![name.to_owned()];
        }
        let having = self.aliases.iter().filter(|(alias, module)| {
            underscored(alias) == *name
                && self.modules.contains_key(module)
                && !self.blacklist.contains(module)
        });
        let names: BTreeSet<&String> = having.map(|(_, module)| module).collect();
        names.into_iter().cloned().collect()
    }

    fn unknown(&self, name: &str) -> ResolveError {
        let nearest = self
            .modules
            .keys()
            .map(|known| (distance(name, known), known))
            .min()
            .filter(|(distance, _)| *distance <= name.len() / 2)
            .map_or_else(String::new, |(_, known)| format!("; the nearest one is {known}"));
        ResolveError::Unknown {
            kernel: self.kernel.clone(),
            name: name.to_owned(),
            nearest,
        }
    }

    /// The content of a module, decompressed. Its signature stays: the kernel may insist on it.
    pub fn content(&self, path: &Path) -> Result<Vec<u8>, ResolveError> {
        let full = self.directory.join(path);
        let read = || -> io::Result<Vec<u8>> {
            let bytes = fs::read(&full)?;
            let name = path.to_string_lossy();
            let reader: Box<dyn Read> = if name.ends_with(".xz") {
                Box::new(liblzma::read::XzDecoder::new(bytes.as_slice()))
            } else if name.ends_with(".zst") {
                Box::new(zstd::Decoder::new(bytes.as_slice())?)
            } else if name.ends_with(".gz") {
                Box::new(flate2::read::GzDecoder::new(bytes.as_slice()))
            } else {
                return Ok(bytes);
            };
            let mut content = Vec::new();
            let length = reader.take(LARGEST_MODULE).read_to_end(&mut content)?;
            if length as u64 == LARGEST_MODULE {
                Err(io::Error::other("it is too large"))
            } else {
                Ok(content)
            }
        };
        read().map_err(|source| ResolveError::Decompress {
            path: full.clone(),
            source,
        })
    }

    /// Version of the kernel.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }
}

/// Puts modules behind what they depend on.
struct Order<'a> {
    tree: &'a ModuleTree,
    done: BTreeMap<String, usize>,
    modules: Vec<(String, Vec<usize>)>,
}

impl Order<'_> {
    /// The place of a module; places what it depends on first.
    fn place(&mut self, name: &str, above: &mut Vec<String>) -> Result<usize, ResolveError> {
        if let Some(place) = self.done.get(name) {
            return Ok(*place);
        }
        if above.iter().any(|known| known == name) {
            return Err(ResolveError::Cycle(name.to_owned()));
        }
        let entry = self
            .tree
            .modules
            .get(name)
            .ok_or_else(|| self.tree.unknown(name))?;
        above.push(name.to_owned());
        let mut depends = Vec::new();
        for needed in &entry.depends {
            depends.push(self.place(needed, above)?);
        }
        let _ = above.pop();
        let place = self.modules.len();
        self.modules.push((name.to_owned(), depends));
        let _ = self.done.insert(name.to_owned(), place);
        // Soft dependencies may point at each other: they are placed once the module itself is.
        if let Some(soft) = self.tree.soft.get(name) {
            for wished in soft.before.iter().chain(&soft.after) {
                for module in self.tree.meant_by(wished) {
                    let _ = self.place(&module, &mut Vec::new())?;
                }
            }
        }
        Ok(place)
    }

    fn finish(self) -> Resolved {
        let tree = self.tree;
        let places = |names: &[String]| -> Vec<usize> {
            let meant = names.iter().flat_map(|name| tree.meant_by(name));
            meant
                .filter_map(|module| self.done.get(&module).copied())
                .collect()
        };
        let mut files = Vec::new();
        let mut modules = Vec::new();
        for (name, depends) in &self.modules {
            let soft = tree.soft.get(name).cloned().unwrap_or_default();
            let path = tree
                .modules
                .get(name)
                .map(|entry| PathBuf::from(&entry.path))
                .unwrap_or_default();
            modules.push(Module {
                name: name.clone(),
                file: format!("{name}.ko"),
                depends: depends.clone(),
                soft_before: places(&soft.before),
                soft_after: places(&soft.after),
                options: tree
                    .options
                    .get(name)
                    .map(|options| options.join(" "))
                    .unwrap_or_default(),
            });
            files.push(path);
        }
        let aliases = tree
            .aliases
            .iter()
            .filter_map(|(pattern, module)| Some((pattern.clone(), *self.done.get(module)?)))
            .collect();
        let table = Table {
            kernel: tree.kernel.clone(),
            modules,
            aliases,
            builtin: tree.builtin.iter().cloned().collect(),
            builtin_aliases: tree.builtin_aliases.clone(),
            blacklist: tree.blacklist.iter().cloned().collect(),
        };
        Resolved { table, files }
    }
}

/// Lines with something in them.
fn meaningful(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The `.conf` files of a directory, in the order of their names.
fn configuration(directory: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    files.sort();
    files
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| meaningful(&text))
        .collect()
}

fn words(line: &str) -> Vec<&str> {
    line.split_ascii_whitespace().collect()
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    underscored(file.split(".ko").next().unwrap_or(file))
}

fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            left = (above + 1).min(left + 1).min(diagonal + usize::from(x != *y));
            diagonal = above;
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}
