//! The file itself, and how keel treats the machine.

use super::Preset::{Is, Required, Unset};
use super::{IMPORTS, Kind, Spec, option};
use crate::config::check::Check;

/// What stands at the top of a file.
pub(super) const FILE: &[Spec] = &[
    option(
        "state_version",
        Kind::Choice(crate::config::STATE_VERSIONS),
        Required,
        "\"1\"",
        "Which version's defaults the machine's state was made with. It stays what it was when the machine was made: a later \
         keel keeps the defaults of that version where a change would touch state.",
    ),
    option(
        IMPORTS,
        Kind::List(Check::FilePath),
        Is("[]"),
        "[\"hardware.toml\"]",
        "Further files of the configuration, relative to the file that names them. Each is read once. Tables merge, lists add \
         up (those of imported files come first), and two different values for one option are an error.",
    ),
];

/// `[health]`, `[switch]` and `[[overlay]]`.
pub(super) const OPTIONS: &[Spec] = &[
    option(
        "health.settle",
        Kind::Int(0, 3600),
        Is("5"),
        "10",
        "How long units are watched after a switch, in seconds.",
    ),
    option(
        "health.checks.<name>.command",
        Kind::Words(Check::Any),
        Unset,
        "[\"/usr/bin/test\", \"-e\", \"/srv/ready\"]",
        "A program and its arguments, which has to end with 0. A check has one of command, unit, tcp and http; it's tried \
         again until it succeeds or its deadline passes.",
    ),
    option(
        "health.checks.<name>.unit",
        Kind::Text(Check::Unit),
        Unset,
        "\"nginx.service\"",
        "A unit that has to be active.",
    ),
    option(
        "health.checks.<name>.tcp",
        Kind::Text(Check::Filled),
        Unset,
        "\"localhost:22\"",
        "HOST:PORT that has to take a connection. The host is an address, or localhost.",
    ),
    option(
        "health.checks.<name>.http",
        Kind::Text(Check::Filled),
        Unset,
        "\"http://127.0.0.1:8080/status\"",
        "A URL that has to answer with a status of 200 to 399. The host is an address, or localhost.",
    ),
    option(
        "health.checks.<name>.deadline",
        Kind::Int(1, 3600),
        Is("30"),
        "60",
        "Seconds until the check has failed.",
    ),
    option(
        "switch.keep",
        Kind::List(Check::UnitPattern),
        Is("[]"),
        "[\"postgresql.service\"]",
        "Units that no switch restarts, stops or reloads. What changed in them is told instead.",
    ),
    option(
        "switch.confirm",
        Kind::Int(1, 86_400),
        Unset,
        "120",
        "Seconds after which a switch is undone unless `keel confirm` is called, for machines that are reached over a network.",
    ),
    option(
        "overlay[].package",
        Kind::Text(Check::Package),
        Required,
        "\"hello\"",
        "A Debian package that something else takes the place of, or that is added.",
    ),
    option(
        "overlay[].deb",
        Kind::Text(Check::FilePath),
        Unset,
        "\"hello_2.10-5+local1_amd64.deb\"",
        "A .deb that takes its place, relative to the file that names it. An overlay has one of deb, recipe and path.",
    ),
    option(
        "overlay[].recipe",
        Kind::Text(Check::FilePath),
        Unset,
        "\"hello.toml\"",
        "A recipe that builds what takes its place, relative to the file that names it.",
    ),
    option(
        "overlay[].path",
        Kind::Text(Check::StorePath),
        Unset,
        "\"/nix/store/7rjj86a15146cq1d3qy068lml7n7ykzm-hello-2.12\"",
        "A path of the store that takes its place.",
    ),
];
