//! What a scenario works with that needs no machine in QEMU: namespaces of this one.

use std::path::PathBuf;

use anyhow::Result;

use super::bench::Checks;
use crate::image_cache::Cache;

/// Something that is shown on this machine, without keel's own programs.
#[derive(Clone, Copy)]
pub(crate) struct Native {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(&mut Place<'_>) -> Result<()>,
}

/// Its surroundings.
pub(crate) struct Place<'a> {
    /// Things that take long to make.
    pub cache: &'a Cache,
    /// Its own directory.
    pub directory: PathBuf,
    /// What was looked at so far.
    pub checks: Checks,
}

impl Place<'_> {
    /// Notes whether something is as it should be; the scenario goes on in any case.
    pub(crate) fn check(&mut self, name: &str, look: impl FnOnce() -> Result<()>) {
        self.checks.check(name, look);
    }
}
