//! What the fuzz targets do with their input. The targets themselves only hand bytes to [`run`]; `tests/corpus.rs` of
//! keel includes this file and runs the committed corpus through the same functions.
//!
//! A body fails by a panic: of the code under test, or of an assertion about what it gave.

mod accounts;
mod block;
mod boot;
#[cfg(feature = "tools")]
mod config;
mod image;
mod input;
mod luks;
mod lvm;
#[cfg(feature = "tools")]
mod store;
#[cfg(feature = "tools")]
mod tools;
mod units;

/// A target: what `cargo fuzz` calls it, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("accounts", accounts::merges),
    ("boot_json", boot::boot_json),
    ("cmdline", boot::command_line),
    ("elf", block::elf),
    ("luks1", luks::luks1),
    ("luks2_header", luks::luks2_header),
    ("luks2_json", luks::luks2_json),
    ("lvm_label", lvm::label),
    ("lvm_metadata", lvm::metadata),
    ("modules", boot::modules),
    ("mountinfo", boot::mountinfo),
    ("probe", block::probe),
    ("unit_files", units::files),
    ("unit_tree", units::tree),
    ("units_json", units::record),
    #[cfg(feature = "tools")]
    ("aterm", store::aterm),
    #[cfg(feature = "tools")]
    ("deb", tools::deb),
    #[cfg(feature = "tools")]
    ("deb822", tools::deb822),
    #[cfg(feature = "tools")]
    ("generations", tools::generations),
    #[cfg(feature = "tools")]
    ("journal", tools::journal),
    #[cfg(feature = "tools")]
    ("newc", tools::newc),
    #[cfg(feature = "tools")]
    ("system_toml", config::system_toml),
    #[cfg(feature = "tools")]
    ("nar", store::nar),
    #[cfg(feature = "tools")]
    ("narinfo", store::narinfo),
];

/// Runs a target on an input.
///
/// # Panics
/// When the input is a finding, or when there is no such target.
pub fn run(target: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    found.expect("a target of this name").1(data);
}
