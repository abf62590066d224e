//! Volumes made by cryptsetup, in files instead of devices.
#![allow(clippy::unwrap_used)]

use std::fs::File;

use serde_json::json;

use super::*;
use crate::block::luks::fixture::{Image, PASSPHRASE, PBKDF2, patch};

fn volume(minor: u32, path: &Path, options: &str) -> Volume {
    let (header, _) = Header::read(&File::open(path).unwrap()).unwrap();
    Volume {
        name: format!("disk{minor}"),
        device: number(minor),
        path: format!("/dev/vd{minor}").into(),
        header_path: path.to_owned(),
        header,
        options: VolumeOptions::parse(options).0,
        key: None,
        key_deadline: None,
        deadline: None,
        misses: 0,
    }
}

fn number(minor: u32) -> DeviceNumber {
    DeviceNumber { major: 254, minor }
}

fn secret(text: &[u8]) -> Secret {
    text.to_vec().into()
}

/// Waits for the end of the trial, and removes the volumes that were opened: their minor numbers.
fn opened(keyring: &mut Keyring) -> Vec<u32> {
    let mut opened = Vec::new();
    while let Some(Progress::Attempt(attempt)) = keyring.progress() {
        if attempt.result.is_ok() {
            opened.push(attempt.device.minor);
            let _ = keyring.volumes.remove(&attempt.device);
        }
    }
    opened
}

#[test]
fn every_passphrase_that_proved_itself_is_tried_on_later_volumes() {
    let (first, second) = (Image::format(PBKDF2), Image::format(PBKDF2));
    second.add_key(b"another", PBKDF2);
    let mut keyring = Keyring::default();
    keyring.found(volume(1, &first.path(), ""));
    keyring.try_typed(secret(PASSPHRASE)).unwrap();
    assert_eq!(opened(&mut keyring), [1]);
    keyring.found(volume(2, &second.path(), "key-slot=1"));
    assert!(keyring.try_by_itself());
    assert!(opened(&mut keyring).is_empty());
    assert!(!keyring.try_by_itself(), "it had all that there is");
    keyring.try_typed(secret(b"another")).unwrap();
    assert_eq!(opened(&mut keyring), [2]);
    // The older of the two passphrases.
    keyring.found(volume(3, &first.path(), ""));
    assert!(keyring.try_by_itself());
    assert_eq!(opened(&mut keyring), [3]);
    assert_eq!(keyring.take_proven().len(), 2);
}

#[test]
fn a_keyfile_opens_its_own_volume_and_is_not_kept() {
    let image = Image::format(PBKDF2);
    let mut keyring = Keyring::default();
    keyring.found(volume(1, &image.path(), ""));
    keyring.found(volume(2, &image.path(), ""));
    keyring.give(number(2), secret(b"wrong"));
    keyring.give(number(9), secret(b"of a device that went"));
    keyring.give(number(2), secret(PASSPHRASE));
    assert!(keyring.try_by_itself());
    assert!(opened(&mut keyring).is_empty());
    assert!(
        keyring
            .prompt()
            .unwrap()
            .contains("disk1 (/dev/vd1), disk2 (/dev/vd2)")
    );
    assert!(keyring.try_by_itself());
    assert_eq!(opened(&mut keyring), [2]);
    assert!(!keyring.try_by_itself(), "nothing was proven by a person");
    assert!(keyring.take_proven().is_empty());
}

#[test]
fn a_missing_keyfile_is_told_once_and_the_prompt_serves_meanwhile() {
    let image = Image::format(PBKDF2);
    let mut waiting = volume(1, &image.path(), "keyfile-timeout=20");
    let source = Source::parse("/key:LABEL=stick").unwrap();
    waiting.wait_for_key(source.clone());
    let mut keyring = Keyring::default();
    keyring.found(waiting);
    assert!(!keyring.try_by_itself());
    let prompt = keyring.prompt().unwrap();
    assert!(prompt.contains("or keyfile /key on LABEL=stick"), "{prompt}");
    let deadline = keyring.next_deadline().unwrap();
    assert_eq!(keyring.lapses(Instant::now()), []);
    let name = "disk1 (/dev/vd1)".to_owned();
    assert_eq!(keyring.lapses(deadline), [Lapse::KeyfileMissing(name, source)]);
    assert_eq!(keyring.lapses(deadline), []);
    assert_eq!(keyring.next_deadline(), None);
    keyring.try_typed(secret(PASSPHRASE)).unwrap();
    assert_eq!(opened(&mut keyring), [1]);
}

#[test]
fn tries_and_timeout_end_the_asking() {
    let image = Image::format(PBKDF2);
    let mut keyring = Keyring::default();
    keyring.found(volume(1, &image.path(), "tries=2"));
    keyring.found(volume(2, &image.path(), "timeout=30"));
    keyring.found(volume(3, &image.path(), ""));
    for _ in 0..2 {
        assert_eq!(keyring.lapses(Instant::now()), []);
        keyring.try_typed(secret(b"wrong")).unwrap();
        assert!(opened(&mut keyring).is_empty());
    }
    let gone = Lapse::GivenUp("disk1 (/dev/vd1)".to_owned(), "tries= allows no more passphrases");
    assert_eq!(keyring.lapses(Instant::now()), [gone]);
    assert_eq!(keyring.next_deadline(), None, "nobody was asked yet");
    keyring.asked();
    let deadline = keyring.next_deadline().unwrap();
    keyring.asked();
    assert_eq!(
        keyring.next_deadline(),
        Some(deadline),
        "a new prompt gives no new time"
    );
    keyring.try_typed(secret(b"typed in time")).unwrap();
    assert_eq!(keyring.lapses(deadline), [], "not while it is being tried");
    assert!(opened(&mut keyring).is_empty());
    let gone = Lapse::GivenUp("disk2 (/dev/vd2)".to_owned(), "timeout= is over");
    assert_eq!(keyring.lapses(deadline), [gone]);
    assert_eq!(keyring.volumes.len(), 1);
}

#[test]
fn tokens_are_named_at_the_prompt() {
    let image = Image::format(PBKDF2);
    let bytes = patch(&image.bytes(), |json| {
        json["tokens"] = json!({
            "0": { "type": "systemd-tpm2", "keyslots": ["0"] },
            "1": { "type": "systemd-fido2", "keyslots": [] },
            "2": { "type": "systemd-recovery", "keyslots": [] },
            "3": { "type": "clevis", "keyslots": [] },
            "4": { "type": "\u{1b}[2Jevil", "keyslots": [] },
        });
    });
    std::fs::write(image.path(), bytes).unwrap();
    let mut keyring = Keyring::default();
    keyring.found(volume(1, &image.path(), ""));
    assert_eq!(
        keyring.prompt().unwrap(),
        "Passphrase for disk1 (/dev/vd1; [2Jevil and clevis and FIDO2 and TPM2 token present, not used yet; its recovery key \
         opens it, too): "
    );
}
