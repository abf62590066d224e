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

fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}
