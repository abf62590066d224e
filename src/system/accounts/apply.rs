//! The merge with the files of an `/etc`: lock, read, replace.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File as Handle, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::files::{File, Table, Texts};
use super::merge::{Step, merge_with};
use crate::system::declared::Declared;

/// Largest file that is read. A passwd of this size has half a million users.
const LIMIT: u64 = 32 << 20;

/// How long another program may hold the lock; the same as lckpwdf(3).
const PATIENCE: Duration = Duration::from_secs(15);

/// What was done to the files of an `/etc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// See [`super::Plan::steps`].
    pub steps: Vec<Step>,
    /// See [`super::Plan::warnings`].
    pub warnings: Vec<String>,
}

/// Why the accounts could not be merged: on which file, why, what to do. One line.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// Another program changes accounts right now.
    #[error("{}: another program has been changing accounts for {seconds} s; end it and try again", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The file is there, but not as a file.
    #[error("{}: not a regular file; put the accounts of this machine there as a file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// The file is beyond all sense.
    #[error("{}: larger than {} MiB; see what filled it and restore it from {}-", path.display(), LIMIT >> 20, path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{}: cannot {what}: {source}; {}", path.display(), advice(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `read`.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "the file system is full, free some space and try again",
        io::ErrorKind::QuotaExceeded => "the quota is used up, free some space and try again",
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system writable and try again",
        io::ErrorKind::PermissionDenied => "run this as root",
        io::ErrorKind::NotFound => "the directory must exist",
        _ => "check the file system and the disk below it",
    }
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> AccountsError {
    move |source| AccountsError::Io {
        path: path.to_owned(),
        what,
        source,
    }
}

/// Merges `declared` into the files of `etc`, see [`merge`]. Only files that change are written, and first all of them
/// beside the old ones: a full disk leaves everything as it was. The old ones stay as `passwd-` and so on.
pub fn apply(etc: &Path, declared: &Declared, previous: Option<&Declared>) -> Result<Applied, AccountsError> {
    // Held to the end; closing it lets it go.
    let _lock = lock(&etc.join(".pwd.lock"), PATIENCE)?;
    let mut current = Texts::new();
    for file in File::ALL {
        if let Some(text) = read(&etc.join(file.name()))? {
            let _ = current.insert(file, text);
        }
    }
    let (passwords, mut unread) = first_passwords(etc, &current, declared);
    let mut plan = merge_with(&current, declared, previous, &passwords);
    plan.warnings.append(&mut unread);
    let readers = plan.files.get(&File::Group).map_or(0, |text| {
        Table::parse(File::Group, text)
            .find(b"shadow")
            .and_then(|entry| entry.number(2))
            .unwrap_or(0)
    });

    let mut staged = Vec::new();
    for file in File::ALL {
        let Some(new) = plan.files.get(&file) else {
            continue;
        };
        let old = current.get(&file);
        if old == Some(new) {
            continue;
        }
        let access = if file.is_secret() {
            (0o640, readers)
        } else {
            (0o644, 0)
        };
        if let Some(old) = old {
            let backup = format!("{}-", file.name());
            staged.push(Staged::write(etc, &backup, old, access)?);
        }
        staged.push(Staged::write(etc, file.name(), new, access)?);
    }
    if !staged.is_empty() {
        for file in staged {
            file.put()?;
        }
        Handle::open(etc)
            .and_then(|directory| directory.sync_all())
            .map_err(failed(etc, "flush"))?;
    }
    Ok(Applied {
        steps: plan.steps,
        warnings: plan.warnings,
    })
}

/// The hashed passwords of users that aren't there yet, from the files that the declaration names, and what is wrong with
/// those files. They lie on the machine: the store, which everybody reads, never holds one.
fn first_passwords(
    etc: &Path,
    current: &Texts,
    declared: &Declared,
) -> (BTreeMap<String, String>, Vec<String>) {
    let passwd = Table::parse(
        File::Passwd,
        current.get(&File::Passwd).map_or(&[], Vec::as_slice),
    );
    let root = etc.parent().unwrap_or(Path::new("/"));
    let (mut found, mut wrong) = (BTreeMap::new(), Vec::new());
    for user in &declared.users {
        let Some(path) = user.password_file.as_deref() else {
            continue;
        };
        if passwd.find(user.name.as_bytes()).is_some() {
            continue;
        }
        let text = match read(&root.join(path.trim_start_matches('/'))) {
            Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).trim().to_owned(),
            // Nobody has to leave one: the account is locked until passwd(1) opens it.
            Ok(None) => continue,
            Err(error) => {
                wrong.push(format!("user {} gets no password: {error}", user.name));
                continue;
            }
        };
        if is_hash(&text) {
            let _first = found.insert(user.name.clone(), text);
        } else {
            wrong.push(format!(
                "user {} gets no password: {path} holds no hashed one on a single line ($y$…, $6$…; `mkpasswd` makes them)",
                user.name
            ));
        }
    }
    (found, wrong)
}

// crypt(5): `$id$…`. A plain text, or what opens an account without a password, is refused.
fn is_hash(text: &str) -> bool {
    text.starts_with('$')
        && text.matches('$').count() >= 3
        && (13..=400).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// The lock of lckpwdf(3), which useradd, passwd and systemd-sysusers take as well.
pub(super) fn lock(path: &Path, patience: Duration) -> Result<Handle, AccountsError> {
    let handle = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed(path, "open"))?;
    // Zeroes mean: from the start, whole file.
    let request = libc::flock {
        l_type: WRITE_LOCK,
        l_whence: WHENCE,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let start = Instant::now();
    loop {
        match fcntl(&handle, FcntlArg::F_SETLK(&request)) {
            Ok(_) => return Ok(handle),
            Err(Errno::EACCES | Errno::EAGAIN) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(Errno::EACCES | Errno::EAGAIN) => {
                return Err(AccountsError::Busy {
                    path: path.to_owned(),
                    seconds: patience.as_secs(),
                });
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(failed(path, "lock")(error.into())),
        }
    }
}

// The C constants are wider than the fields of the structure that they are for.
#[allow(clippy::cast_possible_truncation)]
const WRITE_LOCK: libc::c_short = libc::F_WRLCK as libc::c_short;
#[allow(clippy::cast_possible_truncation)]
const WHENCE: libc::c_short = libc::SEEK_SET as libc::c_short;

/// The file's bytes; None when there is none. A symbolic link is refused: below `/sysroot` it would lead into the
/// initrd, and the rename would replace the link and not the file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, AccountsError> {
    let not_a_file = || AccountsError::NotAFile {
        path: path.to_owned(),
    };
    // O_NONBLOCK: a FIFO must not stop the boot.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let mut handle = match opened {
        Ok(handle) => handle,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(not_a_file()),
        Err(error) => return Err(failed(path, "open")(error)),
    };
    let metadata = handle.metadata().map_err(failed(path, "read"))?;
    if !metadata.is_file() {
        return Err(not_a_file());
    }
    let mut text = Vec::new();
    let length = Read::by_ref(&mut handle)
        .take(LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(failed(path, "read"))?;
    if length as u64 > LIMIT {
        return Err(AccountsError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(Some(text))
}

/// A complete new file beside the one that it is to replace. Dropped before [`Staged::put`], it leaves nothing.
struct Staged {
    temporary: PathBuf,
    target: PathBuf,
}

impl Staged {
    fn write(etc: &Path, name: &str, text: &[u8], (mode, gid): (u32, u32)) -> Result<Self, AccountsError> {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".keel");
        let staged = Self {
            temporary: etc.join(hidden),
            target: etc.join(name),
        };
        // Left over from a power failure. The lock is held: it's nobody's.
        match fs::remove_file(&staged.temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&staged.temporary, "remove")(error));
            }
            _ => {}
        }
        staged
            .fill(text, mode, gid)
            .map_err(failed(&staged.target, "write"))?;
        Ok(staged)
    }

    fn fill(&self, text: &[u8], mode: u32, gid: u32) -> io::Result<()> {
        let mut handle = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.temporary)?;
        handle.write_all(text)?;
        fchown(&handle, Some(0), Some(gid))?;
        handle.set_permissions(Permissions::from_mode(mode))?;
        handle.sync_all()
    }

    fn put(self) -> Result<(), AccountsError> {
        fs::rename(&self.temporary, &self.target).map_err(failed(&self.target, "replace"))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove, and after a failure the failure is what counts.
        let _ = fs::remove_file(&self.temporary);
    }
}
