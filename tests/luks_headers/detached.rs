//! Headers that lie elsewhere than the data.

use std::fs;
use std::process::Command;

use keel::block::ReadAt;
use keel::block::luks::{Header, Version};

use crate::fixture::{Image, PASSPHRASE, PBKDF2};

/// Runs `cryptsetup VERB… --header HEADER IMAGE`; it must succeed.
fn with_header(image: &Image, verb: &[&str]) {
    let output = Command::new("cryptsetup")
        .args(verb)
        .args(["-q", "--key-file"])
        .arg(image.file("passphrase"))
        .arg("--header")
        .arg(image.file("header"))
        .arg(image.path())
        .output()
        .expect("cryptsetup must be installed");
    assert!(
        output.status.success(),
        "{verb:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_detached_header_opens_to_the_key_that_cryptsetup_finds() {
    for (kind, version) in [("--type=luks1", Version::Luks1), ("--type=luks2", Version::Luks2)] {
        let image = Image::holding(&vec![0; 1 << 20]);
        with_header(&image, &[&["luksFormat", kind], PBKDF2].concat());
        let key_file = format!("--volume-key-file={}", image.file("key").display());
        with_header(&image, &["open", "--test-passphrase"]);
        with_header(&image, &["luksDump", "--dump-volume-key", &key_file]);
        let bytes = fs::read(image.file("header")).unwrap();
        let (header, warnings) = Header::read(&bytes).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(header.version(), version);
        assert!(header.is_detached());
        // All of the data device, from its first sector on.
        assert_eq!(header.segment_sectors(1 << 20), Ok(2048));
        let unlocked = header.unlock(&bytes, PASSPHRASE).unwrap();
        assert_eq!(unlocked.key.as_bytes(), fs::read(image.file("key")).unwrap());
    }
}

#[test]
fn a_backup_of_a_header_opens_the_volume_as_a_header_of_its_own() {
    for kind in ["luks1", "luks2"] {
        let image = Image::try_format(kind, PBKDF2).unwrap();
        let backup = format!("--header-backup-file={}", image.file("header").display());
        image.cryptsetup(&["luksHeaderBackup", "-q", &backup]);
        with_header(&image, &["open", "--test-passphrase"]);
        let bytes = fs::read(image.file("header")).unwrap();
        let (header, _) = Header::read(&bytes).unwrap();
        assert!(!header.is_detached(), "the data keeps its offset");
        let unlocked = header.unlock(&bytes, PASSPHRASE).unwrap();
        assert_eq!(unlocked.key.as_bytes(), image.volume_key());
    }
}

/// `cryptsetup reencrypt --encrypt` encrypts a file without device-mapper: its cipher text, our plain text.
#[test]
fn data_behind_a_detached_header_is_read_back() {
    let plain: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    for (cipher, sector) in [
        ("aes-xts-plain64", "512"),
        ("aes-xts-plain64", "4096"),
        ("aes-cbc-essiv:sha256", "512"),
        ("aes-cbc-essiv:sha256", "4096"),
        ("aes-cbc-plain64", "2048"),
        ("aes-cbc-plain", "512"),
    ] {
        let image = Image::holding(&plain);
        let arguments = [format!("--cipher={cipher}"), format!("--sector-size={sector}")];
        let mut verb = vec!["reencrypt", "--encrypt", "--type=luks2", "--key-size=256"];
        verb.extend(arguments.iter().map(String::as_str));
        verb.extend_from_slice(PBKDF2);
        with_header(&image, &verb);
        let header_bytes = fs::read(image.file("header")).unwrap();
        let data = image.bytes();
        assert_ne!(data, plain);
        let (header, _) = Header::read(&header_bytes).unwrap();
        let unlocked = header.unlock(&header_bytes, PASSPHRASE).unwrap();
        let reader = header.segment_reader(&data, &unlocked.key).unwrap();
        assert_eq!(reader.size().unwrap(), plain.len() as u64);
        let mut read = vec![0; plain.len()];
        reader.read_exact_at(0, &mut read).unwrap();
        assert!(read == plain, "{cipher} {sector}");
    }
}
