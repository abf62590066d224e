//! File contents on their way into the store: each distinct content is written once, in its canonical form, and the
//! trees are made of hard links to it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::files;
use super::path::hex;
use super::verity::{self, Digest, Verity};

/// Contents up to this are held in memory once; longer ones pass through a file.
pub const IN_MEMORY: usize = 4 << 20;

/// A content of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentId(usize);

/// What is known of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its fs-verity digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// Contents, written to a directory beside the store paths that will be made of them; contents that are objects of the
/// store already are taken from there. Shared by threads.
#[derive(Debug)]
pub struct Pool {
    staging: PathBuf,
    objects: PathBuf,
    // Filled out of order by the threads; an id is its index.
    contents: Mutex<Vec<Option<Content>>>,
    files: Mutex<HashMap<(Digest, bool), PathBuf>>,
}

impl Pool {
    /// A pool that writes to the new directory `staging` and shares with `objects`.
    pub fn new(staging: PathBuf, objects: PathBuf) -> io::Result<Self> {
        std::fs::create_dir(&staging)?;
        Ok(Self {
            staging,
            objects,
            contents: Mutex::default(),
            files: Mutex::default(),
        })
    }

    /// An id for a content that [`Pool::fill`] or [`Pool::fill_from`] will bring.
    pub fn reserve(&self) -> ContentId {
        let mut contents = locked(&self.contents);
        contents.push(None);
        ContentId(contents.len() - 1)
    }

    /// A content from bytes.
    pub fn add(&self, bytes: &[u8], executable: bool) -> io::Result<ContentId> {
        let id = self.reserve();
        self.fill(id, bytes, executable)?;
        Ok(id)
    }

    /// Brings the content of `id` from bytes.
    pub fn fill(&self, id: ContentId, bytes: &[u8], executable: bool) -> io::Result<()> {
        let content = Content {
            digest: verity::digest(bytes),
            size: bytes.len() as u64,
        };
        let path = self.staged(&content.digest, executable);
        if self.claim(content, executable, &path) {
            let mut file = create(&path)?;
            file.write_all(bytes)?;
            files::canonicalise_file(&file, executable)?;
        }
        self.set(id, content);
        Ok(())
    }

    /// Brings the content of `id` from a stream, which is read once.
    pub fn fill_from(&self, id: ContentId, source: &mut dyn Read, executable: bool) -> io::Result<()> {
        let mut bytes = Vec::new();
        let _read = source.take(IN_MEMORY as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() <= IN_MEMORY {
            return self.fill(id, &bytes, executable);
        }
        let temporary = self.staging.join(format!("incoming-{}", id.0));
        let mut file = create(&temporary)?;
        let mut verity = Verity::default();
        while !bytes.is_empty() {
            file.write_all(&bytes)?;
            verity.update(&bytes);
            bytes.clear();
            let _read = source.take(IN_MEMORY as u64).read_to_end(&mut bytes)?;
        }
        let (digest, size) = verity.finish();
        let content = Content { digest, size };
        files::canonicalise_file(&file, executable)?;
        let path = self.staged(&content.digest, executable);
        if self.claim(content, executable, &path) {
            std::fs::rename(&temporary, &path)?;
        } else {
            std::fs::remove_file(&temporary)?;
        }
        self.set(id, content);
        Ok(())
    }

    /// A content that a path of this file system's store holds already: `file` has it, in canonical form.
    pub fn known(&self, content: Content, executable: bool, file: PathBuf) -> ContentId {
        let _first = locked(&self.files)
            .entry((content.digest, executable))
            .or_insert(file);
        let mut contents = locked(&self.contents);
        contents.push(Some(content));
        ContentId(contents.len() - 1)
    }

    /// What is known of `id`.
    pub fn content(&self, id: ContentId) -> io::Result<Content> {
        let missing = || io::Error::other("a file's content was never read");
        locked(&self.contents)
            .get(id.0)
            .copied()
            .flatten()
            .ok_or_else(missing)
    }

    /// The bytes of `id`, when there are at most `limit`.
    pub fn read(&self, id: ContentId, limit: u64) -> io::Result<Vec<u8>> {
        let content = self.content(id)?;
        if content.size > limit {
            let text = format!("{} bytes, at most {limit} are expected", content.size);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        std::fs::read(self.path(content.digest)?)
    }

    /// Opens the file that holds the bytes of `id`.
    pub fn open(&self, id: ContentId) -> io::Result<File> {
        File::open(self.path(self.content(id)?.digest)?)
    }

    fn path(&self, digest: Digest) -> io::Result<PathBuf> {
        let files = locked(&self.files);
        let path = [false, true]
            .iter()
            .find_map(|&executable| files.get(&(digest, executable)).cloned());
        Ok(path.ok_or(io::ErrorKind::NotFound)?)
    }

    /// Puts `id` at `path` as a hard link to the pool's (or the store's) file of that content.
    pub fn link(&self, id: ContentId, executable: bool, path: &Path) -> io::Result<()> {
        let digest = self.content(id)?.digest;
        let source = locked(&self.files).get(&(digest, executable)).cloned();
        let source = match source {
            Some(source) => source,
            None => self.other_mode(digest, executable)?,
        };
        match std::fs::hard_link(&source, path) {
            // The file system's limit of links: an empty file may be there very often.
            Err(error) if error.raw_os_error() == Some(libc::EMLINK) => copy(&source, path, executable),
            other => other,
        }
    }

    // A name of a hard-linked file that isn't executable while another name of the same content is.
    fn other_mode(&self, digest: Digest, executable: bool) -> io::Result<PathBuf> {
        let source = locked(&self.files)
            .get(&(digest, !executable))
            .cloned()
            .ok_or(io::ErrorKind::NotFound)?;
        let path = self.staged(&digest, executable);
        copy(&source, &path, executable)?;
        let _old = locked(&self.files).insert((digest, executable), path.clone());
        Ok(path)
    }

    // Whether the caller is the one to write this content.
    fn claim(&self, content: Content, executable: bool, path: &Path) -> bool {
        let mut files = locked(&self.files);
        if files.contains_key(&(content.digest, executable)) {
            return false;
        }
        let object = self.objects.join(object_name(&content.digest));
        let mode = if executable { 0o555 } else { 0o444 };
        // An object of another size is damaged (a full disk, a power cut without fsync): it is not spread further.
        let usable = object.symlink_metadata().is_ok_and(|metadata| {
            metadata.is_file()
                && metadata.size() == content.size
                && metadata.permissions().mode() & 0o7777 == mode
        });
        let source = if usable { object } else { path.to_owned() };
        let _new = files.insert((content.digest, executable), source);
        !usable
    }

    fn set(&self, id: ContentId, content: Content) {
        if let Some(slot) = locked(&self.contents).get_mut(id.0) {
            *slot = Some(content);
        }
    }

    fn staged(&self, digest: &Digest, executable: bool) -> PathBuf {
        self.staging
            .join(format!("{}{}", hex(digest), if executable { "x" } else { "" }))
    }
}

/// Where an object lies below the objects directory: `ab/cdef…`.
pub fn object_name(digest: &Digest) -> String {
    let text = hex(digest);
    let (directory, rest) = text.split_at_checked(2).unwrap_or((&text, ""));
    format!("{directory}/{rest}")
}

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn copy(source: &Path, path: &Path, executable: bool) -> io::Result<()> {
    let mut file = create(path)?;
    let _bytes = io::copy(&mut File::open(source)?, &mut file)?;
    files::canonicalise_file(&file, executable)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
