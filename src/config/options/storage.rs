//! `[filesystems]` and `[[swap]]`.

use super::Preset::{Is, Required, Unset};
use super::{Kind, Spec, option};
use crate::config::check::Check;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "filesystems.<path>.device",
        Kind::Text(Check::MountSource),
        Required,
        "\"/dev/vg/root\"",
        "What is mounted: a path below /dev, UUID=, LABEL=, PARTUUID= or PARTLABEL=; for types without a device what they take, \
         such as \"tmpfs\" or \"server:/export\". The table's name is where: \"/\" is needed.",
    ),
    option(
        "filesystems.<path>.type",
        Kind::Text(Check::FileSystemType),
        Required,
        "\"ext4\"",
        "The type of the file system.",
    ),
    option(
        "filesystems.<path>.options",
        Kind::List(Check::MountOption),
        Is("[]"),
        "[\"noatime\"]",
        "Mount options.",
    ),
    option(
        "filesystems.<path>.check",
        Kind::Bool,
        Is("true"),
        "false",
        "Whether it's checked at boot, if there is a program that checks such file systems.",
    ),
    option(
        "swap[].device",
        Kind::Text(Check::SwapPlace),
        Required,
        "\"/dev/vg/swap\"",
        "A device or file that is swapped to.",
    ),
    option(
        "swap[].priority",
        Kind::Int(0, 32_767),
        Unset,
        "10",
        "Its priority; the highest is used first.",
    ),
    option(
        "swap[].resume",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether a hibernated system is looked for on it. One at most.",
    ),
    option(
        "swap[].options",
        Kind::List(Check::MountOption),
        Is("[]"),
        "[\"discard\"]",
        "Further options, as fstab(5) has them.",
    ),
];
