//! The file-descriptor based mount API (fsopen(2), fsconfig(2), fsmount(2), move_mount(2)). Its advantage over
//! mount(2) here: no limit on the length of options, no escaping of paths, and the file system's own words on failure.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_BENEATH: u32 = 0x200;
const OPEN_TREE_CLONE: u32 = 1;
const AT_RECURSIVE: u32 = 0x8000;

/// Attributes of a mount, as fsmount(2) takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct MountAttributes {
    /// `MOUNT_ATTR_RDONLY`
    pub read_only: bool,
    /// `MOUNT_ATTR_NODEV`
    pub no_devices: bool,
    /// `MOUNT_ATTR_NOSUID`
    pub no_setuid: bool,
    /// `MOUNT_ATTR_NOEXEC`
    pub no_exec: bool,
}

impl MountAttributes {
    fn bits(self) -> u32 {
        u32::from(self.read_only)
            | u32::from(self.no_setuid) << 1
            | u32::from(self.no_devices) << 2
            | u32::from(self.no_exec) << 3
    }
}

/// What the kernel answered, and what the file system said about it.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {errno}{}", details(messages))]
pub struct MountError {
    /// The step that failed, such as `fsconfig lowerdir+=/x`.
    pub step: String,
    /// The error number.
    pub errno: Errno,
    /// The file system's own messages.
    pub messages: Vec<String>,
}

fn details(messages: &[String]) -> String {
    if messages.is_empty() {
        String::new()
    } else {
        format!(" ({})", messages.join("; "))
    }
}

/// A file system being configured.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
    kind: &'static str,
}

impl FsContext {
    /// Starts a mount of file system type `kind`. `ENODEV` says that the kernel doesn't know the type (a module that
    /// isn't loaded).
    pub fn open(kind: &'static str) -> Result<Self, MountError> {
        let name = c_string(kind.as_bytes(), "fsopen")?;
        // SAFETY: `name` is a valid NUL-terminated string for the whole call.
        let result = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) };
        let fd = owned(result).map_err(|errno| plain(format!("fsopen {kind}"), errno))?;
        Ok(FsContext { fd, kind })
    }

    /// Sets a string parameter.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<&Self, MountError> {
        let step = || format!("{} {key}={}", self.kind, String::from_utf8_lossy(value));
        let c_key = c_string(key.as_bytes(), "fsconfig")?;
        let c_value = c_string(value, "fsconfig")?;
        // SAFETY: both strings are NUL-terminated and live for the whole call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.fd.as_raw_fd(),
                FSCONFIG_SET_STRING,
                c_key.as_ptr(),
                c_value.as_ptr(),
                0,
            )
        };
        self.check(result, step)?;
        Ok(self)
    }

    /// Sets a parameter that is a path, through a descriptor that is already open: nothing is looked up again.
    pub fn set_path(&self, key: &str, path: BorrowedFd<'_>) -> Result<&Self, MountError> {
        self.set(key, proc_path(path).as_bytes())
    }

    /// Sets a parameter without a value.
    pub fn set_flag(&self, key: &str) -> Result<&Self, MountError> {
        let c_key = c_string(key.as_bytes(), "fsconfig")?;
        // SAFETY: the key is NUL-terminated and lives for the whole call; flags take no value.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.fd.as_raw_fd(),
                FSCONFIG_SET_FLAG,
                c_key.as_ptr(),
                std::ptr::null::<libc::c_char>(),
                0,
            )
        };
        self.check(result, || format!("{} {key}", self.kind))?;
        Ok(self)
    }

    /// Creates the file system and a mount of it that is attached nowhere yet.
    pub fn create(&self, attributes: MountAttributes) -> Result<DetachedMount, MountError> {
        // SAFETY: the command takes neither key nor value.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.fd.as_raw_fd(),
                FSCONFIG_CMD_CREATE,
                std::ptr::null::<libc::c_char>(),
                std::ptr::null::<libc::c_char>(),
                0,
            )
        };
        self.check(result, || format!("creating the {} mount", self.kind))?;
        // SAFETY: the descriptor is an fs context; the other arguments are plain numbers.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.fd.as_raw_fd(),
                FSMOUNT_CLOEXEC,
                attributes.bits(),
            )
        };
        let fd = owned(result).map_err(|errno| self.error(format!("fsmount {}", self.kind), errno))?;
        Ok(DetachedMount(fd))
    }

    fn check(&self, result: libc::c_long, step: impl FnOnce() -> String) -> Result<(), MountError> {
        if result == 0 {
            Ok(())
        } else {
            Err(self.error(step(), Errno::last()))
        }
    }

    fn error(&self, step: String, errno: Errno) -> MountError {
        MountError {
            step,
            errno,
            messages: self.messages(),
        }
    }

    /// Each read(2) of the context gives one message: a level letter, a space, the text.
    fn messages(&self) -> Vec<String> {
        const MOST: usize = 16;
        let mut messages = Vec::new();
        let Ok(duplicate) = self.fd.try_clone() else {
            return messages;
        };
        let mut file = File::from(duplicate);
        let mut buffer = [0; 1024];
        while messages.len() < MOST {
            match file.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                    messages.push(text.trim_start_matches(['e', 'w', 'i']).trim().to_owned());
                }
                _ => break,
            }
        }
        messages
    }
}

/// A mount that isn't attached to the tree. It's gone when dropped before [`DetachedMount::attach`].
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

impl DetachedMount {
    /// A copy of what is mounted at `path`, with the mounts below it when `recursive`.
    pub fn copy_of(path: &Path, recursive: bool) -> Result<Self, MountError> {
        use std::os::unix::ffi::OsStrExt;
        let c_path = c_string(path.as_os_str().as_bytes(), "open_tree")?;
        let flags =
            OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned() | if recursive { AT_RECURSIVE } else { 0 };
        // SAFETY: the path is NUL-terminated and lives for the whole call.
        let result = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c_path.as_ptr(), flags) };
        let fd =
            owned(result).map_err(|errno| plain(format!("copying the mount {}", path.display()), errno))?;
        Ok(DetachedMount(fd))
    }

    /// Attaches the mount on `target`.
    pub fn attach(self, target: &Path) -> Result<(), MountError> {
        self.move_to(target, MOVE_MOUNT_F_EMPTY_PATH)
    }

    /// Slides the mount beneath the one on top of `target`: it appears when that one goes (Linux 6.5 and newer).
    pub fn attach_beneath(self, target: &Path) -> Result<(), MountError> {
        self.move_to(target, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH)
    }

    fn move_to(self, target: &Path, flags: u32) -> Result<(), MountError> {
        use std::os::unix::ffi::OsStrExt;
        let c_target = c_string(target.as_os_str().as_bytes(), "move_mount")?;
        // SAFETY: both paths are NUL-terminated and live for the whole call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_FDCWD,
                c_target.as_ptr(),
                flags,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(plain(format!("mounting on {}", target.display()), Errno::last()))
        }
    }
}

/// `struct mount_attr` (Linux, include/uapi/linux/mount.h).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Sets all attributes of what is mounted at `target`: those that aren't given are taken away.
pub fn set_attributes(target: &Path, attributes: MountAttributes) -> Result<(), MountError> {
    use std::os::unix::ffi::OsStrExt;
    let all = MountAttributes {
        read_only: true,
        no_devices: true,
        no_setuid: true,
        no_exec: true,
    };
    let attr = MountAttr {
        set: u64::from(attributes.bits()),
        clear: u64::from(all.bits() & !attributes.bits()),
        propagation: 0,
        user_namespace: 0,
    };
    let c_target = c_string(target.as_os_str().as_bytes(), "mount_setattr")?;
    // SAFETY: the path is NUL-terminated, the structure has the layout and the size that are given, and both live for
    // the whole call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c_target.as_ptr(),
            0,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(plain(
            format!("setting the attributes of {}", target.display()),
            Errno::last(),
        ))
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A path that names an open descriptor.
pub fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn plain(step: String, errno: Errno) -> MountError {
    MountError {
        step,
        errno,
        messages: Vec::new(),
    }
}

fn c_string(bytes: &[u8], step: &str) -> Result<CString, MountError> {
    CString::new(bytes).map_err(|_| plain(format!("{step}: NUL byte in a name"), Errno::EINVAL))
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    if result < 0 {
        return Err(Errno::last());
    }
    let fd = RawFd::try_from(result).map_err(|_| Errno::EBADF)?;
    // SAFETY: the system call has just returned this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl From<MountError> for io::Error {
    fn from(error: MountError) -> Self {
        io::Error::other(error)
    }
}
