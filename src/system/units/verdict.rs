//! What a changed setting asks for. The strongest of all changed settings is the unit's verdict.

use super::name::Kind;

/// What has to be done so that a running unit is as its new text says; later ones include earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing: systemd sees no difference.
    Equal,
    /// systemd has to read the texts again; the running unit stays.
    ReloadDaemonOnly,
    /// The unit's reload brings it in: `ExecReload=` for a service, a remount for a mount.
    Reload,
    /// What runs was started with the old setting.
    Restart,
}

/// What a change of `name` (a setting's name, see [`super::settings::SettingName`]) in `section` asks for, and why.
pub(super) fn of_setting(kind: Kind, section: &str, name: &str) -> (Verdict, &'static str) {
    use Verdict::{Reload, ReloadDaemonOnly, Restart};
    match (section, name) {
        ("Unit", "Description" | "Documentation" | "SourcePath") => (ReloadDaemonOnly, "it is only shown"),
        (
            "Unit",
            "Before"
            | "After"
            | "Requires"
            | "Requisite"
            | "Wants"
            | "BindsTo"
            | "Upholds"
            | "Conflicts"
            | "PartOf"
            | "RequiresMountsFor"
            | "WantsMountsFor"
            | "DefaultDependencies"
            | "PropagatesReloadTo"
            | "ReloadPropagatedFrom"
            | "PropagatesStopTo"
            | "StopPropagatedFrom",
        ) => (
            ReloadDaemonOnly,
            "dependencies are looked at when a job is made; what is newly wanted is started by its targets",
        ),
        (
            "Unit",
            "OnFailure"
            | "OnSuccess"
            | "OnFailureJobMode"
            | "OnSuccessJobMode"
            | "FailureAction"
            | "SuccessAction"
            | "FailureActionExitStatus"
            | "SuccessActionExitStatus"
            | "RebootArgument"
            | "CollectMode"
            | "StopWhenUnneeded",
        ) => (ReloadDaemonOnly, "the manager looks at it when the unit ends"),
        (
            "Unit",
            "StartLimitIntervalSec"
            | "StartLimitBurst"
            | "StartLimitAction"
            | "JobTimeoutSec"
            | "JobTimeoutAction"
            | "JobTimeoutRebootArgument"
            | "RefuseManualStart"
            | "RefuseManualStop"
            | "AllowIsolate"
            | "IgnoreOnIsolate",
        ) => (
            ReloadDaemonOnly,
            "the manager looks at it when a job for the unit is made",
        ),
        ("Unit" | "Service", "X-Reload-Triggers") => (Reload, "its author asks for a reload"),
        ("Unit" | "Service", "X-Restart-Triggers") => (Restart, "its author asks for a restart"),
        (_, name) if name.starts_with("X-") => (ReloadDaemonOnly, "systemd ignores it"),
        ("Service", "ExecReload") => (Reload, "the way to reload is another"),
        ("Service", "ExecStop" | "ExecStopPost") => (ReloadDaemonOnly, "it is run when the unit stops"),
        (
            "Service",
            "Restart"
            | "RestartSec"
            | "RestartSteps"
            | "RestartMaxDelaySec"
            | "RestartMode"
            | "RestartPreventExitStatus"
            | "RestartForceExitStatus"
            | "SuccessExitStatus",
        ) => (
            ReloadDaemonOnly,
            "the manager looks at it when the main process ends",
        ),
        (
            "Service" | "Socket" | "Mount" | "Swap" | "Scope",
            "KillMode" | "KillSignal" | "RestartKillSignal" | "FinalKillSignal" | "SendSIGKILL"
            | "SendSIGHUP",
        ) => (ReloadDaemonOnly, "the manager looks at it when the unit stops"),
        ("Mount", "Options") => (Reload, "a remount brings new options in"),
        ("Mount", "TimeoutSec" | "LazyUnmount" | "ForceUnmount") | ("Swap", "TimeoutSec") => (
            ReloadDaemonOnly,
            "the manager looks at it when it mounts or unmounts",
        ),
        // Its processes stay; daemon-reload sets the new limits on the control group.
        ("Slice", _) if kind == Kind::Slice => (ReloadDaemonOnly, "a slice has no processes of its own"),
        _ => (Restart, "it takes effect when the unit starts"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_asks_for_no_more_than_it_needs() {
        for (section, name, verdict) in [
            ("Unit", "Description", Verdict::ReloadDaemonOnly),
            ("Unit", "After", Verdict::ReloadDaemonOnly),
            ("Unit", "JoinsNamespaceOf", Verdict::Restart),
            ("Unit", "Conditions", Verdict::Restart),
            ("Unit", "X-Switch", Verdict::ReloadDaemonOnly),
            ("Service", "X-Reload-Triggers", Verdict::Reload),
            ("Unit", "X-Restart-Triggers", Verdict::Restart),
            ("Service", "ExecReload", Verdict::Reload),
            ("Service", "ExecStart", Verdict::Restart),
            ("Service", "RestartSec", Verdict::ReloadDaemonOnly),
            ("Service", "Sockets", Verdict::Restart),
            ("Service", "NewKey", Verdict::Restart),
            ("Mount", "Options", Verdict::Reload),
            ("Mount", "What", Verdict::Restart),
        ] {
            assert_eq!(
                of_setting(Kind::Service, section, name).0,
                verdict,
                "{section} {name}"
            );
        }
        assert_eq!(
            of_setting(Kind::Slice, "Slice", "MemoryMax").0,
            Verdict::ReloadDaemonOnly
        );
    }
}
