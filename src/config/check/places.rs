//! Devices and paths.

use std::path::{Component, Path};

use super::{texts, unless};
use crate::init::device_spec::DeviceSpec;
use crate::store::path::StorePath;

/// Files below `/etc` that are made of other tables, and the table.
const MADE: &[(&str, &str)] = &[
    ("passwd", "[users]"),
    ("shadow", "[users]"),
    ("group", "[groups]"),
    ("gshadow", "[groups]"),
    ("subuid", "[users]"),
    ("subgid", "[users]"),
    ("fstab", "[filesystems]"),
    ("crypttab", "[boot.luks]"),
    ("hostname", "[system]"),
    ("hosts", "[networking.hosts]"),
    ("localtime", "[system]"),
    ("timezone", "[system]"),
    ("machine-id", "the machine's first boot"),
];

pub(super) fn device(text: &str) -> Option<String> {
    if let Some(fault) = texts::no_space(text) {
        return Some(fault);
    }
    DeviceSpec::parse(text).err().map(|refusal| refusal.to_string())
}

pub(super) fn mount_source(text: &str) -> Option<String> {
    texts::no_space(text)
}

pub(super) fn swap(text: &str) -> Option<String> {
    if text.starts_with('/') && !text.starts_with("/dev/") {
        return absolute(text);
    }
    device(text)
}

pub(super) fn absolute(text: &str) -> Option<String> {
    if let Some(fault) = texts::one_line(text) {
        return Some(fault);
    }
    let is_plain = Path::new(text)
        .components()
        .collect::<std::path::PathBuf>()
        .as_os_str()
        == text;
    let has_parent = Path::new(text)
        .components()
        .any(|part| part == Component::ParentDir);
    unless(
        text.starts_with('/') && is_plain && !has_parent,
        "it begins with '/' and has no '..', no '//' and no '/' at its end",
    )
}

/// Relative, plain, and of no file that keel makes of something else.
pub(super) fn below_etc(text: &str) -> Option<String> {
    if let Some(below) = text.strip_prefix("/etc/") {
        return Some(format!("it's taken from /etc on: write \"{below}\""));
    }
    if let Some(fault) = absolute(&format!("/{text}")) {
        return Some(fault.replace("it begins with '/' and has", "it doesn't begin with '/' and has"));
    }
    if text.is_empty() {
        return Some("it's empty".to_owned());
    }
    MADE.iter()
        .find(|(path, _)| *path == text)
        .map(|(path, table)| format!("/etc/{path} is made by {table}"))
}

pub(super) fn file(text: &str) -> Option<String> {
    texts::one_line(text).or_else(|| unless(!text.is_empty() && !text.ends_with('/'), "it names no file"))
}

pub(super) fn store_path(text: &str) -> Option<String> {
    let name = Path::new(text).file_name().and_then(|name| name.to_str());
    let is_path = text.starts_with('/') && name.is_some_and(|name| StorePath::from_base_name(name).is_ok());
    unless(is_path, "it's a path such as /nix/store/HASH-NAME")
}

/// `PATH`, or `PATH:DEVICE`.
pub(super) fn key_file(text: &str) -> Option<String> {
    let (path, on) = match text.split_once(':') {
        Some((path, on)) => (path, Some(on)),
        None => (text, None),
    };
    texts::no_space(text)
        .or_else(|| absolute(path))
        .or_else(|| on.and_then(device))
}

pub(super) fn pattern(text: &str) -> Option<String> {
    texts::no_space(text).or_else(|| unless(text.starts_with('/'), "it begins with '/'"))
}
