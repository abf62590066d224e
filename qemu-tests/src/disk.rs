//! Disk images: raw ones that are made once, and copy-on-write overlays that a scenario may write to.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Tool;

/// How a disk is attached to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bus {
    /// NVMe with logical blocks of so many bytes.
    Nvme {
        /// 512 or 4096.
        block_bytes: u32,
    },
    /// virtio-blk, likewise. Its driver has found the disk when it's loaded: nothing to wait for.
    Virtio {
        /// 512 or 4096.
        block_bytes: u32,
    },
    /// A USB stick.
    Usb,
}

/// Format of an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The disk's bytes, with holes.
    Raw,
    /// An overlay.
    Qcow2,
}

impl Format {
    /// QEMU's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        }
    }
}

/// A disk of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The image file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// How it's attached.
    pub bus: Bus,
    /// The serial number that the guest sees.
    pub serial: String,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

impl Disk {
    /// A disk over a raw image.
    pub(crate) fn raw(path: impl Into<PathBuf>, bus: Bus, serial: &str) -> Disk {
        Disk {
            path: path.into(),
            format: Format::Raw,
            bus,
            serial: serial.to_owned(),
            read_only: false,
        }
    }

    /// The same disk, which the guest may only read.
    pub(crate) fn read_only(self) -> Disk {
        Disk {
            read_only: true,
            ..self
        }
    }

    /// A disk whose writes go to a new overlay in `directory`; this one stays as it is.
    pub(crate) fn overlay(&self, directory: &Path) -> Result<Disk> {
        let path = directory.join(format!("{}.qcow2", self.serial));
        let base = std::path::absolute(&self.path).context("the working directory is gone")?;
        Tool::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", self.format.name(), "-b"])
            .arg(&base)
            .arg(&path)
            .run()?;
        Ok(Disk {
            path,
            format: Format::Qcow2,
            ..self.clone()
        })
    }
}

/// Makes an image of `bytes` zeros, all of them a hole.
pub(crate) fn make_sparse(path: &Path, bytes: u64) -> Result<()> {
    let failed = || format!("{} can't be made", path.display());
    File::create(path)
        .with_context(failed)?
        .set_len(bytes)
        .with_context(failed)
}

/// Overwrites `bytes` bytes at `offset` of a disk.
pub(crate) fn damage(disk: &Disk, offset: u64, bytes: u64) -> Result<()> {
    Tool::new("qemu-io")
        .args([
            "-f",
            disk.format.name(),
            "-c",
            &format!("write -P 0x5a {offset} {bytes}"),
        ])
        .arg(&disk.path)
        .run()
}
