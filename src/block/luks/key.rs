//! The volume key.

use std::fmt;

use zeroize::Zeroizing;

/// The key that the data is encrypted with. Wiped when dropped, never printed.
pub struct VolumeKey(Zeroizing<Vec<u8>>);

impl VolumeKey {
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The key, for the kernel's keyring.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VolumeKey({} bytes)", self.0.len())
    }
}
