//! LVM beyond the layouts that keel-init activates whole: a root in a mirrored thin pool or with a cache, physical volumes that
//! are missing, and the tables of many groups beside those of the real lvm.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::bench::{Bench, SHELL_AS_INIT, TO_OFF, TO_SHELL, same, says};
use super::boot::same_tables;
use crate::builder::tables_of;
use crate::disk::{Bus, Disk, make_sparse};
use crate::layout::Layout;
use crate::process::Tool;
use crate::tables::Tables;
use crate::texts;

const MIB: u64 = 1 << 20;
/// More disks than all groups have.
const GROUPS_DISKS_MAX: usize = 26;
const VIRTIO: Bus = Bus::Virtio { block_bytes: 512 };

/// A root in a thin pool on RAID1: an initrd without lvm says what is missing, one with it boots. (Without one of the disks lvm
/// itself refuses a thin volume.)
pub(super) fn thin_root(bench: &mut Bench<'_>) -> Result<()> {
    through_lvm(bench, Layout::Thin, "thin", &["tdata", "tmeta", "tpool"])
}

/// A root with a cache on another disk: the same.
pub(super) fn cached_root(bench: &mut Bench<'_>) -> Result<()> {
    through_lvm(bench, Layout::Cached, "cache", &["cdata", "cmeta", "corig"])
}

/// A root of a segment type that only lvm activates; what its parts' names end with.
fn through_lvm(bench: &mut Bench<'_>, layout: Layout, segments: &str, parts: &[&str]) -> Result<()> {
    let is_encrypted = layout == Layout::Thin;
    let disks = bench.disks(layout)?;
    let mut machine = bench.through_menu(&disks, "without-lvm").boot()?;
    if is_encrypted {
        machine.unlock()?;
    }
    let said = machine.console.expect(texts::WHAT_NOW, TO_SHELL)?.before;
    bench.check(
        "an initrd without lvm names the volume, its type and the remedy",
        || {
            says(&said, &format!("vg/root has segments of type {segments}"))?;
            says(&said, "keel initrd --lvm")
        },
    );
    machine.cut_power();

    let initrd = bench.directory.join("initrd");
    bench
        .made
        .keel
        .initrd_with_lvm(&bench.made.systems.modules, &initrd)?;
    let disks = bench.disks_with_initrd(layout, &initrd)?;
    let mut machine = bench.through_menu(&disks, "console").boot()?;
    if is_encrypted {
        machine.unlock()?;
    }
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.made.figures.note_boot(layout.name(), &report);
    bench.check("with lvm the root boots, and nothing is warned of", || {
        says(&report.activated.join(" "), "vg/root")?;
        same("the warnings", &report.warnings, &Vec::new())
    });
    let tables = bench.made.disks(layout)?.tables()?;
    bench.check("device-mapper holds what cryptsetup and vgchange load", || {
        // A thin pool's own device is there only when somebody asks for the pool, as vgchange does.
        let there = Tables::parse(&tables).without("vg-pool");
        if there.len() < 5 {
            bail!("the builder said too few tables: {tables}");
        }
        same("what is mapped", &shell.tables()?.without("vg-pool"), &there)
    });
    bench.check("systemd is content, and knows the volumes", || {
        let (_, state) = shell.sh("systemctl is-system-running --wait")?;
        let failed = shell.run("systemctl --failed --no-legend --plain")?;
        same(
            &format!("its state (failed: {failed})"),
            &state.as_str(),
            &"running",
        )?;
        let links = "/dev/vg/root /dev/mapper/vg-root /dev/vg/swap";
        let _ = shell.run(&format!("ls -l {links}"))?;
        let _ = shell.run(&format!(
            "systemctl is-active $(systemd-escape --path --suffix=device {links})"
        ))?;
        Ok(())
    });
    bench.check("parts of the root have no links but their names", || {
        let (code, said) = shell.sh(&format!("ls /dev/disk/by-id | grep -e {}", parts.join(" -e ")))?;
        same(&format!("grep's exit code ({said})"), &code, &1)
    });
    bench.check("the real lvm of the system goes on with the root", || {
        says(
            &shell.run("lvs --noheadings --separator / -o lv_name,segtype,lv_active vg")?,
            &format!("root/{segments}/active"),
        )
    });
    shell.send("systemctl poweroff")?;
    machine.wait_until_off(TO_OFF)
}

/// A group that has nothing to do with the root lacks a disk.
pub(super) fn missing_pv(bench: &mut Bench<'_>) -> Result<()> {
    let lab = Lab::new(&bench.directory.join("lab"), 2)?;
    lab.lvm("vgcreate data @0 @1")?;
    lab.lvm("lvcreate -L 8m -n here data @0")?;
    lab.lvm("lvcreate -L 8m -i 2 -n both data")?;
    let images = lab.finish()?;
    let mut disks = bench.disks(Layout::Main)?;
    let half = images.first().context("no disk")?;
    disks.push(Disk::raw(half, VIRTIO, "half"));
    let mut machine = bench.through_menu(&disks, "console").with(SHELL_AS_INIT).boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.check("a missing disk of another group doesn't hinder the boot", || {
        same("the warnings", &report.warnings, &Vec::new())?;
        let activated = report.activated.join(" ");
        says(&activated, "vg/root")?;
        if activated.contains("data") {
            bail!("a volume of the incomplete group was activated: {activated}");
        }
        Ok(())
    });
    let tables = bench.made.disks(Layout::Main)?.tables()?;
    bench.check("nothing of the incomplete group is mapped", || {
        same_tables(&mut shell, &tables)
    });
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)
}

/// Groups on disks of their own: name, disks, commands. `@0` is a group's first disk.
const GROUPS: &[(&str, usize, &[&str])] = &[
    (
        "linear",
        1,
        &["vgcreate linear @0", "lvcreate -L 8m -n root linear"],
    ),
    (
        "two-stripes",
        2,
        &[
            "vgcreate two-stripes @0 @1",
            "lvcreate -L 8m -i 2 -I 16k -n root two-stripes",
        ],
    ),
    (
        "three.stripes",
        3,
        &[
            "vgcreate -s 1m three.stripes @0 @1 @2",
            "lvcreate -L 9m -i 3 -n a-b three.stripes",
        ],
    ),
    (
        "segments",
        2,
        &[
            "vgcreate -s 1m segments @0 @1",
            "lvcreate -L 4m -i 2 -n root segments",
            "lvextend -L 7m -i 1 segments/root @1",
            "lvcreate -L 1m -n gap segments @1",
            "lvextend -L 9m -i 1 segments/root @1",
        ],
    ),
    (
        "no_metadata",
        2,
        &[
            "pvcreate --pvmetadatacopies 0 @0",
            "pvcreate @1",
            "vgcreate no_metadata @0 @1",
            "lvcreate -L 8m -i 2 -n root no_metadata",
        ],
    ),
    (
        "ignored",
        2,
        &[
            "pvcreate --metadataignore y @0",
            "pvcreate @1",
            "vgcreate ignored @0 @1",
            "lvcreate -L 8m -n root ignored @0",
        ],
    ),
    (
        "aligned",
        1,
        &[
            "pvcreate --dataalignment 4m --dataalignmentoffset 3584b @0",
            "vgcreate -s 384k aligned @0",
            "lvcreate -l 7 -n root aligned",
        ],
    ),
    (
        "read-only",
        1,
        &[
            "vgcreate read-only @0",
            "lvcreate -L 4m -pr -n root read-only",
            "lvcreate -L 4m -ky -n skipped read-only",
            "lvcreate -L 4m --setautoactivation n -n later read-only",
        ],
    ),
    (
        "errors+1",
        1,
        &[
            "vgcreate errors+1 @0",
            "lvcreate --type error -l 2 -n errors errors+1",
        ],
    ),
    (
        "renamed",
        1,
        &[
            "vgcreate old @0",
            "lvcreate -L 8m -n root old",
            "lvrename old root r--t",
            "vgrename old renamed",
        ],
    ),
    (
        "exported",
        1,
        &[
            "vgcreate exported @0",
            "lvcreate -L 8m -n root exported",
            "vgexport exported",
        ],
    ),
];

/// The tables that keel gives for many groups are those that Debian's lvm loads into a kernel.
pub(super) fn tables(bench: &mut Bench<'_>) -> Result<()> {
    let total = GROUPS.iter().map(|(_, disks, _)| disks).sum();
    let lab = Lab::new(&bench.directory.join("lab"), total)?;
    let mut first = 0;
    for (_, disks, commands) in GROUPS {
        for command in *commands {
            lab.lvm_from(command, first)?;
        }
        first += disks;
    }
    let images = lab.finish()?;
    let arguments = ["--tables", "--cmdline", "root=/dev/none"];
    let (_, said) = bench.made.keel.rehearse(&arguments, &images)?;
    let keel = Tables::parse(&of_rehearsal(&said));
    let disks: Vec<Disk> = images
        .iter()
        .enumerate()
        .map(|(index, image)| Disk::raw(image, VIRTIO, &format!("disk{index}")))
        .collect();
    let printed = tables_of(&disks, &bench.made.systems, &bench.directory)?;
    let lvm = Tables::parse(&by_disk(&printed));
    bench.check(
        "the tables of ten groups are those that the real lvm loads",
        || {
            if lvm.len() < 10 {
                bail!("lvm loaded {} tables only: {printed}", lvm.len());
            }
            same("what is mapped", &keel.without_uuids(), &lvm.without_uuids())
        },
    );
    bench.check("an exported group is refused by name", || {
        says(&said, "volume group exported is exported")
    });
    Ok(())
}

/// What a rehearsal says of tables, in the form of the guest's script. Its device `N:0` is the Nth image.
fn of_rehearsal(said: &str) -> String {
    let tables = said.lines().filter_map(|line| line.strip_prefix("table "));
    let tables = tables.map(|line| format!("table {}", line.trim()));
    let devices = (1..=GROUPS_DISKS_MAX).map(|number| format!("device {number}:0 disk{}", number - 1));
    tables.chain(devices).collect::<Vec<_>>().join("\n")
}

/// What the script printed in a guest, with virtio disks named by their place.
fn by_disk(printed: &str) -> String {
    let disks = printed.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["disk", number, name] = words.as_slice() else {
            return None;
        };
        let letter = name.strip_prefix("vd")?.bytes().next()?;
        Some(format!("device {number} disk{}", letter.checked_sub(b'a')?))
    });
    [printed.to_owned()]
        .into_iter()
        .chain(disks)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Disks on this machine's loop devices for lvm's commands that change metadata only.
struct Lab {
    images: Vec<PathBuf>,
    loops: Vec<String>,
}

impl Lab {
    fn new(directory: &Path, disks: usize) -> Result<Lab> {
        fs::create_dir_all(directory).context("the lab's directory can't be made")?;
        let mut lab = Lab {
            images: Vec::new(),
            loops: Vec::new(),
        };
        for index in 0..disks {
            let image = directory.join(format!("disk{index}"));
            make_sparse(&image, 64 * MIB)?;
            let device = Tool::new("losetup").args(["-f", "--show"]).arg(&image).output()?;
            lab.loops.push(device.trim().to_owned());
            lab.images.push(image);
        }
        Ok(lab)
    }

    fn lvm(&self, line: &str) -> Result<()> {
        self.lvm_from(line, 0)
    }

    /// Runs a command in which `@0` is the disk number `first`.
    fn lvm_from(&self, line: &str, first: usize) -> Result<()> {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let mut tool = Tool::new(name);
        for word in words {
            let disk = word
                .strip_prefix('@')
                .and_then(|index| index.parse::<usize>().ok());
            tool = match disk.and_then(|index| self.loops.get(first + index)) {
                Some(device) => tool.arg(device),
                None => tool.arg(word),
            };
        }
        let only: Vec<String> = self
            .loops
            .iter()
            .map(|path| format!("\"a|^{path}$|\","))
            .collect();
        let only = only.concat();
        tool = tool.args(["--yes", "--driverloaded", "n", "--config"]).arg(format!(
            "backup {{ backup=0 archive=0 }} global {{ event_activation=0 }} activation {{ udev_sync=0 udev_rules=0 }} \
             devices {{ use_devicesfile=0 scan=\"/dev\" filter=[{only}\"r|.*|\"] }}"
        ));
        if name == "lvcreate" {
            tool = tool.args(["-an", "-Zn", "-Wn"]);
        }
        tool.run()
    }

    /// Detaches the disks; gives their images.
    fn finish(mut self) -> Result<Vec<PathBuf>> {
        Tool::new("sync").run()?;
        Ok(std::mem::take(&mut self.images))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for device in &self.loops {
            let _ = Tool::new("losetup").args(["-d", device]).run();
        }
    }
}
