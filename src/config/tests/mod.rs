//! Loading: whole files in, configurations or problems out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod drift;
mod problems;
mod properties;
mod rules;

use std::io;
use std::path::{Path, PathBuf};

use super::{Loaded, Problems, Sources, load};

const SYSTEM: &str = include_str!("fixtures/system.toml");
const HARDWARE: &str = include_str!("fixtures/hardware.toml");

/// What every machine needs.
const LEAST: &str =
    "state_version = \"1\"\nfilesystems.\"/\" = { device = \"/dev/sda1\", type = \"ext4\" }\n";

/// Loads `/c/system.toml` of these files, and with these options.
fn load_all(files: &[(&str, &str)], overrides: &[&str]) -> Result<Loaded, Problems> {
    let path_of = |name: &str| PathBuf::from("/c").join(name);
    let read = |path: &Path| {
        let wanted = super::read::normalised(path);
        files
            .iter()
            .find(|(name, _)| super::read::normalised(&path_of(name)) == wanted)
            .map(|(_, text)| text.as_bytes().to_vec())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    load(&Sources {
        path: Path::new("/c/system.toml"),
        overrides: &overrides,
        read: &read,
        exists: &|path| read(path).is_ok(),
    })
}

/// A configuration that has the least, and this.
fn with(text: &str) -> Result<Loaded, Problems> {
    load_all(&[("system.toml", &format!("{LEAST}{text}"))], &[])
}

/// The problems' lines; none for a configuration without any.
fn problems(result: Result<Loaded, Problems>) -> Vec<String> {
    result.map_or_else(
        |problems| problems.0.iter().map(ToString::to_string).collect(),
        |_| Vec::new(),
    )
}

#[test]
fn the_founding_example_loads_as_written() {
    let loaded = load_all(&[("system.toml", SYSTEM), ("hardware.toml", HARDWARE)], &[]).unwrap();
    let config = &loaded.config;
    assert_eq!(config.system.hostname, "nixie");
    assert_eq!(config.boot.initrd.modules, ["nvme"]);
    assert_eq!(config.filesystems["/"].device, "/dev/vg/root");
    assert!(config.filesystems["/boot"].check);
    assert_eq!(config.swap[0].device, "/dev/vg/swap");
    // Lists add up, imported files first.
    assert_eq!(config.packages.install[..2], ["intel-microcode", "vim"]);
    // A default goes when somebody says something.
    assert_eq!(config.packages.components, ["main", "non-free-firmware"]);
    assert_eq!(config.networking.firewall.allowed_tcp_ports, [22]);
    assert!(config.networking.firewall.enable && config.networking.networkmanager.enable);
    assert_eq!(
        config.programs.starship.settings["add_newline"],
        toml::Value::Boolean(false)
    );
    assert_eq!(
        loaded.files,
        [Path::new("/c/system.toml"), Path::new("/c/hardware.toml")]
    );
    // wheel is sudo, and that is said.
    assert_eq!(config.users["kirans"].groups, ["sudo"]);
    let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["/c/system.toml:34:11: wheel is called sudo on Debian: kirans is put into sudo"]
    );
}

#[test]
fn the_resolved_text_is_the_same_configuration() {
    let loaded = load_all(&[("system.toml", SYSTEM), ("hardware.toml", HARDWARE)], &[]).unwrap();
    let text = loaded.to_toml().unwrap();
    let again = load_all(&[("system.toml", &text)], &[]).unwrap();
    assert_eq!(again.config, loaded.config);
    assert_eq!(again.to_toml().unwrap(), text);
    assert!(again.notes.is_empty());
}
