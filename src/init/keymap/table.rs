//! Keymaps of the console, as an initrd image carries them: compiled when the image is built.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::sys::vt::{COMPOSE_MAX, Compose, STRING_MAX};

const MAGIC: &str = "keel-keymap";
const FORMAT: &str = "1";
/// Keys of a map (`NR_KEYS`).
pub(super) const KEYS: usize = 256;
/// Maps of a keymap (`MAX_NR_KEYMAPS`): one for each combination of modifiers.
const MAPS: usize = 256;
/// `K(KT_SPEC, 0)`: a key that gives nothing, as each does in a map that comes into being.
pub(super) const HOLE: u16 = 0x0200;
/// `KT_FN`: the type of the keys that type a string. What counts is the string's number.
const STRINGS: usize = 256;
/// Longest name.
const NAME_MAX: usize = 64;

/// A keymap. As text, one thing on each line:
///
/// ```text
/// keel-keymap 1 de
/// map 0 0200 001b 0031 0032
/// string 5 1b5b31377e
/// compose 60 41 c0
/// end
/// ```
///
/// `map` has the number of its modifiers (1 Shift, 2 AltGr, 4 Ctrl, 8 Alt, …), then what each key gives, from key 0 on, in
/// hexadecimal digits as KDSKBENT takes it; keys that aren't there give nothing. `string` has the number of a function and
/// the bytes that it types; `compose` an accent, a letter, and what they make. Several keymaps follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keymap {
    /// What `rd.vconsole.keymap=` calls it.
    pub name: String,
    /// What keys give, by number of the map. At most [`KEYS`] each.
    pub maps: BTreeMap<u8, Vec<u16>>,
    /// What function keys type, by their number.
    pub strings: BTreeMap<u8, Vec<u8>>,
    /// Dead keys and Compose. When it's empty, the kernel's own table stays.
    pub compose: Vec<Compose>,
}

/// Damaged keymaps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct KeymapError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: KeymapProblem,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeymapProblem {
    /// Not text.
    #[error("it isn't UTF-8 text")]
    Encoding,
    /// The first line of a keymap.
    #[error("it isn't `{MAGIC} {FORMAT} NAME`; this keel-init reads no other format")]
    Header,
    /// No `end`.
    #[error("the keymap ends without `end`: it was cut off")]
    Truncated,
    /// An unknown first word.
    #[error("it's no known kind of line")]
    Keyword,
    /// Not a number, or one that is too large.
    #[error("a number is missing, or can't be")]
    Number,
    /// More than the kernel takes.
    #[error("it has more keys, bytes or combinations than the kernel takes")]
    TooLong,
    /// A name or a number that was there before.
    #[error("it's there twice")]
    Twice,
}

/// Whether a keymap can be called so: `de-latin1`, `us,ru`. No blanks, which end a kernel parameter.
pub fn is_keymap_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,+".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

impl Keymap {
    /// The text form.
    pub fn to_text(&self) -> String {
        let mut text = format!("{MAGIC} {FORMAT} {}\n", self.name);
        // Writing to a string can't fail.
        for (number, keys) in &self.maps {
            let _ = write!(text, "map {number}");
            for key in keys {
                let _ = write!(text, " {key:04x}");
            }
            text.push('\n');
        }
        for (number, bytes) in &self.strings {
            let _ = write!(text, "string {number} ");
            for byte in bytes {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        for Compose { accent, base, result } in &self.compose {
            let _ = writeln!(text, "compose {accent:x} {base:x} {result:x}");
        }
        text.push_str("end\n");
        text
    }

    /// Reads keymaps that follow each other. What it allocates is in proportion to `bytes`.
    ///
    /// # Errors
    /// The first line that can't be understood.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Keymap>, KeymapError> {
        let fails = |line: usize, problem| KeymapError {
            line: line + 1,
            problem,
        };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count() - 1;
            fails(line, KeymapProblem::Encoding)
        })?;
        let mut names = BTreeSet::new();
        let mut keymaps = Vec::new();
        let mut open: Option<Keymap> = None;
        for (number, line) in text.lines().enumerate() {
            match &mut open {
                None => {
                    let keymap = header(line).map_err(|problem| fails(number, problem))?;
                    if !names.insert(keymap.name.clone()) {
                        return Err(fails(number, KeymapProblem::Twice));
                    }
                    open = Some(keymap);
                }
                Some(_) if line == "end" => keymaps.extend(open.take()),
                Some(keymap) => keymap.line(line).map_err(|problem| fails(number, problem))?,
            }
        }
        match open {
            Some(_) => Err(fails(text.lines().count(), KeymapProblem::Truncated)),
            None => Ok(keymaps),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), KeymapProblem> {
        let mut words = line.split(' ');
        match words.next() {
            Some("map") => {
                let number = small(words.next(), MAPS)?;
                let keys: Vec<u16> = words
                    .map(|word| hex(Some(word)).and_then(narrow))
                    .collect::<Result<_, _>>()?;
                if keys.len() > KEYS {
                    return Err(KeymapProblem::TooLong);
                }
                once(self.maps.insert(number, keys))
            }
            Some("string") => {
                let number = small(words.next(), STRINGS)?;
                let bytes = bytes(words.next().ok_or(KeymapProblem::Number)?)?;
                if bytes.len() > STRING_MAX {
                    return Err(KeymapProblem::TooLong);
                }
                if bytes.contains(&0) || words.next().is_some() {
                    return Err(KeymapProblem::Number);
                }
                once(self.strings.insert(number, bytes))
            }
            Some("compose") => {
                let [accent, base, result] = [(); 3].map(|()| hex(words.next()));
                self.compose.push(Compose {
                    accent: accent?,
                    base: base?,
                    result: result?,
                });
                if words.next().is_some() {
                    return Err(KeymapProblem::Number);
                }
                if self.compose.len() > COMPOSE_MAX {
                    return Err(KeymapProblem::TooLong);
                }
                Ok(())
            }
            _ => Err(KeymapProblem::Keyword),
        }
    }
}

fn header(line: &str) -> Result<Keymap, KeymapProblem> {
    let name = line
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.strip_prefix(' ')?.strip_prefix(FORMAT)?.strip_prefix(' '))
        .filter(|name| is_keymap_name(name))
        .ok_or(KeymapProblem::Header)?;
    Ok(Keymap {
        name: name.to_owned(),
        ..Keymap::default()
    })
}

fn once<T>(earlier: Option<T>) -> Result<(), KeymapProblem> {
    earlier.map_or(Ok(()), |_| Err(KeymapProblem::Twice))
}

/// A decimal number below `limit`, which is at most 256.
fn small(word: Option<&str>, limit: usize) -> Result<u8, KeymapProblem> {
    word.and_then(|word| word.parse::<u8>().ok())
        .filter(|number| usize::from(*number) < limit)
        .ok_or(KeymapProblem::Number)
}

fn hex(word: Option<&str>) -> Result<u32, KeymapProblem> {
    word.filter(|word| word.len() <= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|word| u32::from_str_radix(word, 16).ok())
        .ok_or(KeymapProblem::Number)
}

fn narrow(number: u32) -> Result<u16, KeymapProblem> {
    u16::try_from(number).map_err(|_| KeymapProblem::Number)
}

fn bytes(text: &str) -> Result<Vec<u8>, KeymapProblem> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(KeymapProblem::Number);
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let number = hex(std::str::from_utf8(pair).ok())?;
            u8::try_from(number).map_err(|_| KeymapProblem::Number)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn keymap(name: &str) -> Keymap {
        Keymap {
            name: name.to_owned(),
            maps: [
                (0, vec![HOLE, 0x1b, 0x31]),
                (255, vec![0xd0ac; KEYS]),
                (3, vec![]),
            ]
            .into(),
            strings: [(5, b"\x1b[17~".to_vec()), (6, vec![])].into(),
            compose: vec![Compose {
                accent: 0x60,
                base: 0x41,
                result: 0xc0,
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let keymaps = vec![
            keymap("de"),
            keymap("us,ru"),
            Keymap {
                name: "x".into(),
                ..Keymap::default()
            },
        ];
        let text: String = keymaps.iter().map(Keymap::to_text).collect();
        assert_eq!(Keymap::parse_all(text.as_bytes()).unwrap(), keymaps);
        assert_eq!(Keymap::parse_all(b"").unwrap(), []);
    }

    #[test]
    fn a_keymap_that_is_cut_off_is_refused() {
        let text = keymap("de").to_text();
        for length in 1..text.len() - 1 {
            let result = Keymap::parse_all(text.get(..length).unwrap().as_bytes());
            assert!(result.is_err(), "{length}");
        }
    }

    #[test]
    fn faults_are_named_with_their_line() {
        use KeymapProblem::*;
        let long_map = format!("map 0{}", " 0000".repeat(257));
        let long_string = format!("string 0 {}", "61".repeat(512));
        for (line, problem) in [
            ("map 256 0000", Number),
            ("map -1", Number),
            ("map", Number),
            ("map 0 10000", Number),
            ("map 0 +1", Number),
            ("map 0  1", Number),
            ("string 0 6", Number),
            ("string 0 ää", Number),
            ("string 0 00", Number),
            ("string 0", Number),
            ("string 0 61 61", Number),
            ("compose 1 2", Number),
            ("compose 1 2 3 4", Number),
            ("compose 1 2 100000000", Number),
            ("keel-keymap 1 x", Keyword),
            ("", Keyword),
            (&long_map, TooLong),
            (&long_string, TooLong),
        ] {
            let text = format!("keel-keymap 1 de\nmap 7 0000\n{line}\nend\n");
            let error = Keymap::parse_all(text.as_bytes()).unwrap_err();
            assert_eq!((error.line, error.problem), (3, problem), "{line}");
        }
        let whole = |text: &str| Keymap::parse_all(text.as_bytes()).unwrap_err();
        assert_eq!(whole("keel-keymap 1 a\nmap 0\nmap 0\nend\n").problem, Twice);
        assert_eq!(whole("keel-keymap 1 a\nend\nkeel-keymap 1 a\nend\n").line, 3);
        for header in [
            "keel-keymap 2 a",
            "keel-keymap 1 ",
            "keel-keymap 1 a b",
            "keel-keymap 1 ä",
            "end",
        ] {
            assert_eq!(whole(header).problem, Header, "{header}");
        }
        let many = format!("keel-keymap 1 a\n{}end\n", "compose 1 2 3\n".repeat(257));
        assert_eq!(whole(&many).problem, TooLong);
        assert_eq!(Keymap::parse_all(b"a\n\xff").unwrap_err().line, 2);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(keel-keymap 1 a\n|map 0|string 1|compose| [0-9a-f]{1,5}|\n|end\n|\\PC){0,60}") {
            if let Ok(keymaps) = Keymap::parse_all(text.as_bytes()) {
                let again: String = keymaps.iter().map(Keymap::to_text).collect();
                prop_assert_eq!(Keymap::parse_all(again.as_bytes()).unwrap(), keymaps);
            }
        }
    }
}
