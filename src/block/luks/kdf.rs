//! Key derivation: a keyslot's key out of a passphrase (LUKS2 on-disk format 1.1, section 3.2.1).

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::hash::Hash;
use crate::sys::memory::{self, ArgonBlocks};

/// The salts of LUKS are 32 bytes long.
pub(super) const SALT_LEN: usize = 32;

/// Passes times KiB beyond which a header asks for hours of work (4 TiB of memory traffic): nobody made it for use.
const MAX_ARGON_WORK: u64 = 1 << 32;

/// A keyslot's key derivation function and its costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// Argon2id or Argon2i, version 1.3 (RFC 9106).
    Argon2 {
        /// Which of the two.
        variant: ArgonVariant,
        /// Passes over the memory.
        time: u32,
        /// Memory in KiB.
        memory_kib: u32,
        /// Lanes, computed in parallel.
        lanes: u32,
    },
    /// PBKDF2 with HMAC (RFC 8018).
    Pbkdf2 {
        /// The hash's name as the header spells it.
        hash: String,
        /// Iterations.
        iterations: u32,
    },
    /// Named by the header, unknown to keel.
    Unknown {
        /// Its name, with the fault when it is the costs that can't be used.
        name: String,
    },
}

/// Argon2's variants that LUKS2 uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgonVariant {
    /// Argon2i.
    Argon2i,
    /// Argon2id.
    Argon2id,
}

impl std::fmt::Display for Kdf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Argon2 {
                variant,
                time,
                memory_kib,
                lanes,
            } => {
                let name = match variant {
                    ArgonVariant::Argon2i => "argon2i",
                    ArgonVariant::Argon2id => "argon2id",
                };
                write!(f, "{name}, {memory_kib} KiB, {time} passes, {lanes} lanes")
            }
            Self::Pbkdf2 { hash, iterations } => {
                write!(f, "pbkdf2-{}, {iterations} iterations", hash.escape_debug())
            }
            Self::Unknown { name } => f.write_str(name),
        }
    }
}

/// Why a key could not be derived. None of these says anything about the passphrase.
#[derive(Debug)]
pub(super) enum KdfError {
    /// Not enough memory; `None` when the kernel refused although nothing is known to be short.
    OutOfMemory {
        needed_kib: u64,
        available_kib: Option<u64>,
    },
    /// A function or hash that keel doesn't have, or costs outside what the function takes.
    Unsupported(String),
}

impl Kdf {
    /// Memory in KiB that deriving a key takes.
    pub fn memory_kib(&self) -> u64 {
        match self {
            Self::Argon2 { memory_kib, .. } => u64::from(*memory_kib),
            _ => 0,
        }
    }

    /// Derives `len` bytes. `available_kib` is asked only when the function is memory-hard.
    pub(super) fn derive(
        &self,
        passphrase: &[u8],
        salt: &[u8; SALT_LEN],
        len: usize,
        available_kib: impl FnOnce() -> Option<u64>,
    ) -> Result<Zeroizing<Vec<u8>>, KdfError> {
        let mut key = Zeroizing::new(vec![0; len]);
        match self {
            Self::Pbkdf2 { hash, iterations } => {
                let hash = Hash::from_name(hash).filter(|_| *iterations > 0);
                let hash = hash.ok_or_else(|| KdfError::Unsupported(self.to_string()))?;
                hash.pbkdf2(passphrase, salt, *iterations, &mut key);
            }
            Self::Argon2 {
                variant,
                time,
                memory_kib,
                lanes,
            } => {
                let unsupported = |_| KdfError::Unsupported(self.to_string());
                if u64::from(*time) * u64::from(*memory_kib) > MAX_ARGON_WORK {
                    return Err(KdfError::Unsupported(self.to_string()));
                }
                let params = Params::new(*memory_kib, *time, *lanes, Some(len)).map_err(unsupported)?;
                let algorithm = match variant {
                    ArgonVariant::Argon2i => Algorithm::Argon2i,
                    ArgonVariant::Argon2id => Algorithm::Argon2id,
                };
                let mut blocks = argon_memory(&params, available_kib())?;
                Argon2::new(algorithm, Version::V0x13, params)
                    .hash_password_into_with_memory(passphrase, salt, &mut key, &mut blocks)
                    .map_err(unsupported)?;
            }
            Self::Unknown { name } => return Err(KdfError::Unsupported(name.escape_debug().to_string())),
        }
        Ok(key)
    }
}

/// The kernel grants address space generously and kills a process (here: PID 1) when it runs out of pages, so the
/// amount is compared with what is available before the first one is touched.
fn argon_memory(params: &Params, available_kib: Option<u64>) -> Result<ArgonBlocks, KdfError> {
    let needed_kib = u64::from(params.m_cost());
    if available_kib.is_some_and(|available| available < needed_kib) {
        return Err(KdfError::OutOfMemory {
            needed_kib,
            available_kib,
        });
    }
    ArgonBlocks::new(params.block_count()).map_err(|_| KdfError::OutOfMemory {
        needed_kib,
        available_kib: None,
    })
}

/// What the machine has, for [`Kdf::derive`].
pub(super) fn machine_memory() -> Option<u64> {
    memory::available_kib()
}
