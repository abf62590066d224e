//! Valid headers that need more than keel has are refused by name, keyslots likewise.

use serde_json::{Value, json};

use crate::block::luks::fixture::{ARGON2ID, Image, PASSPHRASE, PBKDF2, patch};
use crate::block::luks::{Header, HeaderError, SkipReason, UnlockError, Unsupported};

fn refused(bytes: &Vec<u8>) -> Unsupported {
    match Header::read(bytes) {
        Err(HeaderError::Unsupported(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn patched(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    patch(&Image::format(PBKDF2).bytes(), change)
}

#[test]
fn a_reencryption_in_progress_is_refused() {
    let image = Image::format(PBKDF2);
    let mut args = vec!["reencrypt", "--init-only", "--resilience=none", "-q"];
    args.extend_from_slice(PBKDF2);
    image.cryptsetup(&args);
    let why = refused(&image.bytes());
    assert!(
        matches!(&why, Unsupported::Reencryption(name) if name.starts_with("online-reencrypt")),
        "{why:?}"
    );
    assert!(why.to_string().contains("--resume-only"));
}

#[test]
fn what_a_header_says_stays_on_one_line_of_a_message() {
    let odd = "a\nb";
    let refusals: [fn(&mut Value, &str); 3] = [
        |json, odd| json["config"]["requirements"] = json!({ "mandatory": [format!("reencrypt{odd}")] }),
        |json, odd| json["segments"]["0"]["integrity"] = json!({ "type": odd }),
        |json, odd| json["segments"]["0"]["encryption"] = json!(format!("cipher_null{odd}")),
    ];
    for change in refusals {
        let text = refused(&patched(|json| change(json, odd))).to_string();
        assert!(text.contains(r"a\nb"), "{text}");
    }
    let skips: [fn(&mut Value, &str); 4] = [
        |keyslot, odd| keyslot["af"]["hash"] = json!(odd),
        |keyslot, odd| keyslot["kdf"]["hash"] = json!(odd),
        |keyslot, odd| keyslot["kdf"]["type"] = json!(odd),
        |keyslot, odd| keyslot["area"]["encryption"] = json!(odd),
    ];
    for change in skips {
        let bytes = patched(|json| change(&mut json["keyslots"]["0"], odd));
        let (header, _) = Header::read(&bytes).unwrap();
        let text = header.unlock(&bytes, PASSPHRASE).unwrap_err().to_string();
        assert!(text.contains(r"a\nb"), "{text}");
    }
    let bytes = patched(|json| json["digests"]["0"]["hash"] = json!(odd));
    let (header, _) = Header::read(&bytes).unwrap();
    let text = header.unlock(&bytes, PASSPHRASE).unwrap_err().to_string();
    assert!(text.contains(r"a\nb"), "{text}");
}

#[test]
fn unknown_requirements_are_refused() {
    for name in ["inline-hw-tags", "opal", "opal-v2", "of-tomorrow"] {
        let bytes = patched(|json| json["config"]["requirements"] = json!({ "mandatory": [name] }));
        assert_eq!(refused(&bytes), Unsupported::Requirement(name.to_owned()));
        assert!(Image::cryptsetup_reads(&bytes), "{name}");
    }
    let bytes =
        patched(|json| json["config"]["requirements"] = json!({ "mandatory": ["offline-reencrypt"] }));
    assert_eq!(
        refused(&bytes),
        Unsupported::Reencryption("offline-reencrypt".to_owned())
    );
    let none = patched(|json| json["config"]["requirements"] = json!({ "mandatory": [], "optional": ["x"] }));
    assert!(Header::read(&none).is_ok());
}

#[test]
fn integrity_is_refused() {
    let bytes = patched(|json| {
        json["segments"]["0"]["integrity"] =
            json!({ "type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none" });
    });
    assert_eq!(refused(&bytes), Unsupported::Integrity("hmac(sha256)".to_owned()));
    assert!(Image::cryptsetup_reads(&bytes));
}

#[test]
fn several_and_other_segments_are_refused() {
    let several = patched(|json| {
        json["segments"]["0"]["size"] = "8192".into();
        let mut second = json["segments"]["0"].clone();
        second["offset"] = "2105344".into();
        json["segments"]["1"] = second;
        json["digests"]["0"]["segments"] = json!(["0", "1"]);
    });
    assert_eq!(refused(&several), Unsupported::Segments(2));
    assert!(Image::cryptsetup_reads(&several));
    let linear = patched(|json| {
        json["segments"]["0"] = json!({ "type": "linear", "offset": "2097152", "size": "dynamic" });
    });
    assert_eq!(refused(&linear), Unsupported::SegmentType("linear".to_owned()));
    assert!(Image::cryptsetup_reads(&linear));
}

#[test]
fn data_that_is_not_encrypted_is_refused() {
    for name in ["cipher_null-ecb", "capi:ecb(cipher_null)-plain"] {
        let bytes = patched(|json| json["segments"]["0"]["encryption"] = name.into());
        assert_eq!(refused(&bytes), Unsupported::NullCipher(name.to_owned()));
    }
}

#[test]
fn a_cipher_cannot_bring_parameters_along() {
    for name in [
        "aes-xts-plain64 0 0",
        "aes-xts-plain64\t",
        ":64:logon:x-",
        "aes",
        "aes-xts-plain64\u{e9}",
    ] {
        let bytes = patched(|json| json["segments"]["0"]["encryption"] = name.into());
        assert_eq!(refused(&bytes), Unsupported::Cipher(name.to_owned()));
    }
}

#[test]
fn other_sector_sizes_and_digests_are_refused() {
    for size in [1536, 8192] {
        let bytes = patched(|json| json["segments"]["0"]["sector_size"] = size.into());
        assert_eq!(refused(&bytes), Unsupported::SectorSize(size));
    }
    let bytes = patched(|json| json["digests"]["0"]["type"] = "argon3".into());
    assert_eq!(refused(&bytes), Unsupported::DigestType("argon3".to_owned()));
}

/// The one keyslot's reason, for a header that cryptsetup reads, too.
fn skipped(change: impl FnOnce(&mut Value)) -> SkipReason {
    let bytes = patch(&Image::format(ARGON2ID).bytes(), change);
    assert!(Image::cryptsetup_reads(&bytes));
    let (header, _) = Header::read(&bytes).unwrap();
    let checked = header.check_keyslots(&bytes);
    match header.unlock(&bytes, PASSPHRASE) {
        Err(UnlockError::NoUsableKeyslot { mut skipped }) => {
            let reason = skipped.remove(0).reason;
            // What is known from the parameters alone is known before a passphrase is asked for.
            let late = matches!(&reason, SkipReason::Unsupported(why) if why.contains("key derivation") || why.contains("digest"))
                || matches!(&reason, SkipReason::Damaged(why) if why.contains("digest"));
            assert!(late || checked.is_err(), "{reason}");
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn keyslots_that_keel_cannot_open_say_why() {
    let unsupported = |reason: SkipReason, word: &str| {
        assert!(
            matches!(&reason, SkipReason::Unsupported(why) if why.contains(word)),
            "{reason:?}"
        );
    };
    let slot = |field: &'static str, value: Value| {
        move |json: &mut Value| *json.pointer_mut(&format!("/keyslots/0/{field}")).unwrap() = value
    };
    unsupported(
        skipped(slot("area/encryption", json!("camellia-xts-plain64"))),
        "camellia-xts-plain64",
    );
    unsupported(skipped(slot("area/key_size", json!(40))), "320 bits");
    unsupported(skipped(slot("af/hash", json!("stribog512"))), "stribog512");
    unsupported(skipped(slot("af/stripes", json!(8000))), "8000");
    unsupported(skipped(slot("key_size", json!(100_000))), "100000");
    unsupported(skipped(slot("key_size", json!(0))), "0 bytes");
    unsupported(
        skipped(slot("kdf", json!({ "type": "scrypt", "salt": "", "n": 1 }))),
        "scrypt",
    );
    unsupported(skipped(slot("kdf/time", json!(-1))), "out of range");
    unsupported(skipped(slot("kdf/time", json!(0))), "argon2id");
    unsupported(skipped(slot("kdf/cpus", json!(0))), "argon2id");
    unsupported(skipped(slot("kdf/cpus", json!(9))), "argon2id");
    unsupported(skipped(slot("kdf/memory", json!(7))), "argon2id");
    unsupported(skipped(slot("kdf/time", json!(4_000_000_000_u64))), "argon2id");
    let stribog512 = json!({ "type": "pbkdf2", "salt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                            "hash": "stribog512", "iterations": 1000 });
    unsupported(skipped(slot("kdf", stribog512)), "pbkdf2-stribog512");
    unsupported(
        skipped(|json| json["digests"]["0"]["hash"] = "stribog512".into()),
        "stribog512",
    );
}

#[test]
fn keyslots_that_are_damaged_say_so() {
    let damaged = |reason: SkipReason, word: &str| {
        assert!(
            matches!(&reason, SkipReason::Damaged(why) if why.contains(word)),
            "{reason:?}"
        );
    };
    damaged(
        skipped(|json| json["keyslots"]["0"]["kdf"]["salt"] = "!".into()),
        "salt",
    );
    damaged(
        skipped(|json| json["keyslots"]["0"]["kdf"]["salt"] = "AAAA".into()),
        "salt",
    );
    damaged(
        skipped(|json| json["keyslots"]["0"]["area"]["size"] = "4096".into()),
        "4096",
    );
    damaged(
        skipped(|json| json["digests"]["0"]["salt"] = "AAAA".into()),
        "salt",
    );
    damaged(
        skipped(|json| json["digests"]["0"]["digest"] = "AAAA".into()),
        "wrong length",
    );
    damaged(
        skipped(|json| json["digests"]["0"]["iterations"] = 0.into()),
        "iterations",
    );
    damaged(
        skipped(|json| {
            json["digests"]["0"]
                .as_object_mut()
                .unwrap()
                .retain(|key, _| key != "hash")
        }),
        "hash",
    );
}

#[test]
fn more_memory_than_there_can_be_is_no_crash() {
    let reason = skipped(|json| {
        json["keyslots"]["0"]["kdf"]["memory"] = 4_000_000_000_u64.into();
        json["keyslots"]["0"]["kdf"]["time"] = 1.into();
    });
    assert!(
        matches!(
            reason,
            SkipReason::OutOfMemory {
                needed_kib: 4_000_000_000,
                ..
            }
        ),
        "{reason:?}"
    );
}

#[test]
fn overwritten_key_material_is_told_from_a_wrong_passphrase() {
    for (name, junk) in [
        ("zeroes", vec![0; 512]),
        ("text", b"The quick brown fox. ".repeat(25)[..512].to_vec()),
    ] {
        let mut bytes = Image::format(PBKDF2).bytes();
        bytes[0x8000 + 1024..0x8000 + 1536].copy_from_slice(&junk);
        assert!(!Image::cryptsetup_opens(&bytes, PASSPHRASE));
        let (header, _) = Header::read(&bytes).unwrap();
        let error = header.unlock(&bytes, PASSPHRASE).unwrap_err();
        assert!(!error.is_wrong_passphrase(), "{name}");
        assert!(error.to_string().contains("byte 33792"), "{error}");
        assert!(header.check_keyslots(&bytes).is_err());
    }
}

#[test]
fn a_header_without_keyslots_is_told_from_a_wrong_passphrase() {
    let image = Image::format(PBKDF2);
    image.cryptsetup(&["luksErase", "-q"]);
    let bytes = image.bytes();
    let (header, _) = Header::read(&bytes).unwrap();
    let Err(UnlockError::NoUsableKeyslot { skipped }) = header.unlock(&bytes, PASSPHRASE) else {
        panic!()
    };
    assert!(skipped.is_empty());
}
