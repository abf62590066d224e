//! Known answers.

use zeroize::Zeroizing;

use crate::block::ReadAt;
use crate::block::luks::cipher::SectorCipher;
use crate::block::luks::fixture::{Image, PASSPHRASE, PBKDF2, metadata, patch};
use crate::block::luks::{Header, VolumeKey};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

fn xts(key: &[u8]) -> SectorCipher {
    SectorCipher::new("aes-xts-plain64", key).unwrap()
}

/// IEEE 1619-2007, annex B: vectors 1, 2 and (its first and last block) 10.
#[test]
fn xts_gives_the_standards_answers() {
    let mut data = hex("917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e");
    xts(&[0; 32]).decrypt(&mut data, 32, 0);
    assert_eq!(data, [0; 32]);

    let key = [[0x11; 16], [0x22; 16]].concat();
    let mut data = hex("c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0");
    xts(&key).decrypt(&mut data, 32, 0x33_3333_3333);
    assert_eq!(data, [0x44; 32]);

    let key = hex("2718281828459045235360287471352662497757247093699959574966967627\
         3141592653589793238462643383279502884197169399375105820974944592");
    let mut data: Vec<u8> = (0..=255).chain(0..=255).collect();
    let plain = data.clone();
    xts(&key).encrypt(&mut data, 512, 0xff);
    assert_eq!(
        data[..32],
        hex("1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b")
    );
    xts(&key).decrypt(&mut data, 512, 0xff);
    assert_eq!(data, plain);
}

/// dm-crypt counts sectors from the start of the mapping, plus the segment's `iv_tweak`, in units of 512 bytes.
#[test]
fn the_iv_starts_at_the_tweak() {
    let mut bytes = patch(&Image::format(PBKDF2).bytes(), |json| {
        json["segments"]["0"]["iv_tweak"] = "800".into();
        json["segments"]["0"]["sector_size"] = 4096.into();
    });
    let (header, _) = Header::read(&bytes).unwrap();
    let unlocked = header.unlock(&bytes, PASSPHRASE).unwrap();
    let start: usize = metadata(&bytes)["segments"]["0"]["offset"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let xts = xts(unlocked.key.as_bytes());
    for sector in 0..3 {
        let data = &mut bytes[start + sector * 4096..][..4096];
        data.fill(b'a' + sector as u8);
        xts.encrypt(data, 4096, 800 + 8 * sector as u64);
    }
    let mut buf = [0; 10];
    let reader = header.segment_reader(&bytes, &unlocked.key).unwrap();
    reader.read_exact_at(4091, &mut buf).unwrap();
    assert_eq!(&buf, b"aaaaabbbbb");
    reader.read_exact_at(8187, &mut buf).unwrap();
    assert_eq!(&buf, b"bbbbbccccc");
}

#[test]
fn a_volume_key_is_not_printed() {
    let key = VolumeKey::new(Zeroizing::new(vec![0xab; 64]));
    assert_eq!(format!("{key:?}"), "VolumeKey(64 bytes)");
}
