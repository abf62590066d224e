//! Memory for secrets: kept out of swap, wiped before it is given back.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Keeps everything that this process has and will map out of swap. Pages are locked when they are first touched, so
/// that address space which is only reserved costs nothing.
///
/// # Errors
/// `EPERM` without `CAP_IPC_LOCK`, `ENOMEM` when over the limit `RLIMIT_MEMLOCK`.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: no pointers; the call changes nothing but the paging of this process.
    let rc = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Memory in KiB that can be used without the kernel killing processes (`MemAvailable` and free swap of
/// `/proc/meminfo`); `None` when that can't be read.
pub fn available_kib() -> Option<u64> {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()
    };
    Some(field("MemAvailable")?.saturating_add(field("SwapFree").unwrap_or(0)))
}

/// The working memory of Argon2: zeroed pages that are touched only when used, wiped when dropped.
pub struct ArgonBlocks {
    start: NonNull<c_void>,
    bytes: NonZeroUsize,
    blocks: usize,
}

impl ArgonBlocks {
    /// Maps `blocks` blocks of 1 KiB.
    ///
    /// # Errors
    /// When the kernel refuses so much memory, or `blocks` is 0.
    pub fn new(blocks: usize) -> io::Result<Self> {
        let bytes = blocks
            .checked_mul(size_of::<argon2::Block>())
            .and_then(NonZeroUsize::new)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new private mapping at an address that the kernel chooses overlaps nothing that exists.
        let start = unsafe { mmap_anonymous(None, bytes, protection, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { start, bytes, blocks })
    }
}

impl AsMut<[argon2::Block]> for ArgonBlocks {
    fn as_mut(&mut self) -> &mut [argon2::Block] {
        // SAFETY: the mapping is page aligned (a block needs 64), `blocks` blocks long, readable and writable, and
        // owned by `self`, which is borrowed for as long as the slice lives. A block is an array of integers, for
        // which the kernel's zeroes are valid.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.blocks) }
    }
}

impl ArgonBlocks {
    fn wipe(&mut self) {
        // SAFETY: the mapping is ours, writable and `bytes` long, and no slice of it is alive. `explicit_bzero` is
        // never optimised away.
        unsafe { libc::explicit_bzero(self.start.as_ptr(), self.bytes.get()) }
    }
}

impl Drop for ArgonBlocks {
    fn drop(&mut self) {
        self.wipe();
        // SAFETY: the mapping is ours and nothing uses it afterwards. It fails only for arguments that can't occur
        // here; the pages are wiped in any case.
        let _ = unsafe { munmap(self.start, self.bytes.get()) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn available_memory_counts_free_swap() {
        let text =
            "MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:    40 kB\nSwapTotal: 9 kB\nSwapFree:   2 kB\n";
        assert_eq!(parse_meminfo(text), Some(42));
        assert_eq!(parse_meminfo("MemAvailable: 40 kB\n"), Some(40));
        assert_eq!(parse_meminfo("MemFree: 1 kB\n"), None);
        assert_eq!(parse_meminfo("MemAvailable: 40 pages\n"), None);
        assert!(available_kib().unwrap() > 0);
    }

    #[test]
    fn blocks_start_zeroed_and_are_wiped() {
        let mut memory = ArgonBlocks::new(3).unwrap();
        let blocks = memory.as_mut();
        assert_eq!(blocks.len(), 3);
        for block in blocks {
            assert!(block.as_ref().iter().all(|&word| word == 0));
            block.as_mut().fill(u64::MAX);
        }
        memory.wipe();
        assert!(
            memory
                .as_mut()
                .iter()
                .all(|block| block.as_ref().iter().all(|&word| word == 0))
        );
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert!(ArgonBlocks::new(0).is_err());
        assert!(ArgonBlocks::new(usize::MAX).is_err());
        assert!(ArgonBlocks::new(1 << 50).is_err());
    }
}
