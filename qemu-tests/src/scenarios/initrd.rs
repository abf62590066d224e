//! `keel initrd` on the modules of a real kernel, without a machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::bench::{Bench, says};
use crate::process::Tool;

/// Modules whose dependencies are compared: drivers of disks, of keyboards, of file systems, and dm-crypt.
const COMPARED: [&str; 8] = [
    "nvme",
    "virtio_blk",
    "usbhid",
    "xhci_pci",
    "ext4",
    "erofs",
    "dm_crypt",
    "usb_storage",
];

/// Builds the same image twice, looks into it, and asks for what can't be built.
pub(super) fn initrd(bench: &mut Bench<'_>) -> Result<()> {
    let tree = bench.made.systems.modules.clone();
    let (kernel, modules) = kernel_modules(&tree)?;
    let first = bench.directory.join("first.img");
    bench.made.keel.initrd(&tree, "generic", &first)?;

    let shuffled = bench.directory.join("shuffled");
    copy_backwards(&tree, &shuffled)?;
    let second = bench.directory.join("second.img");
    bench.made.keel.initrd(&shuffled, "generic", &second)?;
    bench.check(
        "the same image, to the byte, from a copy in another order and with other times",
        || {
            if fs::read(&first)? != fs::read(&second)? {
                bail!("{} and {} differ", first.display(), second.display());
            }
            Ok(())
        },
    );

    let listed = contents(&first)?;
    let inside: BTreeSet<String> = listed.iter().filter_map(|path| module_name(path)).collect();
    bench.check("what modprobe would load for a module is in the image", || {
        for name in COMPARED {
            let missing: Vec<String> = show_depends(&shuffled, &kernel, name)?
                .difference(&inside)
                .cloned()
                .collect();
            if !missing.is_empty() {
                bail!("{name} needs {missing:?}, which the image lacks");
            }
        }
        Ok(())
    });
    bench.check("no module lacks one that it depends on, says modules.dep", || {
        let text = fs::read_to_string(modules.join("modules.dep")).context("modules.dep can't be read")?;
        for (module, needed) in text.lines().filter_map(|line| line.split_once(':')) {
            if !module_name(module).is_some_and(|name| inside.contains(&name)) {
                continue;
            }
            if let Some(lacking) = needed
                .split_whitespace()
                .filter_map(module_name)
                .find(|name| !inside.contains(name))
            {
                bail!("{module} is in the image, {lacking} isn't");
            }
        }
        Ok(())
    });
    bench.check("there is no shell in it", || {
        match listed
            .iter()
            .find(|path| path.ends_with("/sh") || path.contains("busybox"))
        {
            Some(shell) => bail!("{shell}"),
            None => Ok(()),
        }
    });
    let keel = bench.made.keel.keel.clone();
    let none = bench.directory.join("none.img");
    bench.check("a dynamic program is refused as its PID 1", || {
        let output = Tool::new(&keel)
            .args(["initrd", "--init", "/bin/true", "--root"])
            .arg(&tree)
            .arg("--output")
            .arg(&none)
            .finish()?;
        if output.status.success() || none.exists() {
            bail!("an image was made: {}", output.status);
        }
        says(&String::from_utf8_lossy(&output.stderr), "dynamically linked")
    });
    Ok(())
}

/// The version of the only kernel below `tree`, and the directory of its modules.
fn kernel_modules(tree: &Path) -> Result<(String, PathBuf)> {
    let directory = tree.join("usr/lib/modules");
    let entry = fs::read_dir(&directory)
        .with_context(|| format!("{} can't be read", directory.display()))?
        .next()
        .context("there is no kernel")??;
    Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
}

/// Copies a tree, the last names first, so that its directories list their entries in another order.
pub(super) fn copy_backwards(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("{} can't be made", to.display()))?;
    let mut entries = fs::read_dir(from)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    for entry in entries {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_backwards(&path, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path)?, &target)?;
        } else if kind.is_file() {
            let _ = fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// The names in an image.
pub(super) fn contents(image: &Path) -> Result<Vec<String>> {
    let archive = Tool::new("zstd")
        .args(["--decompress", "--stdout", "--quiet"])
        .arg(image)
        .finish()?;
    let listed = Tool::new("cpio")
        .args(["--list", "--quiet"])
        .input(archive.stdout)
        .output()?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// The name of the module in a file, as the kernel has it.
fn module_name(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (name, _) = name.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// What modprobe would load for `name`, itself included.
fn show_depends(tree: &Path, kernel: &str, name: &str) -> Result<BTreeSet<String>> {
    let said = Tool::new("modprobe")
        .arg("--dirname")
        .arg(tree.join("usr"))
        .args([
            "--config",
            "/dev/null",
            "--set-version",
            kernel,
            "--show-depends",
            name,
        ])
        .output()?;
    let names: BTreeSet<String> = said
        .lines()
        .filter_map(|line| module_name(line.strip_prefix("insmod ")?.split_whitespace().next()?))
        .collect();
    if names.is_empty() && !said.contains("builtin") {
        bail!("modprobe says nothing of {name}: {said}");
    }
    Ok(names)
}
