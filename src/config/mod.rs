//! `system.toml`: what a machine is declared to be.

mod types;

pub use types::*;
