//! The generations of a machine as people deal with them: what is known of each, which may go, and what they are called.

pub mod facts;
pub mod remove;
pub mod select;

pub use facts::{Facts, Health, Mark};
pub use remove::{RemoveError, remove};
pub use select::{Chosen, SelectError, Selection, choose};
