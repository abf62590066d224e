//! `keel build-layer`: what runs in the sandbox of a layer of packages.

use super::output::errln;

/// Builds the layer that the environment describes; the exit code. What went wrong is said in several lines: they are the last
/// ones of the build's log.
pub(super) fn run() -> u8 {
    match crate::layers::build() {
        Ok(()) => 0,
        Err(error) => {
            errln!("keel: build-layer: {error}");
            1
        }
    }
}
