//! Builds: a program that runs in a sandbox, sees only what its derivation names, and leaves its outputs.

mod ids;
mod inside;
mod mounts;
pub mod realise;
pub mod recipe;
mod run;
mod spec;
mod watch;

pub use ids::{IdRange, IdsError};
pub use inside::{Stage, StageError, stage};
pub use run::{Ended, Limits, RunError, run};
pub use spec::{Input, Sandbox};

/// Where the builder works.
pub const BUILD_DIRECTORY: &str = "/build";
/// How many ids a sandbox has.
pub const IDS: u32 = 65_536;
/// The builder's user, when the derivation doesn't ask for all ids.
pub const BUILDER_UID: u32 = 1000;
/// And its group.
pub const BUILDER_GID: u32 = 100;

/// Whether a shell can have a variable of this name.
fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
