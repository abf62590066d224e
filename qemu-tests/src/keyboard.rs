//! The keys of a German keyboard, by the names that QEMU gives to their places (QEMU, qapi/ui.json, QKeyCode: those of an
//! American keyboard).

use anyhow::{Context, Result};

/// Keys that are held together.
pub(crate) type Chord = &'static [&'static str];

/// Characters, and what is pressed for them one after the other.
const GERMAN: &[(char, &[Chord])] = &[
    ('a', &[&["a"]]),
    ('e', &[&["e"]]),
    ('p', &[&["p"]]),
    ('r', &[&["r"]]),
    ('s', &[&["s"]]),
    ('y', &[&["z"]]),
    ('z', &[&["y"]]),
    ('-', &[&["slash"]]),
    ('_', &[&["shift", "slash"]]),
    ('?', &[&["shift", "minus"]]),
    ('ß', &[&["minus"]]),
    ('@', &[&["alt_r", "q"]]),
    ('Ä', &[&["shift", "apostrophe"]]),
    ('Ö', &[&["shift", "semicolon"]]),
    ('ü', &[&["bracket_left"]]),
    // The circumflex is a dead key.
    ('ê', &[&["grave_accent"], &["e"]]),
];

/// What is pressed for a text.
pub(crate) fn keys(text: &str) -> Result<Vec<Chord>> {
    let mut chords = Vec::new();
    for character in text.chars() {
        let (_, pressed) = GERMAN
            .iter()
            .find(|(known, _)| *known == character)
            .with_context(|| format!("no key is known for {character:?}"))?;
        chords.extend_from_slice(pressed);
    }
    Ok(chords)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_is_a_row_of_chords() {
        let chords = keys("zÄê").unwrap();
        let expected: [Chord; 4] = [&["y"], &["shift", "apostrophe"], &["grave_accent"], &["e"]];
        assert_eq!(chords, expected);
        assert!(keys("☃").is_err());
    }
}
