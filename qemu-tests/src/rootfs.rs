//! Debian root file systems: one made by mmdebstrap, and the two generations that are derived from it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive;
use crate::builder_initrd;
use crate::image_cache::{Cache, Key};
use crate::process::Tool;

/// What is installed. No initramfs generator: keel builds the initrd.
const PACKAGES: &[&str] = &[
    "btrfs-progs",
    "cryptsetup-bin",
    "dbus",
    "dmsetup",
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "kmod",
    "libcap2-bin",
    "linux-image-amd64",
    "linux-image-cloud-amd64",
    "login",
    "lvm2",
    "passwd",
    "sudo",
    "systemd-boot-efi",
    "systemd-sysv",
    "udev",
    "util-linux",
    "xfsprogs",
    STUB,
];

/// Left out of the packages: never looked at by a test, and most of the bytes.
const EXCLUDED: &[&str] = &[
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/lib/modules/*/kernel/drivers/gpu/*",
    "/usr/lib/modules/*/kernel/drivers/iio/*",
    "/usr/lib/modules/*/kernel/drivers/media/*",
    "/usr/lib/modules/*/kernel/drivers/net/*",
    "/usr/lib/modules/*/kernel/sound/*",
];

/// A package that provides what the kernel's package asks for, and holds nothing.
const STUB: &str = "keel-initramfs-stub";

/// Changes of these functions change what is cached.
const RECIPE: &str = include_str!("rootfs.rs");

/// The user of the test machines.
pub(crate) const USER: &str = "alice";
/// A user and a group that only the second generation declares.
pub(crate) const NEW_ACCOUNT: &str = "keeltest";
/// Where the second generation keeps its privileged programs.
pub(crate) const PRIVILEGED: &str = "/usr/lib/keeltest";

/// The made archives.
#[derive(Clone, Debug)]
pub(crate) struct RootFileSystems {
    /// The first generation, as a tar archive.
    pub first: PathBuf,
    /// The second one.
    pub second: PathBuf,
    /// The initrd of the builder machine: the first generation's tree with a script as PID 1.
    pub builder_initrd: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// A tree with the kernel's modules, and lvm.
    pub modules: PathBuf,
    /// A tree with another kernel: `boot` and `usr/lib/modules`.
    pub cloud: PathBuf,
    /// Names them all.
    pub key: Key,
}

/// Makes them, or takes them from the cache.
pub(crate) fn root_file_systems(cache: &Cache) -> Result<RootFileSystems> {
    let base_key = Key::of([archive::SUITE].iter().chain(PACKAGES).chain(EXCLUDED));
    let base = cache.get("debian", &base_key, bootstrap)?.join("root.tar");
    let builder = [include_str!("builder_initrd.rs"), &builder_initrd::script()].concat();
    let key = Key::of([base_key.as_ref(), RECIPE.as_bytes(), builder.as_bytes()]);
    let made = cache.get("generations", &key, |directory| derive(&base, directory))?;
    Ok(RootFileSystems {
        first: made.join("gen1.tar"),
        second: made.join("gen2.tar"),
        builder_initrd: made.join("builder.cpio"),
        kernel: made.join("vmlinuz"),
        modules: made.join("modules"),
        cloud: made.join("cloud"),
        key,
    })
}

fn bootstrap(directory: &Path) -> Result<()> {
    let repository = stub_repository(directory)?;
    let stub = format!("deb [trusted=yes] copy:{} ./", repository.display());
    install(PACKAGES, &directory.join("root.tar"), &[stub])
}

/// The packages of a generation, where a real generator of initrds takes the stub's place.
pub(crate) fn packages_without_stub() -> impl Iterator<Item = &'static str> {
    PACKAGES.iter().copied().filter(|package| *package != STUB)
}

/// Installs packages into a new root file system, an archive. `sources` are further lines of sources.list(5).
pub(crate) fn install(packages: &[&str], archive: &Path, sources: &[String]) -> Result<()> {
    let mut options: Vec<String> = archive::apt_options()?;
    options.push("APT::Install-Recommends \"false\";".to_owned());
    let mut tool =
        Tool::new("mmdebstrap").args(["--variant=essential", "--format=tar", "--architectures=amd64"]);
    for option in options {
        tool = tool.arg(format!("--aptopt={option}"));
    }
    for path in EXCLUDED {
        tool = tool.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    tool.arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--include={}", packages.join(",")))
        .arg(archive::SUITE)
        .arg(archive)
        .arg(archive::source()?)
        .args(sources)
        .run()
}

/// A local archive with the stub package: `linux-image-amd64` depends on an initramfs generator, any of them.
fn stub_repository(directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("stub");
    write(
        &tree.join("DEBIAN/control"),
        &format!(
            "Package: {STUB}\nVersion: 1\nArchitecture: all\nMaintainer: keel <keel@localhost>\n\
         Provides: linux-initramfs-tool\nDescription: stands in for an initramfs generator\n"
        ),
    )?;
    let repository = directory.join("repository");
    fs::create_dir(&repository).context("the stub's archive can't be made")?;
    let package = repository.join("stub.deb");
    Tool::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(&tree)
        .arg(&package)
        .run()?;
    let control = Tool::new("dpkg-deb").arg("--field").arg(&package).output()?;
    let hash = Tool::new("sha256sum").arg(&package).output()?;
    let hash = hash.split_whitespace().next().unwrap_or_default();
    let size = fs::metadata(&package).context("the stub is gone")?.len();
    write(
        &repository.join("Packages"),
        &format!(
            "{}\nFilename: ./stub.deb\nSize: {size}\nSHA256: {hash}\n\n",
            control.trim_end()
        ),
    )?;
    // mmdebstrap's apt reads it as the user _apt.
    for path in [directory, &repository] {
        set_mode(path, 0o755)?;
    }
    Ok(repository)
}

/// Makes the two generations' archives and the builder's initrd out of the base.
fn derive(base: &Path, directory: &Path) -> Result<()> {
    let tree = directory.join("tree");
    unpack(base, &tree)?;
    set_cloud_kernel_aside(&tree, &directory.join("cloud"))?;
    first_generation(&tree)?;
    pack(&tree, &directory.join("gen1.tar"))?;
    let _ =
        fs::copy(tree.join("vmlinuz"), directory.join("vmlinuz")).context("the kernel can't be copied")?;
    builder_initrd::make(&tree, &directory.join("builder.cpio"))?;
    second_generation(&tree)?;
    pack(&tree, &directory.join("gen2.tar"))?;
    // `keel initrd` reads modules of a tree, and lvm with its libraries.
    let modules = directory.join("modules");
    for part in [
        "usr/lib/modules",
        "usr/lib/modprobe.d",
        "etc/modprobe.d",
        "usr/sbin/lvm",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib64",
    ] {
        let to = modules.join(part);
        fs::create_dir_all(to.parent().unwrap_or(&modules)).context("the modules can't be kept")?;
        if tree.join(part).exists() {
            fs::rename(tree.join(part), to).with_context(|| format!("{part} can't be kept"))?;
        }
    }
    fs::remove_dir_all(&tree).context("the tree can't be removed")
}

/// Unpacks an archive into a new directory.
pub(crate) fn unpack(archive: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("{} can't be made", to.display()))?;
    Tool::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(archive)
        .arg("-C")
        .arg(to)
        .run()
}

/// A system has one kernel: that for clouds is kept for the generation that has another one.
fn set_cloud_kernel_aside(tree: &Path, aside: &Path) -> Result<()> {
    let mut ordinary = None;
    for part in ["boot", "usr/lib/modules"] {
        fs::create_dir_all(aside.join(part)).context("the second kernel can't be kept")?;
        for entry in fs::read_dir(tree.join(part))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains("-cloud-") {
                fs::rename(entry.path(), aside.join(part).join(&name))
                    .context("the second kernel can't be kept")?;
            } else if name.starts_with("vmlinuz-") {
                ordinary = Some(name);
            }
        }
    }
    let link = tree.join("vmlinuz");
    let _ = fs::remove_file(&link);
    symlink(format!("boot/{}", ordinary.context("there is no kernel")?), &link)
        .context("the kernel can't be linked")
}

/// What makes a Debian tree the first generation of a test machine.
fn first_generation(tree: &Path) -> Result<()> {
    write(&tree.join("etc/hostname"), "keel\n")?;
    write(&tree.join("etc/hosts"), "127.0.0.1 localhost\n127.0.1.1 keel\n")?;
    write(
        &tree.join("etc/fstab"),
        "/dev/vg/root / ext4 defaults 0 1\n/dev/vg/swap none swap sw 0 0\n",
    )?;
    write(&tree.join("etc/motd"), "This is the first generation.\n")?;
    Tool::new("chroot")
        .arg(tree)
        .args([
            "useradd",
            "--create-home",
            "--uid",
            "1000",
            "--shell",
            "/bin/bash",
            USER,
        ])
        .run()
}

/// What the second generation has besides: another greeting, an account, and programs with privileges of all kinds.
///
/// `messagebus` gets another number here, and the new account the one that `messagebus` has in the first generation, as
/// it happens when packages are installed in another order.
fn second_generation(tree: &Path) -> Result<()> {
    write(&tree.join("etc/motd"), "This is the second generation.\n")?;
    let old = account_number(tree, "messagebus")?;
    let new = old - 300;
    for file in ["etc/passwd", "etc/group"] {
        let path = tree.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("{file} can't be read"))?;
        write(
            &path,
            &text
                .replace(&format!(":x:{old}:{old}:"), &format!(":x:{new}:{new}:"))
                .replace(&format!("messagebus:x:{old}:"), &format!("messagebus:x:{new}:")),
        )?;
    }
    Tool::new("find")
        .arg(tree)
        .args(["-xdev", "-gid", &old.to_string()])
        .args(["-exec", "chgrp", "-h", &new.to_string(), "{}", "+"])
        .run()?;
    // chgrp took the setuid bit away.
    set_mode(&tree.join("usr/lib/dbus-1.0/dbus-daemon-launch-helper"), 0o4754)?;
    let chroot = |arguments: &[&str]| Tool::new("chroot").arg(tree).args(arguments).run();
    chroot(&["groupadd", "--system", "--gid", &old.to_string(), NEW_ACCOUNT])?;
    chroot(&[
        "useradd",
        "--system",
        "--uid",
        &old.to_string(),
        "--gid",
        NEW_ACCOUNT,
        "--home-dir",
        "/nonexistent",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        NEW_ACCOUNT,
    ])?;
    let directory = tree.join(PRIVILEGED.trim_start_matches('/'));
    fs::create_dir(&directory).context("the directory of privileged programs can't be made")?;
    let copy = |program: &str, name: &str, mode: u32| -> Result<PathBuf> {
        let path = directory.join(name);
        let _ = fs::copy(tree.join("usr/bin").join(program), &path)
            .with_context(|| format!("{name} can't be made"))?;
        chown(&path, Some(0), Some(old)).with_context(|| format!("{name} can't be owned"))?;
        set_mode(&path, mode)?;
        Ok(path)
    };
    let _ = copy("id", "id-setuid", 0o4755)?;
    let _ = copy("id", "id-setuid-group-only", 0o4750)?;
    let _ = copy("id", "id-setgid", 0o2755)?;
    let capable = copy("cat", "cat-anything", 0o755)?;
    Tool::new("setcap")
        .arg("cap_dac_read_search+ep")
        .arg(&capable)
        .run()?;
    symlink("id-setgid", directory.join("link")).context("a link can't be made")
}

/// The number that the user `name` has in `tree`.
fn account_number(tree: &Path, name: &str) -> Result<u32> {
    let passwd = fs::read_to_string(tree.join("etc/passwd")).context("etc/passwd can't be read")?;
    passwd
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("{name}:x:")))
        .find_map(|rest| rest.split(':').next()?.parse().ok())
        .with_context(|| format!("{name} isn't in etc/passwd"))
}

fn pack(tree: &Path, archive: &Path) -> Result<()> {
    Tool::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "--sort=name",
            "-cf",
        ])
        .arg(archive)
        .arg("-C")
        .arg(tree)
        .arg(".")
        .run()
}

pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("{} can't be written", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(failed)?;
    }
    fs::write(path, text).with_context(failed)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("{} can't get mode {mode:o}", path.display()))
}
