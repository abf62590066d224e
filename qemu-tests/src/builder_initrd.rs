//! The initrd of the builder machine: Debian's own tools with the libraries and kernel modules that they need, taken out
//! of a generation's tree. Small, because it's unpacked under emulation at every build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Tool;
use crate::tables;

/// The builder's script, PID 1 of the machine.
pub(crate) fn script() -> String {
    include_str!("../guest/build-disk.sh").replace("@TABLES@", tables::SCRIPT)
}

const PROGRAMS: &[&str] = &[
    "usr/bin/btrfs",
    "usr/bin/cat",
    "usr/bin/cp",
    "usr/bin/dash",
    "usr/bin/head",
    "usr/bin/ls",
    "usr/bin/mkdir",
    "usr/bin/mount",
    "usr/bin/mountpoint",
    "usr/bin/sed",
    "usr/bin/sh",
    "usr/bin/sleep",
    "usr/bin/sync",
    "usr/bin/tar",
    "usr/bin/umount",
    "usr/sbin/cryptsetup",
    "usr/sbin/dmsetup",
    "usr/sbin/e2fsck",
    "usr/sbin/e2image",
    "usr/sbin/lvconvert",
    "usr/sbin/lvcreate",
    "usr/sbin/mkfs.btrfs",
    "usr/sbin/mkfs.vfat",
    "usr/sbin/mkfs.xfs",
    "usr/sbin/mkswap",
    "usr/sbin/modprobe",
    "usr/sbin/sfdisk",
    "usr/sbin/vgchange",
    "usr/sbin/vgcreate",
    "usr/sbin/xfs_repair",
];

/// Opened while running: by threads that are cancelled, and by LVM.
const OTHER_FILES: &[&str] = &[
    "usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
    "etc/lvm/lvm.conf",
    "etc/passwd",
    "etc/group",
];

/// What the tools do without but would look for at length, and what they need.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "dm_mod",
    "dm_crypt",
    "dm_cache",
    "dm_cache_smq",
    "dm_thin_pool",
    "dm_raid",
    "raid1",
    "xts",
    "cbc",
    "essiv",
    "aesni_intel",
    "ext4",
    "xfs",
    "btrfs",
    "crc32c_generic",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "af_alg",
    "algif_skcipher",
    "algif_hash",
];

/// Makes the initrd at `archive` from the Debian tree at `tree`.
pub(crate) fn make(tree: &Path, archive: &Path) -> Result<()> {
    let mut paths = Paths {
        tree,
        found: BTreeSet::new(),
    };
    for path in ["bin", "lib", "lib64", "sbin"] {
        paths.add(Path::new(path))?;
    }
    for path in PROGRAMS.iter().chain(OTHER_FILES) {
        paths.add(Path::new(path))?;
    }
    for library in libraries(tree)? {
        paths.add(&library)?;
    }
    for path in modules(tree)? {
        paths.add(&path)?;
    }
    for directory in ["dev", "proc", "run", "sys", "tmp", "etc/lvm"] {
        let _ = paths.found.insert(PathBuf::from(directory));
    }
    // The script is in the tree only while the archive is made.
    let script = tree.join("init");
    fs::write(&script, self::script()).context("the builder's script can't be written")?;
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).context("chmod")?;
    let mut list: Vec<u8> = b"init\0".to_vec();
    for path in &paths.found {
        list.extend_from_slice(path.as_os_str().as_encoded_bytes());
        list.push(0);
    }
    let made = Tool::new("cpio")
        .args(["--null", "--create", "--format=newc", "--quiet", "--file"])
        .arg(archive)
        .input(list)
        .within(tree)
        .run();
    fs::remove_file(&script).context("the builder's script can't be removed")?;
    made
}

/// Files of a tree, with the directories above them and what symbolic links lead to.
struct Paths<'a> {
    tree: &'a Path,
    found: BTreeSet<PathBuf>,
}

impl Paths<'_> {
    fn add(&mut self, path: &Path) -> Result<()> {
        let path = path.strip_prefix("/").unwrap_or(path);
        // Links in the way (`lib` is one) are put in place as what they are.
        let mut real = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => real.push(name),
                Component::ParentDir => {
                    let _ = real.pop();
                    continue;
                }
                Component::CurDir | Component::RootDir | Component::Prefix(_) => continue,
            }
            let _ = self.found.insert(real.clone());
            let full = self.tree.join(&real);
            let kind = fs::symlink_metadata(&full)
                .with_context(|| format!("{} isn't in the tree", full.display()))?;
            if kind.is_symlink() {
                let target =
                    fs::read_link(&full).with_context(|| format!("{} can't be read", full.display()))?;
                let _ = real.pop();
                real = if target.is_absolute() {
                    target
                } else {
                    real.join(target)
                };
                real = normal(&real);
                self.add(&real)?;
            }
        }
        Ok(())
    }
}

/// A relative path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                let _ = normal.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    normal
}

/// The libraries of the programs, as the tree's own ldd(1) finds them.
fn libraries(tree: &Path) -> Result<BTreeSet<PathBuf>> {
    let programs = PROGRAMS.iter().map(|program| format!("/{program}"));
    let output = Tool::new("chroot").arg(tree).arg("ldd").args(programs).output()?;
    Ok(output.lines().filter_map(library_of).collect())
}

/// The path in a line of ldd's: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)` or `/lib64/ld-linux… (0x…)`.
fn library_of(line: &str) -> Option<PathBuf> {
    let line = line.trim();
    let path = line.split_once(" => ").map_or(line, |(_, path)| path);
    let (path, address) = path.split_once(' ')?;
    (path.starts_with('/') && address.starts_with("(0x")).then(|| PathBuf::from(path))
}

/// The modules with what they depend on, and the indexes that modprobe(8) reads.
fn modules(tree: &Path) -> Result<BTreeSet<PathBuf>> {
    let versions = tree.join("usr/lib/modules");
    let version = fs::read_dir(&versions)
        .with_context(|| format!("{} can't be read", versions.display()))?
        .flatten()
        .map(|entry| entry.file_name())
        .next()
        .context("the tree has no kernel modules")?;
    let output = Tool::new("modprobe")
        .arg("--dirname")
        .arg(tree)
        .arg("--set-version")
        .arg(&version)
        .args(["--show-depends", "--all"])
        .args(MODULES)
        .output()?;
    let mut paths: BTreeSet<PathBuf> = output
        .lines()
        .filter_map(|line| line.strip_prefix("insmod "))
        .filter_map(|path| Path::new(path.trim()).strip_prefix(tree).ok().map(Path::to_owned))
        .collect();
    let directory = Path::new("usr/lib/modules").join(&version);
    for entry in fs::read_dir(tree.join(&directory))
        .context("the modules can't be listed")?
        .flatten()
    {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _ = paths.insert(directory.join(entry.file_name()));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ldd_give_paths() {
        let path = |line| library_of(line).map(|path| path.display().to_string());
        assert_eq!(
            path("\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)").as_deref(),
            Some("/lib/x/libc.so.6")
        );
        assert_eq!(
            path("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)").as_deref(),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(path("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(path("/usr/bin/sh:"), None);
    }
}
