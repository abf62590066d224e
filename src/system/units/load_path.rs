//! Where systemd looks for unit files, the first directory winning (systemd.unit(5), "Unit File Load Path").

/// Directories in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadPath(Vec<&'static str>);

const SYSTEM: &[&str] = &[
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/generator.late",
];

impl LoadPath {
    /// All directories of the system manager.
    pub fn system() -> Self {
        Self(SYSTEM.to_vec())
    }

    /// Those that a system brings: of `/etc` and `/usr`, not what the running machine adds in `/run`.
    pub fn persistent() -> Self {
        let brought = |directory: &&str| !directory.starts_with("/run/");
        Self(SYSTEM.iter().copied().filter(brought).collect())
    }

    /// Other directories.
    pub fn of(directories: &[&'static str]) -> Self {
        Self(directories.to_vec())
    }

    /// The directories, the first winning.
    pub fn directories(&self) -> &[&'static str] {
        &self.0
    }
}
