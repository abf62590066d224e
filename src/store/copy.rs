//! Copies a tree into the store in Nix's canonical form, with several threads, and hashes what it wrote on the way.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::files;
use super::nar::pipeline::{self, Budget, Contents, Visitor};
use super::nar::{self, NarError, NarHash};
use crate::sys::reflink;

/// Copies the file, link or tree at `source` to `target`, which may not exist. The hash is that of what was written: a file that changes meanwhile can't make a path that isn't what its name says.
///
/// # Errors
/// What can't be read, written or archived. A part may lie at `target` then; the caller removes it.
pub fn copy(source: &Path, target: &Path) -> Result<NarHash, NarError> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let visitor = Copy {
        target: target.to_owned(),
    };
    nar::hash_written(&mut |_| {}, |sink| {
        pipeline::write(source, sink, workers, &visitor)
    })
}

struct Copy {
    target: PathBuf,
}

impl Copy {
    fn at(&self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() {
            self.target.clone()
        } else {
            self.target.join(relative)
        }
    }
}

impl Visitor for Copy {
    fn directory(&self, relative: &Path) -> io::Result<()> {
        fs::create_dir(self.at(relative))
    }

    fn symlink(&self, relative: &Path, target: &Path) -> io::Result<()> {
        let path = self.at(relative);
        std::os::unix::fs::symlink(target, &path)?;
        files::canonicalise_link(&path)
    }

    fn file(
        &self,
        source: File,
        metadata: &Metadata,
        relative: &Path,
        budget: &Budget,
    ) -> io::Result<Contents> {
        let executable = pipeline::is_executable(metadata);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.at(relative))?;
        // Blocks that are shared take no room; of a small file that isn't worth a try.
        if metadata.size() > pipeline::SMALL && reflink::share(&source, &file).is_ok() {
            files::canonicalise_file(&file, executable)?;
            // What is archived is the copy.
            let metadata = file.metadata()?;
            return pipeline::read(file, &metadata, budget);
        }
        match pipeline::read(source, metadata, budget)? {
            Contents::Bytes(bytes) => {
                file.write_all(&bytes)?;
                files::canonicalise_file(&file, executable)?;
                Ok(Contents::Bytes(bytes))
            }
            Contents::File(from, _) => {
                transfer(&from, &file)?;
                files::canonicalise_file(&file, executable)?;
                file.rewind()?;
                let size = file.metadata()?.size();
                Ok(Contents::File(file, size))
            }
        }
    }

    fn leave(&self, relative: &Path) -> io::Result<()> {
        files::canonicalise_directory(&self.at(relative))
    }
}

/// The contents of one file become those of another, in the kernel.
fn transfer(mut from: &File, mut to: &File) -> io::Result<()> {
    let _bytes = io::copy(&mut Read::by_ref(&mut from), &mut to)?;
    Ok(())
}
