//! Anti-forensic merge: the volume key out of its 4000 stripes (LUKS2 on-disk format 1.1, section 4.1; TKS1, section 2.4).

use zeroize::Zeroizing;

use super::hash::Hash;

/// Merges `stripes`, whose length must be a multiple of `key_len`, into the `key_len` bytes that they were split from.
pub(super) fn merge(stripes: &[u8], key_len: usize, hash: Hash) -> Zeroizing<Vec<u8>> {
    let mut block = Zeroizing::new(vec![0; key_len]);
    if key_len == 0 {
        return block;
    }
    let count = stripes.len() / key_len;
    for (i, stripe) in stripes.chunks_exact(key_len).enumerate() {
        for (out, byte) in block.iter_mut().zip(stripe) {
            *out ^= byte;
        }
        // The last stripe is the plain difference.
        if i + 1 < count {
            diffuse(&mut block, hash);
        }
    }
    block
}

/// Replaces every hash-sized piece of `block` by the hash of its number and its content.
fn diffuse(block: &mut [u8], hash: Hash) {
    for (number, piece) in (0_u32..).zip(block.chunks_mut(hash.output_len())) {
        let content = Zeroizing::new(piece.to_vec());
        hash.of(&[&number.to_be_bytes(), &content], |digest| {
            // The last piece may be shorter than the hash.
            for (out, byte) in piece.iter_mut().zip(digest) {
                *out = *byte;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
    use super::*;
    use proptest::prelude::*;

    /// The inverse: random stripes, the last one chosen so that they merge to `key`.
    fn split(key: &[u8], random: &[u8], hash: Hash) -> Vec<u8> {
        let mut block = vec![0; key.len()];
        for stripe in random.chunks_exact(key.len()) {
            for (out, byte) in block.iter_mut().zip(stripe) {
                *out ^= byte;
            }
            diffuse(&mut block, hash);
        }
        let last = block.iter().zip(key).map(|(a, b)| a ^ b);
        random.iter().copied().chain(last).collect()
    }

    proptest! {
        #[test]
        fn merge_undoes_split(
            key in prop::collection::vec(any::<u8>(), 1..80),
            stripes in 0..8_usize,
            seed: u8,
            name in prop::sample::select(&["sha1", "sha224", "sha256", "sha384", "sha512"]),
        ) {
            let hash = Hash::from_name(name).unwrap();
            let random: Vec<u8> = (0..key.len() * stripes).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
            let merged = merge(&split(&key, &random, hash), key.len(), hash);
            prop_assert_eq!(&*merged, &key);
        }
    }
}
