//! `keel.lock`: exactly what a machine is built from. apt resolves it; everything after that needs the lock alone.

mod apt;
mod change;
pub mod deb822;
mod download;
mod fetch;
pub mod index;
mod layering;
mod lock;
mod mirror;
mod missing;
mod origin;
mod programs;
mod required;
mod resolve;
mod search;
pub mod sources;
mod update;

pub use apt::AptError;
pub use change::{Change, changes};
pub use fetch::{APT_ARCHIVES, Fetch, FetchError, JOBS, METHOD, fetch, path_of};
pub use layering::{LAYERS_MAX, Resolved, layered};
pub use lock::*;
pub use mirror::{Mirror, MirrorError};
pub use missing::Missing;
pub use origin::OriginError;
pub use programs::{KEEL, KEEL_INIT, provide};
pub use required::{PackageRequest, required};
pub use resolve::ResolveError;
pub use search::{Hit, search};
pub use update::{Freshness, Indexes, Update, UpdateError, indexes, stale, update};
