//! The immutable flag of a file (ioctl_iflags(2)): efivarfs sets it on variables, against removal by accident.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `FS_IMMUTABLE_FL`
const IMMUTABLE: libc::c_int = 0x10;

#[allow(missing_docs, unreachable_pub)]
mod calls {
    nix::ioctl_read!(get_flags, b'f', 1, libc::c_long);
    nix::ioctl_write_ptr!(set_flags, b'f', 2, libc::c_long);
}

/// Takes the flag away. File systems without such flags have nothing to take away.
pub fn clear_immutable(file: &File) -> io::Result<()> {
    let mut flags: libc::c_long = 0;
    // SAFETY: the pointer is valid for the call. The kernel writes an int into what is declared as a long
    // (ioctl_iflags(2), "Bugs"), which it fits in.
    match unsafe { calls::get_flags(file.as_raw_fd(), &raw mut flags) } {
        Ok(_) => {}
        Err(nix::errno::Errno::ENOTTY) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    if flags & libc::c_long::from(IMMUTABLE) == 0 {
        return Ok(());
    }
    flags &= !libc::c_long::from(IMMUTABLE);
    // SAFETY: the pointer is valid for the call, and the kernel only reads from it.
    let _ = unsafe { calls::set_flags(file.as_raw_fd(), &raw const flags) }?;
    Ok(())
}
