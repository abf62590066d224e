//! `keel initrd --host`: an image for one machine boots this machine, and one that wouldn't is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::bench::{Bench, SHELL_AS_INIT, TO_OFF, same, says};
use crate::disk::Disk;
use crate::layout::Layout;
use crate::process::Tool;

/// Run in the guest: what the command looks at.
const SCRIPT: &str = include_str!("../../guest/sysfs.sh");

/// Looks at a machine that runs, builds an image for it, and starts it with that.
pub(super) fn host(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Main)?;
    let disk = disks.first().context("no disk")?;
    let mut machine = bench
        .without_menu(Layout::Main, &disks, "console")?
        .with(SHELL_AS_INIT)
        .boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    let text = shell.run(SCRIPT)?;
    shell.switch_off_kernel()?;
    machine.wait_until_off(TO_OFF)?;
    fs::write(bench.directory.join("machine.txt"), &text).context("what the machine is can't be kept")?;
    let there = bench.directory.join("machine");
    unpack(&text, &there)?;
    copy_header(disk, &there.join("dev/nvme0n1p2"))?;

    let modules = bench.made.systems.modules.clone();
    let machine_option = format!("--machine={}", there.display());
    let [own, generic] = ["host.img", "generic.img"].map(|name| bench.directory.join(name));
    let keel = bench.made.keel.clone();
    keel.initrd_of(&modules, &["--host", &machine_option], &own)?;
    keel.initrd_of(&modules, &["--set", "generic"], &generic)?;
    for (name, image) in [("host", &own), ("generic", &generic)] {
        bench
            .made
            .figures
            .size(&format!("initrd of the set {name}"), image)?;
    }
    let bytes = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.len());
    bench.check("it's smaller than half of the generic one", || {
        let (small, large) = (bytes(&own)?, bytes(&generic)?);
        if small * 2 > large {
            bail!("{small} bytes beside {large}");
        }
        Ok(())
    });
    boots(bench, &disks, &own)?;
    refused(bench, &text, &modules)
}

fn boots(bench: &mut Bench<'_>, disks: &[Disk], initrd: &Path) -> Result<()> {
    let mut machine = bench
        .without_menu(Layout::Main, disks, "host")?
        .with(SHELL_AS_INIT);
    machine.set_initrd(initrd);
    let mut machine = machine.boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.check("the machine boots with it, and nothing is warned of", || {
        same("the warnings", &report.warnings, &Vec::new())?;
        same("the number of unlocked volumes", &report.unlocked.len(), &1)
    });
    bench.check("its keyboard has a driver", || {
        says(
            &shell.run("cat /proc/bus/input/devices")?,
            "AT Translated Set 2 keyboard",
        )
    });
    machine.cut_power();
    Ok(())
}

/// Machines that an image with their own modules wouldn't boot.
fn refused(bench: &mut Bench<'_>, text: &str, modules: &Path) -> Result<()> {
    let raid = bench.directory.join("multipath");
    let changed = text.replace("CRYPT-LUKS2-", "mpath-");
    unpack(&changed, &raid)?;
    let configured = bench.directory.join("without-nvme");
    fs::create_dir_all(configured.join("etc/modprobe.d"))?;
    fs::write(
        configured.join("etc/modprobe.d/nvme.conf"),
        "install nvme /bin/false\n",
    )?;
    symlink(std::path::absolute(modules)?.join("usr"), configured.join("usr"))?;
    let there = bench.directory.join("machine");
    let keel = bench.made.keel.clone();
    let output = bench.directory.join("refused.img");
    let mut refuses = |name: &str, machine: &Path, root: &Path, said: &str| {
        bench.check(name, || {
            let result = Tool::new(&keel.keel)
                .args(["initrd", "--host", "--machine"])
                .arg(machine)
                .arg("--root")
                .arg(root)
                .arg("--output")
                .arg(&output)
                .finish()?;
            if result.status.success() || output.exists() {
                bail!("an image was made: {}", result.status);
            }
            says(&String::from_utf8_lossy(&result.stderr), said)
        });
    };
    refuses(
        "a machine whose root keel-init can't bring up gets none",
        &raid,
        modules,
        "nothing that keel-init can bring up",
    );
    refuses(
        "neither does one whose disk's driver modprobe.d takes away",
        &there,
        &configured,
        "the root's disk needs the module nvme, which modprobe.d leaves out",
    );
    Ok(())
}

/// Makes the directory that `text` describes.
fn unpack(text: &str, to: &Path) -> Result<()> {
    let at = |path: &str| to.join(path.trim_start_matches('/'));
    let parent = |path: &Path| -> Result<()> {
        let parent = path.parent().unwrap_or(to);
        fs::create_dir_all(parent).with_context(|| format!("{} can't be made", parent.display()))
    };
    let mut links: Vec<(PathBuf, &str)> = Vec::new();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ').with_context(|| format!("{line:?}"))?;
        let (path, content) = rest.split_once(' ').unwrap_or((rest, ""));
        parent(&at(path))?;
        if kind == "f" {
            fs::write(at(path), content.replace("\\n", "\n") + "\n").with_context(|| path.to_owned())?;
        } else {
            links.push((at(path), content));
        }
    }
    for (path, target) in links {
        symlink(target, &path).with_context(|| format!("{} can't be linked", path.display()))?;
    }
    Ok(())
}

/// The header of the disk's volume.
fn copy_header(disk: &Disk, to: &Path) -> Result<()> {
    // Behind 1 MiB and the ESP; the header has 16 MiB.
    const PARTITION_MIB: u64 = 301;
    fs::create_dir_all(to.parent().unwrap_or(to)).context("the directory of devices can't be made")?;
    Tool::new("qemu-img")
        .args(["dd", "-f", disk.format.name(), "-O", "raw", "bs=1M"])
        .arg(format!("skip={PARTITION_MIB}"))
        .arg(format!("count={}", PARTITION_MIB + 16))
        .arg(format!("if={}", disk.path.display()))
        .arg(format!("of={}", to.display()))
        .run()
}
