//! Headers of every kind open with the right passphrase, to the key that cryptsetup finds.

use std::fs;

use crate::block::ReadAt;
use crate::block::luks::fixture::{ARGON2ID, IMAGE_SIZE, Image, PASSPHRASE, PBKDF2, patch};
use crate::block::luks::{ArgonVariant, Header, Kdf, SkipReason, UnlockError};

/// Opens it with the right passphrase, compares the key with cryptsetup's, and gives the keyslot.
fn opens(image: &Image) -> u32 {
    let bytes = image.bytes();
    let (header, warnings) = Header::read(&bytes).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let unlocked = header.unlock(&bytes, PASSPHRASE).unwrap();
    assert_eq!(unlocked.key.as_bytes(), image.volume_key());
    assert_eq!(unlocked.digest, 0);
    assert_eq!(image.bytes(), bytes, "nothing is written");
    unlocked.keyslot
}

#[test]
fn every_key_derivation_function_opens() {
    for kdf in [
        ARGON2ID,
        PBKDF2,
        &[
            "--pbkdf=argon2i",
            "--pbkdf-memory=64",
            "--pbkdf-force-iterations=4",
            "--pbkdf-parallel=1",
        ],
        &[
            "--pbkdf=argon2id",
            "--pbkdf-memory=1000",
            "--pbkdf-force-iterations=5",
            "--pbkdf-parallel=2",
        ],
    ] {
        assert_eq!(opens(&Image::format(kdf)), 0);
    }
}

#[test]
fn every_hash_opens() {
    for hash in ["sha1", "sha224", "sha256", "sha384", "sha512"] {
        let hash = format!("--hash={hash}");
        let args: Vec<&str> = PBKDF2.iter().copied().chain([hash.as_str()]).collect();
        assert_eq!(opens(&Image::format(&args)), 0);
    }
}

#[test]
fn every_key_and_sector_size_opens() {
    for key in ["--key-size=256", "--key-size=512"] {
        for sector in [
            "--sector-size=512",
            "--sector-size=1024",
            "--sector-size=2048",
            "--sector-size=4096",
        ] {
            let args: Vec<&str> = PBKDF2.iter().copied().chain([key, sector]).collect();
            assert_eq!(opens(&Image::format(&args)), 0);
        }
    }
}

#[test]
fn every_header_size_opens() {
    for size in ["16k", "32k", "64k", "128k", "256k", "512k"] {
        let size = format!("--luks2-metadata-size={size}");
        let args: Vec<&str> = PBKDF2.iter().copied().chain([size.as_str()]).collect();
        assert_eq!(opens(&Image::format(&args)), 0);
    }
}

#[test]
fn a_cipher_of_the_data_that_only_the_kernel_knows_opens() {
    let bytes = patch(&Image::format(PBKDF2).bytes(), |json| {
        json["segments"]["0"]["encryption"] = "camellia-xts-plain64".into();
    });
    assert!(Image::cryptsetup_opens(&bytes, PASSPHRASE));
    let (header, _) = Header::read(&bytes).unwrap();
    let unlocked = header.unlock(&bytes, PASSPHRASE).unwrap();
    assert!(header.segment_reader(&bytes, &unlocked.key).is_err());
}

#[test]
fn names_and_costs_are_shown() {
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let uuid_argument = format!("--uuid={uuid}");
    let args: Vec<&str> = ARGON2ID
        .iter()
        .copied()
        .chain(["--label=data disk", "--subsystem=mine", &uuid_argument])
        .collect();
    let bytes = Image::format(&args).bytes();
    let (header, _) = Header::read(&bytes).unwrap();
    assert_eq!(header.uuid(), uuid);
    assert_eq!(header.label(), Some("data disk"));
    assert_eq!(header.subsystem(), Some("mine"));
    assert!(header.tokens().is_empty());
    let [keyslot] = header.keyslots().try_into().unwrap();
    assert_eq!((keyslot.id, keyslot.priority), (0, 1));
    let kdf = Kdf::Argon2 {
        variant: ArgonVariant::Argon2id,
        time: 4,
        memory_kib: 64,
        lanes: 1,
    };
    assert_eq!(keyslot.kdf, Some(kdf));
}

#[test]
fn tokens_are_listed_and_their_keyslots_tried_last() {
    let image = Image::format(PBKDF2);
    image.add_key(b"typed", PBKDF2);
    let bytes = patch(&image.bytes(), |json| {
        json["tokens"] = serde_json::json!({
            "0": { "type": "systemd-tpm2", "keyslots": ["0"], "tpm2-blob": "", "tpm2-pcrs": [7] },
            "3": { "type": "systemd-recovery", "keyslots": ["1"] },
        });
    });
    assert!(Image::cryptsetup_reads(&bytes));
    let (header, _) = Header::read(&bytes).unwrap();
    let tokens: Vec<_> = header
        .tokens()
        .into_iter()
        .map(|t| (t.id, t.kind, t.keyslots))
        .collect();
    assert_eq!(
        tokens,
        [
            (0, "systemd-tpm2".to_owned(), vec![0]),
            (3, "systemd-recovery".to_owned(), vec![1])
        ]
    );
    let Err(UnlockError::NoKeyslotOpened { tried, skipped }) = header.unlock(&bytes, b"wrong") else {
        panic!()
    };
    assert_eq!(tried, [1, 0]);
    assert!(skipped.is_empty());
    assert_eq!(header.unlock(&bytes, PASSPHRASE).unwrap().keyslot, 0);
    assert_eq!(header.unlock(&bytes, b"typed").unwrap().keyslot, 1);
}

#[test]
fn keyslots_are_tried_by_priority() {
    let image = Image::format(PBKDF2);
    image.add_key(b"second", PBKDF2);
    image.add_key(b"third", PBKDF2);
    image.cryptsetup(&["config", "--key-slot=2", "--priority=prefer"]);
    image.cryptsetup(&["config", "--key-slot=0", "--priority=ignore"]);
    let bytes = image.bytes();
    let (header, _) = Header::read(&bytes).unwrap();
    let Err(UnlockError::NoKeyslotOpened { tried, .. }) = header.unlock(&bytes, PASSPHRASE) else {
        panic!()
    };
    assert_eq!(tried, [2, 1], "an ignored keyslot is not tried, as in cryptsetup");
    assert!(!Image::cryptsetup_opens(&bytes, PASSPHRASE));
    assert_eq!(header.unlock(&bytes, b"third").unwrap().keyslot, 2);
    assert_eq!(header.unlock(&bytes, b"second").unwrap().keyslot, 1);
    image.cryptsetup(&["config", "--key-slot=1", "--priority=ignore"]);
    image.cryptsetup(&["config", "--key-slot=2", "--priority=ignore"]);
    let bytes = image.bytes();
    let (header, _) = Header::read(&bytes).unwrap();
    assert_eq!(
        header.unlock(&bytes, PASSPHRASE).unwrap().keyslot,
        0,
        "when there are only ignored ones"
    );
}

#[test]
fn an_empty_passphrase_and_odd_ones_are_as_good_as_any() {
    for passphrase in [&b"\n"[..], b"with\0nul", &[0xff; 300]] {
        let image = Image::format(PBKDF2);
        image.add_key(passphrase, PBKDF2);
        let bytes = image.bytes();
        let (header, _) = Header::read(&bytes).unwrap();
        assert_eq!(header.unlock(&bytes, passphrase).unwrap().keyslot, 1);
        assert!(matches!(
            header.unlock(&bytes, b""),
            Err(UnlockError::NoKeyslotOpened { .. })
        ));
    }
}

#[test]
fn keyslots_of_other_data_are_not_tried() {
    let image = Image::format(PBKDF2);
    image.add_key(
        b"unbound",
        &[
            "--unbound",
            "--key-size=512",
            "--pbkdf=pbkdf2",
            "--pbkdf-force-iterations=1000",
        ],
    );
    let bytes = image.bytes();
    let (header, _) = Header::read(&bytes).unwrap();
    let Err(UnlockError::NoKeyslotOpened { tried, .. }) = header.unlock(&bytes, b"unbound") else {
        panic!()
    };
    assert_eq!(tried, [0]);
    assert_eq!(header.unlock(&bytes, PASSPHRASE).unwrap().keyslot, 0);
}

#[test]
fn too_little_memory_is_told_from_a_wrong_passphrase() {
    let image = Image::format(ARGON2ID);
    let bytes = image.bytes();
    let (header, _) = Header::read(&bytes).unwrap();
    let error = header
        .unlock_within(&bytes, PASSPHRASE, None, || Some(63))
        .unwrap_err();
    assert!(!error.is_wrong_passphrase());
    assert!(matches!(
        error.skipped()[0].reason,
        SkipReason::OutOfMemory {
            needed_kib: 64,
            available_kib: Some(63)
        }
    ));
    assert!(error.to_string().contains("64 KiB"), "{error}");
    assert!(
        header
            .unlock_within(&bytes, PASSPHRASE, None, || Some(64))
            .is_ok()
    );
    assert!(header.unlock_within(&bytes, PASSPHRASE, None, || None).is_ok());
    image.add_key(b"light", PBKDF2);
    let bytes = image.bytes();
    let (header, _) = Header::read(&bytes).unwrap();
    assert_eq!(
        header
            .unlock_within(&bytes, b"light", None, || Some(0))
            .unwrap()
            .keyslot,
        1
    );
    let error = header
        .unlock_within(&bytes, PASSPHRASE, None, || Some(0))
        .unwrap_err();
    assert!(error.is_wrong_passphrase());
    assert_eq!(error.skipped().len(), 1);
}

/// `cryptsetup reencrypt --encrypt` on a file encrypts without device-mapper: its cipher text, our plain text.
#[test]
fn data_that_cryptsetup_encrypted_is_read_back() {
    let plain: Vec<u8> = (0..IMAGE_SIZE as u32 / 4)
        .flat_map(|i| i.wrapping_mul(0x9e37_79b1).to_le_bytes())
        .collect();
    for options in [
        &["--key-size=512", "--sector-size=512"],
        &["--key-size=256", "--sector-size=512"],
        &["--key-size=512", "--sector-size=2048"],
        &["--key-size=512", "--sector-size=4096"],
    ] {
        let image = Image::holding(&plain);
        let file = fs::OpenOptions::new().append(true).open(image.path()).unwrap();
        file.set_len(plain.len() as u64 + (4 << 20)).unwrap();
        let mut args = vec![
            "reencrypt",
            "--encrypt",
            "--type=luks2",
            "-q",
            "--reduce-device-size=4M",
        ];
        args.extend_from_slice(PBKDF2);
        args.extend_from_slice(options);
        image.cryptsetup(&args);
        let bytes = image.bytes();
        let (header, _) = Header::read(&bytes).unwrap();
        let unlocked = header.unlock(&bytes, PASSPHRASE).unwrap();
        let reader = header.segment_reader(&bytes, &unlocked.key).unwrap();
        assert!(reader.size().unwrap() >= plain.len() as u64);
        for (offset, len) in [
            (0, plain.len()),
            (0, 1),
            (511, 2),
            (4095, 4098),
            (65_535, 65_537),
            (plain.len() - 1, 1),
        ] {
            let mut buf = vec![0; len];
            reader.read_exact_at(offset as u64, &mut buf).unwrap();
            assert!(buf == plain[offset..offset + len], "{options:?} {offset} {len}");
        }
        let size = reader.size().unwrap();
        assert!(reader.read_exact_at(size - 1, &mut [0; 1]).is_ok());
        assert!(reader.read_exact_at(size - 1, &mut [0; 2]).is_err());
        assert!(reader.read_exact_at(u64::MAX, &mut [0; 2]).is_err());
    }
}
