//! The text files that depmod(8) and the kernel's build leave in a module directory.

use std::collections::{BTreeMap, BTreeSet};

/// A line that can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Counted from 1.
    pub line: usize,
    pub reason: &'static str,
}

/// A line of `modules.dep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModuleEntry {
    /// Path below the module directory, such as `kernel/fs/ext4/ext4.ko.xz`.
    pub path: String,
    /// Names of all modules that must be loaded before, with `_` for `-`.
    pub depends: Vec<String>,
}

/// `modules.dep`: `path: path path…`, all below the module directory. By name of module.
pub(super) fn parse_dep(text: &str) -> Result<BTreeMap<String, ModuleEntry>, BadLine> {
    let mut modules = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |reason| BadLine {
            line: index + 1,
            reason,
        };
        let (path, depends) = line.split_once(':').ok_or_else(|| bad("a colon is missing"))?;
        if !stays_below(path) {
            return Err(bad("the path leads out of the module directory, or holds blanks"));
        }
        let name = module_name(path).ok_or_else(|| bad("the file isn't called `….ko`"))?;
        let depends = depends
            .split_ascii_whitespace()
            .map(module_name)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| bad("a dependency isn't called `….ko`"))?;
        let _ = modules.insert(
            name,
            ModuleEntry {
                path: path.to_owned(),
                depends,
            },
        );
    }
    Ok(modules)
}

/// `modules.alias`: patterns (fnmatch) and names.
pub(super) fn parse_alias(text: &str) -> Vec<(String, String)> {
    let alias = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("alias"), Some(pattern), Some(name), None) => Some((pattern.to_owned(), underscored(name))),
            _ => None,
        }
    };
    text.lines().filter_map(alias).collect()
}

/// `modules.builtin`: a path on each line. Names.
pub(super) fn parse_builtin(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| module_name(line.trim())).collect()
}

/// `modules.builtin.modinfo`: records `module.key=value`, each ended by a NUL byte. Names, and patterns of aliases.
pub(super) fn parse_builtin_modinfo(bytes: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut names = BTreeSet::new();
    let mut aliases = BTreeSet::new();
    for record in bytes.split(|byte| *byte == 0) {
        let Some((name, value)) = std::str::from_utf8(record)
            .ok()
            .and_then(|record| record.split_once('='))
        else {
            continue;
        };
        let Some((module, key)) = name.split_once('.') else {
            continue;
        };
        if !is_word(module) {
            continue;
        }
        let _ = names.insert(underscored(module));
        if key == "alias" && is_word(value) {
            let _ = aliases.insert(value.to_owned());
        }
    }
    (names, aliases)
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, compression) = file.rsplit_once(".ko")?;
    let known = ["", ".gz", ".xz", ".zst"].contains(&compression);
    (known && is_word(name)).then(|| underscored(name))
}

/// With `_` for `-`, as the kernel names modules.
pub(super) fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// Whether the module table can carry it as one word.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|character: char| character.is_whitespace() || character.is_control())
}

fn stays_below(path: &str) -> bool {
    is_word(path)
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn modules_dep_is_read() {
        let modules =
            parse_dep("kernel/a-b.ko.xz: kernel/c.ko.zst kernel/d.ko\nkernel/c.ko.zst:\n\n").unwrap();
        assert_eq!(modules["a_b"].path, "kernel/a-b.ko.xz");
        assert_eq!(modules["a_b"].depends, ["c", "d"]);
        assert!(modules["c"].depends.is_empty());
    }

    #[test]
    fn lines_that_cannot_be_are_named() {
        for (text, line) in [
            ("kernel/a.ko:\nno colon", 2),
            ("/etc/a.ko:", 1),
            ("kernel/../../a.ko:", 1),
            ("kernel/a.txt:", 1),
            ("kernel/a.ko: kernel/b.txt", 1),
            ("kernel/a.ko.lz4:", 1),
            ("kernel/.ko:", 1),
            (":", 1),
        ] {
            assert_eq!(parse_dep(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn built_in_aliases_are_read() {
        let (names, aliases) = parse_builtin_modinfo(
            b"vfat.alias=fs-vfat\0vfat.license=GPL\0a-b.parm=x:y=z\0rubbish\0=\0.=\0x.alias=a b\0",
        );
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a_b", "vfat", "x"]);
        assert_eq!(aliases.into_iter().collect::<Vec<_>>(), ["fs-vfat"]);
    }

    proptest! {
        #[test]
        fn hostile_files_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "[a-z/.:ko \n-]{0,200}") {
            let lossy = String::from_utf8_lossy(&bytes).into_owned();
            for text in [lossy.as_str(), text.as_str()] {
                if let Ok(modules) = parse_dep(text) {
                    prop_assert!(modules.values().all(|entry| !entry.path.starts_with('/')));
                }
                parse_alias(text);
                parse_builtin(text);
            }
            parse_builtin_modinfo(&bytes);
        }
    }
}
