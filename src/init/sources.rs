//! Keyfiles and detached headers: found in the initrd, on a device, or on a device's file system.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use zeroize::Zeroizing;

use super::cmdline::{DeviceSpec, Source, VolumeOptions};
use super::devices::{BlockDevice, Devices};
use super::modules::Loader;
use crate::block::ReadAt;
use crate::block::luks::read_keyfile;
use crate::block::probe::Kind;
use crate::sys::open_in_root::RootDir;

/// Where the file system of a source is mounted while it is read.
const MOUNT_POINT: &str = "/run/keel/source";
/// Copies of headers that lay on a file system. They hold no secret that the disk doesn't hold.
const HEADERS: &str = "/run/keel/headers";
/// Larger than any header with its keyslots: LUKS2 has at most 4 MiB twice, and 128 MiB of keyslots.
const HEADER_MAX: u64 = 136 << 20;
/// Keyfiles that systemd finds by the name of the mapping (crypttab(5)).
const KEY_DIRECTORIES: &[&str] = &["/etc/cryptsetup-keys.d", "/run/cryptsetup-keys.d"];

/// What can be read from.
pub(super) struct Sources<'a> {
    pub devices: &'a Devices,
    pub loader: &'a Loader,
}

impl Sources<'_> {
    /// The passphrase that a keyfile holds. `None` while its device isn't there.
    pub(super) fn key(
        &self,
        source: &Source,
        options: &VolumeOptions,
    ) -> Option<Result<Zeroizing<Vec<u8>>, String>> {
        let read = |file: &File| {
            read_keyfile(file, options.keyfile_offset, options.keyfile_size)
                .map_err(|error| error.to_string())
        };
        match source {
            Source::File(path) => Some(open(path).and_then(|file| read(&file))),
            Source::Device(spec) => self.find(spec).map(|device| {
                let file = device.open().map_err(|error| error.to_string())?;
                read(&file)
            }),
            Source::OnDevice(path, spec) => self
                .find(spec)
                .map(|device| self.on_file_system(device, path, read)),
        }
    }

    /// A path under which a detached header can be read from now on. `None` while its device isn't there.
    pub(super) fn header(&self, source: &Source, uuid: &str) -> Option<Result<PathBuf, String>> {
        match source {
            Source::File(path) => Some(open(path).map(|_| path.clone())),
            Source::Device(spec) => self.find(spec).map(|device| Ok(device.path.clone())),
            Source::OnDevice(path, spec) => self.find(spec).map(|device| {
                let copy = Path::new(HEADERS).join(uuid);
                self.on_file_system(device, path, |file| copy_header(file, &copy))?;
                Ok(copy)
            }),
        }
    }

    /// The device that holds the data of a volume.
    pub(super) fn find(&self, spec: &DeviceSpec) -> Option<&BlockDevice> {
        self.devices.find(spec)
    }

    /// Mounts the file system of `device` read-only for as long as `read` takes.
    fn on_file_system<T>(
        &self,
        device: &BlockDevice,
        path: &Path,
        read: impl FnOnce(&File) -> Result<T, String>,
    ) -> Result<T, String> {
        let name = device.display_name();
        let kind = device
            .superblock
            .as_ref()
            .map(|found| found.kind)
            .filter(|kind| kind.is_file_system())
            .ok_or_else(|| format!("{name} has no file system that keel knows"))?;
        self.loader.request_name(kind.name());
        if kind == Kind::Vfat {
            // Asked for when it is mounted, by a program that an initrd doesn't have.
            for name in ["nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"] {
                self.loader.request_if_there(name);
            }
        }
        self.loader.wait_idle();
        let mounted =
            Mounted::new(&device.path, kind).map_err(|error| format!("{name} can't be mounted: {error}"))?;
        let file = mounted
            .open(path)
            .map_err(|error| format!("{} on {name}: {error}", path.display()))?;
        read(&file)
    }
}

/// The keyfile that belongs to a mapping by its name, when the initrd holds one.
pub(super) fn named_key(mapping: &str) -> Option<Source> {
    let file = format!("{mapping}.key");
    KEY_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(&file))
        .find(|path| path.is_file())
        .map(Source::File)
}

fn open(path: &Path) -> Result<File, String> {
    let in_initrd = |error: io::Error| format!("{} of the initrd: {error}", path.display());
    let file = File::open(path).map_err(in_initrd)?;
    if file.metadata().map_err(in_initrd)?.is_file() {
        Ok(file)
    } else {
        Err(in_initrd(io::Error::other("it is no regular file")))
    }
}

/// Removes the copy of a header that was opened; of another path, nothing.
pub(super) fn forget_header(path: &Path) {
    if path.starts_with(HEADERS) {
        // Left behind, it is a file of a few megabytes in memory.
        let _ = fs::remove_file(path);
    }
}

fn copy_header(file: &File, copy: &Path) -> Result<(), String> {
    let len = file.size().map_err(|error| error.to_string())?;
    if len > HEADER_MAX {
        return Err(format!("a file of {len} bytes is no detached header"));
    }
    let written = fs::create_dir_all(copy.parent().unwrap_or(copy)).and_then(|()| {
        let mut source = file.try_clone()?;
        io::copy(&mut source, &mut File::create(copy)?)
    });
    written
        .map(drop)
        .map_err(|error| format!("{} can't be written: {error}", copy.display()))
}

/// A file system that is mounted in passing.
struct Mounted(&'static Path);

impl Mounted {
    fn new(device: &Path, kind: Kind) -> io::Result<Self> {
        fs::create_dir_all(MOUNT_POINT)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        mount(
            Some(device),
            MOUNT_POINT,
            Some(kind.name()),
            flags,
            without_replay(kind),
        )?;
        Ok(Self(Path::new(MOUNT_POINT)))
    }

    /// Links are followed below the file system only.
    fn open(&self, path: &Path) -> io::Result<File> {
        let root = RootDir::open(self.0)?;
        let inside = path.strip_prefix("/").unwrap_or(path);
        let file = File::from(root.open_at(
            inside,
            nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK,
        )?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is no regular file"))
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nothing is open on it any more; detached, it goes as soon as that is true.
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

/// A read-only mount replays the journal, which writes: to the disk of a hibernated system, for one.
fn without_replay(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Ext3 | Kind::Ext4 => Some("noload"),
        Kind::Xfs | Kind::F2fs => Some("norecovery"),
        Kind::Btrfs => Some("rescue=nologreplay"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
