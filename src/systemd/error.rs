//! What can go wrong between keel and the service manager, in one line for the administrator.

use std::fmt;
use std::io;
use std::time::Duration;

/// A fault of talking to systemd or logind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens where the service manager should.
    #[error(
        "can't connect to systemd at {endpoint}: {source}; is this machine run by systemd, and are you root?"
    )]
    Connect {
        /// The socket or the bus.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// There is no system bus, hence no logind.
    #[error("there is no system bus at {endpoint}: {source}; logind can't be asked")]
    NoBus {
        /// The bus.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// The bus runs, but the service on it doesn't.
    #[error("{service} isn't on the system bus: {message}; see `systemctl status {unit}`")]
    NoService {
        /// The name on the bus.
        service: String,
        /// The unit that should provide it.
        unit: &'static str,
        /// What the bus said.
        message: String,
    },
    /// The socket is there, but speaks no D-Bus with us.
    #[error("{endpoint} refuses the D-Bus handshake: {message}; run this as root")]
    Handshake {
        /// The socket or the bus.
        endpoint: String,
        /// What was seen.
        message: String,
    },
    /// An address of a bus that can't be used.
    #[error("DBUS_SYSTEM_BUS_ADDRESS={address:?} names no Unix socket; unset it or set it to unix:path=…")]
    BusAddress {
        /// The address.
        address: String,
    },
    /// The deadline passed without an answer.
    #[error("systemd didn't answer {call} within {}; look for what blocks it with `systemctl list-jobs`", Seconds(*after))]
    NoAnswer {
        /// The method, and what it was for.
        call: String,
        /// How long the answer was awaited.
        after: Duration,
    },
    /// The connection ended, and the call isn't one that may be made twice.
    #[error(
        "the connection to systemd ended during {call}; it may or may not have been done, so look before you repeat it"
    )]
    Lost {
        /// The method, and what it was for.
        call: String,
    },
    /// Systemd said no.
    #[error("{call}: {refusal}")]
    Refused {
        /// The method, and what it was for.
        call: String,
        /// Its reason.
        refusal: Refusal,
    },
    /// An answer of another shape than documented.
    #[error(
        "systemd's answer to {call} has an unknown form: {message}; this version of keel may be too old for it"
    )]
    Malformed {
        /// The method, and what it was for.
        call: String,
        /// What didn't fit.
        message: String,
    },
    /// A call that can't be put in a message.
    #[error("{call} can't be sent: {message}")]
    Unsendable {
        /// The method, and what it was for.
        call: String,
        /// Why.
        message: String,
    },
    /// After a reexecution the manager didn't come back.
    #[error(
        "systemd didn't come back within {} of daemon-reexec; look at the console, and if PID 1 is frozen, `sync` and \
         reboot with `reboot -ff`", Seconds(*after)
    )]
    NotBack {
        /// How long it was awaited.
        after: Duration,
    },
}

impl Error {
    /// The kind of refusal, when it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether nothing answers, for a caller that can do without.
    pub fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::NoBus { .. } | Self::NoService { .. }
        )
    }
}

/// A D-Bus error as systemd sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it comes to.
    pub kind: RefusalKind,
    /// The error's name on the bus.
    pub name: String,
    /// Systemd's own words.
    pub message: String,
}

/// The refusals that a caller treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// No such unit is loaded, or no file of it exists.
    NoSuchUnit,
    /// The unit is masked.
    UnitMasked,
    /// The unit's file can't be used.
    BadUnit,
    /// The unit refuses manual starts or stops.
    OnlyByDependency,
    /// The unit can't do that, e.g. be reloaded.
    NotApplicable,
    /// Jobs of the transaction contradict each other, or it would destroy a running job.
    Conflict,
    /// A transient unit of that name exists.
    UnitExists,
    /// No such job; it has ended.
    NoSuchJob,
    /// The caller may not.
    AccessDenied,
    /// `/run` is too full for the state that a reload writes.
    RunIsFull,
    /// Too many reloads or starts in a short time.
    RateLimited,
    /// The machine goes down.
    ShuttingDown,
    /// The peer went away without an answer.
    NoReply,
    /// Another one; its name tells.
    Other,
}

impl Refusal {
    /// Sorts the error `name` of D-Bus with its text.
    pub fn new(name: &str, message: &str) -> Self {
        Self {
            kind: RefusalKind::of(name),
            name: name.to_owned(),
            message: message.to_owned(),
        }
    }
}

impl RefusalKind {
    /// The names are those of systemd's `bus-common-errors.h` and of the D-Bus specification.
    fn of(name: &str) -> Self {
        let systemd = name.strip_prefix("org.freedesktop.systemd1.");
        let dbus = name.strip_prefix("org.freedesktop.DBus.Error.");
        match (systemd, dbus) {
            (Some("NoSuchUnit" | "NoUnitForPID" | "NoUnitForInvocationID"), _) => Self::NoSuchUnit,
            (Some("UnitMasked"), _) => Self::UnitMasked,
            (Some("BadUnitSetting" | "LoadFailed"), _) => Self::BadUnit,
            (Some("OnlyByDependency"), _) => Self::OnlyByDependency,
            (Some("JobTypeNotApplicable" | "NoIsolation"), _) => Self::NotApplicable,
            (
                Some("TransactionIsDestructive" | "TransactionJobsConflicting" | "TransactionOrderIsCyclic"),
                _,
            ) => Self::Conflict,
            (Some("UnitExists"), _) => Self::UnitExists,
            (Some("NoSuchJob"), _) => Self::NoSuchJob,
            (Some("DiskFull"), _) => Self::RunIsFull,
            (Some("ShuttingDown"), _) => Self::ShuttingDown,
            (_, Some("AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed")) => {
                Self::AccessDenied
            }
            (_, Some("LimitsExceeded")) => Self::RateLimited,
            (_, Some("NoReply" | "Disconnected")) => Self::NoReply,
            _ => Self::Other,
        }
    }

    /// What to do about it.
    fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::NoSuchUnit => "check the name with `systemctl list-unit-files`",
            Self::UnitMasked => "unmask it with `systemctl unmask`",
            Self::BadUnit => "check its file with `systemd-analyze verify`",
            Self::OnlyByDependency => "it may only be started or stopped by other units",
            Self::NotApplicable => "this unit can't do that",
            Self::Conflict => "see `systemctl list-jobs` and try again when they have ended",
            Self::UnitExists => "stop the unit of that name, or reset it when it failed",
            Self::AccessDenied => "run this as root",
            Self::RunIsFull => "make room in /run (`df -h /run`) and try again",
            Self::RateLimited => "wait a few seconds and try again",
            Self::ShuttingDown => "the machine is going down",
            Self::NoSuchJob | Self::NoReply | Self::Other => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.trim().trim_end_matches('.').replace('\n', " ");
        write!(f, "systemd refuses: {message} ({})", self.name)?;
        match self.kind.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// A duration as an administrator reads it.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(10) {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        } else {
            write!(f, "{} s", self.0.as_secs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_one_line_that_says_what_to_do() {
        let error = Error::Refused {
            call: "start of a.service".into(),
            refusal: Refusal::new("org.freedesktop.systemd1.UnitMasked", "Unit a.service is masked."),
        };
        assert_eq!(
            error.to_string(),
            "start of a.service: systemd refuses: Unit a.service is masked (org.freedesktop.systemd1.UnitMasked); \
             unmask it with `systemctl unmask`"
        );
    }

    #[test]
    fn a_full_run_is_told_apart() {
        let refusal = Refusal::new(
            "org.freedesktop.systemd1.DiskFull",
            "Refusing to reload, not enough space available on /run/systemd. Currently, 1M are free, but a safety \
             buffer of 16M is enforced.",
        );
        assert_eq!(refusal.kind, RefusalKind::RunIsFull);
        assert!(
            refusal
                .to_string()
                .ends_with("make room in /run (`df -h /run`) and try again")
        );
    }

    #[test]
    fn unknown_names_are_kept() {
        let refusal = Refusal::new("org.example.Odd", "two\nlines");
        assert_eq!(
            refusal.to_string(),
            "systemd refuses: two lines (org.example.Odd)"
        );
    }
}
