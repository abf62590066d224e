//! Known answers: SHA-256 of the cipher text that libgcrypt 1.10.1 makes of the bytes 0 to 255, twice, under the key 1, 2, 3…
//! for the sector 0x1_0000_0005.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use sha2::{Digest as _, Sha256};

use super::*;

const SECTOR: u64 = 0x1_0000_0005;

const ANSWERS: &[(&str, usize, &str)] = &[
    (
        "aes-xts-plain64",
        32,
        "90af9eaeaa988906880dcca82b428e34f03017d76585129332f90719e40b5886",
    ),
    (
        "aes-xts-plain64",
        64,
        "fb6081d7ad45f98b2c4534691c20422cd501452eddb072d994a6b2c15b884477",
    ),
    (
        "aes-cbc-plain64",
        16,
        "0cb2c1580a8182887a13393c3418894453d4b39e2beb958dc56c43bdc4a1f7d5",
    ),
    (
        "aes-cbc-plain64",
        24,
        "44b5bfb0c59b4b8e3fb2a17c8ce16f87521fad6bdccbc89263bd8a125b5c8014",
    ),
    (
        "aes-cbc-plain64",
        32,
        "b67b4427b340951960ad711919742b6b9abeb42babc646d800a15f2005b1f022",
    ),
    (
        "aes-ctr-plain64",
        32,
        "a8aa499752e18e8309ef9ba378b4b811cb912c33b408aaef36ae3dfc6b83a8c9",
    ),
    (
        "aes-ecb",
        32,
        "918ba9165d81d3fb6a6669282573a9994c9ac030435f8e660d07e2bbc6a9071e",
    ),
    (
        "serpent-xts-plain64",
        32,
        "081e2aa6b19fbd44447eb93ad8766ceb0e8dd7aafff3b13b7dda16f94c30994d",
    ),
    (
        "serpent-xts-plain64",
        64,
        "94c2d16bd0fa556a3155cad00bee6dee278e4c658cea74771f8965995a201aaa",
    ),
    (
        "serpent-cbc-plain64",
        16,
        "64863d2e57cdb5e386a10753548201eb05f8d501ea3a11ed608f5d8e6efdecaf",
    ),
    (
        "serpent-cbc-plain64",
        32,
        "13f84c9e8121ee5b32b3990f93506d639aa7e081b48c6aff3b4e96f1434b165a",
    ),
    (
        "twofish-xts-plain64",
        32,
        "40adc20748709cea40493bbda7588645238daceb5e837a6a0cfaef2fa7b3bc6b",
    ),
    (
        "twofish-xts-plain64",
        64,
        "9f5de2df84055706801dd3f0c9e52a905f9ba4118d74a5487d53efe169e038ad",
    ),
    (
        "twofish-cbc-plain64",
        16,
        "73bb879861203e17c5faf0d927903700188ff3e602fe210b4ddc53ae022a7d70",
    ),
    (
        "twofish-cbc-plain64",
        32,
        "bcfd5aca95f4facb45e2a2f28ad65edfa573dba64993fa6264234597b371c508",
    ),
    (
        "aes-cbc-essiv:sha256",
        32,
        "7da2389cef09c88fd85ba0e712a4e9fc97e9df7e5bb814dc3b6cfc4d441836a4",
    ),
    (
        "serpent-cbc-essiv:sha256",
        32,
        "3c3a51072ca0408dd22b67c8026ffb78018d6c499b923e15a499e243b86c843f",
    ),
    (
        "twofish-cbc-essiv:sha256",
        32,
        "3e83264dae7f2588912c54685ec1bc50da290e4a0db53c2492015e823c1d6f5d",
    ),
    (
        "aes-cbc-plain",
        32,
        "dd68fc32bcfd257d088461ccbfcf3341e6e1ce7d7bb0e7064b79d2fdf3807db9",
    ),
    (
        "aes-cbc-plain64be",
        32,
        "31fbd062cc90cabb5d47176efb65e21b80036337ed5c27abd627fe48690d9cef",
    ),
    (
        "aes-cbc-benbi",
        32,
        "67649fac342560253a52e05a3803f7ed448dba529d88c3dd7f0536a133996724",
    ),
    (
        "aes-cbc-null",
        32,
        "30056570d9aae061fa49fd81932ee14216290269716e2de675fd9c499de0a623",
    ),
    (
        "aes-cbc-eboiv",
        32,
        "0e3d748bda056d675663c62e1ba3ffadd7b8675fdc7d34e8bcdaf016ab2954b5",
    ),
];

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[test]
fn cipher_text_is_that_of_libgcrypt() {
    let plain: Vec<u8> = (0..512).map(|i| i as u8).collect();
    for (name, len, answer) in ANSWERS {
        let key: Vec<u8> = (1..=*len as u8).collect();
        let cipher = SectorCipher::new(name, &key).unwrap();
        let mut data = plain.clone();
        cipher.encrypt(&mut data, 512, SECTOR);
        assert_eq!(hex(&Sha256::digest(&data)), *answer, "{name} {len}");
        cipher.decrypt(&mut data, 512, SECTOR);
        assert_eq!(data, plain, "{name} {len}");
    }
}

#[test]
fn large_sectors_count_in_units_of_512_bytes() {
    let cipher = SectorCipher::new("aes-cbc-essiv:sha256", &[7; 32]).unwrap();
    let mut whole = vec![3; 8192];
    cipher.encrypt(&mut whole, 4096, 16);
    let mut second = vec![3; 4096];
    cipher.encrypt(&mut second, 4096, 24);
    assert_eq!(whole.get(4096..).unwrap(), second);
}

#[test]
fn other_ciphers_are_refused_by_name_and_keys_by_length() {
    for name in [
        "",
        "aes",
        "aes-",
        "aes-xts",
        "aes-cbc",
        "aes-lrw-benbi",
        "aes-cbc-essiv",
        "aes-cbc-plain:x",
        "camellia-xts-plain64",
        "aes-cbc-essiv:crc32",
        "aes-cbc-essiv:sha1",
        "aes-cbc-random",
        "xchacha12,aes-adiantum-plain64",
        "capi:xts(aes)-plain64",
    ] {
        assert_eq!(
            SectorCipher::new(name, &[0; 32]).err(),
            Some(CipherError::Unknown(name.to_owned())),
            "{name}"
        );
    }
    for len in [0, 1, 16, 31, 33, 63, 65, 96, 128] {
        let error = SectorCipher::new("aes-xts-plain64", &vec![0; len]).err().unwrap();
        assert!(
            matches!(error, CipherError::KeySize { bits, .. } if bits == len * 8),
            "{len}"
        );
        assert!(
            len == 16 || SectorCipher::new("twofish-cbc-plain64", &vec![0; len]).is_err(),
            "{len}"
        );
    }
}
