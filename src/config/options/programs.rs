//! `[programs]`.

use super::Preset::{Is, Unset};
use super::{Kind, Spec, option};
use crate::config::check::Check;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "programs.starship.enable",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether interactive shells have starship's prompt.",
    ),
    option(
        "programs.starship.settings",
        Kind::Free,
        Is("{}"),
        "{ add_newline = false }",
        "What starship.toml holds.",
    ),
    option(
        "programs.bash.interactive_shell_init",
        Kind::Text(Check::Any),
        Is("\"\""),
        "\"fastfetch --logo debian\"",
        "Lines that interactive bash runs.",
    ),
    option(
        "programs.bash.login_shell_init",
        Kind::Text(Check::Any),
        Is("\"\""),
        "\"umask 027\"",
        "Lines that login shells run.",
    ),
    option(
        "programs.bash.aliases.<alias>",
        Kind::Text(Check::Line),
        Unset,
        "\"ls -l\"",
        "What an alias stands for.",
    ),
    option(
        "programs.git.enable",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether git is there.",
    ),
    option(
        "programs.git.settings",
        Kind::Free,
        Is("{}"),
        "{ init = { defaultBranch = \"main\" } }",
        "What /etc/gitconfig holds: sections of keys.",
    ),
];
