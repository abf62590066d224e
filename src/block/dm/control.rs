//! Making devices.

use std::io;
use std::path::Path;

use nix::errno::Errno;

use super::Table;
use super::message::{self, EncodeError, Header, READ_ONLY, SECURE_DATA, STATUS_TABLE};
use crate::block::DeviceNumber;
use crate::sys::dm::ControlDevice;

/// Commands (Linux, include/uapi/linux/dm-ioctl.h).
const DEV_CREATE: u8 = 3;
const DEV_REMOVE: u8 = 4;
const DEV_SUSPEND: u8 = 6;
const DEV_STATUS: u8 = 7;
const TABLE_LOAD: u8 = 9;
const TABLE_STATUS: u8 = 12;

/// Why a device could not be made or looked at.
#[derive(Debug, thiserror::Error)]
pub enum DmError {
    /// No device-mapper.
    #[error("device-mapper isn't there ({0}); the initrd needs the module dm_mod")]
    NoControl(#[source] io::Error),
    /// Something that can't be expressed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A step that the kernel refused.
    #[error("{step} {name} failed: {source}{}", hint(source))]
    Refused {
        /// What was being done.
        step: &'static str,
        /// The device.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The name is taken by a device that is another one.
    #[error("the name {name} is taken by another device (its UUID is {uuid:?})")]
    NameTaken {
        /// The name.
        name: String,
        /// The UUID of the device that has it.
        uuid: String,
    },
    /// An answer that makes no sense.
    #[error("device-mapper's answer for {0} can't be read")]
    Answer(String),
}

/// What the kernel's error number means for a table.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EINVAL) => "; the kernel's log says which target or parameter (dmesg)",
        Some(Errno::EBUSY) => "; a device below it is in use by something else",
        Some(Errno::ENOKEY) => "; the volume key isn't in the kernel's keyring",
        Some(Errno::ENXIO) => "; a device below it is gone or too small",
        Some(Errno::ENOENT) => "; a cipher of the kernel or a device below it is missing",
        _ => "",
    }
}

/// How a device is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// The device can't be written to.
    pub read_only: bool,
    /// The kernel wipes its copies of the table: for tables that name or hold keys.
    pub secure: bool,
}

/// What stands in the event number of a device that udev's rules are to take as ready: the flag
/// `DM_UDEV_PRIMARY_SOURCE_FLAG` above the cookie, which is 0, since nobody waits for udev (lvm2, libdm/libdevmapper.h).
const PRIMARY_SOURCE: u32 = 0x40 << 16;

/// The control device.
#[derive(Debug)]
pub struct Control {
    device: ControlDevice,
    udevd_runs: bool,
}

impl Control {
    /// Opens `/dev/mapper/control`.
    pub fn open() -> Result<Self, DmError> {
        ControlDevice::open(Path::new("/dev/mapper/control"))
            .map(|device| Control {
                device,
                udevd_runs: false,
            })
            .map_err(DmError::NoControl)
    }

    /// The same, where a udevd runs that is to learn of new devices by their events.
    #[must_use]
    pub fn beside_udevd(self) -> Self {
        Control {
            udevd_runs: true,
            ..self
        }
    }

    /// Makes a device with a table, and starts it. One that is already there with the same UUID is taken as it is. A
    /// device that could only be half made is removed.
    pub fn create(
        &self,
        name: &str,
        uuid: &str,
        table: &Table,
        options: CreateOptions,
    ) -> Result<DeviceNumber, DmError> {
        let mut flags = if options.secure { SECURE_DATA } else { 0 };
        let header = Header {
            name,
            uuid,
            flags,
            ..Header::default()
        };
        let answer = match self.run(DEV_CREATE, "making", header, None) {
            Err(DmError::Refused { source, .. }) if source.raw_os_error() == Some(libc::EBUSY) => {
                return self.existing(name, uuid);
            }
            result => result?,
        };
        let number = message::device_number(&answer).ok_or_else(|| DmError::Answer(name.to_owned()))?;
        if options.read_only {
            flags |= READ_ONLY;
        }
        let started = self
            .run(
                TABLE_LOAD,
                "loading the table of",
                Header {
                    name,
                    flags,
                    ..Header::default()
                },
                Some(table),
            )
            .and_then(|_| {
                self.run(
                    DEV_SUSPEND,
                    "starting",
                    Header {
                        name,
                        event_number: if self.udevd_runs { PRIMARY_SOURCE } else { 0 },
                        ..Header::default()
                    },
                    None,
                )
            });
        if let Err(error) = started {
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(number)
    }

    fn existing(&self, name: &str, uuid: &str) -> Result<DeviceNumber, DmError> {
        let answer = self.run(
            DEV_STATUS,
            "looking at",
            Header {
                name,
                ..Header::default()
            },
            None,
        )?;
        let found = message::uuid(&answer).unwrap_or_default();
        if found != uuid {
            return Err(DmError::NameTaken {
                name: name.to_owned(),
                uuid: found,
            });
        }
        message::device_number(&answer).ok_or_else(|| DmError::Answer(name.to_owned()))
    }

    /// Removes a device. `EBUSY` when it's in use.
    pub fn remove(&self, name: &str) -> Result<(), DmError> {
        self.run(
            DEV_REMOVE,
            "removing",
            Header {
                name,
                ..Header::default()
            },
            None,
        )
        .map(drop)
    }

    /// The table that a device runs with.
    pub fn table(&self, name: &str) -> Result<Table, DmError> {
        let header = Header {
            name,
            flags: STATUS_TABLE,
            ..Header::default()
        };
        let answer = self.run(TABLE_STATUS, "reading the table of", header, None)?;
        message::table(&answer).ok_or_else(|| DmError::Answer(name.to_owned()))
    }

    fn run(
        &self,
        command: u8,
        step: &'static str,
        header: Header<'_>,
        table: Option<&Table>,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, DmError> {
        let request = message::encode(header, table)?;
        self.device
            .run(command, &request)
            .map_err(|source| DmError::Refused {
                step,
                name: header.name.to_owned(),
                source,
            })
    }
}
