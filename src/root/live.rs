//! The live replacement: `/usr` and `/etc` of a running system become those of another, and at no instant is one of
//! them absent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::assemble::{AssembleError, ETC_IMAGE, Request, USR_IMAGE, trees};
use super::images;
use super::mountinfo::{self, Mount};
use crate::sys::mount::{DetachedMount, MountError};

/// The mount table of this process.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Why a running system keeps its trees.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The new trees can't be made.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The mount table can't be read.
    #[error("{MOUNTS} can't be read: {0}")]
    Mounts(#[source] io::Error),
    /// The place where the trees are prepared.
    #[error("the new trees can't be prepared in {path}: {source}")]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is mounted where the new tree has no place for it.
    #[error(
        "{0} is a mount point, and the new system has no such file or directory; unmount it (systemctl stop its \
         mount unit) or switch by a reboot (keel boot)"
    )]
    NoPlace(PathBuf),
    /// The kernel refused.
    #[error("{target} can't be replaced while the system runs: {source}")]
    Replace {
        /// `/usr` or `/etc`.
        target: &'static str,
        /// What the kernel said.
        source: MountError,
    },
}

/// Puts the trees of `request.system` in the place of those that `/usr` and `/etc` show now.
///
/// What is mounted below them is carried over. The new trees slide beneath the old ones, which then go
/// (`MOVE_MOUNT_BENEATH`, Linux 6.5). Until the first slide nothing has changed; calling it again is harmless.
/// `request.scratch` must be a directory of its own, on a file system that is neither of the trees.
pub fn replace_live(request: &Request<'_>) -> Result<(), LiveError> {
    let scratch = Scratch::make(request.scratch)?;
    let trees = trees(request)?;
    let table = fs::read(MOUNTS).map_err(LiveError::Mounts)?;
    let mounts = mountinfo::parse(&table);
    let mut prepared = Vec::new();
    for (target, tree, image) in [("/usr", trees.usr, USR_IMAGE), ("/etc", trees.etc, ETC_IMAGE)] {
        let aside = scratch.path.join("new").join(target.trim_start_matches('/'));
        images::make_directory(&aside).map_err(AssembleError::Image)?;
        images::attach(tree, &aside, image).map_err(AssembleError::Image)?;
        let old = mountinfo::top_of(&mounts, Path::new(target)).map(|mount| mount.device.as_str());
        for submount in mountinfo::below(&mounts, Path::new(target)) {
            let is_part = old == Some(&submount.device);
            carry_over(submount, is_part, Path::new(target), &aside)?;
        }
        let whole =
            DetachedMount::copy_of(&aside, true).map_err(|source| LiveError::Replace { target, source })?;
        prepared.push((target, whole));
    }
    for (target, tree) in prepared {
        slide(target, tree).map_err(|source| LiveError::Replace { target, source })?;
    }
    Ok(())
}

/// Attaches a copy of `submount`, which is below `target`, at the same place below `aside`. One that shows a part of the
/// old tree shows that part of the new one.
fn carry_over(submount: &Mount, is_part: bool, target: &Path, aside: &Path) -> Result<(), LiveError> {
    let Ok(relative) = submount.mount_point.strip_prefix(target) else {
        return Ok(());
    };
    let place = aside.join(relative);
    let is_directory = |path: &Path| fs::metadata(path).map(|found| found.is_dir());
    match (is_directory(&place), is_directory(&submount.mount_point)) {
        (Ok(here), Ok(there)) if here == there => {}
        _ => return Err(LiveError::NoPlace(submount.mount_point.clone())),
    }
    let from = if is_part {
        aside.join(submount.root.strip_prefix("/").unwrap_or(&submount.root))
    } else {
        submount.mount_point.clone()
    };
    DetachedMount::copy_of(&from, false)
        .and_then(|copy| copy.attach(&place))
        .map_err(|source| LiveError::Replace {
            target: if target == Path::new("/etc") {
                "/etc"
            } else {
                "/usr"
            },
            source,
        })
}

fn slide(target: &str, tree: DetachedMount) -> Result<(), MountError> {
    tree.attach_beneath(Path::new(target))?;
    // The old tree stays alive for the processes that use files of it.
    umount2(target, MntFlags::MNT_DETACH).map_err(|errno| MountError {
        step: format!("detaching the old {target}"),
        errno,
        messages: Vec::new(),
    })
}

/// A file system in memory that no other mount namespace is told of, where the trees are prepared.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn make(path: &Path) -> Result<Scratch, LiveError> {
        let error = |source| LiveError::Scratch {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(error)?;
        mount(
            Some("keel-next"),
            path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=1m,mode=0700"),
        )
        .map_err(|errno| error(errno.into()))?;
        let scratch = Scratch {
            path: path.to_owned(),
        };
        // A mount can't be moved from below a shared one.
        mount(
            None::<&str>,
            path,
            None::<&str>,
            MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .map_err(|errno| error(errno.into()))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays mounted in memory harms nobody, and the next boot begins without it.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.path);
    }
}
