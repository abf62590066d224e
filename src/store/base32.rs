//! Nix's base-32: 32 characters without `e o u t`, least significant bits last, no padding.

/// The alphabet, in the order of its values.
pub const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Characters that `bytes` bytes take.
pub const fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// `bytes` in base-32.
pub fn encode(bytes: &[u8]) -> String {
    let at = |index: usize| u16::from(bytes.get(index).copied().unwrap_or(0));
    (0..encoded_len(bytes.len()))
        .rev()
        .map(|n| {
            let (byte, bit) = (n * 5 / 8, n * 5 % 8);
            let window = at(byte) | (at(byte + 1) << 8);
            let value = usize::from((window >> bit) & 0x1f);
            ALPHABET.get(value).map_or('0', |&c| char::from(c))
        })
        .collect()
}

/// Whether `byte` is a character of the alphabet.
pub const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'd' | b'f'..=b'n' | b'p'..=b's' | b'v'..=b'z')
}

/// The bytes that `text` stands for, or nothing when it is no base-32 of exactly `N` bytes.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != encoded_len(N) {
        return None;
    }
    let mut bytes = [0u8; N];
    for (n, c) in text.bytes().rev().enumerate() {
        let value = u16::try_from(ALPHABET.iter().position(|&a| a == c)?).ok()?;
        let (byte, bit) = (n * 5 / 8, n * 5 % 8);
        let window = value << bit;
        *bytes.get_mut(byte)? |= (window & 0xff) as u8;
        let carry = (window >> 8) as u8;
        match bytes.get_mut(byte + 1) {
            Some(next) => *next |= carry,
            // Bits beyond the last byte: two texts would stand for the same bytes.
            None if carry != 0 => return None,
            None => {}
        }
    }
    Some(bytes)
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
    use proptest::prelude::*;

    #[test]
    fn encodes_as_nix_does() {
        // nix-hash --type sha256 --to-base32 cffc06d0f004c5fb33a1b3ec8cd2014499af5ce06285cd270beaa094c78d8c69
        let hash = [
            0xcf, 0xfc, 0x06, 0xd0, 0xf0, 0x04, 0xc5, 0xfb, 0x33, 0xa1, 0xb3, 0xec, 0x8c, 0xd2, 0x01, 0x44,
            0x99, 0xaf, 0x5c, 0xe0, 0x62, 0x85, 0xcd, 0x27, 0x0b, 0xea, 0xa0, 0x94, 0xc7, 0x8d, 0x8c, 0x69,
        ];
        assert_eq!(
            encode(&hash),
            "0sccip3r987a1ckwv1b2w1faz6a40798rv5kl4rzpi84y380dz6g"
        );
        assert_eq!(
            decode::<32>("0sccip3r987a1ckwv1b2w1faz6a40798rv5kl4rzpi84y380dz6g"),
            Some(hash)
        );
    }

    #[test]
    fn refuses_what_is_no_base32() {
        for text in [
            "",
            "e",
            "zz",
            "0sccip3r987a1ckwv1b2w1faz6a40798rv5kl4rzpi84y380dz6u",
        ] {
            assert_eq!(decode::<32>(text), None, "{text}");
        }
        // 32 bytes leave four spare bits in the first character.
        assert_eq!(decode::<32>(&format!("z{}", "0".repeat(51))), None);
    }

    #[test]
    fn the_digit_test_agrees_with_the_alphabet() {
        for byte in 0..=255u8 {
            assert_eq!(is_digit(byte), ALPHABET.contains(&byte), "{byte}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(bytes: [u8; 20]) {
            prop_assert_eq!(decode::<20>(&encode(&bytes)), Some(bytes));
        }
    }
}
