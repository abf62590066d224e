//! The fs-verity digest of a file, computed without the kernel: SHA-256, 4096-byte blocks, no salt.
//!
//! Format: Linux, Documentation/filesystems/fsverity.rst, "Merkle tree" and "fs-verity descriptor".

use sha2::{Digest as _, Sha256};

/// An fs-verity digest: what an object is named by.
pub type Digest = [u8; 32];

const BLOCK: usize = 4096;

/// Computes a digest from a stream.
#[derive(Debug, Default)]
pub struct Verity {
    // Bytes of the data block that isn't full yet.
    partial: Vec<u8>,
    // Hashes of each level of the tree that don't fill a block yet; level 0 is over the data.
    levels: Vec<Vec<u8>>,
    size: u64,
}

impl Verity {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if !self.partial.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - self.partial.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() < BLOCK {
                return;
            }
            let block = std::mem::take(&mut self.partial);
            self.push(0, hash_block(&block));
        }
        let mut blocks = bytes.chunks_exact(BLOCK);
        for block in &mut blocks {
            self.push(0, hash_block(block));
        }
        self.partial.extend_from_slice(blocks.remainder());
    }

    /// The digest, and how many bytes it is over.
    pub fn finish(mut self) -> (Digest, u64) {
        if !self.partial.is_empty() {
            let block = std::mem::take(&mut self.partial);
            self.push(0, hash_block(&block));
        }
        let root = self.root();
        let mut descriptor = [0u8; 256];
        // version, hash algorithm (SHA-256), log2 of the block size, salt size, reserved; then size and root hash.
        let (head, rest) = descriptor.split_at_mut(8);
        head.copy_from_slice(&[1, 1, 12, 0, 0, 0, 0, 0]);
        let (size, rest) = rest.split_at_mut(8);
        size.copy_from_slice(&self.size.to_le_bytes());
        rest.split_at_mut(32).0.copy_from_slice(&root);
        (Sha256::digest(descriptor).into(), self.size)
    }

    fn push(&mut self, level: usize, hash: Digest) {
        if self.levels.len() == level {
            self.levels.push(Vec::with_capacity(BLOCK));
        }
        let Some(hashes) = self.levels.get_mut(level) else {
            return;
        };
        hashes.extend_from_slice(&hash);
        // A full block is only hashed when more follows: a tree whose top is one full block ends there.
        if hashes.len() > BLOCK {
            let rest = hashes.split_off(BLOCK);
            let block = std::mem::replace(hashes, rest);
            self.push(level + 1, hash_block(&block));
        }
    }

    fn root(&mut self) -> Digest {
        let mut level = 0;
        loop {
            let Some(hashes) = self.levels.get(level) else {
                return [0; 32];
            };
            let top = level + 1 == self.levels.len();
            // One hash at the top is the root itself.
            if let (true, Ok(root)) = (top, Digest::try_from(hashes.as_slice())) {
                return root;
            }
            let hash = hash_block(hashes);
            self.push(level + 1, hash);
            level += 1;
        }
    }
}

/// The digest of `bytes`.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut verity = Verity::default();
    verity.update(bytes);
    verity.finish().0
}

fn hash_block(block: &[u8]) -> Digest {
    let mut sha256 = Sha256::new();
    sha256.update(block);
    sha256.update([0u8; BLOCK].get(block.len()..).unwrap_or_default());
    sha256.finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;
    use crate::store::path::hex;

    #[test]
    fn agrees_with_the_value_that_fsverity_prints() {
        // printf 'hello world' >f; fsverity digest f
        assert_eq!(
            hex(&digest(b"hello world")),
            "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64"
        );
    }

    #[cfg(feature = "tools")]
    #[test]
    fn agrees_with_composefs_at_every_border_of_the_tree() {
        use composefs::fsverity::{FsVerityHashValue, Sha256HashValue, compute_verity};
        let data: Vec<u8> = (0..(128 * 128 + 3) * BLOCK)
            .map(|n| u8::try_from(n / 7 % 251).unwrap())
            .collect();
        for blocks in [0, 1, 2, 127, 128, 129, 256, 257, 128 * 128, 128 * 128 + 1] {
            for extra in [0, 1, BLOCK - 1] {
                let bytes = &data[..blocks * BLOCK + extra];
                let expected = compute_verity::<Sha256HashValue>(bytes).to_hex();
                assert_eq!(hex(&digest(bytes)), expected, "{blocks} blocks and {extra} bytes");
            }
        }
    }

    #[test]
    fn the_cut_of_the_stream_does_not_matter() {
        let data: Vec<u8> = (0..100_000u32).map(|n| (n % 253) as u8).collect();
        let mut verity = Verity::default();
        for piece in data.chunks(1237) {
            verity.update(piece);
        }
        assert_eq!(verity.finish(), (digest(&data), 100_000));
    }
}
