//! What device-mapper is told: table, length, names. As cryptsetup 2.7 (`lib/libdevmapper.c`) loads it.

use thiserror::Error;
use zeroize::Zeroizing;

use super::header::{Header, Version};
use super::options::CryptOptions;
use super::unlock::Unlocked;
use crate::block::DeviceNumber;

/// Longest UUID of a device-mapper device, in bytes (linux/dm-ioctl.h, without the final NUL).
const DM_UUID_MAX: usize = 128;

/// Why the data segment does not fit the device.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SegmentError {
    /// The device ends before the data does.
    #[error("the device has {device} bytes, its encrypted data goes up to byte {end}: it is truncated")]
    Truncated {
        /// Where the data ends, in bytes; when it is open-ended, the first byte that must exist.
        end: u64,
        /// Size of the device in bytes.
        device: u64,
    },
    /// The last encryption sector would be cut.
    #[error("the encrypted data has {bytes} bytes, no multiple of its sectors of {sector_size} bytes")]
    Misaligned {
        /// Length of the data.
        bytes: u64,
        /// Size of an encryption sector.
        sector_size: u32,
    },
}

impl Header {
    /// Length of the mapping in sectors of 512 bytes, on a device of `device_size` bytes.
    ///
    /// # Errors
    /// When the data doesn't fit on the device.
    pub fn segment_sectors(&self, device_size: u64) -> Result<u64, SegmentError> {
        let sector_size = self.data.crypt.sector_size;
        let bytes = match self.data.size {
            Some(size) => {
                let end = self.data.offset.saturating_add(size);
                if end > device_size {
                    return Err(SegmentError::Truncated {
                        end,
                        device: device_size,
                    });
                }
                size
            }
            None => match device_size.checked_sub(self.data.offset) {
                // A device's last bytes that are no whole sector of 512 don't count.
                Some(rest) if rest >= 512 => rest / 512 * 512,
                _ => {
                    let end = self.data.offset.saturating_add(512);
                    return Err(SegmentError::Truncated {
                        end,
                        device: device_size,
                    });
                }
            },
        };
        if !bytes.is_multiple_of(u64::from(sector_size)) {
            return Err(SegmentError::Misaligned { bytes, sector_size });
        }
        Ok(bytes / 512)
    }

    /// The table's parameters for the target `crypt`, on the device that holds the data. The header's own flags are added to
    /// `options`. With [`Header::key_description`] they name the key, else they hold it in hexadecimal digits.
    pub fn dm_parameters(
        &self,
        unlocked: &Unlocked,
        device: DeviceNumber,
        options: CryptOptions,
    ) -> Zeroizing<String> {
        let crypt = &self.data.crypt;
        let options = options.union(self.stored_options());
        let mut words: Vec<String> = options.table_words().map(str::to_owned).collect();
        if crypt.sector_size != 512 {
            words.push(format!("sector_size:{}", crypt.sector_size));
        }
        let rest = format!(" {} {device} {}", crypt.iv_tweak, self.data.offset / 512);
        let optional = match words.len() {
            0 => String::new(),
            count => format!(" {count} {}", words.join(" ")),
        };
        let key = self.table_key(unlocked);
        // Of the right size at once: growing would leave copies of the key behind.
        let len = crypt.encryption.len() + 1 + key.len() + rest.len() + optional.len();
        let mut table = Zeroizing::new(String::with_capacity(len));
        for part in [&crypt.encryption, " ", &key, &rest, &optional] {
            table.push_str(part);
        }
        table
    }

    fn table_key(&self, unlocked: &Unlocked) -> Zeroizing<String> {
        let bytes = unlocked.key.as_bytes();
        if let Some(description) = self.key_description() {
            return Zeroizing::new(format!(":{}:logon:{description}", bytes.len()));
        }
        let mut digits = Zeroizing::new(String::with_capacity(2 * bytes.len()));
        for half in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            digits.push(char::from_digit(half.into(), 16).unwrap_or('0'));
        }
        digits
    }

    /// The flags that the header stores for every activation.
    pub fn stored_options(&self) -> CryptOptions {
        CryptOptions::from_header_flags(&self.metadata.flags)
    }

    /// The name under which the volume key has to be in the kernel's keyring as a key of type `logon` while the table is
    /// loaded. `None` for LUKS1, whose key is in the table itself: `cryptsetup resize` expects it there.
    pub fn key_description(&self) -> Option<String> {
        let digest = self.data.digest;
        (self.version() == Version::Luks2).then(|| format!("cryptsetup:{}-d{digest}", self.uuid()))
    }

    /// The UUID of the device-mapper device `name`, by which systemd's rules and `cryptsetup status` know what it is.
    /// Cut at the kernel's limit, as cryptsetup does.
    pub fn dm_uuid(&self, name: &str) -> String {
        let version = match self.version() {
            Version::Luks1 => 1,
            Version::Luks2 => 2,
        };
        let mut uuid = format!("CRYPT-LUKS{version}-{}-{name}", self.uuid().replace('-', ""));
        uuid.truncate(uuid.floor_char_boundary(DM_UUID_MAX));
        uuid
    }
}
