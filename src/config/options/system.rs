//! `[system]`.

use super::Preset::Is;
use super::{Kind, Spec, option};
use crate::config::check::Check;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "system.hostname",
        Kind::Text(Check::HostName),
        Is("\"debian\""),
        "\"nixie\"",
        "The machine's name: hostname(5).",
    ),
    option(
        "system.time_zone",
        Kind::Text(Check::TimeZone),
        Is("\"Etc/UTC\""),
        "\"Asia/Kolkata\"",
        "The time zone, by its name in the time zone database.",
    ),
    option(
        "system.locale",
        Kind::Text(Check::Locale),
        Is("\"C.UTF-8\""),
        "\"en_US.UTF-8\"",
        "The locale of sessions and services (LANG). It's generated.",
    ),
    option(
        "system.extra_locales",
        Kind::List(Check::Locale),
        Is("[]"),
        "[\"de_DE.UTF-8\"]",
        "Further locales to generate.",
    ),
    option(
        "system.keymap",
        Kind::Text(Check::Keymap),
        Is("\"us\""),
        "\"de-latin1\"",
        "The console's keymap, in early boot as well.",
    ),
];
