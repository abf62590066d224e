//! Which logical volumes to activate, and when.

use std::collections::BTreeSet;

use crate::block::lvm::Groups;
use crate::block::DeviceNumber;

/// The volume groups seen so far, and what has been done about them.
#[derive(Default)]
pub(super) struct VolumeGroups {
    /// What the metadata says.
    pub groups: Groups,
    /// Logical volumes that are active, or that failed and were reported, as `VG/LV`.
    pub settled: BTreeSet<String>,
}

impl VolumeGroups {
    /// Forgets a physical volume whose device went.
    pub(super) fn remove(&mut self, device: DeviceNumber) {
        let _ = self.groups.remove(device);
    }
}
