//! Kernel modules: the table resolved when the image is built, and the loader.

mod coldplug;
mod describe;
mod explain;
mod glob;
mod loader;
mod lookup;
mod order;
mod table;
mod urgency;

pub use coldplug::{modaliases, served};
pub use glob::glob_match;
pub use loader::{Insert, Loader};
pub use table::{Index, Module, Table, TableError, TableProblem};
