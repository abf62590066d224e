//! The running service manager: what it is asked and told, apart from jobs.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use zbus::{OwnedObjectPath, OwnedVariant, Type};

use super::call::{self, BUS_NAME, MANAGER, MANAGER_INTERFACE, MANAGER_PATH, Request, Target};
use super::client::{self, Client, Service};
use super::endpoint::{Endpoint, PRIVATE_SOCKET};
use super::error::Error;
use super::unit::{UnitProperties, UnitRow, UnitStatus};

const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";

/// A connection to systemd that is made anew when it gets lost, as it does whenever the manager executes itself anew.
pub struct Manager {
    pub(super) client: Client,
}

impl Manager {
    /// Connects to the system's manager: as root over its own socket, which needs no bus; else over the system bus
    /// (`DBUS_SYSTEM_BUS_ADDRESS`, or the usual place).
    ///
    /// # Errors
    /// When neither answers; the error of the private socket when that was tried.
    pub fn connect() -> Result<Self, Error> {
        if !nix::unistd::geteuid().is_root() {
            return Self::connect_bus();
        }
        Self::connect_to(Path::new(PRIVATE_SOCKET)).or_else(|private| {
            log::debug!("{private}; trying the system bus");
            Self::connect_bus().map_err(|_| private)
        })
    }

    /// Connects over the system bus.
    ///
    /// # Errors
    /// When there is none, or no manager on it.
    pub fn connect_bus() -> Result<Self, Error> {
        Ok(Self {
            client: Client::connect(Endpoint::system_bus(), Service::Manager)?,
        })
    }

    /// Connects to a manager's private socket, e.g. `$XDG_RUNTIME_DIR/systemd/private`.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn connect_to(socket: &Path) -> Result<Self, Error> {
        Ok(Self {
            client: Client::connect(Endpoint::Private(socket.to_owned()), Service::Manager)?,
        })
    }

    /// Sets how long a call may take that has no deadline of its own; 60 s otherwise.
    pub fn set_call_timeout(&mut self, timeout: Duration) {
        self.client.set_call_timeout(timeout);
    }

    /// The manager's version, e.g. `252.38-1~deb12u1`.
    pub fn version(&mut self) -> Result<String, Error> {
        let deadline = self.client.deadline();
        self.manager_property("Version", deadline)
    }

    /// `running`, `degraded`, `starting`, `stopping`, `maintenance`, …
    pub fn system_state(&mut self) -> Result<String, Error> {
        let deadline = self.client.deadline();
        self.manager_property("SystemState", deadline)
    }

    /// Every unit that the manager has in memory.
    pub fn list_units(&mut self) -> Result<Vec<UnitStatus>, Error> {
        let rows: Vec<UnitRow> = self.ask("ListUnits", "", &())?;
        Ok(rows.into_iter().map(UnitStatus::from).collect())
    }

    /// The properties of one unit. A unit without files has the load state `not-found`.
    pub fn unit(&mut self, name: &str) -> Result<UnitProperties, Error> {
        let mut all = self.units(&[name])?;
        all.pop().ok_or_else(|| Error::Lost {
            call: format!("GetAll {name}"),
        })
    }

    /// The properties of many units, in the order of the names: one call for each, many of them on their way at once.
    pub fn units<N: AsRef<str>>(&mut self, names: &[N]) -> Result<Vec<UnitProperties>, Error> {
        let deadline = self.client.deadline();
        self.units_until(names, deadline)
    }

    /// The same, with a deadline.
    pub(super) fn units_until<N: AsRef<str>>(
        &mut self,
        names: &[N],
        deadline: Instant,
    ) -> Result<Vec<UnitProperties>, Error> {
        let requests: Vec<Request> = names
            .iter()
            .map(|name| get_all(name.as_ref()))
            .collect::<Result<_, Error>>()?;
        let answers = self.client.exchange(&requests, deadline);
        answers
            .into_iter()
            .zip(&requests)
            .map(|(answer, request)| read_properties(request, &answer?))
            .collect()
    }

    /// The unit that a process belongs to.
    ///
    /// # Errors
    /// [`RefusalKind::NoSuchUnit`](super::RefusalKind::NoSuchUnit) when it belongs to none.
    pub fn unit_of_process(&mut self, pid: u32) -> Result<String, Error> {
        let path: OwnedObjectPath = self.ask("GetUnitByPID", &format!("process {pid}"), &pid)?;
        let target = Target {
            service: BUS_NAME,
            path: path.as_str(),
            interface: PROPERTIES_INTERFACE,
        };
        let request = target.call(
            "Get",
            &format!("Id of process {pid}"),
            &("org.freedesktop.systemd1.Unit", "Id"),
        )?;
        let deadline = self.client.deadline();
        let id: OwnedVariant = self.client.call(&request, deadline)?;
        String::try_from(id).map_err(|error| Error::Malformed {
            call: request.call,
            message: error.to_string(),
        })
    }

    /// Sends a signal to all processes of a unit.
    ///
    /// # Errors
    /// When there is no such unit, or nothing of it runs.
    pub fn kill(&mut self, name: &str, signal: i32) -> Result<(), Error> {
        self.ask("KillUnit", name, &(name, "all", signal))
    }

    /// Makes a failed unit inactive, and its counter of restarts zero.
    pub fn reset_failed(&mut self, name: &str) -> Result<(), Error> {
        self.ask("ResetFailedUnit", name, &name)
    }

    /// The same for all units.
    pub fn reset_failed_all(&mut self) -> Result<(), Error> {
        self.ask("ResetFailed", "", &())
    }

    /// Calls a method of the manager that may be repeated.
    pub(super) fn ask<B, R>(&mut self, method: &str, about: &str, body: &B) -> Result<R, Error>
    where
        B: serde::Serialize + zbus::DynamicType,
        R: DeserializeOwned + Type,
    {
        let request = MANAGER.call(method, about, body)?;
        let deadline = self.client.deadline();
        self.client.call(&request, deadline)
    }

    /// Reads a property of the manager.
    pub(super) fn manager_property<P>(&mut self, name: &str, deadline: Instant) -> Result<P, Error>
    where
        P: TryFrom<OwnedVariant>,
        P::Error: std::fmt::Display,
    {
        let target = Target {
            service: BUS_NAME,
            path: MANAGER_PATH,
            interface: PROPERTIES_INTERFACE,
        };
        let request = target.call("Get", name, &(MANAGER_INTERFACE, name))?;
        let value: OwnedVariant = self.client.call(&request, deadline)?;
        P::try_from(value).map_err(|error| Error::Malformed {
            call: request.call,
            message: error.to_string(),
        })
    }
}

fn get_all(name: &str) -> Result<Request, Error> {
    let path = call::unit_path(name);
    let target = Target {
        service: BUS_NAME,
        path: &path,
        interface: PROPERTIES_INTERFACE,
    };
    // An empty interface stands for all of them: those of units and of the unit's type.
    target.call("GetAll", name, &"")
}

fn read_properties(request: &Request, answer: &zbus::Message) -> Result<UnitProperties, Error> {
    client::read::<HashMap<String, OwnedVariant>>(request, answer).map(UnitProperties::read)
}
