//! `[boot]`.

use super::Preset::{Is, Required, Unset};
use super::{Kind, Spec, option};
use crate::config::check::Check;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "boot.loader",
        Kind::Choice(&["systemd-boot"]),
        Is("\"systemd-boot\""),
        "\"systemd-boot\"",
        "The boot loader.",
    ),
    option(
        "boot.can_touch_efi_variables",
        Kind::Bool,
        Is("true"),
        "true",
        "Whether keel may write EFI variables: the firmware's boot order, and which entry is started next.",
    ),
    option(
        "boot.generations",
        Kind::Int(2, 1000),
        Is("10"),
        "10",
        "The most generations in the boot menu. Pinned ones, the running one and the last good one stay in any case.",
    ),
    option(
        "boot.timeout",
        Kind::Int(0, 3600),
        Is("3"),
        "5",
        "Seconds that the boot menu is shown; 0 shows it only while a key is held.",
    ),
    option(
        "boot.kernel_params",
        Kind::List(Check::KernelParameter),
        Is("[]"),
        "[\"quiet\"]",
        "Parameters of the kernel, and of what reads its command line. keel adds root=, rd.luks.name= and so on by itself.",
    ),
    option(
        "boot.luks.<mapping>.device",
        Kind::Text(Check::Device),
        Required,
        "\"/dev/disk/by-uuid/2b6c2f3e-0000-4000-8000-000000000001\"",
        "An encrypted volume, which is opened in early boot as /dev/mapper/<mapping>.",
    ),
    option(
        "boot.luks.<mapping>.uuid",
        Kind::Text(Check::Uuid),
        Unset,
        "\"2b6c2f3e-0000-4000-8000-000000000001\"",
        "The volume's UUID, where device isn't named by it. A detached header needs it: `cryptsetup luksUUID HEADER` tells it.",
    ),
    option(
        "boot.luks.<mapping>.allow_discards",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether discards reach the disk. They show which blocks are unused.",
    ),
    option(
        "boot.luks.<mapping>.key_file",
        Kind::Text(Check::KeyFile),
        Unset,
        "\"/keys/root:UUID=0000-0001\"",
        "A keyfile: a path in the initrd, or a path and the device that it's on, with ':' between.",
    ),
    option(
        "boot.luks.<mapping>.header",
        Kind::Text(Check::KeyFile),
        Unset,
        "\"/headers/root:UUID=0000-0001\"",
        "A detached header: a path in the initrd, or a path and the device that it's on, with ':' between.",
    ),
    option(
        "boot.luks.<mapping>.options",
        Kind::List(Check::MountOption),
        Is("[]"),
        "[\"tries=3\"]",
        "Further options, as crypttab(5) has them.",
    ),
    option(
        "boot.initrd.modules",
        Kind::List(Check::Module),
        Is("[]"),
        "[\"nvme\"]",
        "Kernel modules for early boot, beside those of the set.",
    ),
    option(
        "boot.initrd.set",
        Kind::Choice(&["minimal", "common", "generic"]),
        Is("\"common\""),
        "\"generic\"",
        "Which modules early boot has: minimal (no storage), common (NVMe, SATA, virtio, USB keyboards), generic (most machines).",
    ),
    option(
        "boot.initrd.systemd",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether systemd is PID 1 of the initrd, with keel-init as one of its units.",
    ),
];
