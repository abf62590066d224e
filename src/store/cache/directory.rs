//! A cache in a directory: `file://`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Cache, CacheError};
use crate::store::{Layout, files};

/// How many temporary files this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A cache in a directory.
#[derive(Debug)]
pub struct Directory {
    name: String,
    path: PathBuf,
}

impl Directory {
    /// The one at `path`, which need not be there yet.
    pub fn new(name: &str, path: &Path) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
        }
    }

    /// Makes what a cache consists of.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn prepare(&self, layout: &Layout) -> Result<(), CacheError> {
        let about = self.path.join("nix-cache-info");
        let made = fs::create_dir_all(self.path.join("nar")).and_then(|()| {
            if about.exists() {
                return Ok(());
            }
            let text = format!("StoreDir: {}\n", layout.store_dir());
            files::write_atomically(&about, text.as_bytes(), 0o644)
        });
        made.map_err(|source| self.failed("nix-cache-info", source))
    }

    /// Writes a small file in one step.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        files::write_atomically(&self.path.join(name), bytes, 0o644)
            .map_err(|source| self.failed(name, source))
    }

    /// A new file for an archive whose name isn't known yet.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn begin(&self) -> Result<Upload, CacheError> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = self
            .path
            .join(format!("nar/.keel-tmp-{}-{number}", std::process::id()));
        let file = File::create(&path).map_err(|source| self.failed("nar", source))?;
        Ok(Upload {
            path,
            file: Some(file),
        })
    }

    /// Gives an upload its name.
    ///
    /// # Errors
    /// When it can't be written to the disk.
    pub fn finish(&self, mut upload: Upload, name: &str) -> Result<(), CacheError> {
        let target = self.path.join(name);
        let done = match upload.file.take() {
            Some(file) => file
                .sync_all()
                .and_then(|()| fs::rename(&upload.path, &target))
                .and_then(|()| files::sync_parent(&target)),
            None => Ok(()),
        };
        done.map_err(|source| self.failed(name, source))
    }

    pub(super) fn failed(&self, what: &str, source: io::Error) -> CacheError {
        CacheError::Io {
            cache: self.name.clone(),
            what: what.to_owned(),
            source,
        }
    }
}

/// An archive that is being written; removed unless it's finished.
#[derive(Debug)]
pub struct Upload {
    path: PathBuf,
    file: Option<File>,
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ignored = fs::remove_file(&self.path);
        }
    }
}

impl Cache for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn file(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        super::stream::read_small(file, most).map(Some)
    }

    fn open(&self, name: &str, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(self.path.join(name))?;
        let _position = file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }

    fn as_directory(&self) -> Option<&Directory> {
        Some(self)
    }
}
