//! `[packages]`.

use super::Preset::Is;
use super::{Kind, Spec, option};
use crate::config::check::Check;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "packages.suite",
        Kind::Text(Check::Suite),
        Is("\"trixie\""),
        "\"trixie\"",
        "Debian's suite.",
    ),
    option(
        "packages.components",
        Kind::List(Check::Component),
        Is("[\"main\"]"),
        "[\"main\", \"non-free-firmware\"]",
        "Debian's components.",
    ),
    option(
        "packages.mirrors",
        Kind::List(Check::Mirror),
        Is("[]"),
        "[\"http://mirror.example.org/debian\"]",
        "Mirrors of Debian; those of this machine when there are none here.",
    ),
    option(
        "packages.updates",
        Kind::Bool,
        Is("true"),
        "false",
        "Whether SUITE-updates is a source as well, where a mirror serves it.",
    ),
    option(
        "packages.security",
        Kind::Bool,
        Is("true"),
        "false",
        "Whether SUITE-security is a source as well, where a mirror, or the archive beside it, serves it.",
    ),
    option(
        "packages.sources",
        Kind::List(Check::Source),
        Is("[]"),
        "[\"deb [signed-by=/etc/keel/own.gpg] http://packages.example.org trixie main\"]",
        "Further sources, each a line of sources.list(5).",
    ),
    option(
        "packages.install",
        Kind::List(Check::Package),
        Is("[]"),
        "[\"vim\", \"git\"]",
        "Packages for everybody. What they depend on comes along; versions are pinned in keel.lock.",
    ),
    option(
        "packages.kernel",
        Kind::Text(Check::Package),
        Is("\"linux-image-amd64\""),
        "\"linux-image-cloud-amd64\"",
        "The kernel's package.",
    ),
    option(
        "packages.recommends",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether packages that others recommend come along.",
    ),
    option(
        "packages.exclude",
        Kind::List(Check::PathPattern),
        Is("[]"),
        "[\"/usr/share/doc/*\"]",
        "Files of packages that are left out, as dpkg's path-exclude has them.",
    ),
];
