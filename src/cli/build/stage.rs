//! The stages of a build's sandbox.

use std::path::Path;

use crate::build;

/// A stage by its name on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(in crate::cli) enum Stage {
    Outer,
    Map,
    Inner,
}

/// Runs a stage; its exit code is the builder's.
pub(in crate::cli) fn stage(stage: Stage, argument: &Path) -> anyhow::Result<u8> {
    let stage = match stage {
        Stage::Outer => build::Stage::Outer,
        Stage::Map => build::Stage::Map,
        Stage::Inner => build::Stage::Inner,
    };
    Ok(build::stage(stage, argument)?)
}
