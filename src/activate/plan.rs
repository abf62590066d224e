//! From what was observed to what will be done. Pure: the same observation gives the same plan.

use serde::{Deserialize, Serialize};

use super::rules::{self, Action};
use super::view::{Observed, Text, UnitView};
use crate::system::units::{Kind, Method, Verdict};

/// What is done with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Before the trees change.
    Stop,
    /// It takes its new configuration over while it runs.
    Reload,
    /// It's stopped and started in one job.
    Restart,
    /// After everything else.
    Start,
}

impl Verb {
    /// As systemd's jobs and people call it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Stop => "stop",
            Verb::Reload => "reload",
            Verb::Restart => "restart",
            Verb::Start => "start",
        }
    }
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The unit.
    pub unit: String,
    /// What is done with it.
    pub verb: Verb,
    /// Why, the weightiest first.
    pub reasons: Vec<String>,
}

/// A unit that should be started anew and isn't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The unit.
    pub unit: String,
    /// Why it should be.
    pub reasons: Vec<String>,
    /// Why it isn't.
    pub because: String,
}

/// What a switch does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    /// In the order of verbs, then of names.
    pub steps: Vec<Step>,
    /// Units that stay on the old system until the next boot, or until somebody restarts them.
    pub kept: Vec<Kept>,
    /// What only a reboot brings.
    pub reboot: Vec<String>,
    /// Why systemd starts itself anew; else it only reads its units again.
    pub reexec: Option<String>,
    /// Files of the new system that local changes in `/etc` hide.
    pub hidden: Vec<String>,
    /// What was odd while looking.
    pub warnings: Vec<String>,
}

impl Plan {
    /// The units of a verb.
    pub fn units(&self, verb: Verb) -> Vec<String> {
        let steps = self.steps.iter().filter(|step| step.verb == verb);
        steps.map(|step| step.unit.clone()).collect()
    }

    /// Whether part of the new system waits for a reboot or for somebody's hand.
    pub fn is_partial(&self) -> bool {
        !self.reboot.is_empty() || !self.kept.is_empty()
    }
}

/// Makes the plan.
pub fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan {
        reboot: observed.reboot.clone(),
        reexec: observed.reexec.clone(),
        hidden: observed.hidden.clone(),
        warnings: observed.warnings.clone(),
        ..Plan::default()
    };
    for view in &observed.units {
        judge(view, observed, &mut plan);
    }
    for (unit, reason) in &observed.wanted {
        let is_planned = plan.steps.iter().any(|step| step.unit == *unit);
        if !is_planned {
            plan.steps.push(Step {
                unit: unit.clone(),
                verb: Verb::Start,
                reasons: vec![reason.clone()],
            });
        }
    }
    end_unwanted(observed, &mut plan);
    stopped_units_start_again(&mut plan);
    plan.steps
        .sort_by(|a, b| (a.verb, &a.unit).cmp(&(b.verb, &b.unit)));
    plan.kept.sort_by(|a, b| a.unit.cmp(&b.unit));
    plan
}

/// Nothing else is done with a unit that ends.
fn end_unwanted(observed: &Observed, plan: &mut Plan) {
    for (unit, reason) in &observed.unwanted {
        plan.steps.retain(|step| step.unit != *unit);
        plan.kept.retain(|kept| kept.unit != *unit);
        plan.steps.push(Step {
            unit: unit.clone(),
            verb: Verb::Stop,
            reasons: vec![reason.clone()],
        });
    }
}

/// A service that is stopped because of its socket, and would be reloaded or restarted as well, is started afterwards.
fn stopped_units_start_again(plan: &mut Plan) {
    let stopped = plan.units(Verb::Stop);
    for step in &mut plan.steps {
        if matches!(step.verb, Verb::Reload | Verb::Restart) && stopped.contains(&step.unit) {
            step.verb = Verb::Start;
        }
    }
    let mut seen = Vec::new();
    plan.steps.retain(|step| {
        let again = step.verb == Verb::Start && seen.contains(&step.unit);
        if step.verb == Verb::Start {
            seen.push(step.unit.clone());
        }
        !again
    });
}

fn judge(view: &UnitView, observed: &Observed, plan: &mut Plan) {
    let (needed, reasons) = need(view);
    let Some(needed) = needed else { return };
    let mut keep = |because: &str| {
        plan.kept.push(Kept {
            unit: view.name.clone(),
            reasons: reasons.clone(),
            because: because.to_owned(),
        });
    };
    let is_gone = matches!(view.text, Text::Gone | Text::Masked);
    if let Some(because) = rules::never(&view.name, view.kind, view.in_use) {
        // What a reload brings in needs no restart.
        if needed != Action::Reload {
            return keep(because);
        }
    }
    if is_gone {
        if !view.policy.stop_on_removal {
            return keep("X-StopOnRemoval=no");
        }
        plan.steps.push(step(view, Verb::Stop, reasons));
        return;
    }
    let action = match (view.policy.method, needed) {
        (Some(Method::Keep), _) => return keep("its unit asks for it (X-Switch=keep, or a key of NixOS's)"),
        (Some(Method::Reload), _) if view.can_reload => Action::Reload,
        (Some(Method::StopStart), Action::Restart) => Action::StopStart,
        (_, needed) => needed,
    };
    match action {
        Action::Reload => plan.steps.push(step(view, Verb::Reload, reasons)),
        Action::Restart => plan.steps.push(step(view, Verb::Restart, reasons)),
        Action::StopStart => {
            plan.steps.push(step(view, Verb::Stop, reasons.clone()));
            // A socket that listens all the while starts it when somebody comes.
            let listening = view
                .socket
                .as_ref()
                .is_some_and(|socket| observed.is_active(socket));
            if !listening || view.policy.not_socket_activated {
                plan.steps.push(step(view, Verb::Start, reasons));
            }
        }
        Action::SocketRestart => {
            // systemd refuses to start a socket whose service runs.
            for service in &view.triggers {
                if observed.is_active(service) && !plan.steps.iter().any(|step| step.unit == *service) {
                    let reasons = vec![format!("its socket {} is started anew", view.name)];
                    for verb in [Verb::Stop, Verb::Start] {
                        plan.steps.push(Step {
                            unit: service.clone(),
                            verb,
                            reasons: reasons.clone(),
                        });
                    }
                }
            }
            plan.steps.push(step(view, Verb::Restart, reasons));
        }
    }
}

fn step(view: &UnitView, verb: Verb, reasons: Vec<String>) -> Step {
    Step {
        unit: view.name.clone(),
        verb,
        reasons,
    }
}

/// What a unit needs, and why.
fn need(view: &UnitView) -> (Option<Action>, Vec<String>) {
    let mut reasons = Vec::new();
    let mut action = None;
    match &view.text {
        Text::Gone => return (Some(Action::Restart), vec!["removed".to_owned()]),
        Text::Masked => return (Some(Action::Restart), vec!["masked".to_owned()]),
        Text::Same => {}
        Text::Changed { changes, verdict } => {
            let asked = rules::for_text(view.kind, *verdict, view.can_reload);
            if asked.is_some() {
                reasons.extend(changes.iter().cloned());
            }
            action = action.max(asked);
        }
    }
    // What has no process runs no old code.
    if view.has_processes && !view.code.is_empty() {
        reasons.extend(view.code.iter().map(|file| format!("{file} changed")));
        action = action.max(Some(Action::Restart));
    }
    if !view.configuration.is_empty() && view.kind == Kind::Service {
        reasons.extend(view.configuration.iter().map(|file| format!("{file} changed")));
        let way = if view.can_reload {
            Action::Reload
        } else {
            Action::Restart
        };
        action = action.max(Some(way));
    }
    if view.is_stale {
        reasons.push("its mount namespace would still show the old /usr or /etc".to_owned());
        action = action.max(Some(Action::Restart));
    }
    (action, reasons)
}

/// Whether a verdict on texts asks for more than systemd's reading them again.
pub(super) fn is_more_than_reading(verdict: Verdict) -> bool {
    verdict > Verdict::ReloadDaemonOnly
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
