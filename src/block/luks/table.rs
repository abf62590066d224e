//! What device-mapper is told: table, length, names. As cryptsetup 2.7 (`lib/libdevmapper.c`) loads it.

use thiserror::Error;

use super::header::Header;
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

    /// The table's parameters for the target `crypt`, on the device that holds the header. `key_description` names a
    /// key of type `logon`, normally [`Header::key_description`]. The header's own flags are added to `options`.
    pub fn dm_parameters(
        &self,
        unlocked: &Unlocked,
        key_description: &str,
        device: DeviceNumber,
        options: CryptOptions,
    ) -> String {
        let crypt = &self.data.crypt;
        let options = options.union(self.stored_options());
        let mut words: Vec<String> = options.table_words().map(str::to_owned).collect();
        if crypt.sector_size != 512 {
            words.push(format!("sector_size:{}", crypt.sector_size));
        }
        let table = format!(
            "{} :{}:logon:{key_description} {} {device} {}",
            crypt.encryption,
            unlocked.key.size(),
            crypt.iv_tweak,
            self.data.offset / 512,
        );
        if words.is_empty() {
            table
        } else {
            format!("{table} {} {}", words.len(), words.join(" "))
        }
    }

    /// The flags that the header stores for every activation.
    pub fn stored_options(&self) -> CryptOptions {
        CryptOptions::from_header_flags(&self.metadata.flags)
    }

    /// The name under which cryptsetup puts the volume key in the kernel's keyring.
    pub fn key_description(&self) -> String {
        format!("cryptsetup:{}-d{}", self.uuid(), self.data.digest)
    }

    /// The UUID of the device-mapper device `name`, by which systemd's rules and `cryptsetup status` know what it is.
    /// Cut at the kernel's limit, as cryptsetup does.
    pub fn dm_uuid(&self, name: &str) -> String {
        let mut uuid = format!("CRYPT-LUKS2-{}-{name}", self.uuid().replace('-', ""));
        uuid.truncate(uuid.floor_char_boundary(DM_UUID_MAX));
        uuid
    }
}
