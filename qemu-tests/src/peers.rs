//! Debian's own ways from the kernel to systemd, to compare with: a disk whose root file system is both, a plain Debian
//! and keel's, and the initrds of initramfs-tools and of dracut for it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::builder::{self, Contents, Disks};
use crate::image_cache::{Cache, Key};
use crate::layout::{Layout, VOLUMES};
use crate::made::image;
use crate::process::Tool;
use crate::rootfs::{self, RootFileSystems, unpack, write};

/// What is installed beside the packages of a generation.
const PACKAGES: &[&str] = &[
    "initramfs-tools",
    "cryptsetup-initramfs",
    "dracut-core",
    // Without it dracut's initrd has nothing that asks for a passphrase, and waits for ever.
    "systemd-cryptsetup",
    "zstd",
];
/// Room that the root file system has beside what is in it, in MiB.
const FREE_MIB: u64 = 100;
/// What the machine's disk and root need; neither peer gets more.
const DRIVERS: &[&str] = &[
    "nvme",
    "ext4",
    "dm_mod",
    "dm_crypt",
    "xts",
    "aesni_intel",
    "sha256_generic",
    "crc32c_generic",
    "af_alg",
    "algif_skcipher",
    "atkbd",
    "i8042",
];

/// What was made.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    directory: PathBuf,
}

/// One of Debian's generators of initrds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// initramfs-tools with cryptsetup-initramfs and lvm2.
    InitramfsTools,
    /// dracut with systemd.
    Dracut,
}

impl Peer {
    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::InitramfsTools => "initramfs-tools",
            Peer::Dracut => "dracut",
        }
    }

    /// What it asks for the passphrase with.
    pub(crate) fn prompt(self) -> &'static str {
        match self {
            Peer::InitramfsTools => "Please unlock disk",
            Peer::Dracut => "Please enter passphrase",
        }
    }
}

impl Peers {
    /// Makes them, or takes them from the cache.
    pub(crate) fn make(
        cache: &Cache,
        systems: &RootFileSystems,
        keel_root: &Path,
        keel: &Contents,
        key: &Key,
        notes: &Path,
    ) -> Result<Peers> {
        let recipe = [include_str!("peers.rs"), include_str!("builder.rs")].concat();
        let tree_key = Key::of([systems.key.as_ref(), recipe.as_bytes()]);
        let tree = cache.get("peers", &tree_key, generate)?;
        let key = Key::of([key.as_ref(), tree_key.as_ref()]);
        let disks = cache.get("peers-disk", &key, |directory| {
            disk(&tree, keel_root, keel, systems, directory, notes)
        })?;
        Ok(Peers { directory: disks })
    }

    /// The machine's disk.
    pub(crate) fn disks(&self) -> Disks {
        Disks::in_directory(self.directory.clone(), Layout::Main)
    }

    /// The kernel that Debian boots.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// A peer's initrd.
    pub(crate) fn initrd(&self, peer: Peer) -> PathBuf {
        self.directory.join(peer.name())
    }
}

/// Debian with both generators, and what they make for the machine.
fn generate(directory: &Path) -> Result<()> {
    let archive = directory.join("root.tar");
    let packages: Vec<&str> = rootfs::packages_without_stub()
        .chain(PACKAGES.iter().copied())
        .collect();
    rootfs::install(&packages, &archive, &[])?;
    let tree = directory.join("tree");
    unpack(&archive, &tree)?;
    fs::remove_file(&archive).context("an archive can't be removed")?;
    let (uuid, name) = VOLUMES[0];
    write(
        &tree.join("etc/crypttab"),
        &format!("{name} UUID={uuid} none luks,discard,initramfs\n"),
    )?;
    write(
        &tree.join("etc/fstab"),
        "/dev/mapper/vg-root / ext4 defaults 0 1\n/dev/mapper/vg-swap none swap sw 0 0\n",
    )?;
    write(&tree.join("etc/hostname"), "keel\n")?;
    write(
        &tree.join("etc/initramfs-tools/conf.d/bench"),
        "MODULES=list\nCOMPRESS=zstd\nKEYMAP=n\nRESUME=none\nCRYPTSETUP=y\n",
    )?;
    write(
        &tree.join("etc/initramfs-tools/modules"),
        &(DRIVERS.join("\n") + "\n"),
    )?;
    // Else the first boot would rebuild caches for minutes: keel's generations come with them.
    for stamp in ["etc/.updated", "var/.updated"] {
        Tool::new("touch")
            .args(["--date", "2038-01-01"])
            .arg(tree.join(stamp))
            .run()?;
    }
    let version = kernel_version(&tree)?;
    let drivers = DRIVERS.join(" ");
    inside(
        &tree,
        &format!("mkinitramfs -o /{} {version}", Peer::InitramfsTools.name()),
    )?;
    inside(
        &tree,
        &format!(
            "dracut --force --quiet --no-hostonly --no-hostonly-cmdline --zstd --add 'systemd crypt lvm dm' \
             --omit 'network plymouth nfs iscsi multipath mdraid btrfs biosdevname memstrack' \
             --drivers '{drivers}' /{} {version}",
            Peer::Dracut.name()
        ),
    )?;
    for (from, to) in [
        (
            Peer::InitramfsTools.name().to_owned(),
            Peer::InitramfsTools.name(),
        ),
        (Peer::Dracut.name().to_owned(), Peer::Dracut.name()),
        (format!("boot/vmlinuz-{version}"), "vmlinuz"),
    ] {
        fs::rename(tree.join(&from), directory.join(to)).with_context(|| format!("{from} can't be kept"))?;
    }
    Ok(())
}

/// Runs a command in a tree, with the file systems that generators look into.
fn inside(tree: &Path, command: &str) -> Result<()> {
    let script = "root=$1; mount -t proc proc $root/proc; mount --rbind /sys $root/sys; mount -t tmpfs run $root/run; \
                  mount --rbind /dev $root/dev; exec chroot $root sh -c \"$2\"";
    Tool::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(tree)
        .arg(command)
        .run()
}

fn kernel_version(tree: &Path) -> Result<String> {
    let mut versions = fs::read_dir(tree.join("usr/lib/modules"))?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.contains("-cloud-"));
    versions.next().context("there is no kernel")
}

/// The disk: Debian's tree with keel's store and state beside it.
fn disk(
    peers: &Path,
    keel_root: &Path,
    keel: &Contents,
    systems: &RootFileSystems,
    directory: &Path,
    notes: &Path,
) -> Result<()> {
    let root = directory.join("root");
    let copy = |from: PathBuf, options: &[&str]| {
        Tool::new("cp")
            .args(["--archive", "--reflink=auto"])
            .args(options)
            .arg(from)
            .arg(&root)
            .run()
    };
    copy(peers.join("tree"), &[])?;
    copy(keel_root.join("."), &["--no-clobber"])?;
    let image_path = directory.join("root.ext4");
    let _mib = image(&root, &image_path, FREE_MIB)?;
    fs::remove_dir_all(&root).context("the root can't be removed")?;
    let contents = Contents {
        root: image_path.clone(),
        esp: keel.esp.clone(),
    };
    let _disks = builder::build(Layout::Main, &contents, systems, directory, notes)?;
    fs::remove_file(&image_path).context("an image can't be removed")?;
    for name in ["vmlinuz", Peer::InitramfsTools.name(), Peer::Dracut.name()] {
        let _bytes = fs::copy(peers.join(name), directory.join(name))
            .with_context(|| format!("{name} can't be copied"))?;
    }
    Ok(())
}
