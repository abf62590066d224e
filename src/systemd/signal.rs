//! The signals that keel listens to.

use zbus::{Message, OwnedObjectPath};

use super::call::{BUS_NAME, MANAGER_INTERFACE};

/// Something that happened without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// A job ended.
    JobRemoved(JobRemoved),
    /// On a bus: the manager gave its name up, as it does when it executes itself anew.
    ManagerLeft,
}

/// `JobRemoved` of `org.freedesktop.systemd1.Manager`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobRemoved {
    /// The sender's unique name; none on a private connection.
    pub(super) sender: Option<String>,
    pub(super) path: String,
    pub(super) unit: String,
    pub(super) result: String,
}

impl Signal {
    /// Nothing when it is another signal, or not of the documented form.
    pub(super) fn read(message: &Message) -> Option<Self> {
        let header = message.header();
        let sender = header.sender().map(|name| name.as_str().to_owned());
        let body = message.body();
        match (header.interface()?.as_str(), header.member()?.as_str()) {
            (MANAGER_INTERFACE, "JobRemoved") => {
                let (_id, path, unit, result): (u32, OwnedObjectPath, String, String) =
                    body.deserialize().ok()?;
                Some(Self::JobRemoved(JobRemoved {
                    sender,
                    path: path.to_string(),
                    unit,
                    result,
                }))
            }
            ("org.freedesktop.DBus", "NameOwnerChanged") => {
                let (name, old, _new): (String, String, String) = body.deserialize().ok()?;
                let from_bus = sender.as_deref() == Some("org.freedesktop.DBus");
                (from_bus && name == BUS_NAME && !old.is_empty()).then_some(Self::ManagerLeft)
            }
            _ => None,
        }
    }
}
