//! Why a module wasn't loaded, in words.

use std::io;
use std::path::Path;

use nix::errno::Errno;

/// The kernel's error, and what it means for a module.
pub(super) fn explain(error: &io::Error, path: &Path, parameters: &str) -> String {
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    let errno = Errno::from_raw(code);
    let meaning = match errno {
        Errno::ENOEXEC => "the module belongs to another kernel".to_owned(),
        Errno::EKEYREJECTED | Errno::ENOKEY | Errno::EBADMSG | Errno::ENOPKG => {
            "the kernel doesn't accept its signature: Secure Boot or module.sig_enforce asks for one by a key that \
             the kernel knows"
                .to_owned()
        }
        Errno::ENODEV => "it found nothing in this machine that it could drive".to_owned(),
        // open(2) says the same of a file as finit_module(2) says of a symbol.
        Errno::ENOENT if !path.exists() => format!("{} isn't in this initrd image", path.display()),
        Errno::ENOENT => {
            "unknown symbol: a module that it depends on is missing; the kernel's log names the symbol".to_owned()
        }
        Errno::EINVAL if parameters.is_empty() => {
            "the module is damaged, or its symbols belong to another kernel; see the kernel's log".to_owned()
        }
        Errno::EINVAL => format!("the module is damaged, or doesn't know one of its parameters: {parameters}"),
        Errno::EPERM => "module_blacklist= names it, or the kernel is locked down".to_owned(),
        Errno::ENOSYS => "this kernel loads no modules".to_owned(),
        _ => return errno.desc().to_owned(),
    };
    format!("{} ({meaning})", errno.desc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_explained() {
        let here = Path::new("/");
        let cases = [
            (
                libc::ENOEXEC,
                here,
                "",
                "Exec format error (the module belongs to another kernel)",
            ),
            (
                libc::EKEYREJECTED,
                here,
                "",
                "Key was rejected by service (the kernel doesn't accept its signature",
            ),
            (
                libc::ENOKEY,
                here,
                "",
                "Required key not available (the kernel doesn't accept its signature",
            ),
            (libc::ENODEV, here, "", "No such device (it found nothing"),
            (
                libc::ENOENT,
                here,
                "",
                "No such file or directory (unknown symbol",
            ),
            (
                libc::ENOENT,
                Path::new("/nonexistent/x.ko"),
                "",
                "No such file or directory (/nonexistent/x.ko isn't",
            ),
            (
                libc::EINVAL,
                here,
                "a=b",
                "Invalid argument (the module is damaged, or doesn't know one of its parameters: a=b)",
            ),
            (libc::ENOMEM, here, "", "Out of memory"),
        ];
        for (code, path, parameters, expected) in cases {
            let text = explain(&io::Error::from_raw_os_error(code), path, parameters);
            assert!(text.starts_with(expected), "{text} for {expected}");
        }
    }
}
