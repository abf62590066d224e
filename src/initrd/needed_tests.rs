#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;

use super::*;

fn tree(modprobe: &str) -> (tempfile::TempDir, ModuleTree) {
    let place = tempfile::tempdir().unwrap();
    let configuration = place.path().join("modprobe.d");
    fs::create_dir(&configuration).unwrap();
    for (name, text) in [
        (
            "modules.dep",
            "kernel/drivers/nvme/nvme.ko: kernel/drivers/nvme/nvme-core.ko\nkernel/drivers/nvme/nvme-core.ko:\n\
             kernel/crypto/serpent_generic.ko:\nkernel/crypto/unused.ko:\nkernel/sound/loud.ko:\n",
        ),
        (
            "modules.alias",
            "alias pci:new* nvme\nalias crypto-serpent serpent_generic\n",
        ),
        ("modules.builtin", "kernel/fs/ext4/ext4.ko\n"),
        ("modprobe.d/x.conf", modprobe),
    ] {
        fs::write(place.path().join(name), text).unwrap();
    }
    let tree = ModuleTree::read(place.path(), "6.0", &[configuration]).unwrap();
    (place, tree)
}

fn need(names: &[&str], is_must: bool) -> Need {
    Need {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        by: "the root's disk".to_owned(),
        is_must,
    }
}

fn host(needs: Vec<Need>) -> Host {
    Host {
        needs,
        loaded: ["serpent_generic", "loud"].map(str::to_owned).into(),
        ..Host::default()
    }
}

fn lacking(modprobe: &str, needs: Vec<Need>) -> (Vec<String>, Vec<String>) {
    let (_place, tree) = tree(modprobe);
    let host = host(needs);
    let resolved = tree.resolve(&tree.wishes_of(&host)).unwrap();
    let modules = resolved.table.modules.iter().map(|module| module.name.clone());
    (modules.collect(), tree.lacking(&host, &resolved))
}

#[test]
fn the_first_known_name_counts_and_ciphers_in_use_are_taken() {
    let needs = vec![
        need(&["old_nvme", "pci:new01"], true),
        need(&["ext4"], true),
        need(&["crypto-serpent"], true),
        need(&["exotic"], false),
    ];
    let (modules, lacking) = lacking("", needs);
    assert_eq!(modules, ["nvme_core", "nvme", "serpent_generic"]);
    assert_eq!(lacking, [""; 0]);
}

#[test]
fn what_the_machine_cannot_boot_without_is_refused_by_name() {
    let (_, unknown) = lacking("", vec![need(&["exotic", "pci:x"], true)]);
    assert_eq!(
        unknown,
        ["the root's disk needs the module exotic or pci:x, which kernel 6.0 doesn't have"]
    );
    let (modules, replaced) = lacking("install nvme /bin/false\n", vec![need(&["nvme"], true)]);
    assert_eq!(modules, ["serpent_generic"]);
    assert_eq!(
        replaced,
        ["the root's disk needs the module nvme, which modprobe.d leaves out (`install nvme /bin/false`)"]
    );
}
