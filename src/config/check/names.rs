//! Names: each faultless one can stand in the file of `/etc` that it goes into.

use super::unless;
use crate::block::luks::is_uuid;
use crate::nearest::nearest;
use crate::system::units::{Kind, UnitName};

/// Users of Debian's base-passwd and of systemd.
pub(in crate::config) const USERS: &[&str] = &[
    "root",
    "daemon",
    "bin",
    "sys",
    "sync",
    "games",
    "man",
    "lp",
    "mail",
    "news",
    "uucp",
    "proxy",
    "www-data",
    "backup",
    "list",
    "irc",
    "_apt",
    "nobody",
    "systemd-network",
    "systemd-timesync",
    "systemd-resolve",
    "messagebus",
];

/// Groups of Debian's base-passwd and of systemd, and those that much-used packages make.
pub(in crate::config) const GROUPS: &[&str] = &[
    "root",
    "daemon",
    "bin",
    "sys",
    "adm",
    "tty",
    "disk",
    "lp",
    "mail",
    "news",
    "uucp",
    "man",
    "proxy",
    "kmem",
    "dialout",
    "fax",
    "voice",
    "cdrom",
    "floppy",
    "tape",
    "sudo",
    "audio",
    "dip",
    "www-data",
    "backup",
    "operator",
    "list",
    "irc",
    "src",
    "shadow",
    "utmp",
    "video",
    "sasl",
    "plugdev",
    "staff",
    "games",
    "users",
    "nogroup",
    "input",
    "kvm",
    "render",
    "sgx",
    "clock",
    "crontab",
    "netdev",
    "bluetooth",
    "lpadmin",
    "scanner",
    "messagebus",
    "_ssh",
    "systemd-journal",
    "systemd-network",
    "systemd-resolve",
    "systemd-timesync",
    "docker",
    "libvirt",
    "wireshark",
];

/// Whether there are 1 to `longest` bytes, all of them letters, digits, or of `more`.
fn is_word(text: &str, more: &str, longest: usize) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    !text.is_empty() && text.len() <= longest && text.chars().all(fits)
}

pub(super) fn plain(text: &str) -> Option<String> {
    unless(
        is_word(text, "-_.", 128) && !text.starts_with('.'),
        "it takes letters, digits, '-', '_' and '.', and doesn't begin with '.'",
    )
}

pub(super) fn host(text: &str) -> Option<String> {
    let label = |label: &str| {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !label.is_empty() && label.bytes().all(fits) && !label.starts_with('-') && !label.ends_with('-')
    };
    unless(
        text.len() <= 64 && text.split('.').all(label),
        "it takes lower-case letters, digits and '-' within, 64 at most",
    )
}

pub(super) fn module(text: &str) -> Option<String> {
    unless(is_word(text, "-_", 55), "it takes letters, digits, '-' and '_'")
}

pub(super) fn mapping(text: &str) -> Option<String> {
    unless(
        is_word(text, "-_.+:@", 127) && !text.starts_with('.'),
        "it takes letters, digits and some of '-_.+:@'",
    )
}

pub(super) fn uuid(text: &str) -> Option<String> {
    unless(
        is_uuid(text),
        "it looks like 2b6c2f3e-0000-4000-8000-000000000001, in hexadecimal digits",
    )
}

pub(super) fn file_system_type(text: &str) -> Option<String> {
    unless(
        is_word(text, "-_.", 64),
        "it's a word such as ext4, vfat or tmpfs",
    )
}

pub(super) fn suite(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-./".contains(c);
    unless(
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits),
        "it's a word such as trixie or stable",
    )
}

pub(super) fn component(text: &str) -> Option<String> {
    unless(
        is_word(text, "-./", 64) && text.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "it's a word such as main or non-free-firmware",
    )
}

pub(super) fn package(text: &str) -> Option<String> {
    let (name, architecture) = match text.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (text, None),
    };
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let is_name = name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(fits);
    let is_architecture =
        architecture.is_none_or(|text| !text.is_empty() && text.chars().all(|c| fits(c) && c != '+'));
    unless(
        is_name && is_architecture,
        "it takes lower-case letters, digits, '+', '-' and '.', two at least; versions are pinned in keel.lock",
    )
}

/// As `adduser` takes them (its `NAME_REGEX`), and not longer than utmp holds.
pub(super) fn account(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
    let begins = |c: char| c.is_ascii_lowercase() || c == '_';
    unless(
        text.len() <= 32 && text.starts_with(begins) && text.chars().all(fits),
        "it begins with a lower-case letter or '_', goes on with these, digits, '-' and '.', and has 32 at most",
    )
}

pub(super) fn ssh_keyword(text: &str) -> Option<String> {
    unless(is_word(text, "", 64), "it's a word such as X11Forwarding")
}

pub(super) fn interface(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_graphic() && !"/:\"\\".contains(c);
    unless(
        !text.is_empty() && text.len() <= 15 && text.chars().all(fits) && !matches!(text, "." | ".."),
        "it's a word of 15 letters at most, such as eth0",
    )
}

pub(super) fn unit(text: &str) -> Option<String> {
    const SUFFIXES: [&str; 10] = [
        "service",
        "socket",
        "target",
        "timer",
        "mount",
        "automount",
        "swap",
        "path",
        "slice",
        "scope",
    ];
    match UnitName::parse(text).map(|name| name.kind) {
        Some(Kind::Device) => return Some("units of devices can't be written".to_owned()),
        Some(_) => return None,
        None => {}
    }
    let suffix = text.rsplit_once('.').map(|(_, suffix)| suffix);
    Some(match suffix {
        Some(suffix) if Kind::from_suffix(suffix).is_none() => match nearest(suffix, SUFFIXES.into_iter()) {
            Some(near) => format!("'.{suffix}' is no type of unit; the nearest one is '.{near}'"),
            None => format!("'.{suffix}' is no type of unit, such as .service or .timer"),
        },
        Some(_) => "it takes letters, digits and ':-_.\\@' before its type, 255 in all".to_owned(),
        None => format!("its type is missing, such as {text}.service"),
    })
}

pub(super) fn unit_pattern(text: &str) -> Option<String> {
    unless(
        is_word(text, ":-_.\\@*?[]", 255),
        "it's a name such as nginx.service, and may have '*', '?' and '[…]'",
    )
}

pub(super) fn section(text: &str) -> Option<String> {
    unless(
        is_word(text, "-", 64) && text.starts_with(|c: char| c.is_ascii_uppercase()),
        "it's a word such as Service, with a capital letter first",
    )
}

pub(super) fn unit_key(text: &str) -> Option<String> {
    unless(
        is_word(text, "-", 64) && text.starts_with(|c: char| c.is_ascii_uppercase()),
        "it's a word such as ExecStart, with a capital letter first",
    )
}

pub(super) fn drop_in(text: &str) -> Option<String> {
    if let Some(stem) = text.strip_suffix(".conf") {
        return Some(format!("the ending is added by keel: write \"{stem}\""));
    }
    plain(text)
}

pub(super) fn sysctl(text: &str) -> Option<String> {
    unless(
        is_word(text, "-_./*", 255) && text.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "it's a word such as net.ipv4.ip_forward",
    )
}

pub(super) fn variable(text: &str) -> Option<String> {
    unless(
        is_word(text, "_", 255) && !text.starts_with(|c: char| c.is_ascii_digit()),
        "it takes letters, digits and '_', and doesn't begin with a digit",
    )
}

pub(super) fn alias(text: &str) -> Option<String> {
    unless(
        is_word(text, "-_.+!:@%,", 128) && !text.starts_with('-'),
        "it takes letters, digits and '-_.+!:@%,'",
    )
}
