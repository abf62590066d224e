//! Writing an image.

use std::io::{self, Write};

use super::microcode;
use super::plan::{BuildError, Plan, Recipe, plan};

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
        output.write_all(&zstd::bulk::compress(
            &self.archive.to_bytes()?,
            compression_level,
        )?)?;
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
