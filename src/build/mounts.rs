//! The file system that a builder sees.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use super::inside::StageError;
use super::spec::{Input, Sandbox};
use super::{BUILD_DIRECTORY, BUILDER_GID, BUILDER_UID};
use crate::sys::mount::{MountAttributes, set_attributes};

/// Devices that tell nothing of the machine.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];
/// What names resolve by; only with the host's network.
const NETWORK_FILES: [&str; 4] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/services",
    "/etc/nsswitch.conf",
];

/// Makes the root, and enters it. PID 1 of the sandbox does, as root of its user namespace.
pub(super) fn enter(sandbox: &Sandbox) -> Result<(), StageError> {
    let root = &sandbox.root;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(StageError::at("making all mounts private"))?;
    bind(root, root, Access::Write)?;
    directories(sandbox)?;
    for input in &sandbox.inputs {
        place(root, input)?;
    }
    bind(
        &sandbox.build_directory,
        &below(root, Path::new(BUILD_DIRECTORY)),
        Access::Write,
    )?;
    devices(root)?;
    let proc = root.join("proc");
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &proc, Some("proc"), quiet, none).map_err(StageError::at("mounting /proc"))?;
    if sandbox.has_network {
        for path in NETWORK_FILES.map(Path::new) {
            if path.exists() {
                let source = fs::canonicalize(path).map_err(StageError::file(path))?;
                let target = path.to_owned();
                place(root, &Input { source, target })?;
            }
        }
    }

    std::env::set_current_dir(root).map_err(StageError::file(root))?;
    pivot_root(".", ".").map_err(StageError::at("pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(StageError::at("leaving the host's root"))?;
    std::env::set_current_dir(BUILD_DIRECTORY).map_err(StageError::file(Path::new(BUILD_DIRECTORY)))
}

fn directories(sandbox: &Sandbox) -> Result<(), StageError> {
    let root = &sandbox.root;
    for (path, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("dev/shm", 0o1777),
        ("dev/pts", 0o755),
        ("etc", 0o755),
        ("proc", 0o555),
        ("tmp", 0o1777),
        (BUILD_DIRECTORY.trim_start_matches('/'), 0o755),
        (sandbox.store_dir.trim_start_matches('/'), 0o1775),
    ] {
        let path = root.join(path);
        fs::create_dir_all(&path).map_err(StageError::file(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(StageError::file(&path))?;
    }
    // The builder makes outputs there, and can't remove what isn't its own.
    let store = below(root, Path::new(&sandbox.store_dir));
    let group = if sandbox.is_root { 0 } else { BUILDER_GID };
    std::os::unix::fs::chown(&store, Some(0), Some(group)).map_err(StageError::file(&store))?;

    let (user, home) = if sandbox.is_root {
        (String::new(), "/build")
    } else {
        let user = format!("nixbld:x:{BUILDER_UID}:{BUILDER_GID}:builder:{BUILD_DIRECTORY}:/noshell\n");
        (user, "/build")
    };
    let passwd = format!("root:x:0:0:root:{home}:/noshell\n{user}nobody:x:65534:65534:nobody:/:/noshell\n");
    let group = format!("root:x:0:\nnixbld:!:{BUILDER_GID}:\nnogroup:x:65534:\n");
    for (name, text) in [
        ("etc/passwd", passwd.as_str()),
        ("etc/group", group.as_str()),
        ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ] {
        let path = root.join(name);
        fs::write(&path, text).map_err(StageError::file(&path))?;
    }
    Ok(())
}

fn devices(root: &Path) -> Result<(), StageError> {
    for name in DEVICES {
        let (source, target) = (Path::new("/dev").join(name), root.join("dev").join(name));
        drop(File::create(&target).map_err(StageError::file(&target))?);
        bind(&source, &target, Access::Device)?;
    }
    let terminals = root.join("dev/pts");
    let options = Some("newinstance,mode=0620,ptmxmode=0666");
    mount(
        Some("devpts"),
        &terminals,
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        options,
    )
    .map_err(StageError::at("mounting /dev/pts"))?;
    for (target, link) in [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ] {
        let link = root.join("dev").join(link);
        symlink(target, &link).map_err(StageError::file(&link))?;
    }
    Ok(())
}

/// Shows a path of the host's, read only. A link is copied: what it leads to is looked for in the sandbox.
fn place(root: &Path, input: &Input) -> Result<(), StageError> {
    let target = below(root, &input.target);
    let metadata = input
        .source
        .symlink_metadata()
        .map_err(StageError::file(&input.source))?;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(StageError::file(parent))?;
    }
    if metadata.is_symlink() {
        let to = fs::read_link(&input.source).map_err(StageError::file(&input.source))?;
        return symlink(to, &target).map_err(StageError::file(&target));
    }
    if metadata.is_dir() {
        fs::create_dir(&target)
    } else {
        File::create(&target).map(drop)
    }
    .or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })
    .map_err(StageError::file(&target))?;
    bind(&input.source, &target, Access::Read)
}

/// What a builder may do with what it's shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    /// Use it as a device.
    Device,
}

fn bind(source: &Path, target: &Path, access: Access) -> Result<(), StageError> {
    let none = None::<&str>;
    mount(
        Some(source),
        target,
        none,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        none,
    )
    .map_err(StageError::at(&format!(
        "showing {} to the builder",
        source.display()
    )))?;
    // No program gets another user's rights, wherever somebody reaches what the builder made.
    let attributes = MountAttributes {
        read_only: access == Access::Read,
        no_setuid: true,
        no_devices: access != Access::Device,
        no_exec: access == Access::Device,
    };
    Ok(set_attributes(target, attributes)?)
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
