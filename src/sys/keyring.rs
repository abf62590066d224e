//! Kernel keyring: volume keys on their way to dm-crypt, and passphrases on their way to the real root's systemd.

use std::ffi::{CStr, CString, c_long};
use std::io;
use std::marker::PhantomData;

use zeroize::Zeroizing;

/// Kernel identifiers of keys and of the special keyrings (linux/keyctl.h).
type KeySerial = i32;
const THREAD_KEYRING: KeySerial = -1;
const USER_KEYRING: KeySerial = -4;
const JOIN_SESSION: c_long = 1;
const REVOKE: c_long = 3;
const UNLINK: c_long = 9;
const READ: c_long = 11;
const SEARCH: c_long = 10;
const SET_TIMEOUT: c_long = 15;

/// systemd's ask-password keeps a cached passphrase this long (two and a half minutes).
const CACHE_SECONDS: c_long = 150;
/// The key that systemd-cryptsetup looks for before it asks.
const CACHE_NAME: &CStr = c"cryptsetup";
/// The kernel's limit for a key of type `user`.
const USER_KEY_MAX: usize = 32767;

/// A key in this thread's keyring, which goes away with the guard. It can only be found by the thread that added it:
/// load the device-mapper table on the same thread (the guard can't be sent to another one).
#[derive(Debug)]
pub struct KeyGuard {
    serial: KeySerial,
    not_send: PhantomData<*const ()>,
}

/// Adds a key of type `logon`, which the kernel uses but no program can read back, to the thread keyring.
/// `description` must have a prefix that ends with a colon (`cryptsetup:UUID-d0`).
///
/// # Errors
/// `EDQUOT` when the user's key quota is full, `ENODEV` or `ENOSYS` on a kernel without key rings, `EINVAL` for an
/// empty key or a description without prefix.
pub fn add_logon_key(description: &str, payload: &[u8]) -> io::Result<KeyGuard> {
    let description = CString::new(description)?;
    let serial = add_key(c"logon", &description, payload, THREAD_KEYRING)?;
    Ok(KeyGuard {
        serial,
        not_send: PhantomData,
    })
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        // Nothing can be done when either fails; a mapping keeps working without the key, and the keyring dies with
        // the thread.
        let _ = keyctl(REVOKE, c_long::from(self.serial), 0);
        let _ = keyctl(UNLINK, c_long::from(self.serial), c_long::from(THREAD_KEYRING));
    }
}

/// Gives this process a new, empty session keyring: what it executes finds no key of whoever started it.
///
/// # Errors
/// `EDQUOT`, `ENOMEM`.
pub fn leave_session() -> io::Result<()> {
    // A null pointer asks for one without a name.
    match keyctl(JOIN_SESSION, 0, 0) {
        // A kernel without keys has none to be found.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// Leaves passphrases where systemd-cryptsetup of the real root finds them for two and a half minutes, so that a
/// volume which `/etc/crypttab` names and which has the same passphrase is unlocked without asking again. Adds to
/// what is there already.
///
/// The key is what systemd's `src/shared/ask-password-api.c` makes: type `user`, name `cryptsetup`, in the user
/// keyring of the calling user (root), passphrases separated by NUL, the last one without.
///
/// # Errors
/// Those of `add_key(2)`; `EINVAL` when a passphrase holds a NUL or all of them are longer than a key may be.
pub fn cache_passphrases(passphrases: &[&[u8]]) -> io::Result<()> {
    cache_under(CACHE_NAME, passphrases)
}

fn cache_under(name: &CStr, passphrases: &[&[u8]]) -> io::Result<()> {
    let cached = match find_user_key(name) {
        Ok(serial) => read_key(serial)?,
        Err(error) if is_missing(&error) => Zeroizing::new(Vec::new()),
        Err(error) => return Err(error),
    };
    let joined = join_passphrases(&cached, passphrases)?;
    if joined.is_empty() || *joined == *cached {
        return Ok(());
    }
    let serial = add_key(c"user", name, &joined, USER_KEYRING)?;
    keyctl(SET_TIMEOUT, c_long::from(serial), CACHE_SECONDS).map(drop)
}

/// The list with what is new at its end; no empty ones, none twice.
fn join_passphrases(cached: &[u8], new: &[&[u8]]) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut all: Vec<&[u8]> = cached
        .split(|&byte| byte == 0)
        .filter(|one| !one.is_empty())
        .collect();
    for passphrase in new {
        if passphrase.contains(&0) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        if !passphrase.is_empty() && !all.contains(passphrase) {
            all.push(passphrase);
        }
    }
    let len = all
        .iter()
        .map(|one| one.len() + 1)
        .sum::<usize>()
        .saturating_sub(1);
    if len > USER_KEY_MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // Reserved in full, so that growing leaves no copy behind.
    let mut joined = Zeroizing::new(Vec::with_capacity(len));
    for (i, passphrase) in all.iter().enumerate() {
        if i > 0 {
            joined.push(0);
        }
        joined.extend_from_slice(passphrase);
    }
    Ok(joined)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOKEY | libc::EKEYEXPIRED | libc::EKEYREVOKED | libc::EKEYREJECTED)
    )
}

fn add_key(kind: &CStr, description: &CStr, payload: &[u8], keyring: KeySerial) -> io::Result<KeySerial> {
    // SAFETY: both strings end with NUL, the payload is readable for its length; the kernel keeps none of the
    // pointers.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            kind.as_ptr(),
            description.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            keyring,
        )
    };
    serial(rc)
}

fn find_user_key(description: &CStr) -> io::Result<KeySerial> {
    // SAFETY: both strings end with NUL; the kernel keeps none of the pointers. The last argument links nothing.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            SEARCH,
            c_long::from(USER_KEYRING),
            c"user".as_ptr(),
            description.as_ptr(),
            0 as c_long,
        )
    };
    serial(rc)
}

fn read_key(key: KeySerial) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut buf = Zeroizing::new(vec![0_u8; USER_KEY_MAX]);
    // SAFETY: the buffer is writable for the length that is passed with it.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            READ,
            c_long::from(key),
            buf.as_mut_ptr(),
            buf.len(),
            0 as c_long,
        )
    };
    let len = usize::try_from(rc).map_err(|_| io::Error::last_os_error())?;
    // When the key is longer than the buffer, only its length is told. A key of this type never is.
    if len > buf.len() {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    buf.truncate(len);
    Ok(buf)
}

fn keyctl(operation: c_long, first: c_long, second: c_long) -> io::Result<c_long> {
    // SAFETY: only operations whose arguments are numbers come here.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            operation,
            first,
            second,
            0 as c_long,
            0 as c_long,
        )
    };
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc)
    }
}

fn serial(rc: c_long) -> io::Result<KeySerial> {
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    KeySerial::try_from(rc).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Containers often forbid key rings; there is then nothing to test against.
    fn forbidden(error: &io::Error) -> bool {
        matches!(
            error.raw_os_error(),
            Some(libc::ENOSYS | libc::EPERM | libc::EACCES)
        )
    }

    fn description(serial: KeySerial) -> io::Result<String> {
        let mut buf = [0_u8; 256];
        // SAFETY: the buffer is writable for the length that is passed with it. 6 is KEYCTL_DESCRIBE.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_keyctl,
                6 as c_long,
                c_long::from(serial),
                buf.as_mut_ptr(),
                buf.len(),
            )
        };
        let len = usize::try_from(rc).map_err(|_| io::Error::last_os_error())?;
        Ok(String::from_utf8_lossy(buf.get(..len - 1).unwrap()).into_owned())
    }

    #[test]
    fn a_logon_key_lives_as_long_as_its_guard() {
        let guard = match add_logon_key("cryptsetup:11111111-2222-3333-4444-555555555555-d0", &[7; 64]) {
            Ok(guard) => guard,
            Err(error) => return assert!(forbidden(&error), "{error}"),
        };
        let serial = guard.serial;
        let text = description(serial).unwrap();
        assert!(text.starts_with("logon;"), "{text}");
        assert!(
            text.ends_with(";cryptsetup:11111111-2222-3333-4444-555555555555-d0"),
            "{text}"
        );
        assert!(read_key(serial).is_err());
        drop(guard);
        assert!(description(serial).is_err());
    }

    #[test]
    fn a_logon_key_needs_a_prefix() {
        let error = add_logon_key("no-prefix", &[7; 64]).unwrap_err();
        assert!(
            error.raw_os_error() == Some(libc::EINVAL) || forbidden(&error),
            "{error}"
        );
    }

    #[test]
    fn cached_passphrases_are_joined_by_nul_without_repetition() {
        let joined = |cached: &[u8], new: &[&[u8]]| join_passphrases(cached, new).map(|list| list.to_vec());
        assert_eq!(joined(b"", &[b"one"]).unwrap(), b"one");
        assert_eq!(joined(b"one", &[b"two", b"one", b"two"]).unwrap(), b"one\0two");
        assert_eq!(joined(b"one\0", &[b""]).unwrap(), b"one");
        assert_eq!(joined(b"", &[]).unwrap(), b"");
        assert!(joined(b"", &[b"o\0ne"]).is_err());
        assert!(joined(b"", &[&vec![b'x'; 40000]]).is_err());
    }

    #[test]
    fn passphrases_are_found_in_the_user_keyring() {
        // Not the real name: the machine that runs this may have something cached.
        let name = CString::new(format!("keel-test-{}", std::process::id())).unwrap();
        if let Err(error) = cache_under(&name, &[b"correct horse"]) {
            return assert!(forbidden(&error), "{error}");
        }
        cache_under(&name, &[b"battery staple", b"correct horse"]).unwrap();
        let serial = find_user_key(&name).unwrap();
        assert_eq!(*read_key(serial).unwrap(), b"correct horse\0battery staple");
        let _ = keyctl(UNLINK, c_long::from(serial), c_long::from(USER_KEYRING)).unwrap();
    }
}
