//! The hand-off: from the initrd's root to the real one, and systemd in our place as PID 1.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{chdir, chroot, execv};

use crate::sys::open_in_root::RootDir;

/// The first program of the real root, when `init=` names no other.
pub(super) const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Whether `init=` means the chosen generation's systemd.
pub(super) fn is_systemd(init: &str) -> bool {
    init.ends_with("/systemd") || init == "/sbin/init"
}

/// A step of the hand-off that failed. Before the root is switched the caller can still offer another generation.
#[derive(Debug, thiserror::Error)]
#[error("the hand-off failed while {step}: {source}")]
pub struct HandOffError {
    step: String,
    source: io::Error,
}

fn failed(step: impl Into<String>) -> impl FnOnce(io::Error) -> HandOffError {
    let step = step.into();
    move |source| HandOffError { step, source }
}

fn failed_nix(step: impl Into<String>) -> impl FnOnce(Errno) -> HandOffError {
    let step = step.into();
    move |errno| HandOffError {
        step,
        source: errno.into(),
    }
}

/// When the initrd began, for `systemd-analyze`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    /// `CLOCK_REALTIME`, microseconds.
    pub realtime_usec: u64,
    /// `CLOCK_MONOTONIC`, microseconds.
    pub monotonic_usec: u64,
}

/// Checks, before anything is moved, that `init` can be executed inside of `root`.
pub(super) fn check_init(root: &Path, init: &str) -> Result<(), HandOffError> {
    let found = RootDir::open(root).and_then(|root| root.open_at(init, OFlag::O_PATH));
    let fd = found.map_err(failed(format!("looking for {init} in the chosen generation")))?;
    let metadata = File::from(fd)
        .metadata()
        .map_err(failed(format!("looking at {init}")))?;
    if metadata.is_file() && metadata.mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(failed(format!("looking at {init}"))(io::Error::other(
            "it isn't an executable file",
        )))
    }
}

/// Moves the API file systems, empties the initrd, makes `root` the root and executes `init`. Returns only on failure.
pub(super) fn switch_root(
    root: &Path,
    init: &str,
    started: Started,
) -> Result<std::convert::Infallible, HandOffError> {
    let state = systemd_state(started).map_err(failed("writing systemd's timestamps"))?;
    for name in ["dev", "proc", "sys", "run"] {
        let from = Path::new("/").join(name);
        mount(
            Some(&from),
            &root.join(name),
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )
        .map_err(failed_nix(format!("moving /{name}")))?;
    }
    chdir(root).map_err(failed_nix(format!("entering {}", root.display())))?;
    empty_initrd();
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(failed_nix("moving the root"))?;
    chroot(".").map_err(failed_nix("changing the root"))?;
    chdir("/").map_err(failed_nix("entering the new root"))?;

    let string = |text: &str| CString::new(text).map_err(|error| failed("preparing arguments")(error.into()));
    let descriptor = state.as_raw_fd().to_string();
    let mut arguments = vec![string(init)?];
    if is_systemd(init) {
        for argument in ["--switched-root", "--system", "--deserialize", &descriptor] {
            arguments.push(string(argument)?);
        }
    }
    execv(&string(init)?, &arguments).map_err(failed_nix(format!("executing {init}")))
}

/// systemd's serialised state, of which only the initrd's start is set (systemd, src/core/manager-serialize.c).
fn systemd_state(started: Started) -> io::Result<OwnedFd> {
    // Without MFD_CLOEXEC: systemd inherits it.
    let mut file = File::from(memfd_create(c"systemd-state", MFdFlags::empty())?);
    writeln!(
        file,
        "initrd-timestamp={} {}",
        started.realtime_usec, started.monotonic_usec
    )?;
    writeln!(file)?;
    file.rewind()?;
    Ok(file.into())
}

/// Frees the memory of the initrd: everything on the file system of `/`, nothing on another one, and nothing at all
/// unless `/` lives in memory. Started by mistake on a real root, this would be the end of it.
fn empty_initrd() {
    let in_memory = statfs("/").is_ok_and(|found| {
        let kind = found.filesystem_type();
        kind == TMPFS_MAGIC || kind.0 == RAMFS_MAGIC
    });
    let Ok(root) = fs::symlink_metadata("/") else {
        return;
    };
    if in_memory {
        remove_below(Path::new("/"), root.dev());
    }
}

/// Linux, include/uapi/linux/magic.h
const RAMFS_MAGIC: nix::libc::__fsword_t = 0x8584_58f6;

fn remove_below(directory: &Path, device: u64) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for path in entries {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            remove_below(&path, device);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}
