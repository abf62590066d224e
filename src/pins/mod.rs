//! `keel.lock`: exactly what a machine is built from.

mod lock;

pub use lock::*;
