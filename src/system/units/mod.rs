//! Units as systemd reads them: texts, what they come to, what changed, and what a system's units run and read.
//!
//! [`load::Units`] finds and reads units in [`sources::Sources`]; [`compare::compare`] says what changed between two;
//! [`record`] is what an import writes down about all units of a system (`units.json`), and [`quick`] compares two such
//! records without reading a unit.

pub mod collect;
pub mod compare;
pub mod elf;
pub mod exec;
pub mod load;
pub mod load_path;
pub mod mutate;
pub mod name;
pub mod parse;
pub mod policy;
pub mod quick;
pub mod record;
pub mod settings;
pub mod sources;
pub mod verdict;

mod keys;
pub(crate) mod libraries;
mod names;
mod packages;
mod programs;
mod text;
mod value;

pub use collect::{CollectError, collect};
pub use compare::{Change, Comparison, How, compare};
pub use load::{State, Unit, Units};
pub use load_path::LoadPath;
pub use name::{Kind, UnitName};
pub use names::LoadError;
pub use policy::{Method, Policy};
pub use quick::{Changed, Difference, quick_compare};
pub use record::{RecordError, UnitRecord, UnitsRecord};
pub use settings::Settings;
pub use text::Text;
pub use verdict::Verdict;
