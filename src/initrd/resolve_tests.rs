#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A module directory with these files, and a modprobe.d with one file.
struct Tree(TempDir);

impl Tree {
    fn new(dep: &str, alias: &str, softdep: &str, modprobe: &str) -> Tree {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("modules.dep", dep),
            ("modules.alias", alias),
            ("modules.softdep", softdep),
            ("modules.weakdep", "weakdep disk helper\n"),
            ("modules.builtin", "kernel/lib/built-in.ko\n"),
            ("modules.builtin.modinfo", "crc.alias=crypto-builtin\0"),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        fs::create_dir(directory.path().join("modprobe.d")).unwrap();
        fs::write(directory.path().join("modprobe.d/test.conf"), modprobe).unwrap();
        Tree(directory)
    }

    fn read(&self) -> Result<ModuleTree, ResolveError> {
        ModuleTree::read(self.0.path(), "6.0", &[self.0.path().join("modprobe.d")])
    }

    fn resolve(&self, names: &[&str], origin: &Origin) -> Result<Resolved, ResolveError> {
        let wish = |name: &&str| Wish {
            name: (*name).to_owned(),
            optional: false,
            origin: origin.clone(),
        };
        self.read()?.resolve(&names.iter().map(wish).collect::<Vec<_>>())
    }
}

const DEP: &str = "kernel/drivers/disk/disk.ko: kernel/core/core-a.ko kernel/core/core-b.ko\n\
                   kernel/core/core-a.ko: kernel/core/core-b.ko\nkernel/core/core-b.ko:\n\
                   kernel/drivers/disk/other.ko:\nkernel/helper.ko.xz:\nkernel/crypto/fast.ko:\nkernel/crypto/slow.ko:\n";
const ALIAS: &str =
    "alias pci:v0000*d* disk\nalias crypto-sum fast\nalias crypto-sum slow\nalias crypto-sum absent\n";

fn names(resolved: &Resolved) -> Vec<&str> {
    resolved
        .table
        .modules
        .iter()
        .map(|module| module.name.as_str())
        .collect()
}

#[test]
fn the_closure_is_ordered_and_says_why() {
    let tree = Tree::new(
        DEP,
        ALIAS,
        "softdep disk pre: crypto-sum post: other\n",
        "options core-a x=1\n",
    );
    let resolved = tree.resolve(&["disk", "core_b"], &Origin::Named).unwrap();
    assert_eq!(
        names(&resolved),
        ["core_b", "core_a", "disk", "fast", "helper", "other", "slow"]
    );
    let disk = &resolved.table.modules[2];
    assert_eq!(
        (
            disk.depends.as_slice(),
            disk.soft_before.as_slice(),
            disk.soft_after.as_slice()
        ),
        (&[0, 1][..], &[3, 6][..], &[5][..])
    );
    assert_eq!(resolved.table.modules[1].options, "x=1");
    assert_eq!(resolved.files[4], Path::new("kernel/helper.ko.xz"));
    let reasons: Vec<String> = resolved.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            "asked for (core_b)",
            "disk depends on it",
            "asked for (disk)",
            "disk wishes it",
            "disk wishes it",
            "disk wishes it",
            "disk wishes it"
        ]
    );
    let aliases = &resolved.table.aliases;
    assert_eq!(
        aliases.len(),
        3,
        "only those of modules in the image: {aliases:?}"
    );
    assert_eq!(resolved.table.builtin, ["built_in", "crc"]);
    assert_eq!(resolved.table.builtin_aliases, ["crypto-builtin"]);
}

#[test]
fn names_aliases_directories_and_built_in_ones_are_found() {
    let tree = Tree::new(DEP, ALIAS, "", "alias my-disk disk\nblacklist slow\n");
    for (wish, expected) in [
        ("core-b", &["core_b"][..]),
        ("my-disk", &["core_b", "core_a", "disk", "helper"]),
        ("pci:v00008086d0001", &["core_b", "core_a", "disk", "helper"]),
        ("drivers/disk/", &["core_b", "core_a", "disk", "helper", "other"]),
        ("crypto-sum", &["fast", "slow"]),
        ("built-in", &[]),
        ("crypto_builtin", &[]),
    ] {
        assert_eq!(
            names(&tree.resolve(&[wish], &Origin::Named).unwrap()),
            expected,
            "{wish}"
        );
    }
    assert_eq!(
        tree.resolve(&["fast"], &Origin::Set).unwrap().table.blacklist,
        ["slow"]
    );
}

#[test]
fn what_is_not_there_is_named_with_the_nearest() {
    let tree = Tree::new(DEP, ALIAS, "", "");
    for (wish, message) in [
        (
            "core-x",
            "kernel 6.0 has no module core-x; the nearest one is core_a",
        ),
        ("qwertz", "kernel 6.0 has no module qwertz"),
        ("drivers/none/", "kernel 6.0 has no module drivers/none/"),
    ] {
        assert_eq!(
            tree.resolve(&[wish], &Origin::Set).unwrap_err().to_string(),
            message
        );
    }
    let optional = Wish {
        name: "qwertz".to_owned(),
        optional: true,
        origin: Origin::Set,
    };
    assert!(names(&tree.read().unwrap().resolve(&[optional]).unwrap()).is_empty());
}

#[test]
fn install_lines_are_refused_by_name_and_left_out_of_sets() {
    let tree = Tree::new(
        DEP,
        ALIAS,
        "softdep other post: core_b\n",
        "install core-b /bin/false\n",
    );
    let message = tree.resolve(&["disk"], &Origin::Named).unwrap_err().to_string();
    assert!(
        message.contains("module disk") && message.contains("core_b") && message.contains("/bin/false"),
        "{message}"
    );
    let resolved = tree.resolve(&["disk", "other"], &Origin::Set).unwrap();
    assert_eq!(names(&resolved), ["other"]);
    assert_eq!(resolved.left_out["disk"], "install core_b /bin/false");
    assert_eq!(resolved.left_out["core_b"], "install core_b /bin/false");
}

#[test]
fn circles_and_missing_dependencies_are_named() {
    let circle = Tree::new("a.ko: b.ko\nb.ko: a.ko\nc.ko:\n", "", "", "");
    assert!(
        matches!(circle.resolve(&["a"], &Origin::Set).unwrap_err(), ResolveError::Cycle(name) if name == "a")
    );
    let missing = Tree::new("a.ko: b.ko\n", "", "", "");
    assert!(
        matches!(missing.resolve(&["a"], &Origin::Set).unwrap_err(), ResolveError::Dependency { needs, .. } if needs == "b")
    );
    let bad = Tree::new("a.ko:\nb.ko\n", "", "", "");
    assert!(
        bad.read()
            .unwrap_err()
            .to_string()
            .contains("modules.dep, line 2: a colon is missing")
    );
    let soft = Tree::new("a.ko:\nb.ko:\n", "", "softdep a pre: b\nsoftdep b pre: a\n", "");
    assert_eq!(names(&soft.resolve(&["a"], &Origin::Set).unwrap()), ["a", "b"]);
}

#[test]
fn a_long_chain_needs_no_stack() {
    let count = 50_000;
    let mut dep = String::from("m0.ko:\n");
    for number in 1..count {
        writeln!(dep, "m{number}.ko: m{}.ko", number - 1).unwrap();
    }
    let tree = Tree::new(&dep, "", "", "");
    assert_eq!(
        names(&tree.resolve(&[&format!("m{}", count - 1)], &Origin::Set).unwrap()).len(),
        count
    );
}

#[test]
fn options_that_keel_init_would_not_read_are_refused_here() {
    let tree = Tree::new("a.ko:\n", "", "", "options a x=\u{7}\n");
    assert!(
        tree.resolve(&["a"], &Origin::Set)
            .unwrap_err()
            .to_string()
            .contains("table that keel-init can't read")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_trees_do_no_harm(
        dep in "([a-e]\\.ko:( [a-f]\\.ko){0,3}\n){0,8}",
        alias in "(alias [a-e*?\\[-]{1,6} [a-f]\n){0,6}",
        config in "((softdep|options|install|blacklist|weakdep|alias) [a-e](( pre:| post:)? [a-f=]){0,3}\n){0,8}",
        noise in "\\PC{0,40}",
    ) {
        let tree = Tree::new(&dep, &alias, &config, &noise);
        if let Ok(resolved) = tree.resolve(&["a", "b"], &Origin::Set) {
            prop_assert_eq!(resolved.files.len(), resolved.table.modules.len());
            for (place, module) in resolved.table.modules.iter().enumerate() {
                prop_assert!(module.depends.iter().all(|needed| *needed < place));
            }
            let unique: BTreeSet<_> = names(&resolved).into_iter().collect();
            prop_assert_eq!(unique.len(), resolved.files.len());
        }
        let _ = Tree::new(&noise, &noise, &noise, &noise).resolve(&["a"], &Origin::Named);
    }
}
