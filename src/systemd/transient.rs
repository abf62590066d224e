//! Units that exist without a file, until they end or the machine does.

use std::time::Duration;

use zbus::Variant;

use super::call::{MANAGER, Request};
use super::error::Error;
use super::job::Mode;

/// The value of a property of a transient unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A truth value.
    Flag(bool),
    /// A list of strings.
    List(Vec<String>),
    /// A time span, in microseconds on the wire.
    Span(Duration),
    /// A command line, executable first: `ExecStart=` and its kin.
    Command(Vec<String>),
    /// The monotonic times of a timer, e.g. `OnActiveSec`.
    Timers(Vec<(String, Duration)>),
}

impl Value {
    fn to_variant(&self) -> Variant<'_> {
        match self {
            Self::Text(text) => Variant::from(text.as_str()),
            Self::Flag(flag) => Variant::from(*flag),
            Self::List(list) => Variant::from(list.clone()),
            Self::Span(span) => Variant::from(micros(*span)),
            Self::Command(argv) => {
                let program = argv.first().cloned().unwrap_or_default();
                let ignore_failure = false;
                Variant::from(vec![(program, argv.clone(), ignore_failure)])
            }
            Self::Timers(timers) => {
                let timers: Vec<_> = timers
                    .iter()
                    .map(|(base, span)| (base.clone(), micros(*span)))
                    .collect();
                Variant::from(timers)
            }
        }
    }
}

/// Microseconds; longer ones than `u64` holds are for ever, as `infinity` is for systemd.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Type of a transient service (`Type=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// Started once its program could be executed.
    Exec,
    /// Started once its process has ended.
    Oneshot,
    /// Started once it has said so.
    Notify,
}

/// A transient unit before it is started: a name, properties, and units that come with it.
///
/// ```
/// use std::time::Duration;
/// use keel::systemd::{ServiceType, Transient};
///
/// let watchdog = Transient::service("keel-rollback.service", ["/usr/bin/keel", "rollback"])
///     .service_type(ServiceType::Oneshot)
///     .description("Undo a switch that nobody confirmed")
///     .after(Duration::from_secs(90));
/// assert_eq!(watchdog.name(), "keel-rollback.timer");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transient {
    name: String,
    properties: Vec<(String, Value)>,
    companions: Vec<(String, Vec<(String, Value)>)>,
}

impl Transient {
    /// A service that runs `argv`; its first element is an absolute path. It vanishes when it has ended, even badly.
    pub fn service<A: Into<String>>(name: &str, argv: impl IntoIterator<Item = A>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self {
            name: name.to_owned(),
            properties: Vec::new(),
            companions: Vec::new(),
        }
        .property("ExecStart", Value::Command(argv))
        .property("CollectMode", Value::Text("inactive-or-failed".into()))
    }

    /// Makes the service one that a timer of the same name starts once, `delay` after the timer itself was started.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let stem = self.name.strip_suffix(".service").unwrap_or(&self.name);
        let timer = Self {
            name: format!("{stem}.timer"),
            properties: Vec::new(),
            companions: Vec::new(),
        };
        let mut timer = timer
            .property(
                "TimersMonotonic",
                Value::Timers(vec![("OnActiveSec".into(), delay)]),
            )
            .property("AccuracyUSec", Value::Span(Duration::from_millis(100)))
            // Else the timer stays when it has elapsed, and takes its name with it.
            .property("RemainAfterElapse", Value::Flag(false));
        timer.companions = self.companions;
        timer.companions.push((self.name, self.properties));
        timer
    }

    /// `Description=`.
    #[must_use]
    pub fn description(self, text: &str) -> Self {
        self.property("Description", Value::Text(text.to_owned()))
    }

    /// `Type=`.
    #[must_use]
    pub fn service_type(self, kind: ServiceType) -> Self {
        let name = match kind {
            ServiceType::Exec => "exec",
            ServiceType::Oneshot => "oneshot",
            ServiceType::Notify => "notify",
        };
        self.property("Type", Value::Text(name.to_owned()))
    }

    /// `Environment=`, each a `NAME=value`.
    #[must_use]
    pub fn environment<E: Into<String>>(self, assignments: impl IntoIterator<Item = E>) -> Self {
        self.property(
            "Environment",
            Value::List(assignments.into_iter().map(Into::into).collect()),
        )
    }

    /// Keeps the unit when it failed, for `systemctl status`, instead of dropping it.
    #[must_use]
    pub fn keep_when_failed(self) -> Self {
        self.property("CollectMode", Value::Text("inactive".into()))
    }

    /// `RemainAfterExit=yes`.
    #[must_use]
    pub fn remain_after_exit(self) -> Self {
        self.property("RemainAfterExit", Value::Flag(true))
    }

    /// `DefaultDependencies=no`: it neither waits for the boot nor is stopped first at a shutdown.
    #[must_use]
    pub fn no_default_dependencies(self) -> Self {
        self.property("DefaultDependencies", Value::Flag(false))
    }

    /// `IgnoreOnIsolate=yes`.
    #[must_use]
    pub fn ignore_on_isolate(self) -> Self {
        self.property("IgnoreOnIsolate", Value::Flag(true))
    }

    /// `KillMode=`: `control-group`, `mixed`, `process` or `none`.
    #[must_use]
    pub fn kill_mode(self, mode: &str) -> Self {
        self.property("KillMode", Value::Text(mode.to_owned()))
    }

    /// `TimeoutStartSec=`.
    #[must_use]
    pub fn start_timeout(self, span: Duration) -> Self {
        self.property("TimeoutStartUSec", Value::Span(span))
    }

    /// `TimeoutStopSec=`.
    #[must_use]
    pub fn stop_timeout(self, span: Duration) -> Self {
        self.property("TimeoutStopUSec", Value::Span(span))
    }

    /// `StandardOutput=`, and `StandardError=` likewise: `journal`, `null`, `tty`, `journal+console`, …
    #[must_use]
    pub fn output(self, to: &str) -> Self {
        self.property("StandardOutput", Value::Text(to.to_owned()))
            .property("StandardError", Value::Text(to.to_owned()))
    }

    /// Any other property, under its name on D-Bus (`org.freedesktop.systemd1(5)`); it replaces an earlier one.
    #[must_use]
    pub fn property(mut self, name: &str, value: Value) -> Self {
        self.properties.retain(|(known, _)| known != name);
        self.properties.push((name.to_owned(), value));
        self
    }

    /// The name of the unit that is started: the timer, when there is one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `StartTransientUnit(name, mode, properties, aux)`.
    pub(super) fn request(&self, mode: Mode) -> Result<Request, Error> {
        let companions: Vec<_> = self
            .companions
            .iter()
            .map(|(name, properties)| (name.as_str(), wire(properties)))
            .collect();
        let body = (
            self.name.as_str(),
            mode.as_str(),
            wire(&self.properties),
            companions,
        );
        Ok(MANAGER.call("StartTransientUnit", &self.name, &body)?.once())
    }
}

/// `a(sv)`.
fn wire(properties: &[(String, Value)]) -> Vec<(&str, Variant<'_>)> {
    properties
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_variant()))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values_have_the_signatures_that_systemd_wants() {
        for (value, signature) in [
            (Value::Text("x".into()), "s"),
            (Value::Flag(true), "b"),
            (Value::List(vec![]), "as"),
            (Value::Span(Duration::from_secs(1)), "t"),
            (Value::Command(vec!["/bin/true".into()]), "a(sasb)"),
            (
                Value::Timers(vec![("OnActiveSec".into(), Duration::MAX)]),
                "a(st)",
            ),
        ] {
            assert_eq!(value.to_variant().value_signature(), signature, "{value:?}");
        }
    }

    #[test]
    fn a_timer_takes_the_service_along() {
        let timer = Transient::service("a.service", ["/bin/true"]).after(Duration::from_secs(5));
        let request = timer.request(Mode::Fail).unwrap();
        assert_eq!(request.call, "StartTransientUnit a.timer");
        assert_eq!(
            request.message.body().signature().to_string_no_parens(),
            "ssa(sv)a(sa(sv))"
        );
    }

    #[test]
    fn a_later_property_replaces_an_earlier_one() {
        let unit = Transient::service("a.service", ["/bin/true"]).keep_when_failed();
        assert_eq!(
            unit.properties
                .iter()
                .filter(|(name, _)| name == "CollectMode")
                .count(),
            1
        );
    }
}
