//! `[services]`.

use super::Preset::{Is, Unset};
use super::{Kind, Spec, option};
use crate::config::check::Check;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "services.openssh.enable",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether sshd runs. Its host keys are made on the machine at its first start.",
    ),
    option(
        "services.openssh.ports",
        Kind::Ints(1, 65_535),
        Is("[22]"),
        "[22, 2222]",
        "Its ports. They aren't opened in the firewall by themselves.",
    ),
    option(
        "services.openssh.password_authentication",
        Kind::Bool,
        Is("true"),
        "false",
        "Whether passwords are taken.",
    ),
    option(
        "services.openssh.permit_root_login",
        Kind::Choice(&["yes", "no", "prohibit-password", "forced-commands-only"]),
        Is("\"prohibit-password\""),
        "\"no\"",
        "How root may log in: PermitRootLogin of sshd_config(5).",
    ),
    option(
        "services.openssh.settings.<keyword>",
        Kind::Scalar(Check::SshValue),
        Unset,
        "\"no\"",
        "Further lines of sshd_config(5), such as X11Forwarding = \"no\". true and false are written as yes and no.",
    ),
    option(
        "services.timesyncd.enable",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether systemd-timesyncd sets the clock from the network.",
    ),
    option(
        "services.timesyncd.servers",
        Kind::List(Check::Server),
        Is("[]"),
        "[\"ntp.example.org\"]",
        "Time servers; systemd's own when there are none here.",
    ),
];
