//! The machine for live switches: generations that differ in one thing each, and a disk whose root needs no passphrase.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::disk::{Bus, Disk, make_sparse};
use crate::image_cache::{Cache, Key};
use crate::keel::{Import, Keel};
use crate::layout::{EMULATED, ROOT_UUID};
use crate::process::Tool;
use crate::rootfs::{RootFileSystems, USER, set_mode, unpack, write};

/// Room that the root file system has beside what is in it, in MiB.
const FREE_MIB: u64 = 300;
const ESP_MIB: u64 = 256;
const MIB: u64 = 1 << 20;
/// Where the test's programs are, in all generations.
pub(crate) const PROGRAMS: &str = "usr/lib/keeltest";
const UNITS: &str = "usr/lib/systemd/system";

/// A generation of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gen {
    /// What the machine runs at first.
    Base,
    /// Units, programs, a library and configuration files are others.
    Changed,
    /// dbus, systemd and the kernel are others.
    Deep,
    /// Its health check fails.
    Sick,
    /// Its C library is broken.
    Broken,
    /// A service has to be stopped that doesn't stop.
    Hanging,
    /// Its boot panics.
    Panics,
    /// Its boot hangs.
    Hangs,
    /// One unit is another.
    One,
}

impl Gen {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Gen; 9] = [
        Gen::Base,
        Gen::Changed,
        Gen::Deep,
        Gen::Sick,
        Gen::Broken,
        Gen::Hanging,
        Gen::Panics,
        Gen::Hangs,
        Gen::One,
    ];

    /// Its number in the profile.
    pub(crate) fn number(self) -> usize {
        Gen::ALL.iter().position(|gen_| *gen_ == self).unwrap_or(0) + 1
    }

    /// Further kernel parameters.
    fn parameter(self) -> Option<&'static str> {
        match self {
            Gen::Panics => Some("init=/usr/bin/true"),
            Gen::Hangs => Some("init=/usr/lib/keeltest/same"),
            _ => None,
        }
    }
}

/// What was made.
#[derive(Clone, Debug)]
pub(crate) struct Switching {
    disk: PathBuf,
}

impl Switching {
    /// Makes it, or takes it from the cache.
    pub(crate) fn make(cache: &Cache, keel: &Keel, systems: &RootFileSystems) -> Result<Switching> {
        let recipe = [
            include_str!("switching.rs"),
            include_str!("keel.rs"),
            include_str!("../guest/programs/worker.c"),
            include_str!("../guest/programs/server.c"),
            include_str!("../guest/programs/library.c"),
        ]
        .concat();
        let key = Key::of([keel.key()?.as_ref(), systems.key.as_ref(), recipe.as_bytes()]);
        let directory = cache.get("switching", &key, |directory| make(keel, systems, directory))?;
        Ok(Switching {
            disk: directory.join("disk.raw"),
        })
    }

    /// Its disk.
    pub(crate) fn disk(&self) -> Disk {
        Disk::raw(&self.disk, Bus::Virtio { block_bytes: 512 }, "keel0")
    }
}

/// What the kernel is told.
pub(crate) fn parameters() -> Vec<String> {
    let root = format!("root=UUID={ROOT_UUID}");
    [
        &root,
        "rootfstype=ext4",
        "console=tty0",
        "console=ttyS0,115200",
        "quiet",
    ]
    .into_iter()
    .chain(EMULATED)
    .map(str::to_owned)
    .collect()
}

fn make(keel: &Keel, systems: &RootFileSystems, directory: &Path) -> Result<()> {
    let tree = directory.join("tree");
    unpack(&systems.first, &tree)?;
    let programs = directory.join("programs");
    compile(&programs)?;
    let root = directory.join("root");
    fs::create_dir(&root).context("the root can't be made")?;
    let initrd = directory.join("initrd");
    keel.initrd(&systems.modules, "common", &initrd)?;
    let cloud_initrd = directory.join("initrd-cloud");
    // The kernel for clouds has no drivers of real disks and keyboards.
    keel.initrd_with(&systems.cloud, "minimal", &["virtio_blk"], &cloud_initrd)?;
    base(&tree, &programs)?;
    for generation in Gen::ALL {
        let is_base = matches!(generation, Gen::Base | Gen::Panics | Gen::Hangs);
        let copy = if is_base {
            tree.clone()
        } else {
            directory.join("generation")
        };
        if !is_base {
            copy_tree(&tree, &copy)?;
        }
        let health = directory.join("health.toml");
        write(&health, "[health]\nsettle = 3\n")?;
        match generation {
            Gen::Base | Gen::Panics | Gen::Hangs => {}
            Gen::Changed => {
                changed(&copy, &programs)?;
                write(&health, CHECKS)?;
            }
            Gen::Deep => deep(&copy, systems)?,
            Gen::Sick => {
                let loops = "Restart=always\nRestartSec=100ms\nStartLimitIntervalSec=0\n";
                let text = format!("[Service]\nExecStart=/usr/bin/false\n{loops}");
                unit(&copy, "kt-text.service", &text)?;
                write(
                    &health,
                    "[health]\nsettle = 1\n[health.checks.page]\nhttp = \"http://127.0.0.1:9/\"\ndeadline = 3\n",
                )?;
            }
            Gen::One => {
                unit(&copy, "kt-text.service", &service("worker text-alone", ""))?;
                write(&health, "[health]\nsettle = 0\n")?;
            }
            Gen::Broken => write(&copy.join("usr/lib/x86_64-linux-gnu/libc.so.6"), "broken\n")?,
            Gen::Hanging => unit(
                &copy,
                "kt-stubborn.service",
                &service(
                    "worker stubborn",
                    "Environment=NEW=1\nTimeoutStopSec=infinity\nX-Switch=stop-start\n",
                ),
            )?,
        }
        let mut parameters = parameters();
        parameters.extend(generation.parameter().map(str::to_owned));
        keel.import_with(&Import {
            root: &root,
            rootfs: &copy,
            parameters: &parameters,
            initrd: Some(if generation == Gen::Deep {
                &cloud_initrd
            } else {
                &initrd
            }),
            health: Some(&health),
            keep_current: true,
        })?;
        if !is_base {
            fs::remove_dir_all(&copy).context("a generation's tree can't be removed")?;
        }
    }
    fs::remove_dir_all(&tree).context("the tree can't be removed")?;
    let esp = directory.join("esp");
    fs::create_dir(&esp).context("the ESP can't be made")?;
    keel.boot_update(&root, &esp)?;
    partition(&root, &esp, directory)
}

/// Compiles the test's programs: two versions of each that changes.
fn compile(to: &Path) -> Result<()> {
    fs::create_dir(to).context("the programs can't be made")?;
    let source = |name: &str| std::path::absolute(format!("qemu-tests/guest/programs/{name}.c"));
    let gcc = |arguments: &[&str], label: &str, output: &str| -> Result<Tool> {
        Ok(Tool::new("gcc")
            .args(["-O1", "-Wall"])
            .arg(format!("-DLABEL=\"{label}\""))
            .arg("-o")
            .arg(to.join(output))
            .args(arguments))
    };
    gcc(&[], "same", "worker")?.arg(source("worker")?).run()?;
    for version in ["one", "two"] {
        gcc(&[], version, &format!("binary-{version}"))?
            .arg(source("worker")?)
            .run()?;
        gcc(&[], version, &format!("server-{version}"))?
            .arg(source("server")?)
            .run()?;
        gcc(
            &["-shared", "-fPIC", "-Wl,-soname,libkeeltest.so.1"],
            version,
            &format!("library-{version}"),
        )?
        .arg(source("library")?)
        .run()?;
    }
    gcc(&["-DWITH_LIBRARY"], "none", "uses-library")?
        .arg(source("worker")?)
        .arg(to.join("library-one"))
        .run()
}

fn service(command: &str, more: &str) -> String {
    format!("[Unit]\nDescription=test\n[Service]\nExecStart=/{PROGRAMS}/{command}\n{more}")
}

fn unit(tree: &Path, name: &str, text: &str) -> Result<()> {
    write(&tree.join(UNITS).join(name), text)
}

fn wanted(tree: &Path, by: &str, name: &str, unit: &str) -> Result<()> {
    let directory = tree.join("etc/systemd/system").join(format!("{by}.wants"));
    fs::create_dir_all(&directory).context("a wants directory can't be made")?;
    let link = directory.join(name);
    let _ = fs::remove_file(&link);
    symlink(format!("/{UNITS}/{unit}"), &link).context("a unit can't be enabled")
}

fn install(tree: &Path, programs: &Path, from: &str, to: &str) -> Result<()> {
    let target = tree.join(to);
    fs::create_dir_all(target.parent().unwrap_or(tree)).context("a directory can't be made")?;
    let _ = fs::copy(programs.join(from), &target).with_context(|| format!("{to} can't be made"))?;
    set_mode(&target, 0o755)
}

const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libkeeltest.so.1";

/// What all generations have.
fn base(tree: &Path, programs: &Path) -> Result<()> {
    fstab(
        tree,
        &[
            "tmpfs /srv/kt-line-gone tmpfs size=1m",
            "tmpfs /srv/kt-line tmpfs size=1m",
        ],
    )?;
    for (from, to) in [
        ("worker", "worker"),
        ("worker", "same"),
        ("binary-one", "binary"),
        ("server-one", "server"),
        ("uses-library", "uses-library"),
    ] {
        install(tree, programs, from, &format!("{PROGRAMS}/{to}"))?;
    }
    install(tree, programs, "library-one", LIBRARY)?;
    for (name, text) in [
        ("config.conf", "WORD=one\n"),
        ("reload.conf", "one\n"),
        ("hidden.conf", "one\n"),
        ("followed.conf", "one\n"),
    ] {
        write(&tree.join("etc/keeltest").join(name), text)?;
    }
    let services = [
        ("kt-text", service("worker text-one", "")),
        ("kt-binary", service("binary", "")),
        ("kt-library", service("uses-library", "")),
        (
            "kt-config",
            service("worker $WORD", "EnvironmentFile=/etc/keeltest/config.conf\n"),
        ),
        (
            "kt-reload",
            service(
                "worker /etc/keeltest/reload.conf",
                "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'\n",
            ),
        ),
        ("kt-removed", service("worker removed", "")),
        ("kt-masked", service("worker masked", "")),
        ("kt-same", service("same", "")),
        (
            "kt-stubborn",
            service("worker stubborn", "TimeoutStopSec=infinity\nX-Switch=keep\n"),
        ),
        (
            "kt-protect",
            service(
                "worker protect",
                "ProtectKernelModules=yes\nReadOnlyPaths=/etc/keeltest\n",
            ),
        ),
    ];
    for (name, text) in services {
        let name = format!("{name}.service");
        unit(tree, &name, &text)?;
        wanted(tree, "multi-user.target", &name, &name)?;
    }
    unit(tree, "kt-template@.service", &service("worker %i-one", ""))?;
    wanted(
        tree,
        "multi-user.target",
        "kt-template@x.service",
        "kt-template@.service",
    )?;
    unit(
        tree,
        "kt-socket.socket",
        "[Socket]\nListenStream=127.0.0.1:7000\n",
    )?;
    unit(tree, "kt-socket.service", &service("server", ""))?;
    wanted(tree, "sockets.target", "kt-socket.socket", "kt-socket.socket")?;
    unit(tree, "kt-timer.timer", "[Timer]\nOnCalendar=yearly\n")?;
    unit(
        tree,
        "kt-timer.service",
        "[Service]\nType=oneshot\nExecStart=/usr/bin/true\n",
    )?;
    wanted(tree, "timers.target", "kt-timer.timer", "kt-timer.timer")?;
    mount(tree, "size=1m")?;
    wanted(
        tree,
        "multi-user.target",
        "srv-keeltest.mount",
        "srv-keeltest.mount",
    )?;
    let chroot = |arguments: &[&str]| Tool::new("chroot").arg(tree).args(arguments).run();
    chroot(&["groupadd", "ktgroup"])?;
    chroot(&["usermod", "--append", "--groups", "ktgroup", USER])
}

/// The table of the machine's file systems, with some of the test's.
fn fstab(tree: &Path, lines: &[&str]) -> Result<()> {
    let own = format!("UUID={ROOT_UUID} / ext4 defaults 0 1");
    let mut all = vec![
        own.as_str(),
        "/dev/disk/by-partlabel/esp /boot vfat umask=0077 0 0",
    ];
    all.extend(lines);
    let text = all.join("\n") + "\n";
    write(&tree.join("etc/fstab"), &text)
}

fn mount(tree: &Path, options: &str) -> Result<()> {
    unit(
        tree,
        "srv-keeltest.mount",
        &format!("[Mount]\nWhat=tmpfs\nWhere=/srv/keeltest\nType=tmpfs\nOptions={options}\n"),
    )
}

/// Checks that succeed, of every kind but the one whose failure [`Gen::Sick`] shows.
const CHECKS: &str = r#"[health]
settle = 3
checks.port.tcp = "127.0.0.1:7000"
checks.unit.unit = "kt-added.service"
checks.command.command = ["/usr/bin/test", "-e", "/srv/kt-line-new"]
"#;

/// [`Gen::Changed`].
fn changed(tree: &Path, programs: &Path) -> Result<()> {
    unit(tree, "kt-text.service", &service("worker text-two", ""))?;
    install(tree, programs, "binary-two", &format!("{PROGRAMS}/binary"))?;
    install(tree, programs, "server-two", &format!("{PROGRAMS}/server"))?;
    install(tree, programs, "library-two", LIBRARY)?;
    for (name, text) in [
        ("config.conf", "WORD=two\n"),
        ("reload.conf", "two\n"),
        ("hidden.conf", "two\n"),
        ("followed.conf", "two\n"),
    ] {
        write(&tree.join("etc/keeltest").join(name), text)?;
    }
    fs::remove_file(tree.join(UNITS).join("kt-removed.service")).context("a unit can't be removed")?;
    fs::remove_file(tree.join("etc/systemd/system/multi-user.target.wants/kt-removed.service"))
        .context("a unit can't be disabled")?;
    symlink("/dev/null", tree.join("etc/systemd/system/kt-masked.service"))
        .context("a unit can't be masked")?;
    unit(tree, "kt-added.service", &service("worker added", ""))?;
    wanted(tree, "multi-user.target", "kt-added.service", "kt-added.service")?;
    unit(tree, "kt-template@.service", &service("worker %i-two", ""))?;
    unit(tree, "kt-timer.timer", "[Timer]\nOnCalendar=monthly\n")?;
    mount(tree, "size=2m")?;
    fstab(
        tree,
        &[
            "tmpfs /srv/kt-line tmpfs size=2m",
            "tmpfs /srv/kt-line-new tmpfs size=1m",
        ],
    )?;
    Tool::new("chroot")
        .arg(tree)
        .args(["gpasswd", "--delete", USER, "ktgroup"])
        .run()
}

/// [`Gen::Deep`].
fn deep(tree: &Path, systems: &RootFileSystems) -> Result<()> {
    use std::io::Write;
    for program in ["usr/bin/dbus-daemon", "usr/lib/systemd/systemd"] {
        let path = tree.join(program);
        // What follows an ELF file's last section is nobody's: the program is another, and does the same.
        let mut bytes = fs::read(&path).with_context(|| format!("{program} can't be read"))?;
        bytes.extend(b"another build\n");
        let mode = fs::metadata(&path)?.permissions();
        fs::remove_file(&path)?;
        fs::File::create(&path)?.write_all(&bytes)?;
        fs::set_permissions(&path, mode)?;
    }
    for part in ["boot", "usr/lib/modules"] {
        fs::remove_dir_all(tree.join(part)).with_context(|| format!("{part} can't be removed"))?;
        copy_tree(&systems.cloud.join(part), &tree.join(part))?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    Tool::new("cp")
        .args(["--archive", "--reflink=auto"])
        .arg(from)
        .arg(to)
        .run()
}

/// A disk with an ESP and the root, made without mounting anything.
fn partition(root: &Path, esp: &Path, directory: &Path) -> Result<()> {
    let image = directory.join("root.ext4");
    let root_mib = crate::made::image(root, &image, FREE_MIB)?;
    let fat = directory.join("esp.fat");
    make_sparse(&fat, ESP_MIB * MIB)?;
    Tool::new("mkfs.vfat")
        .args(["-F", "32", "-n", "ESP"])
        .arg(&fat)
        .run()?;
    let mut copy = Tool::new("mcopy").args(["-s", "-i"]).arg(&fat);
    for entry in fs::read_dir(esp)? {
        copy = copy.arg(entry?.path());
    }
    copy.arg("::/").run()?;
    let disk = directory.join("disk.raw");
    make_sparse(&disk, (ESP_MIB + root_mib + 4) * MIB)?;
    Tool::new("sfdisk")
        .arg("--quiet")
        .arg(&disk)
        .input(format!(
            "label: gpt\nstart=1MiB, size={ESP_MIB}MiB, type=U, name=esp\nsize={root_mib}MiB, type=L, name=root\n"
        ))
        .run()?;
    for (part, at) in [(&fat, 1), (&image, 1 + ESP_MIB)] {
        Tool::new("dd")
            .arg(format!("if={}", part.display()))
            .arg(format!("of={}", disk.display()))
            .args(["bs=1M", "conv=notrunc,sparse", "status=none"])
            .arg(format!("seek={at}"))
            .run()?;
        fs::remove_file(part)?;
    }
    Ok(())
}
