//! Texts with a form.

use super::unless;
use crate::nearest::nearest;
use crate::pins::sources::options_before;

/// Directories of the time zone database whose zones have two or three parts.
const AREAS: [&str; 15] = [
    "Africa",
    "America",
    "Antarctica",
    "Arctic",
    "Asia",
    "Atlantic",
    "Australia",
    "Brazil",
    "Canada",
    "Chile",
    "Etc",
    "Europe",
    "Indian",
    "Mexico",
    "Pacific",
];

/// Zones of one part that are in use.
const SINGLE_ZONES: [&str; 27] = [
    "UTC",
    "GMT",
    "UCT",
    "Zulu",
    "Universal",
    "CET",
    "EET",
    "MET",
    "WET",
    "EST",
    "MST",
    "HST",
    "EST5EDT",
    "CST6CDT",
    "MST7MDT",
    "PST8PDT",
    "Japan",
    "Singapore",
    "Israel",
    "Turkey",
    "Iran",
    "Egypt",
    "Cuba",
    "Eire",
    "Poland",
    "Portugal",
    "Iceland",
];

pub(super) fn one_line(text: &str) -> Option<String> {
    unless(
        !text.chars().any(|c| c.is_control() && c != '\t'),
        "it's one line without control characters",
    )
}

pub(super) fn filled(text: &str) -> Option<String> {
    one_line(text).or_else(|| unless(!text.trim().is_empty(), "it's empty"))
}

pub(super) fn no_space(text: &str) -> Option<String> {
    unless(
        !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace()),
        "it's a word without spaces",
    )
}

pub(super) fn time_zone(text: &str) -> Option<String> {
    let fits = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-+_".contains(c))
    };
    if !text.split('/').all(fits) {
        return Some("it's a name such as Europe/Berlin".to_owned());
    }
    let near =
        |near: Option<&str>| near.map_or_else(String::new, |near| format!("; the nearest one is {near}"));
    match text.split_once('/') {
        Some((area, _)) if AREAS.contains(&area) || area == "US" => None,
        Some((area, rest)) => Some(format!(
            "the time zone database has no area {area}{}",
            near(
                nearest(area, AREAS.into_iter())
                    .map(|area| format!("{area}/{rest}"))
                    .as_deref()
            )
        )),
        None if SINGLE_ZONES.contains(&text) => None,
        None => Some(format!(
            "it's a name such as Europe/Berlin{}",
            near(nearest(text, SINGLE_ZONES.into_iter()))
        )),
    }
}

pub(super) fn locale(text: &str) -> Option<String> {
    let (rest, modifier) = split(text, '@');
    let (language, charset) = split(rest, '.');
    let (language, country) = split(language, '_');
    let all = |text: &str, fits: fn(&char) -> bool| !text.is_empty() && text.chars().all(|c| fits(&c));
    let is_language = matches!(language, "C" | "POSIX")
        || (matches!(language.len(), 2 | 3) && all(language, char::is_ascii_lowercase));
    let is_country = country.is_none_or(|text| text.len() == 2 && all(text, char::is_ascii_uppercase));
    let is_charset = charset.is_none_or(|text| all(text, |c| c.is_ascii_alphanumeric() || *c == '-'));
    let is_modifier = modifier.is_none_or(|text| all(text, char::is_ascii_alphanumeric));
    unless(
        is_language && is_country && is_charset && is_modifier,
        "it's a name such as en_US.UTF-8",
    )
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

pub(super) fn keymap(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    unless(
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits),
        "it's a name such as us or de-latin1",
    )
}

/// One word; what keel itself writes on the command line isn't taken.
pub(super) fn kernel_parameter(text: &str) -> Option<String> {
    const MADE: [(&str, &str); 6] = [
        ("init", "the generation"),
        ("root", "[filesystems.\"/\"]"),
        ("rootfstype", "[filesystems.\"/\"]"),
        ("rootflags", "[filesystems.\"/\"]"),
        ("resume", "[[swap]]"),
        ("keel.system", "the generation"),
    ];
    let mut quoted = false;
    let mut spaced = false;
    for c in text.chars() {
        quoted ^= c == '"';
        spaced |= c.is_control() || (c.is_whitespace() && !quoted);
    }
    if text.is_empty() || spaced || quoted {
        return Some("it's one word; a value with spaces stands in double quotes".to_owned());
    }
    let name = text.split('=').next().unwrap_or_default();
    MADE.iter()
        .find(|(made, _)| *made == name)
        .map(|(made, by)| format!("{made}= comes from {by}"))
}

pub(super) fn mount_option(text: &str) -> Option<String> {
    no_space(text).or_else(|| {
        unless(
            !text.contains(','),
            "each option is an element of the list of its own",
        )
    })
}

pub(super) fn mode(text: &str) -> Option<String> {
    let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|c| (b'0'..=b'7').contains(&c));
    unless(is_octal, "it's three or four octal digits, such as \"0644\"")
}

pub(super) fn mirror(text: &str) -> Option<String> {
    // Options stand in front, as in sources.list(5).
    let (_options, uri) = options_before(text);
    let rest = ["http://", "https://", "file:"]
        .iter()
        .find_map(|scheme| uri.strip_prefix(scheme));
    no_space(uri).or_else(|| {
        unless(
            rest.is_some_and(|rest| !rest.is_empty()),
            "it begins with http://, https:// or file:, perhaps after options in brackets",
        )
    })
}

pub(super) fn source(text: &str) -> Option<String> {
    one_line(text).or_else(|| {
        let mut words = text.split_ascii_whitespace();
        let is_deb = words.next() == Some("deb");
        unless(
            is_deb && words.count() >= 2,
            "it begins with \"deb\", a URI and a suite",
        )
    })
}

pub(super) fn full_name(text: &str) -> Option<String> {
    one_line(text).or_else(|| unless(!text.contains(':'), "':' separates the fields of passwd(5)"))
}

pub(super) fn ssh_key(text: &str) -> Option<String> {
    let is_type = |word: &str| {
        [
            "ssh-ed25519",
            "ssh-rsa",
            "ssh-dss",
            "ecdsa-sha2-nistp",
            "sk-ssh-ed25519",
            "sk-ecdsa-sha2-nistp",
        ]
        .iter()
        .any(|kind| word.starts_with(kind))
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-@.".contains(c))
    };
    let is_key = |word: &str| {
        word.starts_with("AAAA")
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c))
    };
    one_line(text).or_else(|| {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let found = words
            .windows(2)
            .any(|pair| matches!(pair, [kind, key] if is_type(kind) && is_key(key)));
        unless(found, "it has a type and a key, such as \"ssh-ed25519 AAAA…\"")
    })
}

pub(super) fn address(text: &str) -> Option<String> {
    unless(
        text.parse::<std::net::IpAddr>().is_ok(),
        "it's such as 192.0.2.1 or 2001:db8::1",
    )
}

/// The type, its modifiers, and a path; the rest is left to systemd-tmpfiles.
pub(super) fn tmpfiles(text: &str) -> Option<String> {
    if let Some(fault) = filled(text) {
        return Some(fault);
    }
    if text.starts_with('#') {
        return None;
    }
    let mut words = text.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default().trim_start_matches('"');
    let is_kind = kind.starts_with(|c: char| c.is_ascii_alphabetic())
        && kind.chars().skip(1).all(|c| "+!-=~^$?".contains(c));
    unless(
        is_kind && path.starts_with(['/', '%']),
        "it begins with a type and a path, such as \"d /srv/www 0755 root root -\"",
    )
}
