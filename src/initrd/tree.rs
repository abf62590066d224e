//! A kernel's tree of modules, as depmod(8) describes it and modprobe.d(5) amends it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::depmod::{self, ModuleEntry, underscored};
use super::modprobe_d::{ModprobeConfig, read_text};
use crate::init::modules::Index;
use crate::nearest::nearest;

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
    /// A file or directory of modprobe.d.
    #[error("{path} can't be read: {source}")]
    Configuration {
        /// Which.
        path: PathBuf,
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
    /// A dependency that isn't there.
    #[error("module {module} needs {needs}, which modules.dep doesn't have; `depmod` writes it again")]
    Dependency {
        /// Who needs it.
        module: String,
        /// What is missing.
        needs: String,
    },
    /// modprobe.d replaces loading the module by a command.
    #[error(
        "module {asked} can't be in an initrd: modprobe.d loads {module} by the command `{command}`, and an initrd runs \
         none; remove that `install` line, or the module from what was asked for"
    )]
    Install {
        /// What was asked for.
        asked: String,
        /// The module with the command: the same one, or one that it depends on.
        module: String,
        /// The command.
        command: String,
    },
    /// Modules need each other.
    #[error("module {0} depends on itself; `depmod` writes modules.dep again")]
    Cycle(String),
    /// What keel-init wouldn't read.
    #[error("the modules of {tree} make a table that keel-init can't read: {reason}")]
    Table {
        /// The tree.
        tree: PathBuf,
        /// Which line and why.
        reason: String,
    },
    /// Compression that failed.
    #[error("module {path} can't be decompressed: {source}")]
    Decompress {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What depmod wrote about a kernel's modules, and what modprobe.d says about them.
#[derive(Debug)]
pub struct ModuleTree {
    directory: PathBuf,
    kernel: String,
    pub(super) modules: BTreeMap<String, ModuleEntry>,
    /// Sorted, each once: patterns and names.
    pub(super) aliases: Vec<(String, String)>,
    index: Index,
    pub(super) config: ModprobeConfig,
    pub(super) builtin: BTreeSet<String>,
    pub(super) builtin_aliases: BTreeSet<String>,
    builtin_index: Index,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Modules: one of that name, or all with an alias that matches.
    Modules(Vec<String>),
    /// A part of the kernel.
    Builtin,
    Nothing,
}

impl ModuleTree {
    /// Reads `directory`, such as `/usr/lib/modules/6.12.57+deb13-amd64`, and the modprobe.d directories given, of which
    /// later ones hide files of the same name in earlier ones.
    pub fn read(directory: &Path, kernel: &str, modprobe_d: &[PathBuf]) -> Result<ModuleTree, ResolveError> {
        let required = |name: &str| {
            let path = directory.join(name);
            read_text(&path).map_err(|source| ResolveError::Read {
                path,
                tree: directory.to_owned(),
                source,
            })
        };
        let optional = |name: &str| read_text(&directory.join(name)).unwrap_or_default();
        let modules = depmod::parse_dep(&required("modules.dep")?).map_err(|bad| ResolveError::Line {
            path: directory.join("modules.dep"),
            line: bad.line,
            reason: bad.reason,
        })?;
        let mut config = ModprobeConfig::default();
        config.add(&optional("modules.softdep"));
        config.add(&optional("modules.weakdep"));
        config
            .read(modprobe_d)
            .map_err(|(path, source)| ResolveError::Configuration { path, source })?;
        let mut aliases = depmod::parse_alias(&required("modules.alias")?);
        aliases.append(&mut config.aliases);
        aliases.retain(|(pattern, name)| depmod::is_word(pattern) && depmod::is_word(name));
        // depmod's order follows that of the directories on the disk.
        aliases.sort();
        aliases.dedup();
        let index = Index::new(
            aliases
                .iter()
                .enumerate()
                .map(|(number, (pattern, _))| (pattern.as_str(), number)),
        );

        let mut builtin = depmod::parse_builtin(&optional("modules.builtin"));
        let modinfo = fs::read(directory.join("modules.builtin.modinfo")).unwrap_or_default();
        let (names, builtin_aliases) = depmod::parse_builtin_modinfo(&modinfo);
        builtin.extend(names);
        let builtin_index = Index::new(builtin_aliases.iter().map(|pattern| (pattern.as_str(), 0)));
        let kernel = kernel.to_owned();
        let directory = directory.to_owned();
        Ok(ModuleTree {
            directory,
            kernel,
            modules,
            aliases,
            index,
            config,
            builtin,
            builtin_aliases,
            builtin_index,
        })
    }

    /// What `name` stands for, looked up as modprobe does: a module, else part of the kernel, else an alias.
    pub(super) fn meaning(&self, name: &str) -> Meaning {
        let plain = underscored(name);
        if self.modules.contains_key(&plain) {
            return Meaning::Modules(vec![plain]);
        }
        if self.builtin.contains(&plain) {
            return Meaning::Builtin;
        }
        let matching = self
            .index
            .matching(name)
            .filter_map(|number| self.aliases.get(number));
        let known = matching.filter(|(_, module)| self.modules.contains_key(module));
        let found: BTreeSet<&String> = known.map(|(_, module)| module).collect();
        if !found.is_empty() {
            Meaning::Modules(found.into_iter().cloned().collect())
        } else if self.builtin_index.matching(name).next().is_some() {
            Meaning::Builtin
        } else {
            Meaning::Nothing
        }
    }

    pub(super) fn unknown(&self, name: &str) -> ResolveError {
        let nearest = nearest(&underscored(name), self.modules.keys().map(String::as_str))
            .map_or_else(String::new, |known| format!("; the nearest one is {known}"));
        ResolveError::Unknown {
            kernel: self.kernel.clone(),
            name: name.to_owned(),
            nearest,
        }
    }

    /// The content of a module, decompressed. Its signature stays: the kernel may insist on it.
    pub fn content(&self, path: &Path) -> Result<Vec<u8>, ResolveError> {
        let full = self.directory.join(path);
        decompressed(&full).map_err(|source| ResolveError::Decompress { path: full, source })
    }

    /// Version of the kernel.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Where the tree is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The content of a file, decompressed when its name ends with `.xz`, `.zst` or `.gz`.
pub(super) fn decompressed(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let reader: Box<dyn Read> = match extension.as_ref() {
        "xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(bytes.as_slice())),
        "zst" => Box::new(zstd::Decoder::new(bytes.as_slice())?),
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(bytes.as_slice())),
        _ => return Ok(bytes),
    };
    let mut content = Vec::new();
    let length = reader.take(LARGEST_MODULE).read_to_end(&mut content)?;
    if length as u64 == LARGEST_MODULE {
        Err(io::Error::other("it is too large"))
    } else {
        Ok(content)
    }
}
