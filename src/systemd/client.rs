//! Calls over a connection that is made anew when it was lost.

use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use zbus::{Message, Type};

use super::call::{BUS_NAME, MANAGER, Repeat, Request, Target};
use super::endpoint::Endpoint;
use super::error::{Error, RefusalKind};
use super::link::{Link, Unanswered};
use super::signal::JobRemoved;

/// How long an ordinary call may take. PID 1 answers none while it reloads, which can take long on a slow machine.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// How many calls are on their way at most. They must fit in the buffers of a socket: else both sides could wait for the
/// other one to read.
const IN_FLIGHT: usize = 64;

/// How long a manager that was there may be away before a call fails. It is while it executes itself anew.
const ABSENCE: Duration = Duration::from_secs(10);
/// Between two attempts to reach it. Its socket vanishes and comes back; there is nothing that could be waited on.
pub(super) const RETRY_EVERY: Duration = Duration::from_millis(50);

/// The bus itself.
const BUS: Target<'static> = Target {
    service: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
/// The signals that are wanted from the manager.
const MATCHES: [&str; 2] = [
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.systemd1'",
];

/// Which service the calls are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// The service manager; its signals are subscribed to.
    Manager,
    /// Another one; no signals.
    Other,
}

/// A connection to one place that outlives the disconnections.
pub(super) struct Client {
    endpoint: Endpoint,
    service: Service,
    link: Option<Link>,
    /// It has been connected before.
    is_known: bool,
    call_timeout: Duration,
}

impl Client {
    /// Connects at once, so that faults show early.
    pub(super) fn connect(endpoint: Endpoint, service: Service) -> Result<Self, Error> {
        let mut client = Self {
            endpoint,
            service,
            link: None,
            is_known: false,
            call_timeout: CALL_TIMEOUT,
        };
        let deadline = client.deadline();
        let _link = client.link(deadline)?;
        Ok(client)
    }

    /// When a call that is made now must have been answered.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.call_timeout
    }

    pub(super) fn set_call_timeout(&mut self, timeout: Duration) {
        self.call_timeout = timeout;
    }

    /// Makes a call, and reads its answer.
    pub(super) fn call<R>(&mut self, request: &Request, deadline: Instant) -> Result<R, Error>
    where
        R: DeserializeOwned + Type,
    {
        let mut answers = self.exchange(std::slice::from_ref(request), deadline);
        match answers.pop() {
            Some(answer) => read(request, &answer?),
            None => Err(Error::Lost {
                call: request.call.clone(),
            }),
        }
    }

    /// Makes calls, many of them at once, and returns an answer for each in their order. Every call shares the deadline.
    pub(super) fn exchange(
        &mut self,
        requests: &[Request],
        deadline: Instant,
    ) -> Vec<Result<Message, Error>> {
        let mut results: Vec<Option<Result<Message, Error>>> = requests.iter().map(|_| None).collect();
        // The connection may be lost under the calls once, by a reexecution. Twice is trouble.
        for _attempt in 0..2 {
            let link = match self.link(deadline) {
                Ok(link) => link,
                Err(error) => {
                    if let Some(first) = results.iter_mut().find(|result| result.is_none()) {
                        *first = Some(Err(error));
                    }
                    break;
                }
            };
            exchange_over(link, requests, &mut results, deadline);
            if results.iter().all(Option::is_some) {
                break;
            }
        }
        let lost = |request: &Request| {
            Err(Error::Lost {
                call: request.call.clone(),
            })
        };
        results
            .into_iter()
            .zip(requests)
            .map(|(result, request)| result.unwrap_or_else(|| lost(request)))
            .collect()
    }

    /// The next end of a job; nothing when there was none until `deadline`.
    ///
    /// # Errors
    /// [`Unanswered::Closed`] when the connection is lost: ends of jobs may be lost with it.
    pub(super) fn job_removed(&mut self, deadline: Instant) -> Result<Option<JobRemoved>, Unanswered> {
        match &mut self.link {
            None => Err(Unanswered::Closed),
            Some(link) => match link.job_removed(deadline) {
                Ok(job) => Ok(Some(job)),
                Err(Unanswered::Late) => Ok(None),
                Err(Unanswered::Closed) => Err(Unanswered::Closed),
            },
        }
    }

    /// Forgets the ends of jobs that nobody waits for.
    pub(super) fn forget_jobs(&mut self) {
        if let Some(link) = &mut self.link {
            link.forget_jobs();
        }
    }

    /// Sends a call that may end the connection, and waits until it did.
    ///
    /// # Errors
    /// When the call is refused, or nothing happened until `deadline`.
    pub(super) fn call_until_closed(&mut self, request: &Request, deadline: Instant) -> Result<(), Error> {
        let started = Instant::now();
        let link = self.link(deadline)?;
        let ended = link
            .send(&request.message)
            .and_then(|serial| link.answer(serial, deadline));
        match ended {
            // An answer means that it was accepted; what happens then is seen by who waits for it.
            Ok(Ok(_)) | Err(Unanswered::Closed) => {}
            Ok(Err(refusal)) if refusal.kind == RefusalKind::NoReply => {}
            Ok(Err(refusal)) => {
                return Err(Error::Refused {
                    call: request.call.clone(),
                    refusal,
                });
            }
            Err(Unanswered::Late) => {
                return Err(Error::NoAnswer {
                    call: request.call.clone(),
                    after: started.elapsed(),
                });
            }
        }
        self.link = None;
        Ok(())
    }

    /// The connection, made anew when there is none. A manager that was there before is awaited for a while.
    pub(super) fn link(&mut self, deadline: Instant) -> Result<&mut Link, Error> {
        let patience = if self.is_known { ABSENCE } else { Duration::ZERO };
        let give_up = deadline.min(Instant::now() + patience);
        let mut open = self.link.take().and_then(Link::if_open);
        let link = loop {
            match open.take().map_or_else(|| self.open(deadline), Ok) {
                Ok(link) => break link,
                Err(error) if Instant::now() + RETRY_EVERY >= give_up => return Err(error),
                Err(error) => log::debug!("waiting for systemd: {error}"),
            }
            thread::sleep(RETRY_EVERY);
        };
        self.is_known = true;
        Ok(self.link.insert(link))
    }

    fn open(&self, deadline: Instant) -> Result<Link, Error> {
        prepare(
            Link::open(&self.endpoint, deadline)?,
            &self.endpoint,
            self.service,
            deadline,
        )
    }
}

/// Reads the body of an answer.
pub(super) fn read<R>(request: &Request, answer: &Message) -> Result<R, Error>
where
    R: DeserializeOwned + Type,
{
    answer.body().deserialize().map_err(|error| Error::Malformed {
        call: request.call.clone(),
        message: error.to_string(),
    })
}

/// Asks for the manager's signals, before anything is started whose end they tell.
fn prepare(mut link: Link, endpoint: &Endpoint, service: Service, deadline: Instant) -> Result<Link, Error> {
    if service == Service::Other {
        return Ok(link);
    }
    let mut ask = |request: &Request| {
        let mut results = [None];
        exchange_over(&mut link, std::slice::from_ref(request), &mut results, deadline);
        let [result] = results;
        result.unwrap_or_else(|| {
            Err(Error::Lost {
                call: request.call.clone(),
            })
        })
    };
    let mut manager = None;
    if matches!(endpoint, Endpoint::Bus(_)) {
        for rule in MATCHES {
            let _nothing = ask(&BUS.call("AddMatch", "", &rule)?)?;
        }
        let request = BUS.call("GetNameOwner", BUS_NAME, &BUS_NAME)?;
        let owner = ask(&request).map_err(|error| match error {
            Error::Refused { refusal, .. } => Error::NoService {
                service: BUS_NAME.to_owned(),
                unit: "init.scope",
                message: refusal.message,
            },
            other => other,
        })?;
        manager = Some(read::<String>(&request, &owner)?);
    }
    let _nothing = ask(&MANAGER.call("Subscribe", "", &())?)?;
    if let Some(manager) = manager {
        link.trust_only(manager);
    }
    Ok(link)
}

/// Makes the calls that have no result yet. Those that the end of the connection leaves open, and that may be repeated,
/// stay without.
fn exchange_over(
    link: &mut Link,
    requests: &[Request],
    results: &mut [Option<Result<Message, Error>>],
    deadline: Instant,
) {
    let started = Instant::now();
    let late = |request: &Request| Error::NoAnswer {
        call: request.call.clone(),
        after: started.elapsed(),
    };
    let open: Vec<usize> = (0..requests.len())
        .filter(|at| results.get(*at).is_some_and(Option::is_none))
        .collect();
    for batch in open.chunks(IN_FLIGHT) {
        let mut sent = Vec::with_capacity(batch.len());
        for at in batch {
            let Some(request) = requests.get(*at) else {
                continue;
            };
            // What couldn't be sent wasn't done, whatever it is: it stays without a result.
            let Ok(serial) = link.send(&request.message) else {
                break;
            };
            sent.push((*at, request, serial));
        }
        for (at, request, serial) in sent {
            let result = match link.answer(serial, deadline) {
                Ok(Ok(message)) => Some(Ok(message)),
                Ok(Err(refusal)) if refusal.kind != RefusalKind::NoReply => Some(Err(Error::Refused {
                    call: request.call.clone(),
                    refusal,
                })),
                Err(Unanswered::Late) => Some(Err(late(request))),
                // A bus answers in the stead of a peer that left.
                Ok(Err(_)) | Err(Unanswered::Closed) => (request.repeat == Repeat::Never).then(|| {
                    Err(Error::Lost {
                        call: request.call.clone(),
                    })
                }),
            };
            if let Some(slot) = results.get_mut(at) {
                *slot = result;
            }
        }
    }
}
