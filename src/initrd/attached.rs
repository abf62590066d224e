//! What a device of this machine hangs on, and the drivers of all of that (sysfs; Linux, Documentation/ABI/testing).

use std::fs;
use std::path::{Path, PathBuf};

/// A device's driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Driver {
    /// The driver's module, with `_` for `-`; none when the running kernel has it built in. Parts of the kernel that have
    /// parameters are below `/sys/module`, too, and `modules.builtin` doesn't list all of them (`pcieportdrv`).
    pub module: Option<String>,
    /// What the device calls itself.
    pub modalias: Option<String>,
}

/// The drivers of `device` (its directory, without links) and of everything above it.
pub(crate) fn drivers(sysfs: &Path, device: &Path) -> Vec<Driver> {
    let mut drivers = Vec::new();
    for above in device
        .ancestors()
        .take_while(|above| *above != sysfs && above.starts_with(sysfs))
    {
        drivers.extend(driver(sysfs, above));
        // A disk that several controllers may serve hangs on none of them, but on what stands for all of them.
        let is_subsystem = above
            .parent()
            .is_some_and(|parent| parent.ends_with("devices/virtual/nvme-subsystem"));
        if is_subsystem {
            for controller in controllers(above) {
                let above = controller.ancestors().take_while(|above| *above != sysfs);
                drivers.extend(above.filter_map(|above| driver(sysfs, above)));
            }
        }
    }
    drivers
}

fn driver(sysfs: &Path, device: &Path) -> Option<Driver> {
    let _driver = fs::read_link(device.join("driver")).ok()?;
    let module = fs::read_link(device.join("driver/module")).ok();
    Some(Driver {
        module: module
            .as_deref()
            .and_then(Path::file_name)
            .filter(|name| sysfs.join("module").join(name).join("initstate").exists())
            .map(|name| name.to_string_lossy().replace('-', "_")),
        modalias: fs::read_to_string(device.join("modalias"))
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()),
    })
}

fn controllers(subsystem: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(subsystem).into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("nvme"))
        .filter_map(|entry| fs::canonicalize(entry.path()).ok())
        .collect()
}
