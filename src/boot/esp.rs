//! The ESP itself: looks at what is there, and carries out a plan.
//!
//! A file is written under a temporary name, reaches the disk, takes its name, and the directory reaches the disk: a
//! power cut leaves the old file or the new one. Modes and owners are left alone, FAT has none.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{MSDOS_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::fstatvfs;
use sha2::{Digest, Sha256};

use super::menu::{
    self, Bootable, Broken, CONTENTS, Content, ENTRIES, FALLBACK, LOADER_CONF, MenuEntry, SYSTEMD_BOOT,
};
use super::plan::{Action, OnEsp, Plan, Present, Step, TEMPORARY, hexadecimal};

/// More than any boot loader; what is larger isn't looked into.
const LARGEST_LOADER: u64 = 32 << 20;
/// More than any entry.
const LARGEST_ENTRY: u64 = 1 << 20;
/// What systemd-boot has in its image (systemd, src/boot/boot.c).
const SYSTEMD_BOOT_MARK: &[u8] = b"#### LoaderInfo: systemd-boot";
/// Directories that keel writes to.
const DIRECTORIES: [&str; 6] = ["EFI", CONTENTS, "EFI/systemd", "EFI/BOOT", "loader", ENTRIES];

/// The ESP can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// A call failed.
    #[error("{path} on the ESP can't be {verb}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A file to copy can't be read.
    #[error("{path} can't be read: {source}")]
    Source {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file changed between the plan and its execution.
    #[error("{path} changed while it was copied to the ESP; run the command again")]
    SourceChanged {
        /// The file.
        path: PathBuf,
    },
    /// Exit code 11.
    #[error("another process is changing the boot menu on {path}; wait until it is done")]
    Locked {
        /// Mount point of the ESP.
        path: PathBuf,
    },
}

/// An ESP, locked as long as this lives.
#[derive(Debug)]
pub struct Esp {
    path: PathBuf,
    directory: File,
}

/// Reads a file to its end, for its size and digest.
pub fn read_content(path: &Path) -> Result<Content, EspError> {
    let read = || hash(&mut File::open(path)?, &mut io::sink());
    let (digest, bytes) = read().map_err(|source| EspError::Source {
        path: path.to_owned(),
        source,
    })?;
    Ok(Content {
        source: path.to_owned(),
        digest,
        bytes,
    })
}

/// Reads the kernels and initrds of generations; the ones that can't be read are told apart.
pub fn bootable(entries: Vec<MenuEntry>) -> (Vec<Bootable>, Vec<Broken>) {
    let mut known: HashMap<PathBuf, Content> = HashMap::new();
    let mut read = |path: &Path| -> Result<Content, String> {
        if let Some(content) = known.get(path) {
            return Ok(content.clone());
        }
        let content = read_content(path).map_err(|error| error.to_string())?;
        if content.bytes == 0 {
            return Err(format!("{} is empty", path.display()));
        }
        let _ = known.insert(path.to_owned(), content.clone());
        Ok(content)
    };
    let (mut good, mut broken) = (Vec::new(), Vec::new());
    for entry in entries {
        match read(&entry.kernel).and_then(|kernel| Ok((kernel, read(&entry.initrd)?))) {
            Ok((kernel, initrd)) => good.push(Bootable {
                entry,
                kernel,
                initrd,
            }),
            Err(reason) => broken.push(Broken {
                number: entry.number,
                reason,
            }),
        }
    }
    (good, broken)
}

impl Esp {
    /// Opens and locks the ESP that is mounted at `path`.
    pub fn open(path: &Path) -> Result<Esp, EspError> {
        let error = |source| EspError::File {
            path: path.to_owned(),
            verb: "opened",
            source,
        };
        let directory = OpenOptions::new()
            .read(true)
            .open(path)
            .and_then(|file| {
                if file.metadata()?.is_dir() {
                    Ok(file)
                } else {
                    Err(io::ErrorKind::NotADirectory.into())
                }
            })
            .map_err(error)?;
        match directory.try_lock() {
            Ok(()) => Ok(Esp {
                path: path.to_owned(),
                directory,
            }),
            Err(TryLockError::WouldBlock) => Err(EspError::Locked {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(error(source)),
        }
    }

    /// Whether it is a FAT file system, as firmware needs it. A directory that isn't mounted is not.
    pub fn is_fat(&self) -> bool {
        fstatfs(&self.directory).is_ok_and(|status| status.filesystem_type() == MSDOS_SUPER_MAGIC)
    }

    /// Looks at what is there. Contents of keel are read to their end.
    pub fn scan(&self) -> Result<OnEsp, EspError> {
        let status = fstatvfs(&self.directory).map_err(|errno| self.error("", "measured", errno.into()))?;
        let block = status.fragment_size();
        let mut found = OnEsp {
            free: status.blocks_available().saturating_mul(block),
            block,
            ..OnEsp::default()
        };
        for directory in DIRECTORIES {
            let listing = match fs::read_dir(self.path.join(directory)) {
                Ok(listing) => listing,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(self.error(directory, "listed", error)),
            };
            let _ = found.directories.insert(directory.to_owned());
            for entry in listing {
                let entry = entry.map_err(|error| self.error(directory, "listed", error))?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let path = format!("{directory}/{name}");
                if is_of_interest(directory, &path) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                    let present = self.look_at(&path)?;
                    let _ = found.files.insert(path, present);
                }
            }
        }
        // By name and not by listing: FAT may call them EFI/Boot/bootx64.efi.
        for path in [SYSTEMD_BOOT, FALLBACK, LOADER_CONF] {
            if self.path.join(path).is_file() {
                let present = self.look_at(path)?;
                let _ = found.files.insert(path.to_owned(), present);
            }
        }
        Ok(found)
    }

    fn look_at(&self, path: &str) -> Result<Present, EspError> {
        let full = self.path.join(path);
        let bytes = fs::metadata(&full)
            .map_err(|error| self.error(path, "read", error))?
            .len();
        let mut present = Present {
            bytes,
            ..Present::default()
        };
        if path.ends_with(TEMPORARY) {
            return Ok(present);
        }
        let is_entry = path.starts_with(ENTRIES);
        let is_loader = path == FALLBACK || path == SYSTEMD_BOOT;
        let limit = if is_entry { LARGEST_ENTRY } else { LARGEST_LOADER };
        if (is_entry || is_loader) && bytes <= limit {
            // A file that can't be read is damaged: it has no digest and is written anew.
            let Ok(content) = fs::read(&full) else {
                return Ok(present);
            };
            present.digest = Some(hexadecimal(&Sha256::digest(&content)));
            present.foreign_loader = is_loader && is_foreign_loader(&content);
            if is_entry {
                present.references = menu::references(&String::from_utf8_lossy(&content));
            }
            return Ok(present);
        }
        present.foreign_loader = is_loader;
        let digest = File::open(&full).and_then(|mut file| hash(&mut file, &mut io::sink()));
        present.digest = digest.ok().map(|(digest, _)| digest);
        Ok(present)
    }

    /// Carries out a plan. An empty one writes nothing.
    pub fn execute(&self, plan: &Plan) -> Result<(), EspError> {
        for step in &plan.steps {
            self.step(step)?;
        }
        if plan.steps.is_empty() {
            return Ok(());
        }
        nix::unistd::syncfs(&self.directory).map_err(|errno| self.error("", "synchronized", errno.into()))
    }

    fn step(&self, step: &Step) -> Result<(), EspError> {
        let full = self.path.join(&step.path);
        let directory = step.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        if step.action == Action::Remove {
            fs::remove_file(&full).map_err(|error| self.error(&step.path, "removed", error))?;
            return self.sync(directory);
        }
        self.create_directories(directory)?;
        let name = format!("{}{TEMPORARY}", step.path);
        let temporary = self.path.join(&name);
        let written = self.write(step, &name, &temporary).and_then(|()| {
            fs::rename(&temporary, &full).map_err(|error| self.error(&step.path, "replaced", error))
        });
        if written.is_err() {
            // It takes space; when it can't be removed now, the next run does it.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        self.sync(directory)
    }

    fn write(&self, step: &Step, name: &str, temporary: &Path) -> Result<(), EspError> {
        let error = |error| self.error(name, "written", error);
        let mut target = File::create(temporary).map_err(error)?;
        match &step.action {
            Action::Copy { from, digest } => {
                let source_error = |source| EspError::Source {
                    path: from.clone(),
                    source,
                };
                let mut source = File::open(from).map_err(source_error)?;
                let (copied, _) = hash(&mut source, &mut target).map_err(error)?;
                if copied != *digest {
                    return Err(EspError::SourceChanged { path: from.clone() });
                }
            }
            Action::Write(text) => target.write_all(text.as_bytes()).map_err(error)?,
            Action::Remove => {}
        }
        target.sync_all().map_err(error)
    }

    fn create_directories(&self, directory: &str) -> Result<(), EspError> {
        let mut path = String::new();
        for part in directory.split('/').filter(|part| !part.is_empty()) {
            let parent = path.clone();
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(part);
            match fs::create_dir(self.path.join(&path)) {
                Ok(()) => self.sync(&parent)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.error(&path, "created", error)),
            }
        }
        Ok(())
    }

    fn sync(&self, directory: &str) -> Result<(), EspError> {
        File::open(self.path.join(directory))
            .and_then(|file| file.sync_all())
            .map_err(|error| self.error(directory, "synchronized", error))
    }

    fn error(&self, path: &str, verb: &'static str, source: io::Error) -> EspError {
        EspError::File {
            path: self.path.join(path),
            verb,
            source,
        }
    }
}

/// Files whose names say that they may matter; everything else is never opened.
fn is_of_interest(directory: &str, path: &str) -> bool {
    if let Some(target) = path.strip_suffix(TEMPORARY) {
        return is_ours(target);
    }
    menu::digest_in(path).is_some()
        || (directory == ENTRIES
            && Path::new(path)
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("conf")))
}

/// Files that keel writes.
fn is_ours(path: &str) -> bool {
    let entry = path
        .strip_prefix(ENTRIES)
        .is_some_and(|name| name.starts_with("/keel-"));
    entry || menu::digest_in(path).is_some() || [SYSTEMD_BOOT, FALLBACK, LOADER_CONF].contains(&path)
}

/// Whether it is a program (PE images begin with "MZ") that isn't systemd-boot. The remains of an interrupted copy
/// aren't a program.
fn is_foreign_loader(content: &[u8]) -> bool {
    content.starts_with(b"MZ")
        && !content
            .windows(SYSTEMD_BOOT_MARK.len())
            .any(|window| window == SYSTEMD_BOOT_MARK)
}

/// Copies all of `from`, and says its digest and size.
fn hash(from: &mut impl Read, to: &mut impl Write) -> io::Result<(String, u64)> {
    let mut state = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((hexadecimal(&state.finalize()), total)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = buffer.get(..count).unwrap_or_default();
        state.update(part);
        to.write_all(part)?;
        total += count as u64;
    }
}
