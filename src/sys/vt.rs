//! The keyboard of the kernel's virtual terminals (ioctl_console(2); Linux, include/uapi/linux/kd.h and keyboard.h). Its
//! tables are the same for all of them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Longest string of a function key, in bytes, without the NUL that ends it.
pub const STRING_MAX: usize = 511;
/// Most combinations of the table of dead keys and Compose (`MAX_DIACR`).
pub const COMPOSE_MAX: usize = 256;
/// `K(KT_SPEC, 127)`: at key 0 of a map it means that there is no such map.
const NO_SUCH_MAP: u16 = 0x027f;

/// How keys are turned into bytes (`K_RAW` and so on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyboardMode {
    /// Into UTF-8.
    Unicode,
    /// Into bytes of an 8-bit character set.
    EightBit,
    /// Into scancodes or keycodes, or nothing at all: a graphical program has the keyboard.
    Taken,
}

#[repr(C)]
struct Entry {
    map: u8,
    key: u8,
    value: u16,
}

#[repr(C)]
struct FunctionString {
    function: u8,
    text: [u8; STRING_MAX + 1],
}

/// One combination: accent, letter, and what they make, as code points.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compose {
    /// The dead key's accent, or the first key behind Compose.
    pub accent: u32,
    /// The letter.
    pub base: u32,
    /// What they make.
    pub result: u32,
}

#[repr(C)]
struct ComposeTable {
    count: u32,
    entries: [Compose; COMPOSE_MAX],
}

#[allow(missing_docs, unreachable_pub)]
mod calls {
    use super::{ComposeTable, Entry, FunctionString};
    use nix::libc::{c_char, c_int, c_long};

    nix::ioctl_read_bad!(keyboard_type, 0x4b33, c_char);
    nix::ioctl_read_bad!(mode, 0x4b44, c_long);
    nix::ioctl_write_int_bad!(set_mode, 0x4b45);
    nix::ioctl_write_ptr_bad!(set_entry, 0x4b47, Entry);
    nix::ioctl_write_ptr_bad!(set_string, 0x4b49, FunctionString);
    nix::ioctl_write_ptr_bad!(set_compose, 0x4bfb, ComposeTable);

    /// `K_UNICODE`
    pub const UNICODE: c_int = 3;
    /// `K_XLATE`
    pub const EIGHT_BIT: c_int = 1;
}

/// Whether the terminal is a virtual one, with the machine's own keyboard.
pub fn is_virtual(terminal: BorrowedFd<'_>) -> bool {
    let mut kind = 0;
    // SAFETY: KDGKBTYPE writes one byte behind the pointer, which outlives the call.
    unsafe { calls::keyboard_type(terminal.as_raw_fd(), &raw mut kind) }.is_ok()
}

/// How keys are turned into bytes on this terminal.
pub fn mode(terminal: BorrowedFd<'_>) -> io::Result<KeyboardMode> {
    let mut mode: libc::c_long = 0;
    // SAFETY: KDGKBMODE writes an int behind the pointer, which a long has room for and which outlives the call.
    let _zero = unsafe { calls::mode(terminal.as_raw_fd(), &raw mut mode) }?;
    Ok(match libc::c_int::try_from(mode) {
        Ok(calls::UNICODE) => KeyboardMode::Unicode,
        Ok(calls::EIGHT_BIT) => KeyboardMode::EightBit,
        _ => KeyboardMode::Taken,
    })
}

/// Lets keys give UTF-8 on this terminal.
pub fn set_unicode(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: KDSKBMODE takes a number.
    let _zero = unsafe { calls::set_mode(terminal.as_raw_fd(), calls::UNICODE) }?;
    Ok(())
}

/// What `key` gives with the modifiers of `map`. `value` is the kernel's: `K(type, value)`, or a code point above 255
/// exclusive-or 0xf000, which needs Unicode mode. A map comes into being by its first key.
///
/// # Errors
/// `EINVAL` for a value that this kernel doesn't know.
pub fn set_key(terminal: BorrowedFd<'_>, map: u8, key: u8, value: u16) -> io::Result<()> {
    let entry = Entry { map, key, value };
    // SAFETY: KDSKBENT reads a struct kbentry, which Entry has the shape of, and which outlives the call.
    let _zero = unsafe { calls::set_entry(terminal.as_raw_fd(), &raw const entry) }?;
    Ok(())
}

/// Forgets a map; its keys give nothing. Map 0 stays.
pub fn remove_map(terminal: BorrowedFd<'_>, map: u8) -> io::Result<()> {
    set_key(terminal, map, 0, NO_SUCH_MAP)
}

/// What function key `function` types.
///
/// # Errors
/// `EINVAL` for a text longer than [`STRING_MAX`], or with a NUL.
pub fn set_string(terminal: BorrowedFd<'_>, function: u8, text: &[u8]) -> io::Result<()> {
    let mut string = FunctionString {
        function,
        text: [0; STRING_MAX + 1],
    };
    if text.contains(&0) || text.len() > STRING_MAX {
        return Err(Errno::EINVAL.into());
    }
    for (to, from) in string.text.iter_mut().zip(text) {
        *to = *from;
    }
    // SAFETY: KDSKBSENT reads a struct kbsentry, which FunctionString has the shape of: its text ends with a NUL, and it
    // outlives the call.
    let _zero = unsafe { calls::set_string(terminal.as_raw_fd(), &raw const string) }?;
    Ok(())
}

/// Replaces the table of dead keys and Compose.
///
/// # Errors
/// `EINVAL` for more than [`COMPOSE_MAX`] entries.
pub fn set_compose(terminal: BorrowedFd<'_>, entries: &[Compose]) -> io::Result<()> {
    let count = u32::try_from(entries.len()).map_err(|_| Errno::EINVAL)?;
    if entries.len() > COMPOSE_MAX {
        return Err(Errno::EINVAL.into());
    }
    let none = Compose {
        accent: 0,
        base: 0,
        result: 0,
    };
    let mut table = ComposeTable {
        count,
        entries: [none; COMPOSE_MAX],
    };
    for (to, from) in table.entries.iter_mut().zip(entries) {
        *to = *from;
    }
    // SAFETY: KDSKBDIACRUC reads a struct kbdiacrsuc, which ComposeTable has the shape of, and which outlives the call.
    let _zero = unsafe { calls::set_compose(terminal.as_raw_fd(), &raw const table) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::mem::{offset_of, size_of};
    use std::os::fd::AsFd;

    #[test]
    fn structures_have_the_kernels_shape() {
        // Linux, include/uapi/linux/kd.h: struct kbentry, kbsentry, kbdiacrsuc.
        assert_eq!((size_of::<Entry>(), offset_of!(Entry, value)), (4, 2));
        assert_eq!(
            (size_of::<FunctionString>(), offset_of!(FunctionString, text)),
            (513, 1)
        );
        assert_eq!(
            (size_of::<ComposeTable>(), offset_of!(ComposeTable, entries)),
            (4 + 12 * 256, 4)
        );
    }

    #[test]
    fn a_pseudoterminal_has_no_keyboard() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let terminal = pty.slave.as_fd();
        assert!(!is_virtual(terminal));
        assert!(mode(terminal).is_err() && set_unicode(terminal).is_err());
        assert!(remove_map(terminal, 1).is_err() && set_string(terminal, 0, b"x").is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused_before_the_kernel_sees_it() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let terminal = pty.slave.as_fd();
        let invalid = |result: io::Result<()>| result.unwrap_err().raw_os_error() == Some(libc::EINVAL);
        assert!(invalid(set_string(terminal, 0, &[b'x'; STRING_MAX + 1])));
        assert!(invalid(set_string(terminal, 0, b"a\0b")));
        let one = Compose {
            accent: 1,
            base: 2,
            result: 3,
        };
        assert!(invalid(set_compose(terminal, &[one; COMPOSE_MAX + 1])));
    }
}
