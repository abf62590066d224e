//! With the real loadkeys and ckbcomp.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

const NOWHERE: Places<'static> = Places { usr: &[] };

/// What `key` gives with the modifiers of `map`: a character, when it is one.
fn character(keymap: &Keymap, map: u8, key: usize) -> Option<char> {
    let value = keymap.maps.get(&map)?.get(key).copied()?;
    match value >> 8 {
        // KT_LATIN and KT_LETTER hold Latin-1.
        0 | 0x0b => char::from_u32(u32::from(value & 0xff)),
        // Above the types of the kernel: a code point.
        0x10.. => char::from_u32(u32::from(value ^ 0xf000)),
        _ => None,
    }
}

#[test]
fn the_german_layout_of_xkb() {
    let keymap = compile(&Layout::parse("de"), NOWHERE).unwrap();
    assert_eq!(keymap.name, "de");
    // Keycodes of Linux, include/uapi/linux/input-event-codes.h.
    for (map, key, expected) in [
        (0, 21, 'z'),
        (0, 44, 'y'),
        (1, 44, 'Y'),
        (0, 26, 'ü'),
        (1, 26, 'Ü'),
        (0, 39, 'ö'),
        (0, 40, 'ä'),
        (0, 12, 'ß'),
        (1, 12, '?'),
        (0, 53, '-'),
        (1, 53, '_'),
        (2, 16, '@'),
        (2, 18, '€'),
        (2, 12, '\\'),
    ] {
        assert_eq!(
            character(&keymap, map, key),
            Some(expected),
            "key {key} of map {map}"
        );
    }
    // Dead circumflex: K(KT_DEAD, 2), which the kernel's own table of combinations serves.
    assert_eq!(keymap.maps[&0][41], 0x0402);
    assert!(Keymap::parse_all(keymap.to_text().as_bytes()).unwrap() == [keymap]);
}

#[test]
fn a_variant_and_the_settings_of_a_system() {
    let plain = compile(&Layout::parse("de-nodeadkeys"), NOWHERE).unwrap();
    assert_eq!(character(&plain, 0, 41), Some('^'));
    let bs = Layout::Xkb {
        model: "pc105".into(),
        layout: "us".into(),
        variant: "dvorak".into(),
        options: "ctrl:nocaps".into(),
        backspace_is_bs: true,
    };
    let dvorak = compile(&bs, NOWHERE).unwrap();
    assert_eq!(dvorak.name, "us-dvorak");
    assert_eq!(character(&dvorak, 0, 31), Some('o'));
    assert_eq!(character(&dvorak, 0, 14), Some('\u{8}'));
    // K(KT_SHIFT, KG_CTRL) or its left one on Caps Lock.
    assert_eq!(dvorak.maps[&0][58] >> 8, 0x07);
}

#[test]
fn a_console_keymap_is_found_with_its_strings_and_combinations() {
    let usr = tempfile::tempdir().unwrap();
    let directory = usr.path().join("share/keymaps/i386/qwertz");
    fs::create_dir_all(&directory).unwrap();
    fs::create_dir_all(usr.path().join("share/keymaps/amiga")).unwrap();
    fs::write(
        usr.path().join("share/keymaps/amiga/mine.map"),
        "keycode 1 = two\n",
    )
    .unwrap();
    fs::write(
        directory.join("mine.map"),
        "keymaps 0-1\nkeycode 1 = one\nkeycode 21 = z Z\nkeycode 59 = F1\nstring F1 = \"a'\\\\é\"\n\
         compose '^' 'e' to U+00EA\ncompose '\\'' 'a' to U+0105\n",
    )
    .unwrap();
    let usrs = [usr.path()];
    let keymap = compile(&Layout::parse("mine"), Places { usr: &usrs }).unwrap();
    assert_eq!(character(&keymap, 0, 1), Some('1'));
    assert_eq!(character(&keymap, 1, 21), Some('Z'));
    assert_eq!(keymap.strings[&0], "a'\\é".as_bytes());
    let made: Vec<u32> = keymap.compose.iter().map(|one| one.result).collect();
    assert_eq!(made, [0xea, 0x105]);
    let path = directory.join("mine.map").display().to_string();
    assert_eq!(compile(&Layout::parse(&path), NOWHERE).unwrap(), keymap);
}

#[test]
fn what_is_not_there_is_told() {
    for (word, said) in [
        ("nosuchlayout", "there is no keymap nosuchlayout"),
        ("de-nosuchvariant", "there is no keymap de-nosuchvariant"),
        ("/x/a b.map", "can't name a keymap"),
        ("a b", "can't name a keymap"),
        ("", "can't name a keymap"),
        ("-help", "there is no keymap -help"),
        ("/nonexistent/x.kmap", "/nonexistent/x.kmap can't be read"),
    ] {
        let error = compile(&Layout::parse(word), NOWHERE).unwrap_err().to_string();
        assert!(error.contains(said), "{word}: {error}");
    }
    let file = tempfile::Builder::new().suffix(".kmap").tempfile().unwrap();
    fs::write(file.path(), "keycode 1 = nosuchsymbol\n").unwrap();
    let path = file.path().display().to_string();
    // The temporary file's name has no odd characters.
    let error = compile(&Layout::parse(&path), NOWHERE).unwrap_err().to_string();
    assert!(error.starts_with("loadkeys can't compile the keymap"), "{error}");
}
