//! `[security]`.

use super::Preset::{Is, Unset};
use super::{Kind, Spec, option};
use crate::config::check::Check;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "security.setuid.only",
        Kind::List(Check::AbsolutePath),
        Unset,
        "[\"/usr/bin/sudo\", \"/usr/bin/passwd\"]",
        "Programs that keep their setuid and setgid bits and file capabilities; all keep them when this is left out.",
    ),
    option(
        "security.setuid.remove",
        Kind::List(Check::AbsolutePath),
        Is("[]"),
        "[\"/usr/bin/chfn\"]",
        "Programs that lose theirs.",
    ),
    option(
        "security.sudo.extra_rules",
        Kind::List(Check::Filled),
        Is("[]"),
        "[\"%sudo ALL=(ALL) NOPASSWD: /usr/bin/systemctl restart nginx\"]",
        "Further lines of sudoers(5).",
    ),
];
