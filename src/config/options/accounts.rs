//! `[users]` and `[groups]`.

use super::Preset::{Is, Unset};
use super::{Kind, Spec, option};
use crate::config::check::Check;

/// 65,535 and 4,294,967,295 mean nobody in particular.
const LARGEST_ID: i64 = 4_294_967_294;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "users.<user>.normal",
        Kind::Bool,
        Is("false"),
        "true",
        "A person: a home, a shell, a number from 1000, subordinate ids.",
    ),
    option(
        "users.<user>.system",
        Kind::Bool,
        Is("false"),
        "true",
        "A user of the system's own: a number below 1000, no shell. A user that is neither normal nor system is taken for one \
         that a package makes.",
    ),
    option(
        "users.<user>.uid",
        Kind::Int(0, LARGEST_ID),
        Unset,
        "1000",
        "Its number. When it's left out keel.lock keeps one, the same for ever.",
    ),
    option(
        "users.<user>.group",
        Kind::Text(Check::Group),
        Unset,
        "\"users\"",
        "Its primary group; one of its own name when left out.",
    ),
    option(
        "users.<user>.groups",
        Kind::List(Check::Group),
        Is("[]"),
        "[\"wheel\", \"video\"]",
        "Further groups. Memberships that go from this list go from the machine. \"wheel\" is Debian's \"sudo\", and is taken \
         for it unless [groups.wheel] is declared.",
    ),
    option(
        "users.<user>.description",
        Kind::Text(Check::FullName),
        Is("\"\""),
        "\"Kiran S\"",
        "Full name (GECOS).",
    ),
    option(
        "users.<user>.home",
        Kind::Text(Check::AbsolutePath),
        Unset,
        "\"/home/kirans\"",
        "Home directory; /home/<user> for a normal user when left out, /nonexistent for others.",
    ),
    option(
        "users.<user>.shell",
        Kind::Text(Check::AbsolutePath),
        Unset,
        "\"/usr/bin/zsh\"",
        "Login shell; /bin/bash for a normal user when left out, /usr/sbin/nologin for others.",
    ),
    option(
        "users.<user>.hashed_password_file",
        Kind::Text(Check::AbsolutePath),
        Unset,
        "\"/var/lib/keel/passwords/kirans\"",
        "A file of the machine's that holds the hashed password (crypt(5)). It's read when the account is made; a password is \
         never overwritten, and never in the store.",
    ),
    option(
        "users.<user>.ssh_keys",
        Kind::List(Check::SshKey),
        Is("[]"),
        "[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJcs/dYkAkO7CK4+mjOtHkBNhzcaHqcIb8ZLjSZXBBhe kirans@laptop\"]",
        "Keys that may log in: lines of authorized_keys.",
    ),
    option(
        "users.<user>.linger",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether its services run while it isn't logged in. They begin at its next login, or with the machine.",
    ),
    option(
        "users.<user>.packages",
        Kind::List(Check::Package),
        Is("[]"),
        "[\"firefox-esr\"]",
        "Packages that are installed because of this user. They join /usr and are shown as this user's.",
    ),
    option(
        "groups.<group>.gid",
        Kind::Int(0, LARGEST_ID),
        Unset,
        "2000",
        "Its number. When it's left out keel.lock keeps one, the same for ever.",
    ),
    option(
        "groups.<group>.system",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether it's the system's own: a number below 1000.",
    ),
    option(
        "groups.<group>.members",
        Kind::List(Check::User),
        Is("[]"),
        "[\"kirans\"]",
        "Its members, beside the users that name it.",
    ),
];
