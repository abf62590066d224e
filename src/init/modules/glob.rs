//! Patterns of module aliases: those of fnmatch(3) without flags, on bytes.

/// Whether `pattern` matches all of `text`. `*` stands for any bytes, `?` for one, `[a-c_]` for one of a set, `[!a-c]`
/// for one outside it; `\` takes the next byte as it is. A `[` that is never closed stands for itself.
///
/// At most `pattern.len() * text.len()` steps: when a byte doesn't fit, only the last `*` takes one more. Going back
/// to an earlier one can't find anything that the last one doesn't.
pub fn glob_match(pattern: &[u8], text: &[u8]) -> bool {
    let mut pattern = pattern;
    let mut text = text;
    // What follows the last `*`, and where the text that it hasn't taken yet starts.
    let mut last_star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', rest)) = pattern.split_first() {
            last_star = Some((rest, text));
            pattern = rest;
            continue;
        }
        match text.split_first() {
            None => return pattern.is_empty(),
            Some((&byte, rest_of_text)) => {
                if let Some(rest) = match_one(pattern, byte) {
                    pattern = rest;
                    text = rest_of_text;
                    continue;
                }
            }
        }
        let Some((after_star, start)) = last_star else {
            return false;
        };
        let Some((_, start)) = start.split_first() else {
            return false;
        };
        last_star = Some((after_star, start));
        pattern = after_star;
        text = start;
    }
}

/// Matches one byte with the first element of `pattern`, which isn't a `*`. Returns the rest of the pattern.
fn match_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (&first, rest) = pattern.split_first()?;
    match first {
        b'?' => Some(rest),
        b'\\' => rest
            .split_first()
            .filter(|(escaped, _)| **escaped == byte)
            .map(|(_, rest)| rest),
        b'[' => match bracket(rest, byte) {
            Some((true, rest)) => Some(rest),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(rest),
        },
        _ => (first == byte).then_some(rest),
    }
}

/// Reads a set behind its `[`: whether it holds `byte`, and what follows its `]`. `None` when it is never closed.
fn bracket(set: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match set.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    let mut first = true;
    loop {
        // A `]` in the first place is a member.
        if let (false, Some((b']', after))) = (first, rest.split_first()) {
            return Some((found != negated, after));
        }
        first = false;
        let (low, after) = member(rest)?;
        rest = after;
        match rest {
            [b'-', next, ..] if *next != b']' => {
                let (high, after) = member(rest.get(1..)?)?;
                rest = after;
                found |= (low..=high).contains(&byte);
            }
            _ => found |= low == byte,
        }
    }
}

fn member(set: &[u8]) -> Option<(u8, &[u8])> {
    match set.split_first()? {
        (b'\\', rest) => rest.split_first().map(|(&byte, rest)| (byte, rest)),
        (&byte, rest) => Some((byte, rest)),
    }
}

/// The bytes that `pattern` takes as they are before its first special one.
pub(super) fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern
        .iter()
        .position(|byte| b"*?[\\".contains(byte))
        .unwrap_or(pattern.len());
    pattern.get(..end).unwrap_or_default()
}

/// Writes `_` for `-` outside sets, as kmod does on both sides of a comparison.
pub(super) fn underscored_pattern(pattern: &str) -> String {
    let mut in_set = false;
    let underscored = |character| {
        match character {
            '[' => in_set = true,
            ']' => in_set = false,
            '-' if !in_set => return '_',
            _ => {}
        }
        character
    };
    pattern.chars().map(underscored).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::CString;

    use proptest::prelude::*;

    use super::*;
    use crate::sys::module::fnmatch;

    #[test]
    fn patterns_of_aliases() {
        let cases = [
            (
                "pci:v*d*sv*sd*bc01sc08i02*",
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
                true,
            ),
            (
                "pci:v*d*sv*sd*bc01sc08i02*",
                "pci:v00001B36d00000010sv00001AF4sd00001100bc02sc00i00",
                false,
            ),
            (
                "usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*",
                "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
                true,
            ),
            ("acpi*:PNP0303:*", "acpi:PNP0303:", true),
            (
                "cpu:type:x86,ven*fam*mod*:feature:*0099*",
                "cpu:type:x86,ven0000fam0006mod003A:feature:,0099,",
                true,
            ),
            ("usb:v04E8p[0-9A-F]*", "usb:v04E8pB", true),
            ("[!a-c]x", "dx", true),
            ("[!a-c]x", "bx", false),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("[a", "[a", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a\\", "a\\", false),
            ("", "", true),
            ("*", "", true),
            ("**a", "bca", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                glob_match(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} on {text}"
            );
        }
    }

    #[test]
    fn many_stars_end_soon() {
        let pattern = "*a".repeat(2000) + "b";
        assert!(!glob_match(pattern.as_bytes(), "a".repeat(4000).as_bytes()));
    }

    #[test]
    fn hyphens_of_ranges_stay() {
        assert_eq!(underscored_pattern("fs-x[0-9]-y"), "fs_x[0-9]_y");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn agrees_with_the_c_library(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("*"), Just("?"), Just("a"), Just("b"), Just("-"), Just("]"), Just("!"), Just("\\a"),
                    Just("\\*"), Just("\\\\"), Just("[a]"), Just("[!a]"), Just("[^ab]"), Just("[a-c]"), Just("[]a]"),
                    Just("[!]a]"), Just("[a-]"), Just("[-a]"), Just("[\\]b]"), Just("[c-a]"), Just("[a\\-c]"),
                    Just("[a-b-c]"), Just("[*?]"),
                ], 0..10),
            text in "[abcd*?\\\\!^-]{0,10}|[ab]{0,12}|[\\[\\]a-]{0,6}",
        ) {
            let pattern = parts.concat();
            let expected = fnmatch(&CString::new(pattern.as_str()).unwrap(), &CString::new(text.as_str()).unwrap());
            prop_assert_eq!(glob_match(pattern.as_bytes(), text.as_bytes()), expected, "{} on {}", pattern, text);
        }

        #[test]
        fn anything_ends(pattern: Vec<u8>, text: Vec<u8>) {
            let _ = glob_match(&pattern, &text);
        }
    }
}
