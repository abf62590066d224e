//! `[units]`, `[etc]`, `[sysctl]`, `[environment]`, `[tmpfiles]`.

use super::Preset::{Is, Unset};
use super::{Kind, Spec, option};
use crate::config::check::Check;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "units.<unit>.enable",
        Kind::Bool,
        Is("true"),
        "false",
        "Whether it's started with the units that its [Install] section or wanted_by names.",
    ),
    option(
        "units.<unit>.mask",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether it can't be started at all.",
    ),
    option(
        "units.<unit>.text",
        Kind::Text(Check::Any),
        Unset,
        "\"[Service]\\nExecStart=/usr/bin/true\\n\"",
        "The whole text of the unit. A unit has text or sections, or only drop-ins for one that a package brings.",
    ),
    option(
        "units.<unit>.sections.<section>.<key>",
        Kind::Scalars(Check::Line),
        Unset,
        "\"/usr/bin/true\"",
        "The unit, written from tables: sections, their keys, and values. A list is a key that is given several times.",
    ),
    option(
        "units.<unit>.drop_ins.<dropin>",
        Kind::Text(Check::Any),
        Unset,
        "\"[Service]\\nMemoryMax=1G\\n\"",
        "A drop-in's text; its name goes without .conf.",
    ),
    option(
        "units.<unit>.wanted_by",
        Kind::List(Check::Unit),
        Is("[]"),
        "[\"multi-user.target\"]",
        "Units that start it.",
    ),
    option(
        "units.<unit>.restart_triggers",
        Kind::List(Check::AbsolutePath),
        Is("[]"),
        "[\"/etc/backup.conf\"]",
        "Paths below /etc whose change restarts it.",
    ),
    option(
        "units.<unit>.reload_triggers",
        Kind::List(Check::AbsolutePath),
        Is("[]"),
        "[\"/etc/nginx\"]",
        "Paths below /etc whose change reloads it.",
    ),
    option(
        "units.<unit>.switch",
        Kind::Choice(&["restart", "stop-start", "reload", "keep"]),
        Unset,
        "\"keep\"",
        "What a switch does with it when it changed.",
    ),
    option(
        "etc.<file>.text",
        Kind::Text(Check::Any),
        Unset,
        "\"welcome\\n\"",
        "The contents of a file below /etc. A file has one of text, source and link.",
    ),
    option(
        "etc.<file>.source",
        Kind::Text(Check::FilePath),
        Unset,
        "\"files/nginx.conf\"",
        "A file that holds the contents, relative to the file of configuration that names it.",
    ),
    option(
        "etc.<file>.link",
        Kind::Text(Check::Filled),
        Unset,
        "\"/usr/share/doc\"",
        "Where a symbolic link leads.",
    ),
    option(
        "etc.<file>.mode",
        Kind::Text(Check::Mode),
        Is("\"0644\""),
        "\"0600\"",
        "Permissions, in octal. Whatever they are, the store is readable by all: no secrets.",
    ),
    option(
        "etc.<file>.user",
        Kind::Text(Check::User),
        Is("\"root\""),
        "\"www-data\"",
        "The owner.",
    ),
    option(
        "etc.<file>.group",
        Kind::Text(Check::Group),
        Is("\"root\""),
        "\"www-data\"",
        "The group.",
    ),
    option(
        "sysctl.<sysctl>",
        Kind::Scalar(Check::SysctlValue),
        Unset,
        "1",
        "A parameter of the kernel, by its name in sysctl.d(5), in quotes: \"net.ipv4.ip_forward\" = 1. true and false are \
         written as 1 and 0.",
    ),
    option(
        "environment.<variable>",
        Kind::Scalar(Check::Line),
        Unset,
        "\"vim\"",
        "A variable of every session.",
    ),
    option(
        "tmpfiles.rules",
        Kind::List(Check::TmpfilesRule),
        Is("[]"),
        "[\"d /srv/www 0755 root root -\"]",
        "Lines of tmpfiles.d(5).",
    ),
];
