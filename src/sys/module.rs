//! finit_module(2).

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Loads the kernel module in the file `path`, which isn't compressed, with `parameters` (`name=value name=value`).
/// Returns once the module's own initialisation has run.
///
/// # Errors
/// Those of opening the file and those of finit_module(2); `EEXIST` when the module is already loaded.
pub fn load(path: &Path, parameters: &CStr) -> io::Result<()> {
    let file = File::open(path)?;
    let flags: libc::c_int = 0;
    // SAFETY: the descriptor is open and `parameters` ends with a NUL for as long as the call lasts; the kernel copies
    // the string and keeps no pointer into this process.
    let result = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            parameters.as_ptr(),
            flags,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// fnmatch(3) of the C library, which the matching of module aliases is compared with.
#[cfg(test)]
pub(crate) fn fnmatch(pattern: &CStr, text: &CStr) -> bool {
    // SAFETY: both strings end with a NUL and outlive the call, which only reads them.
    unsafe { libc::fnmatch(pattern.as_ptr(), text.as_ptr(), 0) == 0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_missing_file_is_not_found() {
        let error = load(Path::new("/nonexistent/module.ko"), c"").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(load(file.path(), c"").is_err());
    }
}
