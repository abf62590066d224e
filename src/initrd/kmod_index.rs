//! The indexes of kmod (`modules.dep.bin`, `modules.alias.bin`) for the modules that are in an image.
//!
//! Those of the kernel's own tree name every module, and a program that finds one there and not in the image complains on
//! the console. Format: kmod, `libkmod/libkmod-index.c`: a trie whose nodes follow their children.

use std::collections::BTreeMap;

use crate::init::modules::{Module, Table};

const MAGIC: u32 = 0xB007_F457;
const VERSION: u32 = 0x0002_0001;
// What a node has, in the upper bits of the offset that leads to it.
const HAS_PREFIX: u32 = 1 << 31;
const HAS_VALUES: u32 = 1 << 30;
const HAS_CHILDREN: u32 = 1 << 29;
const OFFSET_MAX: usize = (1 << 28) - 1;

/// Keys with their values, in order of priority.
type Entries = BTreeMap<Vec<u8>, Vec<String>>;
/// What is left of a key below a node, and its values.
type Rest<'a> = (&'a [u8], &'a [String]);

/// `modules.dep.bin`: the file of each module, and those that it needs.
pub(super) fn of_dependencies(table: &Table) -> Option<Vec<u8>> {
    let line = |module: &Module| {
        // modprobe loads the last one first, and the table has each module behind those that it needs.
        let mut needed = module.depends.clone();
        needed.sort_unstable_by(|a, b| b.cmp(a));
        let needed = needed.iter().filter_map(|&index| table.modules.get(index));
        let mut line = format!("{}:", module.file);
        for module in needed {
            line.push(' ');
            line.push_str(&module.file);
        }
        (module.name.as_bytes().to_vec(), vec![line])
    };
    write(&table.modules.iter().map(line).collect())
}

/// `modules.alias.bin`: the modules that serve a device.
pub(super) fn of_aliases(table: &Table) -> Option<Vec<u8>> {
    let mut entries = Entries::new();
    for (pattern, index) in &table.aliases {
        let Some(module) = table.modules.get(*index) else {
            continue;
        };
        // The trie branches over seven bits.
        if pattern.is_ascii() {
            let values = entries.entry(normal(pattern)).or_default();
            values.push(module.name.clone());
        }
    }
    write(&entries)
}

/// Dashes are underscores, but in a range of characters.
fn normal(pattern: &str) -> Vec<u8> {
    let mut in_range = false;
    pattern
        .bytes()
        .map(|byte| {
            match byte {
                b'[' => in_range = true,
                b']' => in_range = false,
                _ => {}
            }
            if byte == b'-' && !in_range { b'_' } else { byte }
        })
        .collect()
}

/// The file. Nothing when it would be larger than the format can be.
fn write(entries: &Entries) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in [MAGIC, VERSION, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    let all: Vec<_> = entries
        .iter()
        .map(|(key, values)| (key.as_slice(), values.as_slice()))
        .collect();
    let root = node(&all, &mut bytes)?;
    bytes.get_mut(8..12)?.copy_from_slice(&root.to_be_bytes());
    Some(bytes)
}

/// Writes the node of `entries`, sorted, whose keys are what is left of them here; returns where it is.
fn node(entries: &[Rest<'_>], bytes: &mut Vec<u8>) -> Option<u32> {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        return Some(0);
    };
    let shared = first.iter().zip(*last).take_while(|(a, b)| a == b).count();
    let prefix = first.get(..shared)?;
    let mut values: &[String] = &[];
    let mut children: BTreeMap<u8, Vec<Rest<'_>>> = BTreeMap::new();
    for &(key, of_key) in entries {
        match key.get(shared..)?.split_first() {
            Some((&letter, rest)) => children.entry(letter).or_default().push((rest, of_key)),
            None => values = of_key,
        }
    }
    let mut offsets = BTreeMap::new();
    for (&letter, below) in &children {
        let _ = offsets.insert(letter, node(below, bytes)?);
    }

    let offset = bytes.len();
    let mut flags = 0;
    if !prefix.is_empty() {
        flags |= HAS_PREFIX;
        bytes.extend_from_slice(prefix);
        bytes.push(0);
    }
    if let (Some((&from, _)), Some((&to, _))) = (children.first_key_value(), children.last_key_value()) {
        flags |= HAS_CHILDREN;
        bytes.extend_from_slice(&[from, to]);
        for letter in from..=to {
            bytes.extend_from_slice(&offsets.get(&letter).copied().unwrap_or(0).to_be_bytes());
        }
    }
    if !values.is_empty() {
        flags |= HAS_VALUES;
        bytes.extend_from_slice(&u32::try_from(values.len()).ok()?.to_be_bytes());
        for (priority, value) in (0u32..).zip(values) {
            bytes.extend_from_slice(&priority.to_be_bytes());
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
    }
    (offset <= OFFSET_MAX).then(|| flags | u32::try_from(offset).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    /// What modprobe says about a tree of modules with these indexes.
    fn modprobe(directory: &Path, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("modprobe")
            .args(["-d", directory.to_str().unwrap(), "-S", "6.1"])
            .args(arguments)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn kmod_finds_what_is_there_and_nothing_else() {
        let module = |name: &str, depends: &[usize]| Module {
            name: name.replace('-', "_"),
            file: format!("{name}.ko"),
            depends: depends.to_vec(),
            ..Module::default()
        };
        let alias = |pattern: &str, index| (pattern.to_owned(), index);
        let table = Table {
            modules: vec![
                module("nvme-keyring", &[]),
                module("nvme-core", &[0]),
                module("nvme", &[0, 1]),
                module("nvmet", &[]),
            ],
            aliases: vec![
                alias("pci:v*d*sv*sd*bc01sc08i02*", 2),
                alias("pci:v0000106Bd00002001sv*sd*bc*sc*i*", 2),
                alias("nvme-fabrics", 3),
                alias("nvme-fabrics", 2),
                alias("x[a-c]-y", 3),
            ],
            ..Table::default()
        };

        let image = tempfile::tempdir().unwrap();
        let directory = image.path().join("lib/modules/6.1");
        fs::create_dir_all(&directory).unwrap();
        fs::write(
            directory.join("modules.dep.bin"),
            of_dependencies(&table).unwrap(),
        )
        .unwrap();
        for file in ["nvme-keyring.ko", "nvme-core.ko", "nvme.ko"] {
            fs::write(directory.join(file), "").unwrap();
        }
        fs::write(directory.join("modules.alias.bin"), of_aliases(&table).unwrap()).unwrap();
        fs::write(
            directory.join("modules.builtin.bin"),
            write(&Entries::new()).unwrap(),
        )
        .unwrap();

        let found = |name: &str| {
            let (ok, said) = modprobe(image.path(), &["--resolve-alias", name]);
            assert!(ok || said.is_empty(), "{name}: {said}");
            let mut lines: Vec<_> = said.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(
            found("pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02"),
            ["nvme"]
        );
        assert_eq!(found("nvme-fabrics"), ["nvme", "nvmet"]);
        assert_eq!(found("xb-y"), ["nvmet"]);
        assert_eq!(found("xd-y"), [""; 0]);
        assert_eq!(found("absent"), [""; 0]);
        let (ok, said) = modprobe(image.path(), &["--show-depends", "--ignore-install", "nvme"]);
        assert!(ok);
        let files: Vec<_> = said
            .lines()
            .map(|line| line.rsplit('/').next().unwrap().trim())
            .collect();
        assert_eq!(files, ["nvme-keyring.ko", "nvme-core.ko", "nvme.ko"]);
    }
}
