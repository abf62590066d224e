//! What is shown on machines, one file per topic.

mod adjunct;
mod bad_disks;
mod bench;
mod boot;
mod boot_bench;
mod build_bench;
mod declared;
mod fallback;
mod hibernate;
mod host;
mod initrd;
mod keymap;
mod keyslot_bench;
mod layouts;
mod lvm;
mod native;
mod options;
mod options_rows;
mod rehearse;
mod reproducible;
mod restarts;
mod shell;
mod state;
mod store;
mod store_bench;
mod switch;
mod switch_boot;
mod switch_faults;
mod switch_power;
mod units;

use anyhow::Result;

pub(crate) use bench::{Bench, Check, Checks, TO_OFF, TO_PROMPT, empty_directory};
pub(crate) use build_bench::build as bench_build;
pub(crate) use native::{Native, Place};
pub(crate) use store_bench::{StoreBench, store as bench_store};

/// Something that is shown on a machine, or on what is made for one.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(&mut Bench<'_>) -> Result<()>,
}

/// All scenarios, in the order in which they're started: what takes longest first, and no two neighbours that wait for
/// the same disks to be made.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "declared",
        about: "the machine of one file: every line of it is seen, edits and one more package come and go",
        run: declared::declared,
    },
    Scenario {
        name: "boot",
        about: "default boot, a wrong passphrase first; systemd sees all devices; then the other entry of the menu",
        run: boot::boot,
    },
    Scenario {
        name: "adjunct",
        about: "an initrd with systemd as PID 1 and keel-init as its unit; a root that isn't there",
        run: adjunct::adjunct,
    },
    Scenario {
        name: "striped",
        about: "two NVMe disks, one passphrase, the root striped over both; one of the disks missing",
        run: layouts::striped,
    },
    Scenario {
        name: "large-blocks",
        about: "an NVMe disk with blocks of 4096 bytes",
        run: layouts::large_blocks,
    },
    Scenario {
        name: "luks-on-lvm",
        about: "the root's LUKS volume in a logical volume",
        run: layouts::luks_on_lvm,
    },
    Scenario {
        name: "stick",
        about: "LUKS1, and a header on a stick that is plugged in late; keyfiles on it open both volumes",
        run: layouts::stick,
    },
    Scenario {
        name: "btrfs",
        about: "a subvolume of Btrfs on LUKS without LVM",
        run: layouts::btrfs,
    },
    Scenario {
        name: "hibernate",
        about: "a session goes to the encrypted swap space and comes back, told by systemd's EFI variable and by resume=",
        run: hibernate::hibernate,
    },
    Scenario {
        name: "plain-lvm",
        about: "the root on LVM without encryption, named by its label",
        run: layouts::plain_lvm,
    },
    Scenario {
        name: "bare-partition",
        about: "XFS on a partition, named by its PARTUUID",
        run: layouts::bare_partition,
    },
    Scenario {
        name: "thin-root",
        about: "a root in a mirrored thin pool: an initrd without lvm says so, one with it boots",
        run: lvm::thin_root,
    },
    Scenario {
        name: "cached-root",
        about: "a root with a cache on another disk: an initrd without lvm says so, one with it boots",
        run: lvm::cached_root,
    },
    Scenario {
        name: "missing-pv",
        about: "a group beside the root's lacks a disk",
        run: lvm::missing_pv,
    },
    Scenario {
        name: "lvm-tables",
        about: "the tables of ten groups beside those that the real lvm loads",
        run: lvm::tables,
    },
    Scenario {
        name: "options",
        about: "every option of system.toml is set to another value than its default, and its effect is seen",
        run: options::options,
    },
    Scenario {
        name: "store",
        about: "Nix's own tool finds the made store whole",
        run: store::verify,
    },
    Scenario {
        name: "reproducible",
        about: "the same file and lock, built twice in different places, give the same system to the byte",
        run: reproducible::reproducible,
    },
    Scenario {
        name: "rehearse",
        about: "the way to the root on image files, read only and without privileges",
        run: rehearse::rehearse,
    },
    Scenario {
        name: "initrd",
        about: "images are the same to the byte, and hold what modprobe would load",
        run: initrd::initrd,
    },
    Scenario {
        name: "switch",
        about: "units, programs, libraries and configuration change under a running machine, and back",
        run: switch::switch,
    },
    Scenario {
        name: "switch-faults",
        about: "switches that fail, hang or are killed end in the old system, whole; every exit code",
        run: switch_faults::faults,
    },
    Scenario {
        name: "switch-boot",
        about: "trial boots: blessed, panicking, hanging",
        run: switch_boot::trials,
    },
    Scenario {
        name: "switch-power",
        about: "the power is cut at random moments of a switch",
        run: switch_power::power,
    },
    Scenario {
        name: "restarts",
        about: "what a switch would restart is what needrestart names, or the difference has a reason",
        run: restarts::restarts,
    },
    Scenario {
        name: "absent-generation",
        about: "the entry's generation isn't there: the newest intact one runs, said and recorded",
        run: fallback::absent,
    },
    Scenario {
        name: "damaged-generation",
        about: "a generation with a path missing is passed over; one with a broken image can be left by the picker",
        run: fallback::damaged,
    },
    Scenario {
        name: "damaged-header",
        about: "a damaged primary LUKS header is read around; with both damaged one line says so",
        run: bad_disks::damaged_header,
    },
    Scenario {
        name: "missing-module",
        about: "an initrd without the NVMe driver: the hardware without a driver is named",
        run: bad_disks::missing_module,
    },
    Scenario {
        name: "host",
        about: "an initrd with the modules of one machine only boots it; one that wouldn't is refused",
        run: host::host,
    },
    Scenario {
        name: "keymap",
        about: "a passphrase with umlauts, a dead key and AltGr, typed on a German keyboard at the screen",
        run: keymap::keymap,
    },
    Scenario {
        name: "shell",
        about: "a root shell in early boot: with keel.shell and an image that has one, never without either",
        run: shell::shell,
    },
    Scenario {
        name: "full-root",
        about: "a root file system without a free block boots",
        run: state::full_root,
    },
];

/// What runs only when it's asked for by name: what `bench` measures.
pub(crate) const NAMED: &[Scenario] = &[Scenario {
    name: "bench-boot",
    about: "early boot beside initramfs-tools and dracut",
    run: |bench| {
        keyslot_bench::keyslots(bench)?;
        boot_bench::boot(bench)
    },
}];

/// Those that need neither a machine in QEMU nor keel's programs.
pub(crate) const NATIVE: &[Native] = &[Native {
    name: "units",
    about: "units that keel calls equal are equal to systemd, and what must differ differs",
    run: units::units,
}];
