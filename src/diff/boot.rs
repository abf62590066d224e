//! What differs in how two systems are booted.

use serde::Serialize;

use crate::system::bootspec::BootSpec;

/// Kernel and parameters that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BootChange {
    /// The kernel's version, before and after, when it's another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<(String, String)>,
    /// Whether the kernel is another file, its version being the same.
    pub kernel_rebuilt: bool,
    /// Whether the initrd is another file.
    pub initrd: bool,
    /// Parameters that are new.
    pub added_parameters: Vec<String>,
    /// Parameters that are gone.
    pub removed_parameters: Vec<String>,
}

impl BootChange {
    /// Whether anything differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two `boot.json`.
pub fn compare(old: &BootSpec, new: &BootSpec) -> BootChange {
    let (before, after) = (&old.keel.kernel_version, &new.keel.kernel_version);
    let only_in = |one: &BootSpec, other: &BootSpec| -> Vec<String> {
        let parameters = one.v1.kernel_params.iter();
        parameters
            .filter(|parameter| !other.v1.kernel_params.contains(parameter))
            .cloned()
            .collect()
    };
    BootChange {
        kernel: (before != after).then(|| (before.clone(), after.clone())),
        kernel_rebuilt: before == after && old.v1.kernel != new.v1.kernel,
        initrd: old.v1.initrd != new.v1.initrd,
        added_parameters: only_in(new, old),
        removed_parameters: only_in(old, new),
    }
}
