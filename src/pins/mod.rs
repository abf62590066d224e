//! `keel.lock`: exactly what a machine is built from.

mod download;
mod fetch;
mod lock;
mod mirror;
mod required;

pub use fetch::{APT_ARCHIVES, Fetch, FetchError, JOBS, METHOD, fetch, path_of};
pub use lock::*;
pub use mirror::{Mirror, MirrorError};
pub use required::{PackageRequest, required};
