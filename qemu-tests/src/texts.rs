//! Texts that keel, Debian and the firmware show, in one place: scenarios wait for them.

/// Early boot asks for the passphrase.
pub(crate) const PASSPHRASE_PROMPT: &str = "Passphrase for";
/// The passphrase opened nothing.
pub(crate) const WRONG_PASSPHRASE: &str = "Wrong passphrase";
/// The list of generations.
pub(crate) const PICKER: &str = "Pick a generation";
/// Early boot can't go on.
pub(crate) const TROUBLE: &str = "This boot can't go on";
/// What can be done about it.
pub(crate) const WHAT_NOW: &str = "What now?";
/// The root file system isn't there.
pub(crate) const ROOT_ABSENT: &str = "hasn't appeared";
/// Early boot hands the machine to a hibernated system.
pub(crate) const RESUMING: &str = "Resuming the hibernated system";
/// The kernel couldn't load it.
pub(crate) const DID_NOT_COME_BACK: &str = "didn't come back";
/// systemd-boot counts down.
pub(crate) const BOOT_MENU: &str = "Boot in";
/// The root shell of a test machine: after a login, as the first program, when no host name is set yet, and starship's.
pub(crate) const SHELL_PROMPTS: [&str; 5] =
    ["root@keel:", "root@nixie:", "root@(none):", "bash-5", "\u{276f}"];
/// Nothing good comes after it.
pub(crate) const PANIC: &str = "Kernel panic";

/// The key that goes down in a menu (ECMA-48, cursor down).
pub(crate) const KEY_DOWN: &str = "\x1b[B";
/// Enter.
pub(crate) const KEY_ENTER: &str = "\r";
