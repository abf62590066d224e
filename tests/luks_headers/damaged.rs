//! More than two hundred damaged headers: keel opens and refuses what cryptsetup opens and refuses.

use std::sync::{LazyLock, Mutex};

use keel::block::luks::{Header, HeaderError, Luks1Error};

use crate::fixture::{Image, PASSPHRASE, PBKDF2, reseal, secondary};
use crate::for_all;

static LUKS1: LazyLock<Vec<u8>> = LazyLock::new(|| luks1().bytes());
static LUKS2: LazyLock<Vec<u8>> = LazyLock::new(|| Image::format(PBKDF2).bytes());

fn luks1() -> Image {
    Image::try_format("luks1", &["--key-size=256", "--pbkdf-force-iterations=1000"]).unwrap()
}

/// Where keel is stricter than cryptsetup on purpose: damage by name, and the reason.
const STRICTER: &[(&str, &str)] = &[
    (
        "luks1 uuid not one",
        "the UUID becomes part of device-mapper's names; cryptsetup writes and wants a valid one when it formats",
    ),
    (
        "luks1 uuid empty",
        "the same: it is what rd.luks.uuid= and crypttab name the volume by",
    ),
    ("luks2 both uuid sealed", "the same"),
];

struct Damage {
    name: String,
    kind: &'static str,
    bytes: Vec<u8>,
}

/// Writes `content` at `at` of a copy.
fn with(bytes: &[u8], at: usize, content: &[u8]) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    damaged[at..at + content.len()].copy_from_slice(content);
    damaged
}

fn luks1_damages() -> Vec<Damage> {
    let mut damages = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| {
        damages.push(Damage {
            name: format!("luks1 {name}"),
            kind: "luks1",
            bytes,
        });
    };
    let mut at = |name: &str, at: usize, content: &[u8]| add(name, with(&LUKS1, at, content));
    at("unchanged", 0, b"L");
    at("magic first", 0, b"l");
    at("magic last", 5, &[0]);
    for version in [0_u8, 2, 3, 255] {
        at(&format!("version {version}"), 7, &[version]);
    }
    at("version high", 6, &[1]);
    at("cipher other", 8, b"bes");
    at("cipher empty", 8, &[0; 32]);
    at("cipher not ended", 8, &[b'a'; 32]);
    at("cipher behind the end", 8 + 20, b"x");
    at("cipher serpent-like", 8, b"zerpent\0");
    at("mode empty", 40, &[0; 32]);
    at("mode other", 40, b"xts-plain65\0");
    at("mode plain", 40, b"xts-plain\0");
    at("mode cbc", 40, b"cbc-plain64\0");
    at("mode without iv", 40, b"xts\0");
    at("hash empty", 72, &[0; 32]);
    at("hash unknown", 72, b"sha257\0");
    at("hash other", 72, b"sha512\0");
    at("hash too short", 72, b"md5\0");
    at("hash upper case", 72, b"SHA256\0");
    at("hash not ended", 72, &[b's'; 32]);
    for payload in [
        0_u32,
        1,
        7,
        8,
        500,
        1000,
        2047,
        2056,
        4097,
        6144,
        1 << 20,
        u32::MAX,
    ] {
        at(&format!("payload {payload}"), 104, &payload.to_be_bytes());
    }
    for size in [0_u32, 1, 16, 31, 33, 48, 64, 512, 1 << 16, u32::MAX] {
        at(&format!("key size {size}"), 108, &size.to_be_bytes());
    }
    at("digest", 112, &[1, 2, 3]);
    at("digest end", 131, &[LUKS1[131] ^ 1]);
    at("digest salt", 132, &[LUKS1[132] ^ 1]);
    at("digest salt end", 163, &[LUKS1[163] ^ 1]);
    for iterations in [0_u32, 1, 999, 1001] {
        at(
            &format!("digest iterations {iterations}"),
            164,
            &iterations.to_be_bytes(),
        );
    }
    at("uuid other", 168, b"0");
    at("uuid not one", 168, b"x y");
    at("uuid empty", 168, &[0; 40]);
    for slot in [0_usize, 1, 7] {
        let base = 208 + 48 * slot;
        for active in [0_u32, 0xdead, 0x00ac_71f3, u32::MAX] {
            at(
                &format!("keyslot {slot} active {active:x}"),
                base,
                &active.to_be_bytes(),
            );
        }
        for iterations in [0_u32, 1, 1001] {
            at(
                &format!("keyslot {slot} iterations {iterations}"),
                base + 4,
                &iterations.to_be_bytes(),
            );
        }
        at(&format!("keyslot {slot} salt"), base + 8, &[LUKS1[base + 8] ^ 1]);
        for offset in [0_u32, 1, 2, 7, 9, 264, 2000, 4000, 1 << 23, u32::MAX] {
            at(
                &format!("keyslot {slot} offset {offset}"),
                base + 40,
                &offset.to_be_bytes(),
            );
        }
        for stripes in [0_u32, 3999, 4001, u32::MAX] {
            at(
                &format!("keyslot {slot} stripes {stripes}"),
                base + 44,
                &stripes.to_be_bytes(),
            );
        }
    }
    at("key material first", 4096, &[LUKS1[4096] ^ 1]);
    at("key material last", 4096 + 127_999, &[LUKS1[4096 + 127_999] ^ 1]);
    at("behind the key material", 4096 + 128_000, &[1]);
    at("between header and keyslots", 600, &[1; 100]);
    add("header of another", with(&LUKS1, 0, &luks1().bytes()[..592]));
    add(
        "key material of another",
        with(&LUKS1, 4096, &luks1().bytes()[4096..4096 + 128_000]),
    );
    for len in [
        0,
        6,
        8,
        511,
        512,
        591,
        592,
        1024,
        4096,
        4096 + 128_000,
        1_000_000,
        1 << 20,
        2 << 20,
        (2 << 20) + 512,
    ] {
        add(&format!("{len} bytes long"), LUKS1[..len].to_vec());
    }
    damages
}

/// Fields of the binary header: offset and length (LUKS2 on-disk format 1.1, section 2.1).
const FIELDS: &[(&str, usize, usize)] = &[
    ("magic", 0, 6),
    ("version", 6, 2),
    ("header size", 8, 8),
    ("sequence number", 16, 8),
    ("label", 24, 48),
    ("checksum algorithm", 72, 32),
    ("salt", 104, 64),
    ("uuid", 168, 40),
    ("subsystem", 208, 48),
    ("offset", 256, 8),
    ("padding", 264, 184),
    ("checksum", 448, 64),
    ("padding behind", 512, 3584),
    ("text", 4096, 400),
    ("unused text", 16000, 300),
];

fn luks2_damages() -> Vec<Damage> {
    let mut damages = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>| {
        damages.push(Damage {
            name: format!("luks2 {name}"),
            kind: "luks2",
            bytes,
        });
    };
    let second = secondary(&LUKS2);
    for (copies, offsets) in [
        ("primary", vec![0]),
        ("secondary", vec![second]),
        ("both", vec![0, second]),
    ] {
        for &(field, at, len) in FIELDS {
            for (how, byte) in [("first", at), ("last", at + len - 1)] {
                let mut bytes = LUKS2.clone();
                for offset in &offsets {
                    bytes[offset + byte] ^= 0x41;
                }
                add(format!("{copies} {field} {how}"), bytes);
            }
        }
        for field in ["uuid", "padding", "padding behind", "salt", "version", "offset"] {
            let &(_, at, _) = FIELDS.iter().find(|(name, _, _)| *name == field).unwrap();
            let mut bytes = LUKS2.clone();
            for &offset in &offsets {
                bytes[offset + at + 1] ^= 0x41;
                reseal(&mut bytes, offset);
            }
            add(format!("{copies} {field} sealed"), bytes);
        }
        let mut bytes = LUKS2.clone();
        for &offset in &offsets {
            bytes[offset..offset + second].fill(0);
        }
        add(format!("{copies} zeroed"), bytes);
    }
    let (first_copy, second_copy) = (&LUKS2[..second], &LUKS2[second..2 * second]);
    add(
        "swapped".to_owned(),
        with(&with(&LUKS2, 0, second_copy), second, first_copy),
    );
    add("twice the primary".to_owned(), with(&LUKS2, second, first_copy));
    add("twice the secondary".to_owned(), with(&LUKS2, 0, second_copy));
    let other = Image::format(PBKDF2).bytes();
    add("primary of another".to_owned(), with(&LUKS2, 0, &other[..second]));
    add(
        "secondary of another".to_owned(),
        with(&LUKS2, second, &other[second..2 * second]),
    );
    add(
        "both of another".to_owned(),
        with(&LUKS2, 0, &other[..2 * second]),
    );
    for (name, at) in [
        ("first", 0x8000),
        ("last", 0x8000 + 255_999),
        ("behind", 0x8000 + 256_000),
    ] {
        add(format!("key material {name}"), with(&LUKS2, at, &[LUKS2[at] ^ 1]));
    }
    for len in [
        0,
        512,
        4095,
        4096,
        second,
        second + 4096,
        2 * second,
        0x8000 + 256_000,
        1_081_344,
        1_081_343,
        2 << 20,
    ] {
        add(format!("{len} bytes long"), LUKS2[..len].to_vec());
    }
    damages
}

/// What keel and cryptsetup disagree about.
fn disagreement(damage: &Damage) -> Option<String> {
    let Damage { name, kind, bytes } = damage;
    let ours = Header::read(bytes);
    let opened = match &ours {
        Ok((header, _)) => header.unlock(bytes, PASSPHRASE).is_ok(),
        Err(_) => false,
    };
    let theirs = Image::cryptsetup_opens_as(kind, bytes, PASSPHRASE);
    let stricter = STRICTER.iter().any(|(known, _)| known == name);
    if opened != theirs {
        let text = format!("{name}: keel {opened}, cryptsetup {theirs}; {ours:?}");
        return (!stricter || opened).then_some(text);
    }
    if stricter {
        return Some(format!("{name} is judged alike and needs no exception: {ours:?}"));
    }
    let refused = match &ours {
        // What keel lacks is no fault of the header, and a cipher without a name is refused by cryptsetup only when it
        // gets a passphrase.
        Ok(_) | Err(HeaderError::Unsupported(_) | HeaderError::Luks1(Luks1Error::Cipher)) => false,
        Err(_) => true,
    };
    (refused && Image::cryptsetup_reads(bytes)).then(|| format!("{name}: cryptsetup reads it; {ours:?}"))
}

#[test]
fn damaged_headers_are_judged_as_by_cryptsetup() {
    let damages: Vec<Damage> = luks1_damages().into_iter().chain(luks2_damages()).collect();
    assert!(damages.len() >= 200, "{}", damages.len());
    let found = Mutex::new(Vec::new());
    for_all(&damages, |damage| {
        if let Some(text) = disagreement(damage) {
            found.lock().unwrap().push(text);
        }
    });
    let found = found.into_inner().unwrap();
    assert!(
        found.is_empty(),
        "{} of {}:\n{}",
        found.len(),
        damages.len(),
        found.join("\n")
    );
}
