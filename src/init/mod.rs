//! Early boot: from the kernel's hand-over to systemd.

pub mod cmdline;
pub mod console;
pub mod modules;
