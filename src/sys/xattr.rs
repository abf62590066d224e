//! Extended attributes of files.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The value of the attribute `name` of `path` (links not followed), at most `limit` bytes; nothing when the file has no
/// such attribute or its file system knows none.
pub fn get(path: &Path, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    let c_name = CString::new(name)?;
    let mut value = vec![0u8; limit];
    // SAFETY: both names end in NUL and outlive the call; the kernel writes at most `value.len()` bytes to `value`.
    let length = unsafe {
        libc::lgetxattr(
            c_path.as_ptr(),
            c_name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    match usize::try_from(length) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(_) => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
            error => Err(error),
        },
    }
}

/// Removes all extended attributes of `path` (links not followed), access lists among them. Those that the kernel doesn't let go,
/// such as SELinux's labels, stay.
pub fn remove_all(path: &Path) -> io::Result<()> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends in NUL and outlives the call; of length zero, nothing is written.
    let length = unsafe { libc::llistxattr(c_path.as_ptr(), std::ptr::null_mut(), 0) };
    let Ok(length) = usize::try_from(length) else {
        return match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
            error => Err(error),
        };
    };
    let mut names = vec![0u8; length];
    // SAFETY: the path ends in NUL and outlives the call; the kernel writes at most `names.len()` bytes to `names`.
    let length = unsafe { libc::llistxattr(c_path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    for name in names
        .get(..length)
        .unwrap_or_default()
        .split_inclusive(|&byte| byte == 0)
    {
        let Ok(c_name) = std::ffi::CStr::from_bytes_with_nul(name) else {
            continue;
        };
        // SAFETY: both names end in NUL and outlive the call.
        let _kept = unsafe { libc::lremovexattr(c_path.as_ptr(), c_name.as_ptr()) };
    }
    Ok(())
}

/// Gives `path` (links not followed) the attribute `name`.
pub fn set(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    let c_name = CString::new(name)?;
    // SAFETY: both names end in NUL and outlive the call; the kernel reads `value.len()` bytes of `value`.
    let result = unsafe {
        libc::lsetxattr(
            c_path.as_ptr(),
            c_name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
