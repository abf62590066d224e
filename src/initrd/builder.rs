//! Writing an image.

use std::io::{self, Write};

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::microcode;
use super::plan::{BuildError, Plan, Recipe, plan};

/// How far back zstd may refer: 128 KiB. The kernel keeps that much at hand while it unpacks; the 8 MiB of the higher levels
/// are more than a processor's cache holds, and their image isn't much smaller (6%).
const WINDOW_LOG: u32 = 17;

/// A finished image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The bytes: early microcode, then the compressed archive.
    pub bytes: Vec<u8>,
    /// Bytes of the uncompressed microcode archive at the start.
    pub microcode_bytes: usize,
    /// What is in it, and why.
    pub plan: Plan,
}

impl Plan {
    /// Writes the image: the microcode archive as it is, then one zstd frame. Returns the bytes of the former.
    /// `compression_level` is zstd's, 1 to 22.
    pub fn write(&self, compression_level: i32, output: &mut impl Write) -> io::Result<usize> {
        let mut early = Vec::new();
        if self.early.list().next().is_some() {
            self.early.write_aligned(&mut early, microcode::ALIGNMENT)?;
        }
        output.write_all(&early)?;
        let mut compressor = Compressor::new(compression_level)?;
        compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        output.write_all(&compressor.compress(&self.archive.to_bytes()?)?)?;
        Ok(early.len())
    }
}

/// Builds an image. The result depends on the recipe's files alone.
pub fn build(recipe: &Recipe) -> Result<Image, BuildError> {
    let plan = plan(recipe)?;
    let mut bytes = Vec::new();
    let microcode_bytes = plan
        .write(recipe.compression_level, &mut bytes)
        .map_err(BuildError::Compress)?;
    Ok(Image {
        bytes,
        microcode_bytes,
        plan,
    })
}
