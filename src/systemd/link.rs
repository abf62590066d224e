//! One connection, as a synchronous program sees it: calls go out, and one queue of answers and signals comes in.
//!
//! zbus does the handshake and the marshalling. A thread takes in every message and puts what matters here in a
//! channel, in the order in which systemd sent it. So an answer and a signal can't overtake each other, each wait has a
//! deadline, and there is no callback.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread;
use std::time::Instant;

use futures_core::Stream;
use zbus::connection::Builder;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream};

use super::endpoint::Endpoint;
use super::error::{Error, Refusal};
use super::signal::{JobRemoved, Signal};

/// Something that came in.
enum Incoming {
    /// The answer to the call of this serial number.
    Answer(u32, Message),
    Signal(Signal),
}

/// How a call that got no answer in time, or none at all, ended.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The deadline passed.
    Late,
    /// The connection ended.
    Closed,
}

/// A connection to a manager or a bus. It ends when dropped.
pub(super) struct Link {
    connection: Connection,
    incoming: Receiver<Incoming>,
    /// Calls that wait for an answer; answers to others are dropped.
    awaited: HashSet<u32>,
    answers: HashMap<u32, Message>,
    /// Ends of jobs that nobody took yet.
    removed: VecDeque<JobRemoved>,
    /// On a bus, where anybody may send signals: the manager's unique name.
    manager: Option<String>,
    socket: UnixStream,
    open: bool,
}

impl Link {
    /// Connects and authenticates until `deadline`.
    pub(super) fn open(endpoint: &Endpoint, deadline: Instant) -> Result<Self, Error> {
        let failed = |message: String| Error::Handshake {
            endpoint: endpoint.to_string(),
            message,
        };
        let socket = endpoint.open()?;
        let for_zbus = socket.try_clone().map_err(|error| failed(error.to_string()))?;
        let is_private = matches!(endpoint, Endpoint::Private(_));
        let (ready_in, ready) = mpsc::channel();
        let (incoming_in, incoming) = mpsc::channel();
        let _detached = thread::Builder::new()
            .name("dbus".into())
            .spawn(move || zbus::block_on(take_in(for_zbus, is_private, &ready_in, &incoming_in)))
            .map_err(|error| failed(error.to_string()))?;
        let connected = match ready.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(RecvTimeoutError::Timeout) => Err(failed("no answer in time".into())),
            Err(RecvTimeoutError::Disconnected) => Err(failed("the thread for it ended".into())),
        };
        match connected {
            Ok(connection) => Ok(Self {
                connection,
                incoming,
                awaited: HashSet::new(),
                answers: HashMap::new(),
                removed: VecDeque::new(),
                manager: None,
                socket,
                open: true,
            }),
            Err(error) => {
                // Ends the thread; the socket may be closed already.
                let _closed = socket.shutdown(Shutdown::Both);
                Err(error)
            }
        }
    }

    /// Itself, unless the other side is known to be gone.
    pub(super) fn if_open(mut self) -> Option<Self> {
        self.take_arrived();
        self.open.then_some(self)
    }

    /// Takes in what has come, without waiting.
    fn take_arrived(&mut self) {
        while self.open {
            match self.incoming.try_recv() {
                Ok(incoming) => self.keep(incoming),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.open = false,
            }
        }
    }

    /// Sends a call, and returns its serial number.
    pub(super) fn send(&mut self, call: &Message) -> Result<u32, Unanswered> {
        let serial = call.primary_header().serial_num().get();
        let _new = self.awaited.insert(serial);
        if zbus::block_on(self.connection.send(call)).is_err() {
            self.open = false;
            let _known = self.awaited.remove(&serial);
            return Err(Unanswered::Closed);
        }
        Ok(serial)
    }

    /// Waits for the answer to a call that was sent: the message, or the error it carries.
    pub(super) fn answer(
        &mut self,
        serial: u32,
        deadline: Instant,
    ) -> Result<Result<Message, Refusal>, Unanswered> {
        loop {
            if let Some(message) = self.answers.remove(&serial) {
                return Ok(outcome(message));
            }
            if let Err(end) = self.wait(deadline) {
                let _known = self.awaited.remove(&serial);
                return Err(end);
            }
        }
    }

    /// The next end of a job; waits for one until `deadline`.
    pub(super) fn job_removed(&mut self, deadline: Instant) -> Result<JobRemoved, Unanswered> {
        loop {
            if let Some(removed) = self.removed.pop_front() {
                return Ok(removed);
            }
            self.wait(deadline)?;
        }
    }

    /// Drops the ends of jobs that came until now.
    pub(super) fn forget_jobs(&mut self) {
        self.take_arrived();
        self.removed.clear();
    }

    /// From now on only signals from `manager` count.
    pub(super) fn trust_only(&mut self, manager: String) {
        self.manager = Some(manager);
    }

    /// Takes one message in.
    fn wait(&mut self, deadline: Instant) -> Result<(), Unanswered> {
        if !self.open {
            return Err(Unanswered::Closed);
        }
        match self
            .incoming
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(incoming) => {
                self.keep(incoming);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Err(Unanswered::Late),
            Err(RecvTimeoutError::Disconnected) => {
                self.open = false;
                Err(Unanswered::Closed)
            }
        }
    }

    fn keep(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Answer(serial, message) => {
                if self.awaited.remove(&serial) {
                    let _unanswered = self.answers.insert(serial, message);
                }
            }
            // The manager left the bus: for whoever waits on it, that is the end of the connection.
            Incoming::Signal(Signal::ManagerLeft) => self.open = false,
            Incoming::Signal(Signal::JobRemoved(removed)) => {
                if self.manager.is_none() || self.manager == removed.sender {
                    self.removed.push_back(removed);
                }
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Ends the threads; it fails when the other side closed first.
        let _closed = self.socket.shutdown(Shutdown::Both);
    }
}

/// Connects, reports how that went, and takes messages in until the connection ends or the link is dropped.
async fn take_in(
    socket: UnixStream,
    is_private: bool,
    ready: &Sender<zbus::Result<Connection>>,
    incoming: &Sender<Incoming>,
) {
    let mut builder = Builder::unix_stream(socket);
    if is_private {
        builder = builder.p2p();
    }
    let connection = match builder.build().await {
        Ok(connection) => connection,
        Err(error) => {
            // Nobody listens when the deadline has passed.
            let _late = ready.send(Err(error));
            return;
        }
    };
    let mut stream = MessageStream::from(&connection);
    if ready.send(Ok(connection)).is_err() {
        return;
    }
    while let Some(Ok(message)) = poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await {
        let Some(taken) = sort(message) else { continue };
        if incoming.send(taken).is_err() {
            return;
        }
    }
}

/// What of a message is of interest. A manager tells every change of every property on its private socket; those stop
/// here.
fn sort(message: Message) -> Option<Incoming> {
    match message.message_type() {
        Type::MethodReturn | Type::Error => {
            let serial = message.header().reply_serial()?.get();
            Some(Incoming::Answer(serial, message))
        }
        Type::Signal => Signal::read(&message).map(Incoming::Signal),
        Type::MethodCall => None,
    }
}

fn outcome(message: Message) -> Result<Message, Refusal> {
    if message.message_type() != Type::Error {
        return Ok(message);
    }
    let text = message.body().deserialize::<String>().unwrap_or_default();
    let header = message.header();
    let name = header.error_name().map_or("", |name| name.as_str());
    Err(Refusal::new(
        name,
        if text.is_empty() { "no reason given" } else { &text },
    ))
}
