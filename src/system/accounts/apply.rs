//! Reads and replaces the files of accounts below one directory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, unlinkat};

use super::files::{FileName, Files};
use super::merge::merge;
use super::plan::Plan;
use super::table::Table;
use crate::system::declared::Declared;

/// Longest file that is read: a hundred thousand accounts and more.
const LONGEST: u64 = 64 << 20;
const LOCK: &str = ".pwd.lock";
#[allow(
    clippy::cast_possible_truncation,
    reason = "flock's fields are shorter than its constants, which fit"
)]
const WRITE_LOCK: libc::c_short = libc::F_WRLCK as libc::c_short;
#[allow(clippy::cast_possible_truncation, reason = "as above")]
const FROM_START: libc::c_short = libc::SEEK_SET as libc::c_short;

/// Why the accounts couldn't be read or written. Nothing is changed then, or each file is whole: old or new.
#[derive(Debug, thiserror::Error)]
pub enum EtcError {
    /// The directory itself.
    #[error("{}: can't open the directory of the accounts", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// Another program changes accounts.
    #[error("{}: locked by another program that changes accounts; try again when it is done", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// The lock can't be made or taken.
    #[error("{}: can't lock the accounts", path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// A file can't be read.
    #[error("{}: can't read the accounts", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file can't be replaced.
    #[error("{}: can't write the accounts", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The directory that holds the files: `/etc`, or `/sysroot/etc` in early boot.
#[derive(Debug)]
pub struct Etc {
    dir: OwnedFd,
    path: PathBuf,
}

/// What [`Etc::apply`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The merge.
    pub plan: Plan,
    /// The files that were replaced.
    pub written: Vec<FileName>,
}

impl Etc {
    /// Opens the directory.
    pub fn open(path: &Path) -> Result<Self, EtcError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let dir = open(path, flags, Mode::empty()).map_err(|source| EtcError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            dir,
            path: path.to_owned(),
        })
    }

    /// Reads the six files. One that doesn't exist is empty; a symbolic link is refused, since it would lead out of the
    /// root that is being prepared.
    pub fn read(&self) -> Result<Files, EtcError> {
        let mut files = Files::default();
        for file in FileName::ALL {
            let error = |source| EtcError::Read {
                path: self.path.join(file.as_str()),
                source,
            };
            if let Some(text) = self.read_one(file.as_str()).map_err(error)? {
                *files.get_mut(file) = text;
            }
        }
        Ok(files)
    }

    /// Merges under the password lock (lckpwdf(3)), for which it waits at most `patience`, and replaces what changed:
    /// all texts are on the disk before the first file is replaced, and the old ones stay as `passwd-` and so on.
    /// Writes nothing when nothing changed.
    pub fn apply(
        &self,
        declared: &Declared,
        previous: Option<&Declared>,
        patience: Duration,
    ) -> Result<Applied, EtcError> {
        let _lock = self.lock(patience)?;
        let current = self.read()?;
        let plan = merge(&current, declared, previous);
        let changed = |file: &FileName| current.get(*file) != plan.files.get(*file);
        let written: Vec<FileName> = FileName::ALL.into_iter().filter(changed).collect();
        let shadow_group = shadow_group(&plan.files);
        for file in &written {
            let error = |source: io::Error| EtcError::Write {
                path: self.path.join(file.as_str()),
                source,
            };
            let access = Access::of(*file, shadow_group);
            if !current.get(*file).is_empty() {
                self.write_new(&backup_name(*file), current.get(*file), access)
                    .map_err(error)?;
            }
            self.write_new(file.as_str(), plan.files.get(*file), access)
                .map_err(error)?;
        }
        for file in &written {
            let error = |source: io::Error| EtcError::Write {
                path: self.path.join(file.as_str()),
                source,
            };
            if !current.get(*file).is_empty() {
                self.put_in_place(&backup_name(*file)).map_err(error)?;
            }
            self.put_in_place(file.as_str()).map_err(error)?;
        }
        if !written.is_empty() {
            fsync(&self.dir).map_err(|e| EtcError::Write {
                path: self.path.clone(),
                source: e.into(),
            })?;
        }
        Ok(Applied { plan, written })
    }

    /// The lock that shadow's tools, systemd-sysusers(8) and glibc's lckpwdf(3) take. It ends with the descriptor.
    fn lock(&self, patience: Duration) -> Result<OwnedFd, EtcError> {
        let path = || self.path.join(LOCK);
        let failed = |source| EtcError::Lock { path: path(), source };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let lock = openat(&self.dir, LOCK, flags, Mode::from_bits_truncate(0o600)).map_err(failed)?;
        let whole = libc::flock {
            l_type: WRITE_LOCK,
            l_whence: FROM_START,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        let deadline = Instant::now() + patience;
        loop {
            // An open file description's lock: it conflicts with the others' locks, and another descriptor closed
            // elsewhere in this process can't end it.
            match fcntl(&lock, FcntlArg::F_OFD_SETLK(&whole)) {
                Ok(_) => return Ok(lock),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::EACCES) if Instant::now() >= deadline => {
                    return Err(EtcError::Locked { path: path() });
                }
                Err(Errno::EAGAIN | Errno::EACCES) => std::thread::sleep(Duration::from_millis(20)),
                Err(source) => return Err(failed(source)),
            }
        }
    }

    fn read_one(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(io::Error::other("it is a symbolic link; make it a file")),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut text = Vec::new();
        let bytes = file.take(LONGEST + 1).read_to_end(&mut text)?;
        if bytes as u64 > LONGEST {
            return Err(io::Error::other("it is longer than 64 MiB"));
        }
        Ok(Some(text))
    }

    /// Writes the text beside its place, and to the disk. What an earlier attempt left there goes: the lock is held.
    fn write_new(&self, name: &str, text: &[u8], access: Access) -> io::Result<()> {
        let new = new_name(name);
        match unlinkat(&self.dir, new.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mut file = File::from(openat(
            &self.dir,
            new.as_str(),
            flags,
            Mode::from_bits_truncate(0o600),
        )?);
        let written = file
            .write_all(text)
            .and_then(|()| Ok(fchown(file.as_fd(), Some(Uid::from_raw(0)), Some(access.group))?))
            .and_then(|()| Ok(fchmod(&file, access.mode)?))
            .and_then(|()| file.sync_all());
        if written.is_err() {
            // On a full disk the half-written file would stand in the way of everything else.
            let _ = unlinkat(&self.dir, new.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    fn put_in_place(&self, name: &str) -> io::Result<()> {
        Ok(renameat(&self.dir, new_name(name).as_str(), &self.dir, name)?)
    }
}

/// Owner is root; group and mode as Debian has them.
#[derive(Clone, Copy)]
struct Access {
    group: Gid,
    mode: Mode,
}

impl Access {
    fn of(file: FileName, shadow_group: Gid) -> Self {
        if file.is_secret() {
            Self {
                group: shadow_group,
                mode: Mode::from_bits_truncate(0o640),
            }
        } else {
            Self {
                group: Gid::from_raw(0),
                mode: Mode::from_bits_truncate(0o644),
            }
        }
    }
}

/// Number of the group `shadow`; root's where there is none.
fn shadow_group(files: &Files) -> Gid {
    let groups = Table::parse(FileName::Group, &files.group);
    Gid::from_raw(
        groups
            .find(b"shadow")
            .and_then(|record| record.number(2))
            .unwrap_or(0),
    )
}

fn backup_name(file: FileName) -> String {
    format!("{}-", file.as_str())
}

fn new_name(name: &str) -> String {
    format!("{name}.keel-new")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]

    use super::super::tests::debian;
    use super::*;
    use crate::system::declared::{Group, User};
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::process::Command;
    use tempfile::TempDir;

    /// Files are given to root and `shadow`, which only root can do.
    fn etc(files: &Files) -> Option<(TempDir, Etc)> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for file in FileName::ALL {
            fs::write(dir.path().join(file.as_str()), files.get(file)).unwrap();
        }
        let etc = Etc::open(dir.path()).unwrap();
        Some((dir, etc))
    }

    fn ann() -> Declared {
        let user = |name: &str, uid, gid| User {
            name: name.into(),
            uid,
            gid,
            gecos: String::new(),
            home: "/".into(),
            shell: "/bin/sh".into(),
        };
        let group = |name: &str, gid, members: &[&str]| Group {
            name: name.into(),
            gid,
            members: members.iter().map(|member| (*member).into()).collect(),
        };
        Declared {
            users: vec![user("web", 990, 990), user("ann", 1001, 1001)],
            groups: vec![
                group("sudo", 27, &["ann"]),
                group("web", 990, &[]),
                group("ann", 1001, &[]),
            ],
        }
    }

    /// Name, inode, mode, owner, group and text of everything in the directory.
    fn listing(dir: &TempDir) -> BTreeMap<String, (u64, u32, u32, u32, Vec<u8>)> {
        let entry = |entry: fs::DirEntry| {
            let meta = entry.metadata().unwrap();
            let text = fs::read(entry.path()).unwrap();
            let what = (meta.ino(), meta.mode() & 0o7777, meta.uid(), meta.gid(), text);
            (entry.file_name().into_string().unwrap(), what)
        };
        fs::read_dir(dir.path())
            .unwrap()
            .map(|e| entry(e.unwrap()))
            .collect()
    }

    #[test]
    fn writes_what_changed_with_backups_and_then_nothing() {
        let Some((dir, etc)) = etc(&debian()) else { return };
        let before = listing(&dir);
        let applied = etc.apply(&ann(), None, Duration::ZERO).unwrap();
        assert_eq!(applied.written, FileName::ALL);
        assert_eq!(etc.read().unwrap(), applied.plan.files);
        let after = listing(&dir);
        let names: Vec<&str> = after.keys().map(String::as_str).collect();
        let expected = [
            ".pwd.lock",
            "group",
            "group-",
            "gshadow",
            "gshadow-",
            "passwd",
            "passwd-",
            "shadow",
            "shadow-",
            "subgid",
            "subgid-",
            "subuid",
            "subuid-",
        ];
        assert_eq!(names, expected);
        for (name, (_, mode, uid, gid, text)) in &after {
            let access = match name.trim_end_matches('-') {
                ".pwd.lock" => (0o600, 0, 0),
                "shadow" | "gshadow" => (0o640, 0, 42),
                _ => (0o644, 0, 0),
            };
            assert_eq!((*mode, *uid, *gid), access, "{name}");
            if let Some(original) = name.strip_suffix('-') {
                assert_eq!(*text, before[original].4, "{name}");
            }
        }
        let applied = etc.apply(&ann(), Some(&ann()), Duration::ZERO).unwrap();
        assert_eq!(applied.written, []);
        assert_eq!(listing(&dir), after);
    }

    #[test]
    fn files_that_do_not_exist_are_made() {
        let Some((dir, etc)) = etc(&Files::default()) else {
            return;
        };
        for file in FileName::ALL {
            fs::remove_file(dir.path().join(file.as_str())).unwrap();
        }
        // Left by a power cut.
        fs::write(dir.path().join("passwd.keel-new"), "half").unwrap();
        etc.apply(&ann(), None, Duration::ZERO).unwrap();
        let names: Vec<String> = listing(&dir).into_keys().collect();
        assert_eq!(
            names,
            [
                ".pwd.lock",
                "group",
                "gshadow",
                "passwd",
                "shadow",
                "subgid",
                "subuid"
            ]
        );
    }

    #[test]
    fn waits_for_no_lock_longer_than_told() {
        let Some((dir, etc)) = etc(&debian()) else { return };
        let lock = etc.lock(Duration::ZERO).unwrap();
        let error = etc.apply(&ann(), None, Duration::ZERO).unwrap_err();
        assert!(matches!(error, EtcError::Locked { .. }), "{error}");
        assert_eq!(etc.read().unwrap(), debian());
        drop(lock);
        etc.apply(&ann(), None, Duration::ZERO).unwrap();
        assert_ne!(etc.read().unwrap(), debian());
        drop(dir);
    }

    #[test]
    fn links_and_directories_are_refused_by_name() {
        let Some((dir, etc)) = etc(&debian()) else { return };
        let shadow = dir.path().join("shadow");
        fs::remove_file(&shadow).unwrap();
        symlink("/etc/shadow", &shadow).unwrap();
        let error = etc.apply(&ann(), None, Duration::ZERO).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: can't read the accounts", shadow.display())
        );
        fs::remove_file(&shadow).unwrap();
        fs::create_dir(&shadow).unwrap();
        let error = etc.apply(&ann(), None, Duration::ZERO).unwrap_err();
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "it is not a file"
        );
        assert_eq!(fs::read(dir.path().join("passwd")).unwrap(), debian().passwd);
    }

    /// `program` with arguments; `None` where it isn't installed.
    fn run(program: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {text}");
        Some(text)
    }

    /// Debian's own tools make the files, and judge the merged ones.
    #[test]
    fn debians_tools_find_no_fault() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let master = |name: &str| fs::read_to_string(format!("/usr/share/base-passwd/{name}.master"));
        let (Ok(passwd), Ok(group)) = (master("passwd"), master("group")) else {
            return;
        };
        let root = tempfile::tempdir().unwrap();
        let made = root.path().join("etc");
        fs::create_dir(&made).unwrap();
        fs::write(made.join("passwd"), passwd).unwrap();
        fs::write(made.join("group"), group).unwrap();
        for name in ["gshadow", "subuid", "subgid"] {
            fs::write(made.join(name), "").unwrap();
        }
        let prefix = root.path().to_str().unwrap();
        let tools: [(&str, &[&str]); 5] = [
            ("pwconv", &["--root", prefix]),
            ("grpconv", &["--root", prefix]),
            ("groupadd", &["--prefix", prefix, "--system", "docker"]),
            (
                "useradd",
                &[
                    "--prefix",
                    prefix,
                    "--no-create-home",
                    "--groups",
                    "sudo,docker",
                    "kirans",
                ],
            ),
            (
                "usermod",
                &["--prefix", prefix, "--password", "$y$j9T$x", "kirans"],
            ),
        ];
        for (tool, arguments) in tools {
            if run(tool, arguments).is_none() {
                return;
            }
        }
        let etc = Etc::open(&made).unwrap();
        // Within the root: outside of it grpck would look for members among the users of this machine.
        let check = || {
            run("pwck", &["--quiet", "--read-only", "--root", prefix]);
            run("grpck", &["--read-only", "--root", prefix]);
        };
        check();
        let before = etc.read().unwrap();
        etc.apply(&ann(), None, Duration::ZERO).unwrap();
        check();
        let merged = etc.read().unwrap();
        assert!(merged.shadow.windows(8).any(|w| w == b"$y$j9T$x"));
        etc.apply(&Declared::default(), Some(&ann()), Duration::ZERO)
            .unwrap();
        check();
        let after = String::from_utf8(etc.read().unwrap().passwd).unwrap();
        assert!(!after.contains("web:") && after.contains("ann:"));
        assert!(after.starts_with(std::str::from_utf8(&before.passwd).unwrap()));
    }
}
