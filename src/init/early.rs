//! The file systems that everything else needs: proc, sysfs, devtmpfs, run.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// A file system that could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("{kind} can't be mounted on {target}: {errno}; was the kernel built without it?")]
pub struct EarlyError {
    kind: &'static str,
    target: &'static str,
    errno: Errno,
}

/// Mounts what a kernel leaves to `/init`, with the flags that systemd uses (systemd, src/shared/mount-setup.c).
pub(super) fn mount_api_file_systems() -> Result<(), EarlyError> {
    let secure = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    let table: [(&str, &str, MsFlags, Option<&str>); 4] = [
        ("proc", "/proc", secure, None),
        ("sysfs", "/sys", secure, None),
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID, Some("mode=0755")),
        (
            "tmpfs",
            "/run",
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=0755,size=20%"),
        ),
    ];
    for (kind, target, flags, data) in table {
        make_directory(Path::new(target)).map_err(|_| EarlyError {
            kind,
            target,
            errno: Errno::EIO,
        })?;
        match mount(Some(kind), target, Some(kind), flags, data) {
            // A kernel with CONFIG_DEVTMPFS_MOUNT may have been there first.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(errno) => return Err(EarlyError { kind, target, errno }),
        }
    }
    Ok(())
}

/// Mounts `/run/lock` where the chosen system has a unit for it, as that unit does (Debian's `run-lock.mount`). Nothing
/// orders programs of LVM after the unit, and one that has made `/run/lock/lvm` before the mount hides it fails.
pub(super) fn mount_locks(root: &Path) -> Result<(), EarlyError> {
    const TARGET: &str = "/run/lock";
    if !root.join("usr/lib/systemd/system/run-lock.mount").exists() {
        return Ok(());
    }
    let fails = |errno| EarlyError {
        kind: "tmpfs",
        target: TARGET,
        errno,
    };
    make_directory(Path::new(TARGET)).map_err(|_| fails(Errno::EIO))?;
    // A second attempt finds it mounted.
    if nix::sys::stat::stat(TARGET).map(|found| found.st_dev)
        != nix::sys::stat::stat("/run").map(|run| run.st_dev)
    {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        TARGET,
        Some("tmpfs"),
        flags,
        Some("mode=1777,size=5242880"),
    )
    .map_err(fails)
}

fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}
