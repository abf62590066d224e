//! The device-mapper control device: one ioctl with a buffer.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use zeroize::Zeroizing;

/// Type byte of device-mapper's ioctls (Linux, include/uapi/linux/dm-ioctl.h).
const DM_IOCTL: u64 = 0xfd;
/// `sizeof(struct dm_ioctl)`
pub const HEADER_BYTES: usize = 312;
/// `DM_BUFFER_FULL_FLAG`: the answer didn't fit.
const BUFFER_FULL: u32 = 1 << 8;
/// An answer larger than this is no answer of the commands that keel uses.
const LARGEST: usize = 16 << 20;

/// An open `/dev/mapper/control`.
#[derive(Debug)]
pub struct ControlDevice(File);

impl ControlDevice {
    /// Opens the control device. `ENOENT` says that the module dm_mod isn't loaded.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(ControlDevice(File::options().read(true).write(true).open(path)?))
    }

    /// Runs a command. `request` is a `struct dm_ioctl` with what follows it; the answer has the same form. The buffer
    /// grows when the kernel asks for it, and every copy is wiped: tables can hold keys.
    pub fn run(&self, command: u8, request: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        if request.len() < HEADER_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut size = request.len().max(16 << 10);
        loop {
            let mut buffer = Zeroizing::new(vec![0_u8; size]);
            let (start, _) = buffer.split_at_mut(request.len());
            start.copy_from_slice(request);
            // data_size stands at byte 12.
            if let Some(field) = buffer.get_mut(12..16) {
                field.copy_from_slice(&u32::try_from(size).map_err(io::Error::other)?.to_ne_bytes());
            }
            // _IOWR(0xfd, command, struct dm_ioctl)
            let number = (3 << 30) | ((HEADER_BYTES as u64) << 16) | (DM_IOCTL << 8) | u64::from(command);
            // SAFETY: the kernel reads and writes at most data_size bytes, which is the length of the buffer, and the
            // buffer lives for the whole call.
            let result =
                unsafe { libc::ioctl(self.0.as_raw_fd(), number as libc::c_ulong, buffer.as_mut_ptr()) };
            if result < 0 {
                return Err(io::Error::last_os_error());
            }
            let flags = buffer
                .get(28..32)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u32::from_ne_bytes);
            if flags & BUFFER_FULL == 0 {
                return Ok(buffer);
            }
            size = size.saturating_mul(4);
            if size > LARGEST {
                return Err(io::Error::other("the answer of device-mapper doesn't end"));
            }
        }
    }
}
