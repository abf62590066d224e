#![allow(clippy::unwrap_used)]

use super::*;
use crate::system::units::Settings;

fn view(name: &str, kind: Kind) -> UnitView {
    UnitView {
        name: name.to_owned(),
        kind,
        text: Text::Same,
        code: Vec::new(),
        configuration: Vec::new(),
        has_processes: true,
        is_stale: false,
        can_reload: false,
        in_use: false,
        policy: crate::system::units::Policy::of(kind, &Settings::new(kind, [], [])),
        socket: None,
        triggers: Vec::new(),
    }
}

fn changed(verdict: Verdict) -> Text {
    Text::Changed {
        changes: vec!["[Service] ExecStart changed".to_owned()],
        verdict,
    }
}

fn planned(units: Vec<UnitView>) -> Plan {
    let active = units.iter().map(|view| view.name.clone()).collect();
    plan(&Observed {
        units,
        active,
        ..Observed::default()
    })
}

fn lines(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter();
    steps
        .map(|step| format!("{} {} ({})", step.verb.name(), step.unit, step.reasons.join(", ")))
        .collect()
}

#[test]
fn nothing_changed_nothing_to_do() {
    let plan = planned(vec![
        view("a.service", Kind::Service),
        view("b.socket", Kind::Socket),
    ]);
    assert_eq!(plan, Plan::default());
}

#[test]
fn each_change_has_its_verb_and_reason() {
    let service = || view("a.service", Kind::Service);
    for (view, line) in [
        (
            UnitView {
                text: changed(Verdict::Restart),
                ..service()
            },
            "restart a.service ([Service] ExecStart changed)",
        ),
        (
            UnitView {
                code: vec!["libssl.so.3".into()],
                ..service()
            },
            "restart a.service (libssl.so.3 changed)",
        ),
        (
            UnitView {
                configuration: vec!["sshd_config".into()],
                ..service()
            },
            "restart a.service (sshd_config changed)",
        ),
        (
            UnitView {
                configuration: vec!["sshd_config".into()],
                can_reload: true,
                ..service()
            },
            "reload a.service (sshd_config changed)",
        ),
        (
            UnitView {
                text: Text::Gone,
                ..service()
            },
            "stop a.service (removed)",
        ),
        (
            UnitView {
                text: Text::Masked,
                ..service()
            },
            "stop a.service (masked)",
        ),
        (
            UnitView {
                is_stale: true,
                ..service()
            },
            "restart a.service (its mount namespace would still show the old /usr or /etc)",
        ),
    ] {
        assert_eq!(lines(&planned(vec![view])), [line]);
    }
}

#[test]
fn what_runs_no_code_is_left_alone_when_code_changes() {
    let view = UnitView {
        has_processes: false,
        code: vec!["libc.so.6".into()],
        ..view("a.service", Kind::Service)
    };
    assert!(planned(vec![view]).steps.is_empty());
}

#[test]
fn dbus_is_kept_and_said_but_reloaded_when_that_does() {
    let dbus = UnitView {
        can_reload: true,
        ..view("dbus.service", Kind::Service)
    };
    let code = UnitView {
        code: vec!["dbus-daemon".into()],
        ..dbus.clone()
    };
    let plan = planned(vec![code]);
    assert!(plan.steps.is_empty() && plan.is_partial());
    assert_eq!(plan.kept.first().unwrap().reasons, ["dbus-daemon changed"]);
    let configuration = UnitView {
        configuration: vec!["system.conf".into()],
        ..dbus
    };
    assert_eq!(
        lines(&planned(vec![configuration])),
        ["reload dbus.service (system.conf changed)"]
    );
}

#[test]
fn the_policy_of_a_unit_decides() {
    let with = |method| {
        let mut view = UnitView {
            text: changed(Verdict::Restart),
            can_reload: true,
            ..view("a.service", Kind::Service)
        };
        view.policy.method = Some(method);
        planned(vec![view])
    };
    assert!(with(Method::Keep).steps.is_empty() && with(Method::Keep).is_partial());
    assert_eq!(with(Method::Reload).units(Verb::Reload), ["a.service"]);
    assert_eq!(with(Method::Restart).units(Verb::Restart), ["a.service"]);
    let both = with(Method::StopStart);
    assert_eq!(
        (both.units(Verb::Stop).len(), both.units(Verb::Start).len()),
        (1, 1)
    );
}

#[test]
fn a_changed_socket_is_restarted_while_its_service_is_stopped() {
    let socket = UnitView {
        text: changed(Verdict::Restart),
        triggers: vec!["a.service".into()],
        ..view("a.socket", Kind::Socket)
    };
    let plan = planned(vec![socket, view("a.service", Kind::Service)]);
    assert_eq!(plan.units(Verb::Stop), ["a.service"]);
    assert_eq!(plan.units(Verb::Restart), ["a.socket"]);
    assert_eq!(plan.units(Verb::Start), ["a.service"]);
    // The service alone is restarted in one job: the socket keeps listening.
    let service = UnitView {
        text: changed(Verdict::Restart),
        socket: Some("a.socket".into()),
        ..view("a.service", Kind::Service)
    };
    let plan = planned(vec![service, view("a.socket", Kind::Socket)]);
    assert_eq!(lines(&plan), ["restart a.service ([Service] ExecStart changed)"]);
}

#[test]
fn new_units_are_started_once() {
    let observed = Observed {
        wanted: vec![("new.service".into(), "multi-user.target wants it".into())],
        ..Observed::default()
    };
    assert_eq!(
        lines(&plan(&observed)),
        ["start new.service (multi-user.target wants it)"]
    );
}

#[test]
fn a_unit_that_nothing_wants_any_more_is_stopped_and_nothing_else() {
    let changed = UnitView {
        text: changed(Verdict::Restart),
        ..view("off.service", Kind::Service)
    };
    let observed = Observed {
        units: vec![changed],
        unwanted: vec![(
            "off.service".into(),
            "multi-user.target doesn't want it any more".into(),
        )],
        ..Observed::default()
    };
    assert_eq!(
        lines(&plan(&observed)),
        ["stop off.service (multi-user.target doesn't want it any more)"]
    );
}
