//! Going on with a hibernated system: where its image is, and the kernel's turn to load it. Before that nothing may be
//! mounted or checked: the hibernated system has these file systems open.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use log::{debug, info};
use nix::mount::{MsFlags, mount};

use super::InitError;
use super::boot::Boot;
use super::cmdline::DeviceSpec;
use super::devices::BlockDevice;
use super::find_root::Purpose;
use crate::block::ReadAt;
use crate::block::probe::{Kind, probe};
use crate::sys::immutable::clear_immutable;

/// The kernel's side (Linux, Documentation/ABI/testing/sysfs-power).
const RESUME: &str = "/sys/power/resume";
const RESUME_OFFSET: &str = "/sys/power/resume_offset";
/// Where efivarfs is mounted, and systemd's variable there (systemd-hibernate-resume-generator(8)).
const EFIVARS: &str = "/sys/firmware/efi/efivars";
const VARIABLE: &str = "HibernateLocation-8cf2644b-4b0b-428f-9387-6d876050dc67";
/// systemd writes some 300 bytes; more is something else.
const VARIABLE_MAX: usize = 16 << 10;
/// A page, the unit of `resume_offset=`; the first one of a swap area ends with its signature (Linux,
/// kernel/power/swap.c, `struct swsusp_header`).
const PAGE: u64 = 4096;
const SIGNATURE_AT: u64 = PAGE - 10;
/// What the signature was before the image was written.
const ORIGINAL_AT: u64 = PAGE - 20;
const SUSPENDED: &[u8; 10] = b"S1SUSPEND\0";

/// Where the image of a hibernated system is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// The swap area, or the device with the file system that the swap file is on.
    pub device: DeviceSpec,
    /// Where a swap file's first page is on its device, in pages; 0 for a swap area.
    pub offset: u64,
    /// The hibernated system said so itself, so there is an image.
    pub is_announced: bool,
}

/// Why a variable says nothing of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocationError {
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Read(#[from] io::Error),
    /// It isn't systemd's JSON.
    #[error("it isn't what systemd writes: {0}")]
    Json(#[from] serde_json::Error),
    /// It is no UUID.
    #[error("{0:?} is no UUID")]
    Uuid(String),
}

/// The fields of systemd's JSON that count. The kernel that the image holds may be another one.
#[derive(serde::Deserialize)]
struct Announcement {
    uuid: String,
    #[serde(default)]
    offset: Offset,
}

/// systemd writes numbers above 2^53 as text.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Offset {
    Number(u64),
    Text(String),
}

impl Default for Offset {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Location {
    /// Reads the value of the variable, without its attributes: JSON in UTF-16, ended by a zero.
    fn parse(value: &[u8]) -> Result<Location, LocationError> {
        let units: Vec<u16> = value
            .chunks_exact(2)
            .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
            .take_while(|unit| *unit != 0)
            .collect();
        let announcement: Announcement = serde_json::from_str(&String::from_utf16_lossy(&units))?;
        let offset = match announcement.offset {
            Offset::Number(number) => number,
            Offset::Text(text) => text.parse().map_err(|_| LocationError::Uuid(text))?,
        };
        Ok(Location {
            device: DeviceSpec::Uuid(hyphenated(&announcement.uuid)?),
            offset,
            is_announced: true,
        })
    }
}

/// A UUID with its hyphens, which systemd leaves out of JSON.
fn hyphenated(text: &str) -> Result<String, LocationError> {
    let digits = text.replace('-', "").to_ascii_lowercase();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or_default());
    if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(parts.join("-"))
    } else {
        Err(LocationError::Uuid(text.to_owned()))
    }
}

/// Whether a swap area, or a swap file that begins `offset` pages behind the start of `device`, holds an image.
pub(super) fn holds_image(device: &dyn ReadAt, offset: u64) -> io::Result<bool> {
    if offset == 0 {
        // Whatever the size of its pages, and images of other programs than the kernel.
        return Ok(probe(device)?.is_some_and(|found| found.kind == Kind::SwapSuspend));
    }
    let at = position(offset, SIGNATURE_AT)?;
    if device.size()? < at.saturating_add(SUSPENDED.len() as u64) {
        return Ok(false);
    }
    let mut signature = [0; SUSPENDED.len()];
    device.read_exact_at(at, &mut signature)?;
    Ok(signature == *SUSPENDED)
}

/// Puts the signature of swap space back, so that nobody resumes from an image that is out of date. Only what the kernel
/// wrote is touched.
fn discard_image(device: &File, offset: u64) -> io::Result<()> {
    let (signature_at, original_at) = (position(offset, SIGNATURE_AT)?, position(offset, ORIGINAL_AT)?);
    let mut signature = [0; SUSPENDED.len()];
    let mut original = [0; SUSPENDED.len()];
    FileExt::read_exact_at(device, &mut signature, signature_at)?;
    FileExt::read_exact_at(device, &mut original, original_at)?;
    if signature != *SUSPENDED || !matches!(&original, b"SWAPSPACE2" | b"SWAP-SPACE") {
        return Err(io::Error::other(
            "it isn't the kernel's; `mkswap` makes it swap space again",
        ));
    }
    device.write_all_at(&original, signature_at)?;
    device.sync_all()
}

fn position(offset: u64, within: u64) -> io::Result<u64> {
    offset
        .checked_mul(PAGE)
        .and_then(|start| start.checked_add(within))
        .ok_or_else(|| io::Error::other(format!("resume_offset={offset} lies beyond any device")))
}

impl Boot {
    /// Goes on with a hibernated system, when there is one. Comes back only when there is none, or when it couldn't be
    /// gone on with. Only the first attempt of a boot does anything: afterwards the root has been mounted.
    pub(super) fn resume(&mut self) -> Result<(), InitError> {
        if std::mem::replace(&mut self.resume_is_settled, true) || self.cmdline.no_resume {
            return Ok(());
        }
        let announced = self.announced_location();
        let asked = self.cmdline.resume.clone().map(|device| Location {
            device,
            offset: self.cmdline.resume_offset,
            is_announced: announced.is_some(),
        });
        let Some(location) = asked.or(announced) else {
            return Ok(());
        };
        let purpose = if location.is_announced {
            Purpose::Hibernated
        } else {
            Purpose::PerhapsHibernated
        };
        // Mounting the root under a hibernated system would destroy it.
        let Some(device) = self.find_device(&location.device, purpose)? else {
            let device = &location.device;
            self.warn(&format!(
                "{device} for resuming isn't there; starting without it. If a hibernated system is on it, don't resume it any \
                 more: make the swap space anew with mkswap"
            ));
            return Ok(());
        };
        self.resume_from(&device, &location);
        Ok(())
    }

    fn resume_from(&mut self, device: &BlockDevice, location: &Location) {
        let name = device.display_name();
        let has_image = match device.open().and_then(|file| holds_image(&file, location.offset)) {
            Ok(has_image) => has_image,
            Err(error) => return self.warn(&format!("{name} for resuming can't be read: {error}")),
        };
        if has_image {
            self.say(&format!("Resuming the hibernated system from {name}."));
            self.report.reach("resuming");
        } else if location.is_announced {
            self.warn(&format!(
                "a hibernated system was announced, but {name} holds none; starting anew"
            ));
        }
        // As systemd does: a failure must not be tried again at every boot.
        if location.is_announced
            && let Err(error) = forget_announcement(&Path::new(EFIVARS).join(VARIABLE))
        {
            self.warn(&format!(
                "the EFI variable HibernateLocation can't be removed: {error}"
            ));
        }
        self.loader.wait_idle();
        // Without an image, too: systemd hibernates to where these point.
        let written = fs::write(RESUME_OFFSET, format!("{}\n", location.offset))
            .and_then(|()| fs::write(RESUME, format!("{}\n", device.number)));
        if let Err(error) = written
            && has_image
        {
            self.warn(&format!("{name} can't be resumed from: {error}"));
        }
        if has_image {
            self.warn("the hibernated system didn't come back (`dmesg` says why); starting anew");
            self.discard_left_image(device, location.offset);
        }
    }

    /// The kernel takes the signature away when it begins to load an image. One that is left would be resumed at a later
    /// boot, over file systems that have changed since.
    fn discard_left_image(&mut self, device: &BlockDevice, offset: u64) {
        let name = device.display_name();
        let discarded = File::options()
            .read(true)
            .write(true)
            .open(&device.path)
            .and_then(|file| {
                if holds_image(&file, offset)? {
                    discard_image(&file, offset)
                } else {
                    Ok(())
                }
            });
        if let Err(error) = discarded {
            self.warn(&format!("the image on {name} can't be taken away: {error}"));
        }
    }

    /// What a hibernating systemd left in the firmware.
    fn announced_location(&mut self) -> Option<Location> {
        if !Path::new(EFIVARS).exists() {
            return None;
        }
        self.loader.wait_for(["efivarfs"]);
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
        // systemd finds it mounted, as after systemd's own mount.
        if let Err(errno) = mount(Some("efivarfs"), EFIVARS, Some("efivarfs"), flags, None::<&str>) {
            info!("EFI variables can't be read: {errno}");
            return None;
        }
        match read_announcement(&PathBuf::from(EFIVARS).join(VARIABLE)) {
            Ok(location) => location,
            Err(error) => {
                self.warn(&format!("the EFI variable HibernateLocation is ignored: {error}"));
                None
            }
        }
    }
}

fn read_announcement(path: &Path) -> Result<Option<Location>, LocationError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let value = bytes.get(4..VARIABLE_MAX.min(bytes.len())).unwrap_or_default();
    let location = Location::parse(value)?;
    debug!("hibernated: {location:?}");
    Ok(Some(location))
}

fn forget_announcement(path: &Path) -> io::Result<()> {
    match File::open(path).and_then(|file| clear_immutable(&file)) {
        Ok(()) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// As efivarfs shows a variable of systemd: attributes, UTF-16, a terminating zero.
    fn variable(json: &str) -> Vec<u8> {
        let mut bytes = vec![7, 0, 0, 0];
        bytes.extend(json.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        bytes
    }

    fn announced(json: &str) -> Result<Option<Location>, LocationError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(VARIABLE);
        fs::write(&path, variable(json)).unwrap();
        let location = read_announcement(&path);
        forget_announcement(&path).unwrap();
        assert!(read_announcement(&path).unwrap().is_none());
        location
    }

    #[test]
    fn what_systemd_announces_is_understood() {
        // Written by systemd 257 (`sd_json_build` with an id128 gives no hyphens).
        let text = "{\"uuid\":\"5f0b3c5e7a104c5b9d576b65656c0002\",\"offset\":34816,\"kernelVersion\":\
                    \"6.12.57+deb13-amd64\",\"osReleaseId\":\"debian\",\"osReleaseVersionId\":\"13\"}";
        let expected = Location {
            device: DeviceSpec::Uuid("5f0b3c5e-7a10-4c5b-9d57-6b65656c0002".to_owned()),
            offset: 34816,
            is_announced: true,
        };
        assert_eq!(announced(text).unwrap(), Some(expected.clone()));
        let hyphens = text
            .replace(
                "5f0b3c5e7a104c5b9d576b65656c0002",
                "5F0B3C5E-7A10-4C5B-9D57-6B65656C0002",
            )
            .replace("34816", "\"34816\"");
        assert_eq!(announced(&hyphens).unwrap(), Some(expected));
    }

    #[test]
    fn other_variables_are_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"uuid\":5}",
            "{\"uuid\":\"5f0b\",\"offset\":0}",
            "{\"uuid\":",
        ] {
            assert!(announced(text).is_err(), "{text}");
        }
        assert!(matches!(Location::parse(&[0xff; 5]), Err(LocationError::Json(_))));
    }

    /// Swap space, `offset` pages into a file, as `mkswap` makes it.
    fn swap_space(offset: u64) -> tempfile::NamedTempFile {
        let swap = tempfile::NamedTempFile::new().unwrap();
        swap.as_file().set_len(1 << 20).unwrap();
        let mkswap = Command::new("/usr/sbin/mkswap")
            .arg("-q")
            .arg(swap.path())
            .status();
        assert!(mkswap.unwrap().success());
        let image = tempfile::NamedTempFile::new().unwrap();
        let content = fs::read(swap.path()).unwrap();
        image.as_file().write_all_at(&content, offset * PAGE).unwrap();
        image
    }

    #[test]
    fn images_are_seen_and_taken_away() {
        for offset in [0, 1, 7] {
            let swap = swap_space(offset);
            let file = swap.as_file();
            let before = fs::read(swap.path()).unwrap();
            assert!(!holds_image(file, offset).unwrap());
            assert!(discard_image(file, offset).is_err());
            assert_eq!(fs::read(swap.path()).unwrap(), before);
            // As the kernel does (kernel/power/swap.c, `mark_swapfiles`).
            file.write_all_at(b"SWAPSPACE2S1SUSPEND\0", offset * PAGE + ORIGINAL_AT)
                .unwrap();
            assert!(holds_image(file, offset).unwrap());
            assert!(!holds_image(file, offset + 1).unwrap());
            discard_image(file, offset).unwrap();
            assert!(!holds_image(file, offset).unwrap());
            let after = fs::read(swap.path()).unwrap();
            let at = usize::try_from(offset * PAGE + SIGNATURE_AT).unwrap();
            assert_eq!(after[at..], before[at..]);
        }
    }

    #[test]
    fn an_offset_beyond_the_device_holds_no_image() {
        let swap = swap_space(0);
        assert!(!holds_image(swap.as_file(), 1 << 40).unwrap());
        assert!(holds_image(swap.as_file(), u64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn any_variable_is_read_or_refused(value: Vec<u8>, json in "\\{\"uuid\":\"[0-9a-f-]{0,40}\",\"offset\":[0-9-]{0,25}\\}") {
            let _ = Location::parse(&value);
            let _ = Location::parse(&variable(&json)[4..]);
        }
    }
}
