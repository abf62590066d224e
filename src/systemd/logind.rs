//! logind: who uses the machine, and who asked that it not go down. It is on the system bus only.

use zbus::{OwnedObjectPath, OwnedVariant};

use super::call::Target;
use super::client::{Client, Service};
use super::endpoint::Endpoint;
use super::error::{Error, RefusalKind};

const LOGIND: Target<'static> = Target {
    service: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
};

/// A lock that a program holds against shutdown, sleep and the like (`systemd-inhibit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhibitor {
    /// What it is against, e.g. `shutdown:sleep`.
    pub what: String,
    /// The program.
    pub who: String,
    /// Its reason.
    pub why: String,
    /// `block`, `delay` or `block-weak`.
    pub mode: String,
    /// Its user.
    pub uid: u32,
    /// Its process.
    pub pid: u32,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: String,
    /// The user's name.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// Its terminal, e.g. `tty1` or `pts/0`, when it has one.
    pub tty: String,
    /// `tty`, `x11`, `wayland`, `unspecified`, …
    pub kind: String,
    /// `user`, `greeter`, `manager`, `background`, …
    pub class: String,
    /// `online`, `active`, `closing`.
    pub state: String,
    /// The process that opened it; 0 when unknown.
    pub leader: u32,
}

impl Session {
    /// Whether somebody is logged in on a virtual or serial console, so that its getty must not be restarted.
    pub fn holds_console(&self) -> bool {
        self.state != "closing" && self.tty.starts_with("tty")
    }
}

/// A connection to logind.
pub struct Logind {
    client: Client,
}

impl Logind {
    /// Connects over the system bus.
    ///
    /// # Errors
    /// [`Error::NoBus`] without a bus; that logind is missing shows at the first question. [`Error::is_absent`] holds
    /// for both.
    pub fn connect() -> Result<Self, Error> {
        Ok(Self {
            client: Client::connect(Endpoint::system_bus(), Service::Other)?,
        })
    }

    /// The locks that are held.
    pub fn list_inhibitors(&mut self) -> Result<Vec<Inhibitor>, Error> {
        type Row = (String, String, String, String, u32, u32);
        let request = LOGIND.call("ListInhibitors", "", &())?;
        let deadline = self.client.deadline();
        let rows: Vec<Row> = self.client.call(&request, deadline).map_err(absent)?;
        let inhibitors = rows.into_iter().map(|row| {
            let (what, who, why, mode, uid, pid) = row;
            Inhibitor {
                what,
                who,
                why,
                mode,
                uid,
                pid,
            }
        });
        Ok(inhibitors.collect())
    }

    /// The logins.
    pub fn list_sessions(&mut self) -> Result<Vec<Session>, Error> {
        type Row = (String, u32, String, String, OwnedObjectPath);
        let request = LOGIND.call("ListSessions", "", &())?;
        let deadline = self.client.deadline();
        let rows: Vec<Row> = self.client.call(&request, deadline).map_err(absent)?;
        let mut sessions = Vec::with_capacity(rows.len());
        for (id, uid, user, _seat, path) in rows {
            match self.session(
                &path,
                Session {
                    id,
                    user,
                    uid,
                    ..Session::empty()
                },
            ) {
                // It ended between the two questions.
                Err(Error::Refused { refusal, .. }) if refusal.name.ends_with("UnknownObject") => {}
                session => sessions.push(session?),
            }
        }
        Ok(sessions)
    }

    fn session(&mut self, path: &OwnedObjectPath, mut session: Session) -> Result<Session, Error> {
        let object = Target {
            service: LOGIND.service,
            path: path.as_str(),
            interface: "org.freedesktop.DBus.Properties",
        };
        let request = object.call("GetAll", &session.id, &"org.freedesktop.login1.Session")?;
        let deadline = self.client.deadline();
        let mut map: std::collections::HashMap<String, OwnedVariant> =
            self.client.call(&request, deadline)?;
        let mut text = |name: &str| {
            map.remove(name)
                .and_then(|value| String::try_from(value).ok())
                .unwrap_or_default()
        };
        session.tty = text("TTY");
        session.kind = text("Type");
        session.class = text("Class");
        session.state = text("State");
        session.leader = map
            .remove("Leader")
            .and_then(|value| u32::try_from(value).ok())
            .unwrap_or_default();
        Ok(session)
    }
}

impl Session {
    fn empty() -> Self {
        Self {
            id: String::new(),
            user: String::new(),
            uid: 0,
            tty: String::new(),
            kind: String::new(),
            class: String::new(),
            state: String::new(),
            leader: 0,
        }
    }
}

/// Tells a logind that isn't there from one that refuses.
fn absent(error: Error) -> Error {
    match error {
        Error::Refused { refusal, .. }
            if refusal.kind == RefusalKind::Other
                && (refusal.name.ends_with(".ServiceUnknown")
                    || refusal.name.ends_with(".NameHasNoOwner")
                    || refusal.name.contains(".Spawn.")) =>
        {
            Error::NoService {
                service: LOGIND.service.to_owned(),
                unit: "systemd-logind.service",
                message: refusal.message,
            }
        }
        other => other,
    }
}
