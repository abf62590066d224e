//! Units as the manager knows them.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

/// A line of `ListUnits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitStatus {
    /// Its name, e.g. `ssh.service`.
    pub name: String,
    /// What its file calls it.
    pub description: String,
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`, `maintenance`.
    pub active: String,
    /// The state in the terms of its type, e.g. `running`, `exited`, `auto-restart`.
    pub sub: String,
    /// The unit that it follows, or nothing: device units of the same device follow one of them.
    pub following: String,
    /// Its object path on D-Bus.
    pub path: String,
    /// The job that is queued for it.
    pub job: Option<QueuedJob>,
}

/// A job that a unit has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedJob {
    /// Its number.
    pub id: u32,
    /// `start`, `stop`, …
    pub kind: String,
}

/// `a(ssssssouso)` of `ListUnits`, one element.
pub(super) type UnitRow = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

impl From<UnitRow> for UnitStatus {
    fn from(row: UnitRow) -> Self {
        let (name, description, load, active, sub, following, path, id, kind, _job_path) = row;
        let job = (id != 0).then_some(QueuedJob { id, kind });
        Self {
            name,
            description,
            load,
            active,
            sub,
            following,
            path: path.to_string(),
            job,
        }
    }
}

/// What a switch wants to know of a unit. What its type doesn't have is empty or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are systemd's, and independent of each other"
)]
pub struct UnitProperties {
    /// Its main name.
    pub id: String,
    /// All of its names.
    pub names: Vec<String>,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error`, …
    pub load_state: String,
    /// `active`, `inactive`, `failed`, …
    pub active_state: String,
    /// E.g. `running`.
    pub sub_state: String,
    /// Its file.
    pub fragment_path: String,
    /// The drop-ins that apply.
    pub drop_in_paths: Vec<String>,
    /// The file that a generator made it from.
    pub source_path: String,
    /// `enabled`, `static`, `masked`, …
    pub unit_file_state: String,
    /// Its files changed since they were loaded.
    pub need_daemon_reload: bool,
    /// It may be started by hand.
    pub can_start: bool,
    /// It may be stopped by hand.
    pub can_stop: bool,
    /// It knows how to reload.
    pub can_reload: bool,
    /// `RefuseManualStart=`.
    pub refuse_manual_start: bool,
    /// `RefuseManualStop=`.
    pub refuse_manual_stop: bool,
    /// The units that start it on an event, e.g. its socket.
    pub triggered_by: Vec<String>,
    /// The units that it starts on an event.
    pub triggers: Vec<String>,
    /// Of the present or last run, 32 hexadecimal digits; empty when it never ran.
    pub invocation_id: String,
    /// When it last became active, in microseconds of the monotonic clock; 0 for never.
    pub active_enter_usec: u64,
    /// When it last became inactive, likewise.
    pub inactive_enter_usec: u64,
    /// The conditions of its file held at its last start.
    pub condition_result: bool,
    /// `Type=` of a service.
    pub service_type: String,
    /// The main process of a service.
    pub main_pid: u32,
    /// The control process, e.g. of ExecStartPre=.
    pub control_pid: u32,
    /// How often `Restart=` has restarted it.
    pub n_restarts: u32,
    /// `success`, `exit-code`, `signal`, `timeout`, …
    pub result: String,
    /// The exit status or signal of the main process's last run.
    pub exec_main_status: i32,
    /// Which of the two it is, as `CLD_EXITED` and others of `waitid`; 0 when it hasn't ended.
    pub exec_main_code: i32,
}

impl UnitProperties {
    /// Whether no file of such a unit exists.
    pub fn is_missing(&self) -> bool {
        self.load_state == "not-found"
    }

    /// Whether it runs or is about to.
    pub fn is_up(&self) -> bool {
        matches!(self.active_state.as_str(), "active" | "activating" | "reloading")
    }

    /// Takes them from the answer to `GetAll`.
    pub(super) fn read(mut map: HashMap<String, OwnedVariant>) -> Self {
        let mut take = |name: &str| map.remove(name).map(Variant::from);
        Self {
            id: text(take("Id")),
            names: texts(take("Names")),
            load_state: text(take("LoadState")),
            active_state: text(take("ActiveState")),
            sub_state: text(take("SubState")),
            fragment_path: text(take("FragmentPath")),
            drop_in_paths: texts(take("DropInPaths")),
            source_path: text(take("SourcePath")),
            unit_file_state: text(take("UnitFileState")),
            need_daemon_reload: flag(take("NeedDaemonReload")),
            can_start: flag(take("CanStart")),
            can_stop: flag(take("CanStop")),
            can_reload: flag(take("CanReload")),
            refuse_manual_start: flag(take("RefuseManualStart")),
            refuse_manual_stop: flag(take("RefuseManualStop")),
            triggered_by: texts(take("TriggeredBy")),
            triggers: texts(take("Triggers")),
            invocation_id: hex(take("InvocationID")),
            active_enter_usec: number(take("ActiveEnterTimestampMonotonic")),
            inactive_enter_usec: number(take("InactiveEnterTimestampMonotonic")),
            condition_result: flag(take("ConditionResult")),
            service_type: text(take("Type")),
            main_pid: number(take("MainPID")),
            control_pid: number(take("ControlPID")),
            n_restarts: number(take("NRestarts")),
            result: text(take("Result")),
            exec_main_status: number(take("ExecMainStatus")),
            exec_main_code: number(take("ExecMainCode")),
        }
    }
}

type Value = Option<Variant<'static>>;

fn text(value: Value) -> String {
    value
        .and_then(|value| String::try_from(value).ok())
        .unwrap_or_default()
}

fn texts(value: Value) -> Vec<String> {
    value
        .and_then(|value| Vec::<String>::try_from(value).ok())
        .unwrap_or_default()
}

fn flag(value: Value) -> bool {
    value
        .and_then(|value| bool::try_from(value).ok())
        .unwrap_or_default()
}

fn number<N: Default + TryFrom<Variant<'static>>>(value: Value) -> N {
    value
        .and_then(|value| N::try_from(value).ok())
        .unwrap_or_default()
}

fn hex(value: Value) -> String {
    let bytes = value
        .and_then(|value| Vec::<u8>::try_from(value).ok())
        .unwrap_or_default();
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_a_wrong_type_are_as_if_absent() {
        let entries: Vec<(&str, Variant<'static>)> = vec![
            ("Id", Variant::from("a.service")),
            ("Names", Variant::from(vec!["a.service", "b.service"])),
            ("MainPID", Variant::from(7u32)),
            ("NRestarts", Variant::from("seven")),
            ("ExecMainStatus", Variant::from(-1i32)),
            ("InvocationID", Variant::from(vec![0u8, 0xab])),
        ];
        let map = entries
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), OwnedVariant::try_from(value).ok()?)))
            .collect();
        let expected = UnitProperties {
            id: "a.service".into(),
            names: vec!["a.service".into(), "b.service".into()],
            main_pid: 7,
            exec_main_status: -1,
            invocation_id: "00ab".into(),
            ..UnitProperties::default()
        };
        assert_eq!(UnitProperties::read(map), expected);
    }
}
