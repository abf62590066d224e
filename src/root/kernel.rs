//! The kernel that runs, and where its modules are.

use std::path::Path;

use crate::store::StorePath;
use crate::system::generation::Profile;

/// The modules tree that holds the running kernel's modules, when `system` has another kernel.
pub fn modules_for_running_kernel(root: &Path, system: &str) -> Option<String> {
    let kernel = running_kernel();
    let profile = Profile::of_machine(root).ok()?;
    let own = StorePath::from_absolute(profile.layout().store_dir(), system).ok()?;
    if profile.boot_spec(&own).ok()?.keel.kernel_version == kernel {
        return None;
    }
    let generations = profile.generations().ok()?;
    let specs = generations
        .iter()
        .rev()
        .filter_map(|found| profile.boot_spec(found.system.as_ref().ok()?).ok());
    specs
        .map(|spec| spec.keel)
        .find(|keel| keel.kernel_version == kernel)
        .map(|keel| keel.modules)
}

/// `uname -r`
pub fn running_kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
