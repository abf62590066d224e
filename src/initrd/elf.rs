//! Is a program static? What goes into an initrd finds no libraries there.

/// `PT_INTERP`: the program asks for a dynamic loader (ELF-64 Object File Format, "Program Header").
const INTERPRETER: u32 = 3;

/// What is wrong with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not a 64-bit little-endian ELF file.
    #[error("it isn't a program for this kind of machine")]
    NotElf,
    /// It needs a dynamic loader.
    #[error("it is dynamically linked, and an initrd has no libraries; a static build is needed")]
    Dynamic,
}

/// Checks that `bytes` are a static program.
pub(super) fn check_static(bytes: &[u8]) -> Result<(), ElfError> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return Err(ElfError::NotElf);
    }
    let half = |at: usize| {
        bytes
            .get(at..at + 2)
            .and_then(|b| b.try_into().ok())
            .map(u16::from_le_bytes)
    };
    let offset = bytes
        .get(32..40)
        .and_then(|b| b.try_into().ok())
        .map(u64::from_le_bytes);
    let (Some(offset), Some(size), Some(count)) = (offset, half(54), half(56)) else {
        return Err(ElfError::NotElf);
    };
    for index in 0..u64::from(count) {
        let at =
            usize::try_from(offset.saturating_add(index * u64::from(size))).map_err(|_| ElfError::NotElf)?;
        let end = at.checked_add(4).ok_or(ElfError::NotElf)?;
        let kind = bytes
            .get(at..end)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_le_bytes);
        match kind {
            Some(INTERPRETER) => return Err(ElfError::Dynamic),
            Some(_) => {}
            None => return Err(ElfError::NotElf),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dynamic_programs_and_other_files_are_told_from_static_ones() {
        // This test is static itself, by .cargo/config.toml; the shell of the machine isn't.
        assert_eq!(check_static(&std::fs::read("/proc/self/exe").unwrap()), Ok(()));
        assert_eq!(
            check_static(&std::fs::read("/bin/sh").unwrap()),
            Err(ElfError::Dynamic)
        );
        assert_eq!(check_static(b"#!/bin/sh\n"), Err(ElfError::NotElf));
        assert_eq!(check_static(b"\x7fELF\x02\x01"), Err(ElfError::NotElf));
    }
}
