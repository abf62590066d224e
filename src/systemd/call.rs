//! Method calls, before they are sent.

use serde::Serialize;
use zbus::{DynamicType, Message};

use super::error::Error;

/// The manager's name on a bus.
pub(super) const BUS_NAME: &str = "org.freedesktop.systemd1";
/// The manager's object.
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// The manager's interface.
pub(super) const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
/// Under it lie the objects of the units.
const UNIT_PATH: &str = "/org/freedesktop/systemd1/unit/";

/// Whether a call whose answer got lost with the connection may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Twice is as good as once.
    Safe,
    /// Twice would do something twice.
    Never,
}

/// A call that can be sent, with what messages say about it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// For error messages: the method and what it is about.
    pub(super) call: String,
    pub(super) message: Message,
    pub(super) repeat: Repeat,
}

/// Whom to call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) service: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
}

/// The manager itself.
pub(super) const MANAGER: Target<'static> = Target {
    service: BUS_NAME,
    path: MANAGER_PATH,
    interface: MANAGER_INTERFACE,
};

impl Target<'_> {
    /// A call of `method` with `body`; `about` is the unit or whatever else it concerns, for messages.
    pub(super) fn call<B>(&self, method: &str, about: &str, body: &B) -> Result<Request, Error>
    where
        B: Serialize + DynamicType,
    {
        let call = if about.is_empty() {
            method.to_owned()
        } else {
            format!("{method} {about}")
        };
        let built = Message::method_call(self.path, method)
            .destination(self.service)
            .interface(self.interface)
            .build(body);
        match built {
            Ok(message) => Ok(Request {
                call,
                message,
                repeat: Repeat::Safe,
            }),
            Err(error) => Err(Error::Unsendable {
                call,
                message: error.to_string(),
            }),
        }
    }
}

impl Request {
    /// The same, for a call that must not be made twice.
    pub(super) fn once(mut self) -> Self {
        self.repeat = Repeat::Never;
        self
    }
}

/// The object path of a unit: every byte that isn't a letter or a digit, and a digit at the begin, as `_` and two
/// hexadecimal digits (`bus_label_escape` in systemd).
pub(super) fn unit_path(name: &str) -> String {
    let mut path = String::with_capacity(UNIT_PATH.len() + 2 * name.len());
    path.push_str(UNIT_PATH);
    if name.is_empty() {
        path.push('_');
    }
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push('_');
            for digit in [byte >> 4, byte & 15] {
                path.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::unit_path;

    #[test]
    fn unit_paths_are_those_that_systemd_makes() {
        // Compared with `systemctl show -p Id` and the paths in captured signals.
        for (name, label) in [
            ("swap.target", "swap_2etarget"),
            ("-.mount", "_2d_2emount"),
            (
                "mnt-sandboxing-model_tools_env.mount",
                "mnt_2dsandboxing_2dmodel_5ftools_5fenv_2emount",
            ),
            ("9p@x.service", "_39p_40x_2eservice"),
            ("", "_"),
        ] {
            assert_eq!(unit_path(name), format!("/org/freedesktop/systemd1/unit/{label}"));
        }
    }
}
