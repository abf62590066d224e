//! How systemd puts several assignments of a key together: the table, from the manuals systemd.unit(5), exec, kill,
//! resource-control, service, socket, mount, swap, timer and path, and from how systemd 257 was seen to behave.
//!
//! Keys that are several names of one setting, or that fill one list, are one *group*; the order of assignments counts
//! within a group only. A key that isn't in the table is a group of its own whose whole sequence of assignments counts.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::value::Class;

/// How the assignments of a group become its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The last good value counts.
    Scalar(Class),
    /// They add up; an empty value removes all before it, and then the setting is as if there had been none.
    List,
    /// The same for lists of words: blanks between them don't count.
    Words,
    /// The same for command lines.
    Commands,
    /// They add up as a set of words: neither order nor an empty value matters (systemd.unit(5): dependencies can't be
    /// reset).
    Dependencies,
    /// An empty value makes what came before irrelevant, but isn't the same as no assignment.
    Emptied,
    /// Every assignment counts, in order.
    Sequence,
}

/// A group of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The section that it is shown under.
    pub(super) section: &'static str,
    /// The name that stands for it: mostly the (newest) key.
    pub(super) name: &'static str,
    /// How its assignments are put together.
    pub(super) rule: Rule,
}

const JOB_MODES: &[&str] = &[
    "fail",
    "replace",
    "replace-irreversibly",
    "isolate",
    "flush",
    "ignore-dependencies",
    "ignore-requirements",
];
const KILL_MODES: &[&str] = &["control-group", "process", "mixed", "none"];
const SIGNALS: &[&str] = &[
    "SIGTERM", "SIGKILL", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGABRT", "SIGWINCH",
];
const RESTARTS: &[&str] = &[
    "no",
    "on-success",
    "on-failure",
    "on-abnormal",
    "on-watchdog",
    "on-abort",
    "always",
];
const TYPES: &[&str] = &[
    "simple",
    "exec",
    "forking",
    "oneshot",
    "dbus",
    "notify",
    "notify-reload",
    "idle",
];
const OUTPUTS: &[&str] = &[
    "inherit",
    "null",
    "tty",
    "journal",
    "kmsg",
    "journal+console",
    "kmsg+console",
    "socket",
];
const ACTIONS: &[&str] = &[
    "none",
    "reboot",
    "reboot-force",
    "reboot-immediate",
    "poweroff",
    "poweroff-force",
    "poweroff-immediate",
    "exit",
    "exit-force",
];

/// `[Unit]`. Names joined by `=` are one group; the first is its name.
const UNIT: &[(Rule, &str)] = &[
    (Rule::Scalar(Class::Text), "Description"),
    (Rule::Words, "Documentation"),
    (Rule::Scalar(Class::Path), "SourcePath"),
    (
        Rule::Dependencies,
        "Requires=RequiresOverridable Requisite=RequisiteOverridable Wants BindsTo=BindTo Upholds Conflicts Before After \
         OnSuccess OnFailure PropagatesReloadTo=PropagateReloadTo ReloadPropagatedFrom=PropagateReloadFrom PropagatesStopTo \
         StopPropagatedFrom PartOf JoinsNamespaceOf RequiresMountsFor WantsMountsFor",
    ),
    (
        Rule::Scalar(Class::Boolean),
        "StopWhenUnneeded RefuseManualStart RefuseManualStop AllowIsolate DefaultDependencies SurviveFinalKillSignal \
         IgnoreOnIsolate",
    ),
    (Rule::Scalar(Class::OneOf(JOB_MODES)), "OnSuccessJobMode"),
    // OnFailureIsolate= is a boolean that writes the same setting.
    (
        Rule::Sequence,
        "OnFailureJobMode=OnFailureIsolate JobTimeoutSec=JobRunningTimeoutSec RebootArgument",
    ),
    (
        Rule::Scalar(Class::Span),
        "StartLimitIntervalSec=StartLimitInterval",
    ),
    (Rule::Scalar(Class::Number), "StartLimitBurst"),
    (
        Rule::Scalar(Class::OneOf(ACTIONS)),
        "JobTimeoutAction StartLimitAction FailureAction SuccessAction",
    ),
    (
        Rule::Scalar(Class::OneOf(&["inactive", "inactive-or-failed"])),
        "CollectMode",
    ),
    // What the switch reads, and systemd doesn't.
    (Rule::Words, "X-Restart-Triggers X-Reload-Triggers"),
];

/// Keys of more than one kind of unit: systemd.exec(5), systemd.kill(5), systemd.resource-control(5).
const COMMON: &[(Rule, &str)] = &[
    (
        Rule::List,
        "EnvironmentFile StandardInputText=StandardInputData BindPaths=BindReadOnlyPaths TemporaryFileSystem DeviceAllow",
    ),
    (
        Rule::Words,
        "Environment PassEnvironment UnsetEnvironment ReadWritePaths=ReadWriteDirectories \
         ReadOnlyPaths=ReadOnlyDirectories InaccessiblePaths=InaccessibleDirectories ExecPaths NoExecPaths RuntimeDirectory \
         StateDirectory CacheDirectory LogsDirectory ConfigurationDirectory",
    ),
    (
        Rule::Emptied,
        "SystemCallFilter CapabilityBoundingSet AmbientCapabilities RestrictAddressFamilies SystemCallArchitectures \
         SetCredential=SetCredentialEncrypted LoadCredential=LoadCredentialEncrypted LogExtraFields ExtensionImages MountImages \
         ExtensionDirectories IPAddressAllow IPAddressDeny",
    ),
    // Not DynamicUser=: there a value that is none spoils the unit, whatever follows.
    (
        Rule::Scalar(Class::Boolean),
        "RemoveIPC TTYReset TTYVHangup TTYVTDisallocate SyslogLevelPrefix NoNewPrivileges MemoryDenyWriteExecute \
         RestrictRealtime RestrictSUIDSGID LockPersonality PrivateDevices ProtectKernelTunables ProtectKernelModules \
         ProtectKernelLogs ProtectClock PrivateNetwork PrivateIPC IgnoreSIGPIPE ProtectHostname CPUSchedulingResetOnFork \
         SendSIGKILL SendSIGHUP CPUAccounting MemoryAccounting IOAccounting TasksAccounting IPAccounting \
         RootEphemeral CoredumpReceive",
    ),
    (
        Rule::Scalar(Class::Mode),
        "UMask RuntimeDirectoryMode StateDirectoryMode CacheDirectoryMode LogsDirectoryMode ConfigurationDirectoryMode",
    ),
    (
        Rule::Scalar(Class::OneOf(OUTPUTS)),
        "StandardOutput StandardError",
    ),
    (Rule::Scalar(Class::OneOf(KILL_MODES)), "KillMode"),
    (
        Rule::Scalar(Class::OneOf(SIGNALS)),
        "KillSignal RestartKillSignal FinalKillSignal WatchdogSignal ReloadSignal",
    ),
    // Switching to or from a real-time policy changes the priority; limits of a device are one list.
    (
        Rule::Sequence,
        "CPUSchedulingPolicy=CPUSchedulingPriority IOSchedulingClass=IOSchedulingPriority CPUWeight=CPUShares \
         IOReadBandwidthMax=IOWriteBandwidthMax=IOReadIOPSMax=IOWriteIOPSMax BlockIOReadBandwidth=BlockIOWriteBandwidth",
    ),
];

/// `[Service]`.
const SERVICE: &[(Rule, &str)] = &[
    (
        Rule::Commands,
        "ExecCondition ExecStartPre ExecStart ExecStartPost ExecReload ExecStop ExecStopPost",
    ),
    (
        Rule::Words,
        "RestartPreventExitStatus RestartForceExitStatus SuccessExitStatus",
    ),
    (Rule::Dependencies, "Sockets"),
    (Rule::Scalar(Class::OneOf(TYPES)), "Type"),
    (Rule::Scalar(Class::OneOf(RESTARTS)), "Restart"),
    (Rule::Scalar(Class::OneOf(&["main", "cgroup"])), "ExitType"),
    (
        Rule::Scalar(Class::OneOf(&["none", "main", "exec", "all"])),
        "NotifyAccess",
    ),
    (
        Rule::Scalar(Class::Boolean),
        "RemainAfterExit GuessMainPID NonBlocking RootDirectoryStartOnly PermissionsStartOnly",
    ),
    (
        Rule::Scalar(Class::Span),
        "RestartSec RestartMaxDelaySec RuntimeMaxSec RuntimeRandomizedExtraSec WatchdogSec",
    ),
    (Rule::Scalar(Class::Number), "RestartSteps FileDescriptorStoreMax"),
    (
        Rule::Sequence,
        "TimeoutSec=TimeoutStartSec=TimeoutStopSec=TimeoutAbortSec",
    ),
];

/// `[Socket]`.
const SOCKET: &[(Rule, &str)] = &[
    (
        Rule::List,
        "Listen=ListenStream=ListenDatagram=ListenSequentialPacket=ListenFIFO=ListenNetlink=ListenSpecial=ListenMessageQueue=ListenUSBFunction",
    ),
    (Rule::Words, "Symlinks"),
    (
        Rule::Commands,
        "ExecStartPre ExecStartPost ExecStopPre ExecStopPost",
    ),
    (Rule::Scalar(Class::Mode), "SocketMode DirectoryMode"),
    (
        Rule::Scalar(Class::Boolean),
        "Accept FlushPending Writable KeepAlive NoDelay FreeBind Transparent Broadcast PassCredentials PassSecurity \
         PassPacketInfo PassFileDescriptorsToExec ReusePort RemoveOnStop",
    ),
    (
        Rule::Scalar(Class::Number),
        "Backlog MaxConnections MaxConnectionsPerSource",
    ),
];

/// `[Mount]`, `[Automount]` and `[Swap]`.
const MOUNT: &[(Rule, &str)] = &[
    (
        Rule::Scalar(Class::Boolean),
        "SloppyOptions LazyUnmount ForceUnmount ReadWriteOnly",
    ),
    (Rule::Scalar(Class::Mode), "DirectoryMode"),
    (Rule::Scalar(Class::Text), "Options Type"),
];

/// `[Timer]`.
const TIMER: &[(Rule, &str)] = &[
    (
        Rule::List,
        "On=OnCalendar=OnActiveSec=OnBootSec=OnStartupSec=OnUnitActiveSec=OnUnitInactiveSec",
    ),
    (
        Rule::Scalar(Class::Boolean),
        "OnClockChange OnTimezoneChange Persistent WakeSystem RemainAfterElapse FixedRandomDelay DeferReactivation",
    ),
    (Rule::Scalar(Class::Span), "AccuracySec RandomizedDelaySec"),
];

/// `[Path]`.
const PATH: &[(Rule, &str)] = &[
    (
        Rule::List,
        "Path=PathExists=PathExistsGlob=PathChanged=PathModified=DirectoryNotEmpty",
    ),
    (Rule::Scalar(Class::Boolean), "MakeDirectory"),
    (Rule::Scalar(Class::Mode), "DirectoryMode"),
];

type Table = HashMap<(&'static str, &'static str), Group>;

/// The group that `section`, `key` belongs to; nothing for a key that isn't in the table.
pub(super) fn group(section: &str, key: &str) -> Option<Group> {
    static TABLE: OnceLock<Table> = OnceLock::new();
    // Older names that stood in another section.
    let section = match (section, key) {
        (
            "Service",
            "StartLimitInterval" | "StartLimitBurst" | "StartLimitAction" | "FailureAction"
            | "RebootArgument",
        ) => "Unit",
        (other, _) => other,
    };
    if section == "Unit" {
        // All conditions are one list, and so are all assertions.
        for (start, name) in [("Condition", "Conditions"), ("Assert", "Asserts")] {
            if key.starts_with(start) {
                return Some(Group {
                    section: "Unit",
                    name,
                    rule: Rule::List,
                });
            }
        }
    }
    TABLE.get_or_init(table).get(&(section, key)).copied()
}

fn table() -> Table {
    let mut table = Table::new();
    let executing = ["Service", "Socket", "Mount", "Swap"];
    let mut add = |sections: &[&'static str], rows: &'static [(Rule, &'static str)]| {
        for (rule, names) in rows {
            for names in names.split_whitespace() {
                let name = names.split('=').next().unwrap_or_default();
                for (section, key) in sections
                    .iter()
                    .flat_map(|section| names.split('=').map(move |key| (section, key)))
                {
                    let group = Group {
                        section,
                        name,
                        rule: *rule,
                    };
                    let _replaced = table.insert((*section, key), group);
                }
            }
        }
    };
    add(&["Unit"], UNIT);
    add(&executing, COMMON);
    add(&["Slice", "Scope"], COMMON);
    add(&["Service"], SERVICE);
    add(&["Socket"], SOCKET);
    add(&["Mount", "Automount", "Swap"], MOUNT);
    add(&["Timer"], TIMER);
    add(&["Path"], PATH);
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_one_setting_are_one_group() {
        for (section, key, shown, name) in [
            ("Unit", "BindTo", "Unit", "BindsTo"),
            ("Unit", "ConditionPathExists", "Unit", "Conditions"),
            ("Unit", "AssertHost", "Unit", "Asserts"),
            ("Service", "StartLimitInterval", "Unit", "StartLimitIntervalSec"),
            ("Service", "ReadOnlyDirectories", "Service", "ReadOnlyPaths"),
            ("Socket", "ListenFIFO", "Socket", "Listen"),
            ("Timer", "OnBootSec", "Timer", "On"),
        ] {
            let group = group(section, key).unwrap();
            assert_eq!((group.section, group.name), (shown, name));
        }
        assert_eq!(group("Service", "X-Unknown"), None);
        assert_eq!(group("Timer", "ExecStart"), None);
        assert_eq!(group("Socket", "ExecStartPre").unwrap().rule, Rule::Commands);
    }
}
