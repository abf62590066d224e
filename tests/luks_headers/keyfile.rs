//! Keyfiles with `--keyfile-offset` and `--keyfile-size`: the bytes that cryptsetup takes.

use std::fs;
use std::process::Command;

use keel::block::luks::{Header, KeyfileError, read_keyfile};

use crate::fixture::{Image, PBKDF2};

/// Runs `cryptsetup VERB` with the keyfile of the case.
fn cryptsetup(image: &Image, verb: &[&str], offset: u64, size: Option<u64>) -> bool {
    let mut command = Command::new("cryptsetup");
    command
        .args(verb)
        .arg(image.path())
        .arg("-q")
        .arg("--key-file")
        .arg(image.file("key"));
    command.arg(format!("--keyfile-offset={offset}"));
    if let Some(size) = size {
        command.arg(format!("--keyfile-size={size}"));
    }
    command
        .output()
        .expect("cryptsetup must be installed")
        .status
        .success()
}

#[test]
fn offset_and_size_choose_the_bytes_that_cryptsetup_takes() {
    let content: Vec<u8> = b"line one\nline\0two\n"
        .iter()
        .copied()
        .cycle()
        .take(100)
        .collect();
    let cases: &[(u64, Option<u64>, bool)] = &[
        (0, None, true),
        (0, Some(100), true),
        (0, Some(1), true),
        (9, Some(8), true),
        (9, None, true),
        (99, Some(1), true),
        (99, None, true),
        (100, None, true),
        (101, None, false),
        (0, Some(101), false),
        (90, Some(11), false),
        (1 << 40, Some(1), false),
    ];
    for &(offset, size, good) in cases {
        let image = Image::holding(&vec![0; 3 << 20]);
        fs::write(image.file("key"), &content).unwrap();
        let mut format = vec![
            "luksFormat",
            "--type=luks2",
            "--offset=4096",
            "--luks2-keyslots-size=1m",
        ];
        format.extend_from_slice(PBKDF2);
        let ours = read_keyfile(&content, offset, size);
        assert_eq!(
            cryptsetup(&image, &format, offset, size),
            good,
            "{offset} {size:?}"
        );
        assert_eq!(ours.is_ok(), good, "{offset} {size:?}: {ours:?}");
        if let Ok(key) = ours {
            assert!(cryptsetup(&image, &["open", "--test-passphrase"], offset, size));
            let bytes = image.bytes();
            let (header, _) = Header::read(&bytes).unwrap();
            assert!(header.unlock(&bytes, &key).is_ok(), "{offset} {size:?}");
        }
    }
}

#[test]
fn a_whole_disk_is_no_keyfile() {
    let image = Image::holding(&vec![0; 3 << 20]);
    let content = vec![7; (8 << 20) + 1];
    fs::write(image.file("key"), &content).unwrap();
    assert!(!cryptsetup(
        &image,
        &["luksFormat", "--type=luks1", "--pbkdf-force-iterations=1000"],
        0,
        None
    ));
    assert!(matches!(
        read_keyfile(&content, 0, None),
        Err(KeyfileError::TooLong(_))
    ));
    assert_eq!(read_keyfile(&content, 1, None).unwrap().len(), 8 << 20);
    assert_eq!(read_keyfile(&content, 4096, Some(64)).unwrap().len(), 64);
}
