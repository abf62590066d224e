//! Keyfiles: which bytes of a file or a device are the passphrase. As `cryptsetup --key-file`, `--keyfile-offset` and
//! `--keyfile-size` read them: every byte counts, a line feed at the end too.

use std::io;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::block::ReadAt;

/// What cryptsetup reads at most when no size is given (its `DEFAULT_KEYFILE_SIZE_MAXKB`).
const UNSIZED_MAX: u64 = 8 << 20;

/// Why a keyfile gives no passphrase.
#[derive(Debug, Error)]
pub enum KeyfileError {
    /// The file or device gave an error.
    #[error("it can't be read: {0}")]
    Read(#[source] io::Error),
    /// It ends too early.
    #[error("it has {len} bytes, keyfile-offset= and keyfile-size= ask for bytes up to {end}")]
    TooShort {
        /// Bytes that there are.
        len: u64,
        /// Where the wanted ones end.
        end: u64,
    },
    /// More than anybody means, such as a whole disk.
    #[error("it has {0} bytes, more than a keyfile may have; keyfile-size= says how many are meant")]
    TooLong(u64),
}

/// Reads `size` bytes from byte `offset` on; without a size, everything up to the end.
///
/// # Errors
/// See [`KeyfileError`].
pub fn read_keyfile(
    source: &dyn ReadAt,
    offset: u64,
    size: Option<u64>,
) -> Result<Zeroizing<Vec<u8>>, KeyfileError> {
    let len = source.size().map_err(KeyfileError::Read)?;
    let rest = len
        .checked_sub(offset)
        .ok_or(KeyfileError::TooShort { len, end: offset })?;
    let wanted = size.unwrap_or(rest);
    if wanted > rest {
        let end = offset.saturating_add(wanted);
        return Err(KeyfileError::TooShort { len, end });
    }
    if wanted > UNSIZED_MAX {
        return Err(KeyfileError::TooLong(wanted));
    }
    let mut key = Zeroizing::new(vec![0; usize::try_from(wanted).unwrap_or(0)]);
    source
        .read_exact_at(offset, &mut key)
        .map_err(KeyfileError::Read)?;
    Ok(key)
}
