//! What a unit's author says about switching: `X-Switch=`, and NixOS's older keys for compatibility.

use super::name::Kind;
use super::settings::Settings;

/// How a changed unit that runs is brought to its new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// One restart job, after the new system is in place.
    Restart,
    /// Stopped while the old system is still there, started when the new one is.
    StopStart,
    /// Reloaded.
    Reload,
    /// Left as it is, and reported.
    Keep,
}

/// What the keys say together. The new unit's settings count, but `stop_on_removal` is of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a key of its own, and any of them may stand with any other"
)]
pub struct Policy {
    /// What the author wants; nothing when no key says it: then the rule for the kind of unit counts.
    pub method: Option<Method>,
    /// Stop it when the new system hasn't got it (`X-StopOnRemoval=`).
    pub stop_on_removal: bool,
    /// For a target: stop it before it is started again (`X-StopOnReconfiguration=`).
    pub stop_on_reconfiguration: bool,
    /// Never started by a switch (`X-OnlyManualStart=`).
    pub only_manual_start: bool,
    /// Its socket is no reason to leave the start to a client (`X-NotSocketActivated=`).
    pub not_socket_activated: bool,
    /// systemd refuses to start it by request (`RefuseManualStart=`).
    pub refuse_manual_start: bool,
    /// systemd refuses to stop it by request (`RefuseManualStop=`).
    pub refuse_manual_stop: bool,
}

/// That of a unit that says nothing.
impl Default for Policy {
    fn default() -> Self {
        Self::of(Kind::Service, &Settings::default())
    }
}

impl Policy {
    /// Reads the keys, from `[Unit]` or the section of the unit's kind. A value that is none is as if it weren't there.
    pub fn of(kind: Kind, settings: &Settings) -> Self {
        let own = kind.section().unwrap_or("Unit");
        let text = |key: &str| settings.last(own, key).or_else(|| settings.last("Unit", key));
        let flag = |key: &str| text(key).and_then(boolean);
        let refuse_manual_stop = flag("RefuseManualStop").unwrap_or(false);
        let only_manual_start = flag("X-OnlyManualStart").unwrap_or(false);
        let method = match text("X-Switch") {
            Some("restart") => Some(Method::Restart),
            Some("stop-start") => Some(Method::StopStart),
            Some("reload") => Some(Method::Reload),
            Some("keep") => Some(Method::Keep),
            // NixOS's order: reload, then keep, then whether stopping comes first.
            _ if flag("X-ReloadIfChanged") == Some(true) => Some(Method::Reload),
            _ if flag("X-RestartIfChanged") == Some(false) || refuse_manual_stop || only_manual_start => {
                Some(Method::Keep)
            }
            _ => flag("X-StopIfChanged").map(|stop| if stop { Method::StopStart } else { Method::Restart }),
        };
        Self {
            method,
            stop_on_removal: flag("X-StopOnRemoval").unwrap_or(true),
            stop_on_reconfiguration: flag("X-StopOnReconfiguration").unwrap_or(false),
            only_manual_start,
            not_socket_activated: flag("X-NotSocketActivated").unwrap_or(false),
            refuse_manual_start: flag("RefuseManualStart").unwrap_or(false),
            refuse_manual_stop,
        }
    }
}

fn boolean(value: &str) -> Option<bool> {
    let is = |words: [&str; 6]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is(["1", "yes", "y", "true", "t", "on"]) {
        Some(true)
    } else if is(["0", "no", "n", "false", "f", "off"]) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::units::parse::parse;

    fn policy(text: &str) -> Policy {
        Policy::of(
            Kind::Service,
            &Settings::new(Kind::Service, [&parse(text.as_bytes())], []),
        )
    }

    #[test]
    fn one_key_says_what_nixos_says_with_seven() {
        for (text, method) in [
            ("", None),
            ("[Unit]\nX-Switch=keep\n", Some(Method::Keep)),
            (
                "[Service]\nX-Switch=stop-start\nX-ReloadIfChanged=yes\n",
                Some(Method::StopStart),
            ),
            ("[Unit]\nX-Switch=nonsense\n", None),
            (
                "[Service]\nX-ReloadIfChanged=true\nX-RestartIfChanged=no\n",
                Some(Method::Reload),
            ),
            ("[Service]\nX-RestartIfChanged=false\n", Some(Method::Keep)),
            ("[Unit]\nRefuseManualStop=yes\n", Some(Method::Keep)),
            (
                "[Unit]\nRefuseManualStop=yes\nX-Switch=restart\n",
                Some(Method::Restart),
            ),
            ("[Unit]\nX-OnlyManualStart=1\n", Some(Method::Keep)),
            ("[Service]\nX-StopIfChanged=false\n", Some(Method::Restart)),
            ("[Service]\nX-StopIfChanged=true\n", Some(Method::StopStart)),
            (
                "[Service]\nX-StopIfChanged=true\nX-StopIfChanged=no\n",
                Some(Method::Restart),
            ),
        ] {
            assert_eq!(policy(text).method, method, "{text:?}");
        }
        let policy = policy(
            "[Unit]\nX-StopOnRemoval=no\nX-StopOnReconfiguration=y\nRefuseManualStart=t\n[Service]\nX-NotSocketActivated=on\n",
        );
        assert!(!policy.stop_on_removal && policy.stop_on_reconfiguration);
        assert!(policy.refuse_manual_start && policy.not_socket_activated);
    }
}
