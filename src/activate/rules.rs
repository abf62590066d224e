//! The rule for each type of unit, and the list of what is never restarted while the machine runs. `docs/switching.md`
//! shows both as tables.

use crate::system::units::{Kind, Verdict};

/// What a unit needs; later ones include earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// Reload.
    Reload,
    /// Restart.
    Restart,
    /// Stop before the trees change, start afterwards.
    StopStart,
    /// Restart of a socket: its services have to be stopped meanwhile.
    SocketRestart,
}

/// What a changed text asks for, by type.
pub(super) fn for_text(kind: Kind, verdict: Verdict, can_reload: bool) -> Option<Action> {
    if !super::plan::is_more_than_reading(verdict) {
        return None;
    }
    match kind {
        Kind::Service => Some(match verdict {
            Verdict::Reload if can_reload => Action::Reload,
            _ => Action::Restart,
        }),
        Kind::Socket => Some(Action::SocketRestart),
        Kind::Mount => Some(match verdict {
            Verdict::Reload => Action::Reload,
            _ => Action::Restart,
        }),
        Kind::Automount | Kind::Swap | Kind::Path | Kind::Timer => Some(Action::Restart),
        // daemon-reload brings all of a slice and a target in; scopes and devices have no text of their own.
        Kind::Slice | Kind::Target | Kind::Scope | Kind::Device => None,
    }
}

/// Mount points without which nothing runs: never unmounted.
const NEVER_UNMOUNTED: [&str; 14] = [
    "-.mount",
    "boot.mount",
    "dev.mount",
    "efi.mount",
    "etc.mount",
    "home.mount",
    "nix.mount",
    "nix-store.mount",
    "proc.mount",
    "root.mount",
    "run.mount",
    "tmp.mount",
    "usr.mount",
    "var.mount",
];

/// Why a unit is never restarted while the machine runs, when it is one of those.
pub(super) fn never(unit: &str, kind: Kind, in_use: bool) -> Option<&'static str> {
    const BUS: &str = "every program that is connected to the bus would lose it";
    const DISPLAY: &str = "the graphical session would end";
    const MANAGER: &str = "a user's services and session would end";
    if kind == Kind::Mount && NEVER_UNMOUNTED.contains(&unit) {
        return Some("the machine runs on it");
    }
    let stem = unit.split(['@', '.']).next().unwrap_or(unit);
    match (stem, kind) {
        ("dbus" | "dbus-broker", Kind::Service | Kind::Socket) => Some(BUS),
        ("systemd-logind", Kind::Service) => Some("sessions and their devices would be lost"),
        (
            "display-manager" | "gdm" | "gdm3" | "sddm" | "lightdm" | "lxdm" | "xdm" | "slim" | "greetd"
            | "ly",
            Kind::Service,
        ) => Some(DISPLAY),
        ("user" | "user-runtime-dir", Kind::Service) if unit.contains('@') => Some(MANAGER),
        ("init" | "session", Kind::Scope) => Some(MANAGER),
        ("getty" | "serial-getty" | "console-getty" | "container-getty" | "autovt", Kind::Service)
            if in_use =>
        {
            Some("somebody is logged in on it")
        }
        ("keel-switch" | "keel-revert" | "keel-healthy", _) => Some("it is keel itself"),
        ("systemd-cryptsetup" | "lvm2-monitor" | "blk-availability", Kind::Service) => {
            Some("the machine's disks depend on it")
        }
        (
            "emergency" | "rescue" | "initrd-switch-root" | "systemd-fsck-root" | "plymouth-start",
            Kind::Service,
        ) => Some("it belongs to the boot"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_restarted() {
        for (unit, kind, in_use, kept) in [
            ("dbus.service", Kind::Service, false, true),
            ("dbus.socket", Kind::Socket, false, true),
            ("systemd-logind.service", Kind::Service, false, true),
            ("user@1000.service", Kind::Service, false, true),
            ("user.slice", Kind::Slice, false, false),
            ("getty@tty1.service", Kind::Service, true, true),
            ("getty@tty1.service", Kind::Service, false, false),
            ("usr.mount", Kind::Mount, false, true),
            ("srv-data.mount", Kind::Mount, false, false),
            ("ssh.service", Kind::Service, true, false),
            ("systemd-journald.service", Kind::Service, false, false),
        ] {
            assert_eq!(never(unit, kind, in_use).is_some(), kept, "{unit}");
        }
    }

    #[test]
    fn each_type_has_its_rule() {
        use Verdict::{Equal, Reload, ReloadDaemonOnly, Restart};
        for (kind, verdict, can_reload, action) in [
            (Kind::Service, Equal, true, None),
            (Kind::Service, ReloadDaemonOnly, true, None),
            (Kind::Service, Reload, true, Some(Action::Reload)),
            (Kind::Service, Reload, false, Some(Action::Restart)),
            (Kind::Service, Restart, true, Some(Action::Restart)),
            (Kind::Socket, Restart, false, Some(Action::SocketRestart)),
            (Kind::Mount, Reload, false, Some(Action::Reload)),
            (Kind::Timer, Restart, false, Some(Action::Restart)),
            (Kind::Target, Restart, false, None),
            (Kind::Slice, Restart, false, None),
        ] {
            assert_eq!(
                for_text(kind, verdict, can_reload),
                action,
                "{kind:?} {verdict:?}"
            );
        }
    }
}
