//! Switching the running machine to another system, and coming back by itself when that goes wrong.
//!
//! [`observe`] looks, [`plan`] decides (pure), [`execute`] acts in a transient unit of its own, [`follow`] tells the
//! person at the terminal, [`back`] returns to the old system, [`healthy`] judges a boot.

mod back;
mod checks;
mod commit;
mod error;
mod execute;
mod follow;
mod guard;
mod healthy;
mod journal;
mod machine;
mod mounts;
mod observe;
mod plan;
mod processes;
mod request;
mod rules;
mod status;
mod tools;
mod trees;
mod view;
mod watch;

pub use commit::{find_esp, menu_default, menu_default_on, refresh_menu};
pub use error::code;
pub use execute::execute;
pub use follow::{Options, switch};
pub use guard::guard;
pub use healthy::healthy;
pub use journal::{Event, JournalError, Line, Phase, read as read_journal};
pub use machine::{Machine, MachineError, Target, replace_trees};
pub use observe::{ObserveError, observe_systems};
pub use plan::{Kept, Plan, Step, Verb, plan};
pub use request::{Goal, Request};
pub use status::{LastSwitch, Local, Named, NextBoot, Space, Status, status};
pub use watch::confirm_now;
