//! Putting an image together.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cpio::{Archive, CpioError};
use super::elf::{self, ElfError};
use super::microcode;
use super::modules::{ModuleTree, ResolveError};
use super::sets::ModuleSet;

/// Why an image can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Modules.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A program that goes into the image.
    #[error("{path} can't go into an initrd: {source}")]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ElfError,
    },
    /// A file.
    #[error("{path} can't be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive.
    #[error(transparent)]
    Archive(#[from] CpioError),
    /// Compression.
    #[error("the image can't be compressed: {0}")]
    Compress(io::Error),
}

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Version of the kernel, such as `6.12.57+deb13-amd64`.
    pub kernel: String,
    /// The kernel's module directory, `…/lib/modules/VERSION`.
    pub modules_directory: PathBuf,
    /// Directories with modprobe.d files whose options, soft dependencies and aliases count.
    pub modprobe_d: Vec<PathBuf>,
    /// The set of modules.
    pub set: ModuleSet,
    /// Modules beside the set.
    pub modules: Vec<String>,
    /// The static keel-init.
    pub init: PathBuf,
    /// The static e2fsck; without it ext file systems aren't checked.
    pub e2fsck: Option<PathBuf>,
    /// A firmware directory (`/usr/lib/firmware`) whose microcode goes before the image.
    pub microcode: Option<PathBuf>,
    /// zstd's level, 1 to 22.
    pub compression_level: i32,
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The bytes: early microcode, then the compressed archive.
    pub bytes: Vec<u8>,
    /// Bytes of the uncompressed microcode archive at the start.
    pub microcode_bytes: usize,
    /// What is in it, with sizes in bytes before compression.
    pub contents: Vec<(String, usize)>,
}

/// Builds an image. The result depends on the recipe's files alone.
pub fn build(recipe: &Recipe) -> Result<Image, BuildError> {
    let tree = ModuleTree::read(&recipe.modules_directory, &recipe.kernel, &recipe.modprobe_d)?;
    let mut names: Vec<&str> = recipe.set.names().collect();
    names.extend(recipe.modules.iter().map(String::as_str));
    let resolved = tree.resolve(names.into_iter())?;

    let mut archive = Archive::default();
    for directory in ["dev", "proc", "sys", "run", "sysroot", "tmp"] {
        archive.directory(directory, 0o755)?;
    }
    // The kernel opens it for PID 1 before devtmpfs is mounted.
    archive.character_device("dev/console", 0o600, 5, 1)?;
    archive.file("init", 0o755, program(&recipe.init)?)?;
    if let Some(e2fsck) = &recipe.e2fsck {
        archive.file("usr/sbin/e2fsck", 0o755, program(e2fsck)?)?;
    }
    archive.file("etc/keel/modules", 0o644, resolved.table.to_bytes())?;
    archive.file("etc/initrd-release", 0o644, release().into_bytes())?;
    for (module, file) in resolved.table.modules.iter().zip(&resolved.files) {
        let path = format!("lib/modules/{}/{}", tree.kernel(), module.file);
        archive.file(&path, 0o644, tree.content(file)?)?;
    }

    let mut bytes = match &recipe.microcode {
        Some(firmware) => early_microcode(firmware)?,
        None => Vec::new(),
    };
    let microcode_bytes = bytes.len();
    let plain = archive.to_bytes().map_err(BuildError::Compress)?;
    bytes.extend(zstd::bulk::compress(&plain, recipe.compression_level).map_err(BuildError::Compress)?);
    let contents = archive
        .list()
        .map(|(name, size)| (name.to_owned(), size))
        .collect();
    Ok(Image {
        bytes,
        microcode_bytes,
        contents,
    })
}

fn early_microcode(firmware: &Path) -> Result<Vec<u8>, BuildError> {
    let read_error = |source| BuildError::Read {
        path: firmware.to_owned(),
        source,
    };
    let archive = microcode::archive(firmware).map_err(read_error)?;
    if archive.list().next().is_none() {
        return Ok(Vec::new());
    }
    archive.to_bytes().map_err(read_error)
}

fn program(path: &Path) -> Result<Vec<u8>, BuildError> {
    let bytes = fs::read(path).map_err(|source| BuildError::Read {
        path: path.to_owned(),
        source,
    })?;
    elf::check_static(&bytes).map_err(|source| BuildError::Program {
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes)
}

/// os-release(5), for programs that ask whether they run in an initrd.
fn release() -> String {
    format!(
        "NAME=\"keel initrd\"\nID=keel-initrd\nVERSION_ID={}\n",
        env!("CARGO_PKG_VERSION")
    )
}
