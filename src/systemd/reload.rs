//! `daemon-reload` and `daemon-reexec`, with proof that they happened.

use std::thread;
use std::time::{Duration, Instant};

use super::call::MANAGER;
use super::client::RETRY_EVERY;
use super::error::Error;
use super::manager::Manager;

/// How long one attempt to reach a manager that is executing itself anew may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Which life a manager is in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Epoch {
    version: String,
    /// When the manager last loaded all units. It changes with every reload and every reexecution, also to the same
    /// version, while `UserspaceTimestamp` and its kind are carried over (measured with systemd 252).
    units_loaded_usec: u64,
}

/// What a reexecution did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reexecuted {
    /// The version before.
    pub from: String,
    /// The version after.
    pub to: String,
}

impl Manager {
    /// Makes the manager read all unit files again and run the generators; returns when it has.
    ///
    /// # Errors
    /// When it refuses, e.g. because `/run` is full ([`RefusalKind::RunIsFull`](super::RefusalKind::RunIsFull)), or
    /// hasn't finished at `deadline`.
    pub fn daemon_reload(&mut self, deadline: Instant) -> Result<(), Error> {
        let started = Instant::now();
        let before = self.epoch(deadline)?;
        let request = MANAGER.call("Reload", "", &())?.once();
        match self.client.call(&request, deadline) {
            // The connection ended before the answer. The manager tells itself whether it was done.
            Err(Error::Lost { .. }) => {
                self.wait_for_epoch_after(&before, deadline)
                    .map(|_| ())
                    .ok_or(Error::NoAnswer {
                        call: request.call,
                        after: started.elapsed(),
                    })
            }
            result => result,
        }
    }

    /// Makes the manager execute its binary anew, keeping all state; returns when the new one answers.
    ///
    /// Systemd sends no answer to this call: it closes the connection. The new manager is told from the old one by the
    /// time at which it loaded the units.
    ///
    /// # Errors
    /// When it refuses, or no new manager answers at `deadline`.
    pub fn daemon_reexec(&mut self, deadline: Instant) -> Result<Reexecuted, Error> {
        let started = Instant::now();
        let before = self.epoch(deadline)?;
        let request = MANAGER.call("Reexecute", "", &())?.once();
        self.client.call_until_closed(&request, deadline)?;
        match self.wait_for_epoch_after(&before, deadline) {
            Some(after) => Ok(Reexecuted {
                from: before.version,
                to: after.version,
            }),
            None => Err(Error::NotBack {
                after: started.elapsed(),
            }),
        }
    }

    fn epoch(&mut self, deadline: Instant) -> Result<Epoch, Error> {
        Ok(Epoch {
            version: self.manager_property("Version", deadline)?,
            units_loaded_usec: self.manager_property("UnitsLoadTimestampMonotonic", deadline)?,
        })
    }

    /// Asks until the units were loaded later than in `before`.
    fn wait_for_epoch_after(&mut self, before: &Epoch, deadline: Instant) -> Option<Epoch> {
        loop {
            match self.epoch(deadline.min(Instant::now() + ATTEMPT)) {
                Ok(now) if now.units_loaded_usec > before.units_loaded_usec => return Some(now),
                Ok(_) => {}
                Err(error) => log::debug!("waiting for systemd: {error}"),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            thread::sleep(RETRY_EVERY.min(left));
        }
    }
}
