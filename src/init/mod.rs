//! Early boot: from the kernel's hand-over to systemd.
//!
//! One loop waits for everything: uevents, module loads, keys, tried passphrases. Whatever block device appears is
//! looked at; LUKS volumes are unlocked, complete volume groups activated, and what they bring is looked at in turn,
//! until the root is there.

mod adjunct;
mod boot;
mod choose;
pub mod cmdline;
pub mod console;
pub(crate) mod device_spec;
mod devices;
mod early;
mod find_root;
mod fsck;
mod handoff;
mod hibernation;
pub mod keymap;
mod log;
mod luks_parameters;
mod mappings;
pub mod modules;
mod open_luks;
mod open_volumes;
mod power;
mod program;
mod real_lvm;
mod report;
mod sequence;
mod shell;
mod sources;
mod trouble;
mod uevent;
mod unlock;
mod unlock_trial;
mod volumes;

// A rehearsal takes the same decisions.
pub use adjunct::{emergency, hand_off, prepare};
#[cfg(feature = "tools")]
pub(crate) use choose::requested;
#[cfg(feature = "tools")]
pub(crate) use devices::{BlockDevice, in_sysfs};
pub use power::reboot;
pub use report::{Report, monotonic_usec};
pub use sequence::run;
#[cfg(feature = "tools")]
pub(crate) use unlock::{default_name, mapper_path};
#[cfg(feature = "tools")]
pub(crate) use volumes::{Ready, VolumeGroups, Wanted};

use nix::errno::Errno;

/// What early boot can't go on without. Everything else is offered to the person at the console.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Not started by a kernel.
    #[error("keel-init runs as PID 1 of an initrd that `keel initrd` made; here it does nothing")]
    NotInitrd,
    /// Not started by systemd.
    #[error(
        "keel-init --adjunct, --switch-root and --emergency are for the units of an initrd that `keel initrd --systemd` made; \
         here they do nothing"
    )]
    NotSystemdInitrd,
    /// proc, sysfs and so on.
    #[error(transparent)]
    Early(#[from] early::EarlyError),
    /// A part of the image.
    #[error("{path} of the initrd image can't be read: {source}; build the image again with `keel initrd`")]
    Image {
        /// Which part.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The module table.
    #[error("the initrd's module table is damaged: {0}; build the image again with `keel initrd`")]
    Modules(#[from] modules::TableError),
    /// The threads that load modules.
    #[error("modules can't be loaded: {0}")]
    Loader(std::io::Error),
    /// The uevent socket.
    #[error("uevents of the kernel can't be received: {0}")]
    Uevents(std::io::Error),
    /// The root was already being switched.
    #[error(transparent)]
    HandOff(handoff::HandOffError),
    /// Beside systemd nobody is offered anything: its emergency.target does that.
    #[error(transparent)]
    Trouble(Box<trouble::Trouble>),
    /// Beside systemd: the root didn't appear in time.
    #[error(
        "the root file system {0} hasn't appeared; the lines above say what has. Is root= right, is its disk attached, has the \
         initrd the module of its driver?"
    )]
    RootAbsent(String),
    /// Beside systemd: a password agent said that nobody answers.
    #[error("nobody gave the passphrase that leads to {0}: the password agent was cancelled")]
    Cancelled(String),
    /// Beside systemd: PID 1 didn't do what it was asked.
    #[error(transparent)]
    Manager(#[from] adjunct::CallError),
    /// poll(2).
    #[error("waiting for events failed: {0}")]
    Wait(Errno),
}
