//! Jobs: what the manager is asked to do with a unit, and how that ended.

use std::fmt;
use std::time::{Duration, Instant};

use super::error::Seconds;
use super::unit::UnitProperties;

/// What to do with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start it, unless it runs.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it; start it when it doesn't run.
    Restart,
    /// Restart it when it runs.
    TryRestart,
    /// Make it reload its configuration.
    Reload,
    /// Reload it when it can, else restart it.
    ReloadOrRestart,
    /// The same, only when it runs.
    ReloadOrTryRestart,
}

impl Verb {
    /// The manager's method.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Start => "StartUnit",
            Self::Stop => "StopUnit",
            Self::Restart => "RestartUnit",
            Self::TryRestart => "TryRestartUnit",
            Self::Reload => "ReloadUnit",
            Self::ReloadOrRestart => "ReloadOrRestartUnit",
            Self::ReloadOrTryRestart => "ReloadOrTryRestartUnit",
        }
    }

    /// Whether a unit that doesn't run makes it a success.
    fn spares_stopped_units(self) -> bool {
        matches!(self, Self::Stop | Self::TryRestart | Self::ReloadOrTryRestart)
    }

    /// Whether asking twice comes to the same as asking once.
    pub(super) fn is_idempotent(self) -> bool {
        matches!(self, Self::Start | Self::Stop)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::TryRestart => "try-restart",
            Self::Reload => "reload",
            Self::ReloadOrRestart => "reload-or-restart",
            Self::ReloadOrTryRestart => "reload-or-try-restart",
        })
    }
}

/// How a job gets along with those that are queued already (`systemctl --job-mode=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It replaces queued jobs that contradict it.
    #[default]
    Replace,
    /// It is refused when queued jobs contradict it.
    Fail,
    /// All other units stop, but for those with `IgnoreOnIsolate=`.
    Isolate,
    /// Without the jobs that its dependencies ask for.
    IgnoreDependencies,
}

impl Mode {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Fail => "fail",
            Self::Isolate => "isolate",
            Self::IgnoreDependencies => "ignore-dependencies",
        }
    }
}

/// A job that the manager has taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its object path on D-Bus, which names it.
    pub path: String,
    /// The unit as it was asked for.
    pub unit: String,
    /// What was asked for.
    pub verb: Verb,
    /// When it was.
    pub submitted: Instant,
}

impl Job {
    /// Its number; the last part of its path.
    pub fn id(&self) -> Option<u32> {
        self.path.rsplit('/').next()?.parse().ok()
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// There was nothing to do, e.g. a condition of the unit doesn't hold.
    Skipped,
    /// The unit failed.
    Failed,
    /// The job took longer than `JobTimeoutSec=` allows. A service that exceeds `TimeoutStartSec=` is
    /// [`Self::Failed`]; its [`result`](super::UnitProperties::result) is `timeout`.
    Timeout,
    /// A unit that it needs failed.
    Dependency,
    /// Another job replaced it, or somebody cancelled it.
    Canceled,
    /// The unit can't do that, or doesn't run.
    Invalid,
    /// An `Assert…=` of the unit doesn't hold.
    Assert,
    /// The system lacks what the unit needs.
    Unsupported,
    /// Nobody needed the unit any longer.
    Collected,
    /// The unit may be started only once.
    Once,
    /// The unit is frozen.
    Frozen,
    /// A result that this version doesn't know.
    Other(String),
    /// It hadn't ended at the caller's deadline, and was cancelled. The unit may still be starting or stopping.
    TimedOut,
    /// The connection was lost, and the manager can't tell any longer how it ended.
    Lost,
}

impl Outcome {
    /// From the result in `JobRemoved`.
    pub(super) fn of(result: &str) -> Self {
        match result {
            "done" => Self::Done,
            "skipped" => Self::Skipped,
            "failed" => Self::Failed,
            "timeout" => Self::Timeout,
            "dependency" => Self::Dependency,
            "canceled" => Self::Canceled,
            "invalid" => Self::Invalid,
            "assert" => Self::Assert,
            "unsupported" => Self::Unsupported,
            "collected" => Self::Collected,
            "once" => Self::Once,
            "frozen" => Self::Frozen,
            other => Self::Other(other.to_owned()),
        }
    }

    /// What a job came to whose end nobody saw, by the state of its unit.
    pub(super) fn inferred(verb: Verb, unit: &UnitProperties) -> Self {
        match unit.active_state.as_str() {
            "active" if verb != Verb::Stop => Self::Done,
            "inactive" | "failed" if verb.spares_stopped_units() => Self::Done,
            "failed" => Self::Failed,
            // A service that ran to its end, or one whose conditions don't hold.
            "inactive" if !unit.condition_result => Self::Skipped,
            "inactive" if unit.result == "success" => Self::Done,
            // It starts, stops or runs although no job is left that would change that.
            _ => Self::Lost,
        }
    }

    /// Whether it is a success, as for `systemctl`.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Done | Self::Skipped)
    }

    fn words(&self) -> &str {
        match self {
            Self::Done => "done",
            Self::Skipped => "had nothing to do",
            Self::Failed => "failed",
            Self::Timeout => "took longer than the unit's JobTimeoutSec= allows",
            Self::Dependency => "failed because a unit that it needs failed",
            Self::Canceled => "was cancelled or replaced by another job",
            Self::Invalid => "isn't possible for this unit in its present state",
            Self::Assert => "failed because an assertion of the unit doesn't hold",
            Self::Unsupported => "isn't supported on this system",
            Self::Collected => "was dropped because nothing needs the unit any longer",
            Self::Once => "isn't possible because the unit may be started only once",
            Self::Frozen => "isn't possible because the unit is frozen",
            Self::Other(result) => result,
            Self::TimedOut => "hadn't ended at the deadline and was cancelled",
            Self::Lost => "may or may not have ended well: the connection to systemd was lost",
        }
    }
}

/// A job with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub job: Job,
    /// How it ended.
    pub outcome: Outcome,
    /// The end wasn't seen, but concluded from the state of the unit.
    pub inferred: bool,
    /// From its submission to its end.
    pub took: Duration,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, unit) = (self.job.verb, &self.job.unit);
        write!(
            f,
            "{verb} of {unit} {} after {}",
            self.outcome.words(),
            Seconds(self.took)
        )?;
        match self.outcome {
            _ if self.outcome.is_success() => Ok(()),
            Outcome::Dependency => write!(
                f,
                "; see `systemctl list-dependencies {unit}` and `systemctl --failed`"
            ),
            _ => write!(f, "; see `systemctl status {unit}` and `journalctl -b -u {unit}`"),
        }
    }
}

/// A job that hasn't ended, for who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The unit.
    pub unit: String,
    /// What was asked for.
    pub verb: Verb,
    /// Its type and state in the manager's queue, e.g. `start` and `running`, or `waiting` for other jobs; nothing when
    /// that couldn't be learnt.
    pub queue: Option<(String, String)>,
    /// Since its submission.
    pub elapsed: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(active: &str, result: &str, condition: bool) -> UnitProperties {
        UnitProperties {
            active_state: active.into(),
            result: result.into(),
            condition_result: condition,
            ..UnitProperties::default()
        }
    }

    #[test]
    fn unseen_ends_follow_from_the_state_of_the_unit() {
        use Outcome::{Done, Failed, Lost, Skipped};
        for (verb, active, result, condition, expected) in [
            (Verb::Start, "active", "success", true, Done),
            (Verb::Start, "failed", "exit-code", true, Failed),
            (Verb::Start, "inactive", "success", true, Done),
            (Verb::Start, "inactive", "success", false, Skipped),
            (Verb::Start, "activating", "success", true, Lost),
            (Verb::Stop, "inactive", "success", true, Done),
            (Verb::Stop, "failed", "signal", true, Done),
            (Verb::Stop, "active", "success", true, Lost),
            (Verb::TryRestart, "inactive", "success", true, Done),
            (Verb::Restart, "failed", "timeout", true, Failed),
        ] {
            assert_eq!(
                Outcome::inferred(verb, &unit(active, result, condition)),
                expected,
                "{verb} {active}"
            );
        }
    }

    #[test]
    fn a_failure_says_where_to_look() {
        let finished = Finished {
            job: Job {
                path: "/org/freedesktop/systemd1/job/12".into(),
                unit: "a.service".into(),
                verb: Verb::Start,
                submitted: Instant::now(),
            },
            outcome: Outcome::Failed,
            inferred: false,
            took: Duration::from_millis(1500),
        };
        assert_eq!(finished.job.id(), Some(12));
        assert_eq!(
            finished.to_string(),
            "start of a.service failed after 1.5 s; see `systemctl status a.service` and `journalctl -b -u a.service`"
        );
    }
}
