//! Compiling a keymap with the real tools.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::mktable::{self, TableError};
use super::settings::Layout;
use crate::init::keymap::{Keymap, is_keymap_name};

/// Where distributions keep console keymaps, below `/usr`.
const DIRECTORIES: [&str; 3] = ["share/keymaps", "share/kbd/keymaps", "lib/kbd/keymaps"];
/// Keymaps of other machines' keyboards.
const OTHER_MACHINES: [&str; 6] = ["amiga", "atari", "mac", "ppc", "sun", "include"];
/// Names of a keymap's file.
const ENDINGS: [&str; 4] = [".kmap.gz", ".map.gz", ".kmap", ".map"];
/// Deeper than any tree of keymaps.
const DEPTH_MAX: usize = 8;
/// The keyboard of most machines.
const MODEL: &str = "pc105";

/// Why a keymap can't be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A name that can't stand behind `rd.vconsole.keymap=`.
    #[error("{0:?} can't name a keymap: letters, digits and . _ - , + are allowed")]
    Name(String),
    /// Nothing is called so.
    #[error(
        "there is no keymap {name}: no file {name}.kmap.gz or {name}.map.gz below {looked}, and as a layout of XKB: {xkb}"
    )]
    Unknown {
        /// The name.
        name: String,
        /// Where its file was looked for.
        looked: String,
        /// What ckbcomp said.
        xkb: String,
    },
    /// A program isn't installed.
    #[error(
        "keymaps are compiled by {tool}, which can't be run: {source}; is it installed (Debian: package {package})?"
    )]
    Tool {
        /// The program.
        tool: &'static str,
        /// Debian's package of it.
        package: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("{tool} can't compile the keymap {name}: {said}")]
    Failed {
        /// The program.
        tool: &'static str,
        /// The keymap.
        name: String,
        /// Its last words.
        said: String,
    },
    /// What it wrote can't be read.
    #[error("loadkeys compiled the keymap {name}, but {source}")]
    Table {
        /// The keymap.
        name: String,
        /// What is wrong.
        source: TableError,
    },
    /// A file.
    #[error("{path} can't be read: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where keymaps are looked for: directories such as `/usr`, the first one first.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The system's own, then this machine's.
    pub usr: &'a [&'a Path],
}

impl Places<'_> {
    /// The file of a console keymap.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let names = ENDINGS.map(|ending| format!("{name}{ending}"));
        self.usr
            .iter()
            .flat_map(|usr| DIRECTORIES.map(|directory| usr.join(directory)))
            .find_map(|directory| find_below(&directory, &names, DEPTH_MAX))
    }
}

/// The first file in a tree that has one of the names; names of directories in their order.
fn find_below(directory: &Path, names: &[String], depth: usize) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    let (below, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    let named = files.into_iter().find(|path| {
        names
            .iter()
            .any(|name| path.file_name() == Some(OsStr::new(name)))
    });
    let others = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default();
        !OTHER_MACHINES.iter().any(|other| name == *other)
    };
    named.or_else(|| {
        depth.checked_sub(1).and_then(|depth| {
            below
                .iter()
                .filter(others)
                .find_map(|path| find_below(path, names, depth))
        })
    })
}

/// Compiles a layout. Console keymaps are looked for in `places`; XKB's data are this machine's.
pub fn compile(layout: &Layout, places: Places<'_>) -> Result<Keymap, CompileError> {
    let name = layout.name();
    if !is_keymap_name(&name) {
        return Err(CompileError::Name(name));
    }
    let source = match layout {
        Layout::File(path) => return of_file(&name, path),
        Layout::Named(word) => {
            if let Some(path) = places.find(word) {
                return of_file(&name, &path);
            }
            let (layout, variant) = word.split_once('-').unwrap_or((word, ""));
            xkb(&name, &["-model", MODEL, layout, variant]).map_err(|error| match error {
                CompileError::Failed { name, said, .. } => CompileError::Unknown {
                    name,
                    looked: looked_in(places),
                    xkb: said,
                },
                other => other,
            })?
        }
        Layout::Xkb {
            model,
            layout,
            variant,
            options,
            backspace_is_bs,
        } => {
            let backspace = if *backspace_is_bs { "bs" } else { "del" };
            xkb(
                &name,
                &["-backspace", backspace, "-model", model, layout, variant, options],
            )?
        }
    };
    let failed = |source| CompileError::File {
        path: std::env::temp_dir(),
        source,
    };
    let mut file = tempfile::Builder::new()
        .suffix(".kmap")
        .tempfile()
        .map_err(failed)?;
    file.write_all(&source).map_err(failed)?;
    of_file(&name, file.path())
}

fn looked_in(places: Places<'_>) -> String {
    let directories = places
        .usr
        .iter()
        .flat_map(|usr| DIRECTORIES.map(|directory| usr.join(directory)))
        .filter(|directory| directory.is_dir());
    let shown: Vec<String> = directories
        .map(|directory| directory.display().to_string())
        .collect();
    if shown.is_empty() {
        "/usr/share/keymaps (which isn't there; Debian: package console-data)".to_owned()
    } else {
        shown.join(", ")
    }
}

/// A console keymap, as ckbcomp makes it of an XKB layout.
fn xkb(name: &str, arguments: &[&str]) -> Result<Vec<u8>, CompileError> {
    const TOOL: &str = "ckbcomp";
    let (source, said) = run(TOOL, "console-setup", name, arguments.iter().map(OsStr::new))?;
    // A variant that isn't there is only warned of, and the layout without it compiled.
    match said.lines().find(|line| line.contains("Can not find")) {
        Some(line) => Err(CompileError::Failed {
            tool: TOOL,
            name: name.to_owned(),
            said: line.to_owned(),
        }),
        None => Ok(source),
    }
}

fn of_file(name: &str, path: &Path) -> Result<Keymap, CompileError> {
    let _metadata = fs::metadata(path).map_err(|source| CompileError::File {
        path: path.to_owned(),
        source,
    })?;
    let options = ["--quiet", "--unicode", "--mktable", "--"].map(OsStr::new);
    let (source, _) = run(
        "loadkeys",
        "kbd",
        name,
        options.into_iter().chain([path.as_os_str()]),
    )?;
    mktable::parse(name, &String::from_utf8_lossy(&source)).map_err(|source| CompileError::Table {
        name: name.to_owned(),
        source,
    })
}

/// Runs a program; gives its output and what it warned of.
fn run<'a>(
    tool: &'static str,
    package: &'static str,
    name: &str,
    arguments: impl Iterator<Item = &'a OsStr>,
) -> Result<(Vec<u8>, String), CompileError> {
    let output = Command::new(tool)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CompileError::Tool {
            tool,
            package,
            source,
        })?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Ok((output.stdout, said));
    }
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(CompileError::Failed {
        tool,
        name: name.to_owned(),
        said: last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()),
    })
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
