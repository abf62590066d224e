//! Damaged and hostile headers: accepted and refused as cryptsetup does, and never a panic.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::block::luks::fixture::{Image, PASSPHRASE, PBKDF2, metadata, patch, reseal, secondary, set_area};
use crate::block::luks::{CopyError, Header, HeaderError, JsonError, Warning, Which};
use crate::block::probe::{self, Kind};

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| Image::format(PBKDF2).bytes());
static LUKS1: LazyLock<Vec<u8>> = LazyLock::new(|| {
    Image::try_format("luks1", &["--pbkdf-force-iterations=1000"])
        .unwrap()
        .bytes()
});

/// Whether keel opens it; both must agree with cryptsetup.
fn agreed(name: &str, bytes: &Vec<u8>) -> Option<Vec<Warning>> {
    let ours = Header::read(bytes);
    let opened = match &ours {
        Ok((header, _)) => header.unlock(bytes, PASSPHRASE).is_ok(),
        Err(_) => false,
    };
    assert_eq!(
        Image::cryptsetup_opens(bytes, PASSPHRASE),
        opened,
        "{name}: {ours:?}"
    );
    if ours.is_err() {
        assert!(!Image::cryptsetup_reads(bytes), "{name}: {ours:?}");
    }
    opened.then(|| ours.unwrap().1)
}

fn flip(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 1;
    flipped
}

#[test]
fn one_damaged_copy_is_named_and_survived() {
    let second = secondary(&IMAGE);
    for (copy, at) in [
        (Which::Primary, 0),
        (Which::Primary, 7),
        (Which::Primary, 8),
        (Which::Primary, 100),
        (Which::Primary, 263),
        (Which::Primary, 450),
        (Which::Primary, 600),
        (Which::Primary, 4100),
        (Which::Primary, second - 1),
        (Which::Secondary, second),
        (Which::Secondary, second + 7),
        (Which::Secondary, second + 14),
        (Which::Secondary, second + 450),
        (Which::Secondary, second + 5000),
        (Which::Secondary, 2 * second - 1),
    ] {
        let warnings = agreed(&format!("byte {at}"), &flip(&IMAGE, at)).expect("the other copy is good");
        assert!(
            matches!(warnings.as_slice(), [Warning::Damaged { copy: named, .. }] if *named == copy),
            "{at}"
        );
        assert!(warnings[0].to_string().contains(&copy.to_string()));
    }
}

#[test]
fn a_destroyed_copy_is_survived_for_every_header_size() {
    for size in ["16k", "32k", "64k", "128k", "256k", "512k"] {
        let size = format!("--luks2-metadata-size={size}");
        let args: Vec<&str> = PBKDF2.iter().copied().chain([size.as_str()]).collect();
        let image = Image::format(&args).bytes();
        let second = secondary(&image);
        let mut bytes = image.clone();
        bytes[..second].fill(0);
        let warnings = agreed("no primary", &bytes).expect("the secondary copy is good");
        assert!(matches!(
            warnings.as_slice(),
            [Warning::Damaged {
                copy: Which::Primary,
                why: CopyError::Signature
            }]
        ));
        assert_eq!(
            probe::probe(&bytes).unwrap().map(|found| found.kind),
            Some(Kind::Luks2)
        );
        bytes = image.clone();
        bytes[second..2 * second].fill(0xff);
        assert!(agreed("no secondary", &bytes).is_some());
        bytes[..second].fill(0);
        assert!(agreed("neither", &bytes).is_none());
        assert!(matches!(Header::read(&bytes), Err(HeaderError::NotLuks)));
        assert_eq!(probe::probe(&bytes).unwrap(), None);
    }
}

#[test]
fn a_device_that_ends_within_its_header_is_not_called_one_without() {
    for length in [0x1000, 0x2000, 0x3fff] {
        let error = Header::read(&IMAGE[..length].to_vec()).unwrap_err();
        assert!(matches!(error, HeaderError::Damaged { .. }), "{error}");
        assert!(
            error.to_string().contains("beyond the end of the device"),
            "{error}"
        );
    }
    assert!(matches!(
        Header::read(&IMAGE[..0xfff].to_vec()),
        Err(HeaderError::NotLuks)
    ));
    assert!(matches!(Header::read(&Vec::new()), Err(HeaderError::NotLuks)));
}

#[test]
fn two_damaged_copies_are_both_described() {
    let second = secondary(&IMAGE);
    let bytes = flip(&flip(&IMAGE, 5000), second + 5000);
    assert!(agreed("both", &bytes).is_none());
    assert!(matches!(
        Header::read(&bytes),
        Err(HeaderError::Damaged {
            primary: CopyError::Checksum,
            secondary: CopyError::Checksum
        })
    ));
}

#[test]
fn a_device_with_a_new_use_is_not_recovered() {
    let mut bytes = IMAGE.clone();
    bytes[..4096].fill(0);
    bytes[4086..4096].copy_from_slice(b"SWAPSPACE2");
    bytes[1024] = 1;
    assert!(matches!(
        Header::read(&bytes),
        Err(HeaderError::Ambiguous {
            damaged: Which::Primary,
            other: Kind::Swap
        })
    ));
    assert_eq!(
        probe::probe(&bytes).unwrap().map(|found| found.kind),
        Some(Kind::Swap)
    );
}

#[test]
fn the_higher_sequence_number_wins() {
    let older = Image::format(PBKDF2);
    let first = older.bytes();
    older.add_key(b"added later", PBKDF2);
    let second = older.bytes();
    let at = secondary(&first);
    for (stale, range) in [(Which::Primary, 0..at), (Which::Secondary, at..2 * at)] {
        let mut bytes = second.clone();
        bytes[range.clone()].copy_from_slice(&first[range]);
        let (header, warnings) = Header::read(&bytes).unwrap();
        assert_eq!(header.unlock(&bytes, b"added later").unwrap().keyslot, 1);
        assert!(Image::cryptsetup_opens(&bytes, b"added later"));
        assert!(matches!(
            warnings.as_slice(),
            [Warning::Outdated { copy, seqid, used }] if *copy == stale && seqid < used
        ));
    }
}

#[test]
fn lies_about_size_and_place_are_refused() {
    let second = secondary(&IMAGE);
    let seal = |mut bytes: Vec<u8>, at: usize, value: u64, field: usize| {
        bytes[at + field..at + field + 8].copy_from_slice(&value.to_be_bytes());
        // Only sizes that lie inside the image can be sealed again.
        if field != 8 {
            reseal(&mut bytes, at);
        }
        bytes
    };
    for size in [
        0,
        1,
        4096,
        0x3fff,
        0x8000,
        0x40_0000,
        0x40_0001,
        u64::MAX / 2,
        u64::MAX,
    ] {
        let one = seal(IMAGE.clone(), 0, size, 8);
        assert!(agreed(&format!("size {size}"), &one).is_some());
        assert!(agreed(&format!("both sizes {size}"), &seal(one, second, size, 8)).is_none());
    }
    for offset in [1, 512, 0x4000, 0x8000, u64::MAX] {
        let one = seal(IMAGE.clone(), 0, offset, 256);
        assert!(agreed(&format!("offset {offset}"), &one).is_some());
        let both = seal(one, second, if offset == 0x4000 { 0 } else { offset }, 256);
        assert!(agreed(&format!("both offsets {offset}"), &both).is_none());
    }
}

#[test]
fn checksum_algorithms_are_told() {
    let second = secondary(&IMAGE);
    let mut bytes = IMAGE.clone();
    for at in [0, second] {
        bytes[at + 72..at + 104].fill(0);
        bytes[at + 72..at + 78].copy_from_slice(b"crc32c");
        reseal(&mut bytes, at);
    }
    assert!(agreed("crc32c", &bytes).is_none());
    assert!(matches!(
        Header::read(&bytes),
        Err(HeaderError::Damaged { primary: CopyError::ChecksumAlgorithm(name), .. }) if name == "crc32c"
    ));
    for at in [0, second] {
        bytes[at + 72..at + 104].fill(0);
        bytes[at + 72..at + 78].copy_from_slice(b"sha512");
        bytes[at + 448..at + 512].fill(0);
        let sum = sha2::Sha512::digest(&bytes[at..at + second]);
        bytes[at + 448..at + 512].copy_from_slice(&sum);
    }
    assert!(agreed("sha512", &bytes).is_some());
}

#[test]
fn truncated_devices_are_refused_or_opened_as_by_cryptsetup() {
    let second = secondary(&IMAGE);
    for len in [
        0,
        1,
        511,
        4095,
        4096,
        second,
        second + 1,
        2 * second,
        0x8000 + 258_048,
        0x10_0000,
        2 << 20,
    ] {
        let bytes = IMAGE[..len].to_vec();
        let opened = agreed(&format!("{len} bytes"), &bytes).is_some();
        assert_eq!(opened, len == 2 << 20);
    }
    assert!(matches!(
        Header::read(&IMAGE[..0x10_0000].to_vec()),
        Err(HeaderError::TooSmall { .. })
    ));
}

#[test]
fn a_uuid_that_is_none_is_refused() {
    let mut bytes = IMAGE.clone();
    for at in [0, secondary(&IMAGE)] {
        bytes[at + 168] = b' ';
        reseal(&mut bytes, at);
    }
    assert!(matches!(
        Header::read(&bytes),
        Err(HeaderError::Damaged {
            primary: CopyError::Uuid,
            ..
        })
    ));
}

/// Changes that leave a header which cryptsetup judges; keel must judge the same.
#[test]
fn hostile_metadata_is_judged_as_by_cryptsetup() {
    type Change = fn(&mut Value);
    let changes: &[(&str, bool, Change)] = &[
        ("unchanged", true, |_| {}),
        ("unknown member", true, |json| {
            json["future"] = json!({ "a": [1, 2] })
        }),
        ("no keyslots", false, |json| {
            drop(json.as_object_mut().unwrap().remove("keyslots"))
        }),
        ("no tokens", false, |json| {
            drop(json.as_object_mut().unwrap().remove("tokens"))
        }),
        ("no segments", false, |json| {
            drop(json.as_object_mut().unwrap().remove("segments"))
        }),
        ("no digests", false, |json| {
            drop(json.as_object_mut().unwrap().remove("digests"))
        }),
        ("no config", false, |json| {
            drop(json.as_object_mut().unwrap().remove("config"))
        }),
        ("segments empty", false, |json| json["segments"] = json!({})),
        ("keyslots a list", false, |json| json["keyslots"] = json!([])),
        ("area in the header", false, |json| {
            json["keyslots"]["0"]["area"]["offset"] = "4096".into()
        }),
        ("area at 0", false, |json| {
            json["keyslots"]["0"]["area"]["offset"] = "0".into()
        }),
        ("area empty", false, |json| {
            json["keyslots"]["0"]["area"]["size"] = "0".into()
        }),
        ("area over the end", false, |json| {
            json["keyslots"]["0"]["area"]["size"] = "1048577".into()
        }),
        ("area overflows", false, |json| {
            json["keyslots"]["0"]["area"]["size"] = u64::MAX.to_string().into()
        }),
        ("area beyond 64 bits", false, |json| {
            json["keyslots"]["0"]["area"]["size"] = "18446744073709551616".into();
        }),
        ("area offset a number", false, |json| {
            json["keyslots"]["0"]["area"]["offset"] = 32768.into()
        }),
        ("area offset signed", false, |json| {
            json["keyslots"]["0"]["area"]["offset"] = "+32768".into()
        }),
        ("areas overlap", false, |json| {
            let mut second = json["keyslots"]["0"].clone();
            second["area"]["offset"] = "36864".into();
            json["keyslots"]["1"] = second;
            json["digests"]["0"]["keyslots"] = json!(["0", "1"]);
        }),
        ("areas touch", true, |json| {
            let mut second = json["keyslots"]["0"].clone();
            second["area"]["offset"] = (32768 + 258_048).to_string().into();
            json["keyslots"]["1"] = second;
            json["digests"]["0"]["keyslots"] = json!(["0", "1"]);
        }),
        ("keyslot by name", false, |json| {
            json["keyslots"]["x"] = json["keyslots"]["0"].clone()
        }),
        ("keyslot without digest", false, |json| {
            json["digests"]["0"]["keyslots"] = json!([])
        }),
        ("keyslot in no object", false, |json| {
            json["digests"]["0"]["keyslots"] = json!(["0", "5"])
        }),
        ("token for no keyslot", false, |json| {
            json["tokens"]["0"] = json!({ "type": "x", "keyslots": ["7"] });
        }),
        ("token for keyslot 00", false, |json| {
            json["tokens"]["0"] = json!({ "type": "x", "keyslots": ["00"] });
        }),
        ("token without type", false, |json| {
            json["tokens"]["0"] = json!({ "keyslots": [] })
        }),
        ("segment in no digest", false, |json| {
            json["digests"]["0"]["segments"] = json!([])
        }),
        ("segment in no object", false, |json| {
            json["digests"]["0"]["segments"] = json!(["0", "1"])
        }),
        ("segment 1 only", false, |json| {
            json["segments"] = json!({ "1": json["segments"]["0"].clone() });
            json["digests"]["0"]["segments"] = json!(["1"]);
        }),
        ("segment misaligned", false, |json| {
            json["segments"]["0"]["offset"] = "2097153".into()
        }),
        ("segment in the keyslots", false, |json| {
            json["segments"]["0"]["offset"] = "1048576".into()
        }),
        ("segment empty", false, |json| {
            json["segments"]["0"]["size"] = "0".into()
        }),
        ("segment cut", false, |json| {
            json["segments"]["0"]["size"] = "4608".into();
            json["segments"]["0"]["sector_size"] = 4096.into();
        }),
        ("sector of 0", false, |json| {
            json["segments"]["0"]["sector_size"] = 0.into()
        }),
        ("sector of 513", false, |json| {
            json["segments"]["0"]["sector_size"] = 513.into()
        }),
        ("sector a string", false, |json| {
            json["segments"]["0"]["sector_size"] = "512".into()
        }),
        ("iv_tweak a number", false, |json| {
            json["segments"]["0"]["iv_tweak"] = 0.into()
        }),
        ("json_size", false, |json| {
            json["config"]["json_size"] = "12287".into()
        }),
        ("keyslots_size odd", false, |json| {
            json["config"]["keyslots_size"] = "1048577".into()
        }),
        ("keyslots_size huge", false, |json| {
            json["config"]["keyslots_size"] = (1_u64 << 40).to_string().into()
        }),
        ("keyslots_size into the data", false, |json| {
            json["config"]["keyslots_size"] = "2097152".into()
        }),
        ("flags no list", false, |json| {
            json["config"]["flags"] = "allow-discards".into()
        }),
        ("flags of numbers", false, |json| {
            json["config"]["flags"] = json!([1])
        }),
        ("requirements no object", false, |json| {
            json["config"]["requirements"] = json!(["x"])
        }),
        ("key_size negative", false, |json| {
            json["keyslots"]["0"]["key_size"] = (-1).into()
        }),
        ("key_size beyond 32 bits", false, |json| {
            json["keyslots"]["0"]["key_size"] = (1_u64 << 40).into()
        }),
        ("key_size a fraction", false, |json| {
            json["keyslots"]["0"]["key_size"] = 64.5.into()
        }),
        ("key_size another", false, |json| {
            json["keyslots"]["0"]["key_size"] = 32.into()
        }),
        ("kdf with more", true, |json| {
            json["keyslots"]["0"]["kdf"]["more"] = 1.into()
        }),
        ("kdf missing", false, |json| {
            drop(json["keyslots"]["0"].as_object_mut().unwrap().remove("kdf"))
        }),
        ("af of another type", false, |json| {
            json["keyslots"]["0"]["af"]["type"] = "luks9".into()
        }),
        ("area of another type", false, |json| {
            json["keyslots"]["0"]["area"]["type"] = "none".into()
        }),
        ("iterations 0", false, |json| {
            json["keyslots"]["0"]["kdf"]["iterations"] = 0.into()
        }),
        ("unused keyslot of an unknown type", true, |json| {
            let area = json!({ "type": "raw", "offset": "1048576", "size": "4096" });
            json["keyslots"]["7"] = json!({ "type": "of-tomorrow", "key_size": 1, "area": area });
        }),
        ("reencrypt keyslot alone", false, |json| {
            let area = json!({ "type": "none", "offset": "1048576", "size": "4096" });
            json["keyslots"]["7"] = json!({
                "type": "reencrypt", "key_size": 1, "area": area, "mode": "reencrypt", "direction": "forward",
            });
        }),
        ("priority 2", true, |json| {
            json["keyslots"]["0"]["priority"] = 2.into()
        }),
        ("priority 3", false, |json| {
            json["keyslots"]["0"]["priority"] = 3.into()
        }),
    ];
    for (name, opens, change) in changes {
        let bytes = patch(&IMAGE, change);
        if *name == "priority 3" {
            // cryptsetup never tries it. Here it counts as one that is tried when there is no other.
            assert!(!Image::cryptsetup_opens(&bytes, PASSPHRASE));
            continue;
        }
        assert_eq!(agreed(name, &bytes).is_some(), *opens, "{name}");
    }
}

#[test]
fn hostile_text_is_judged_as_by_cryptsetup() {
    let text = metadata(&IMAGE).to_string();
    let inner = &text[1..];
    let nested = |depth: usize| format!("{{\"x\":{}{},{inner}", "[".repeat(depth), "]".repeat(depth));
    let area = secondary(&IMAGE) - 4096;
    let filled = format!("{{\"x\":\"{}\",{inner}", "y".repeat(area - text.len() - 7));
    assert_eq!(filled.len(), area);
    let cases: Vec<(&str, bool, Vec<u8>)> = vec![
        ("as it is", true, text.clone().into()),
        ("space before", false, format!(" {text}").into()),
        ("space behind", true, format!("{text} \n").into()),
        ("something behind", false, format!("{text}\0\0x").into()),
        ("cut", false, text[..text.len() - 1].into()),
        ("empty", false, Vec::new()),
        ("no object", false, b"[]".to_vec()),
        ("other object behind", false, format!("{text}{text}").into()),
        ("nested 20", true, nested(20).into()),
        ("nested 30", true, nested(30).into()),
        ("nested 31", true, nested(31).into()),
        ("nested 32", false, nested(32).into()),
        ("nested 100", false, nested(100).into()),
        ("nested 2000", false, nested(2000).into()),
        ("not terminated", false, filled.clone().into()),
        ("terminated by one", true, filled.replacen('y', "", 1).into()),
        (
            "twice, the last good",
            true,
            format!("{{\"keyslots\":7,{inner}").into(),
        ),
        (
            "twice, the last bad",
            false,
            format!("{},\"keyslots\":7}}", &text[..text.len() - 1]).into(),
        ),
        (
            "a number too large",
            false,
            text.replace("\"key_size\":64", &format!("\"key_size\":{}", "9".repeat(400)))
                .into(),
        ),
    ];
    for (name, opens, text) in cases {
        let mut bytes = IMAGE.clone();
        set_area(&mut bytes, &text);
        assert_eq!(agreed(name, &bytes).is_some(), opens, "{name}");
    }
}

#[test]
fn more_values_than_anybody_writes_are_refused() {
    let image = Image::format(&[PBKDF2, &["--luks2-metadata-size=512k"]].concat()).bytes();
    let text = metadata(&image).to_string();
    let mut bytes = image.clone();
    set_area(
        &mut bytes,
        format!("{{\"x\":[{}0],{}", "0,".repeat(70_000), &text[1..]).as_bytes(),
    );
    assert!(matches!(
        Header::read(&bytes),
        Err(HeaderError::Damaged {
            primary: CopyError::Json(JsonError::TooLarge),
            ..
        })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
        let _ = Header::read(&bytes);
        let _ = probe::probe(&bytes);
    }

    #[test]
    fn mutated_headers_never_panic(
        changes in prop::collection::vec((0..0x8000_usize, any::<u8>()), 1..6),
        seal: bool,
        len in prop::option::of(0..IMAGE.len()),
    ) {
        let mut bytes = IMAGE.clone();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let second = secondary(&IMAGE);
        if seal {
            for at in [0, second] {
                bytes[at + 8..at + 16].copy_from_slice(&(second as u64).to_be_bytes());
                reseal(&mut bytes, at);
            }
        }
        bytes.truncate(len.unwrap_or(usize::MAX));
        if let Ok((header, _)) = Header::read(&bytes) {
            let _ = header.keyslots();
            let _ = header.segment_sectors(bytes.len() as u64);
            let _ = header.check_keyslots(&bytes);
        }
        let _ = probe::probe(&bytes);
    }

    #[test]
    fn mutated_luks1_headers_never_panic(
        changes in prop::collection::vec((0..592_usize, any::<u8>()), 1..6),
        len in prop::option::of(0..LUKS1.len()),
    ) {
        let mut bytes = LUKS1.clone();
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(len.unwrap_or(usize::MAX));
        if let Ok((header, _)) = Header::read(&bytes) {
            let _ = header.keyslots();
            let _ = header.segment_sectors(bytes.len() as u64);
            let _ = header.check_keyslots(&bytes);
        }
    }

    #[test]
    fn mutated_metadata_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(
            &[b'"', b'{', b'}', b'[', b']', b',', b':', b'0', b'9', b'-', b'x', b'\\', 0xff])), 1..4),
    ) {
        let mut text = metadata(&IMAGE).to_string().into_bytes();
        for (index, byte) in changes {
            let at = index.index(text.len());
            text[at] = byte;
        }
        let mut bytes = IMAGE.clone();
        set_area(&mut bytes, &text);
        if let Ok((header, _)) = Header::read(&bytes) {
            let _ = header.segment_sectors(bytes.len() as u64);
            // The costs may have become huge: only what needs no derivation.
            let _ = header.check_keyslots(&bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn mutated_key_material_opens_nothing(changes in prop::collection::vec((0..256_000_usize, 1..=u8::MAX), 1..4)) {
        let mut bytes = IMAGE.clone();
        for (at, mask) in changes {
            bytes[0x8000 + at] ^= mask;
        }
        if bytes != *IMAGE {
            let (header, warnings) = Header::read(&bytes).unwrap();
            prop_assert!(warnings.is_empty());
            prop_assert!(header.unlock(&bytes, PASSPHRASE).unwrap_err().is_wrong_passphrase());
        }
    }
}
