//! Mounting the two images of a system.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::sys::mount::{DetachedMount, FsContext, MountAttributes, MountError};

/// Why an image could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image itself.
    #[error("image {image} can't be mounted: {source}")]
    Image {
        /// The image's name in the system.
        image: String,
        /// What the kernel said.
        source: MountError,
    },
    /// The overlay that joins image and contents.
    #[error("{mount_point} can't be mounted from {image}: {source}")]
    Overlay {
        /// Where the tree was to appear.
        mount_point: PathBuf,
        /// The image's name in the system.
        image: String,
        /// What the kernel said.
        source: MountError,
    },
    /// A directory that mounting needs.
    #[error("{path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why it can't be made or opened.
        source: io::Error,
    },
}

/// An image with its contents.
pub(super) struct Image<'a> {
    /// `usr.cfs` or `etc.cfs`, for messages.
    pub name: &'a str,
    /// The open image file.
    pub file: BorrowedFd<'a>,
    /// The open directory of objects.
    pub objects: BorrowedFd<'a>,
    /// Trees below the image: what the image lacks shows through (modules of the booted kernel).
    pub below: &'a [BorrowedFd<'a>],
}

impl Image<'_> {
    /// A read-only tree of the image, attached nowhere yet. `scratch` is an empty directory on a file system that is
    /// no part of the tree; it is free again afterwards.
    pub(super) fn mount(&self, scratch: &Path) -> Result<DetachedMount, ImageError> {
        let image_error = |source| ImageError::Image {
            image: self.name.to_owned(),
            source,
        };
        make_directory(scratch)?;
        let erofs = FsContext::open("erofs").map_err(image_error)?;
        let _ = erofs.set_path("source", self.file).map_err(image_error)?;
        let metadata = erofs.create(READ_ONLY).map_err(image_error)?;
        metadata.attach(scratch).map_err(image_error)?;
        let tree = self.overlay(scratch);
        // The overlay holds its own clone of the mount; the visible one would only pin the image's name.
        let _ = umount2(scratch, MntFlags::MNT_DETACH);
        tree.map_err(|source| ImageError::Overlay {
            mount_point: scratch.to_owned(),
            image: self.name.to_owned(),
            source,
        })
    }

    fn overlay(&self, metadata: &Path) -> Result<DetachedMount, MountError> {
        use std::os::unix::ffi::OsStrExt;
        let overlay = FsContext::open("overlay")?;
        let _ = overlay
            .set("source", format!("keel-{}", self.name).as_bytes())?
            .set("metacopy", b"on")?
            .set("redirect_dir", b"on")?
            .set("lowerdir+", metadata.as_os_str().as_bytes())?;
        for tree in self.below {
            let _ = overlay.set_path("lowerdir+", *tree)?;
        }
        let _ = overlay.set_path("datadir+", self.objects)?;
        overlay.create(READ_ONLY)
    }
}

/// A writable overlay on top of the tree that is mounted at `lower`.
///
/// It is a mount of its own, without `metacopy` and `redirect_dir`: with them a chmod in `/etc` would keep only the new
/// mode in the upper directory, and the next generation's contents would appear under it.
pub(super) fn writable_over(lower: &Path, upper: &Path, work: &Path) -> Result<DetachedMount, MountError> {
    use std::os::unix::ffi::OsStrExt;
    let overlay = FsContext::open("overlay")?;
    let _ = overlay
        .set("source", b"keel-etc")?
        .set("metacopy", b"off")?
        .set("redirect_dir", b"off")?
        .set("index", b"off")?
        .set("xino", b"off")?
        .set("lowerdir+", lower.as_os_str().as_bytes())?
        .set("upperdir", upper.as_os_str().as_bytes())?
        .set("workdir", work.as_os_str().as_bytes())?;
    overlay.create(MountAttributes::default())
}

const READ_ONLY: MountAttributes = MountAttributes {
    read_only: true,
    no_devices: true,
    no_setuid: false,
    no_exec: false,
};

pub(super) fn make_directory(path: &Path) -> Result<(), ImageError> {
    fs::create_dir_all(path).map_err(|source| ImageError::Directory {
        path: path.to_owned(),
        source,
    })
}

/// Attaches `tree` on `target`, naming the image on failure.
pub(super) fn attach(tree: DetachedMount, target: &Path, image: &str) -> Result<(), ImageError> {
    tree.attach(target).map_err(|source| ImageError::Overlay {
        mount_point: target.to_owned(),
        image: image.to_owned(),
        source,
    })
}
