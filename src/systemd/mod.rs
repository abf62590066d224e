//! The client of the running systemd: `keel activate` drives the service manager through it.
//!
//! Everything blocks, and every wait has a deadline. [`Manager`] speaks to PID 1 over its own socket, so a switch can
//! replace the bus under it; the connection is made anew when it gets lost. Interfaces: `org.freedesktop.systemd1(5)`
//! and `org.freedesktop.login1(5)`; D-Bus itself is zbus's business, but for one detail (see `relay`).

mod call;
mod client;
mod endpoint;
mod error;
mod job;
mod jobs;
mod link;
mod logind;
mod manager;
mod relay;
mod reload;
mod signal;
mod transient;
mod unit;

pub use self::endpoint::PRIVATE_SOCKET;
pub use self::error::{Error, Refusal, RefusalKind};
pub use self::job::{Finished, Job, Mode, Outcome, Pending, Verb};
pub use self::jobs::{Jobs, Patience};
pub use self::logind::{Inhibitor, Logind, Session};
pub use self::manager::Manager;
pub use self::reload::Reexecuted;
pub use self::transient::{ServiceType, Transient, Value};
pub use self::unit::{QueuedJob, UnitProperties, UnitStatus};
