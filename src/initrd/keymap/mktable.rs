//! What `loadkeys --mktable --unicode` writes: C source that the kernel is built with (Linux, drivers/tty/vt/defkeymap.c).

use std::collections::BTreeMap;

use crate::init::keymap::Keymap;
use crate::sys::vt::Compose;

/// In the kernel's tables every value is exclusive-or this (`U()` of Linux, drivers/tty/vt/keyboard.c); its ioctls take it
/// without.
const STORED: u16 = 0xf000;
/// Deeper nesting than loadkeys writes.
const DEPTH_MAX: usize = 4;

/// Source that isn't loadkeys' own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Something that C doesn't have, or a list without its end.
    #[error("its table can't be read at {0:?}")]
    Syntax(String),
    /// A list that has to be there.
    #[error("its table has no {0}")]
    Missing(&'static str),
    /// A number that is too large for its place.
    #[error("{0} of its table holds what can't be there")]
    Value(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Number(u32),
    Symbol(char),
}

/// An item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item<'a> {
    /// Words and numbers up to the comma.
    Plain(Vec<Token<'a>>),
    List(Vec<Item<'a>>),
}

impl Item<'_> {
    fn number(&self) -> Option<u32> {
        match self {
            Item::Plain(tokens) => match tokens.as_slice() {
                [Token::Number(number)] => Some(*number),
                _ => None,
            },
            Item::List(_) => None,
        }
    }
}

/// Reads the keymap in `source`.
pub(super) fn parse(name: &str, source: &str) -> Result<Keymap, TableError> {
    let lists = lists(&tokens(source)?)?;
    let list = |name: &'static str| lists.get(name).ok_or(TableError::Missing(name));
    let mut keymap = Keymap {
        name: name.to_owned(),
        ..Keymap::default()
    };
    for (number, item) in list("key_maps")?.iter().enumerate() {
        let Item::Plain(tokens) = item else { continue };
        if let [Token::Word(map)] = tokens.as_slice() {
            let wrong = || TableError::Value((*map).to_owned());
            let keys = lists.get(map).ok_or_else(wrong)?;
            let keys: Option<Vec<u16>> = keys
                .iter()
                .map(|key| Some(u16::try_from(key.number()?).ok()? ^ STORED))
                .collect();
            let _none = keymap.maps.insert(
                u8::try_from(number).map_err(|_| wrong())?,
                keys.ok_or_else(wrong)?,
            );
        }
    }
    keymap.strings = strings(list("func_buf")?, list("func_table")?)?;
    let wrong = || TableError::Value("accent_table".to_owned());
    keymap.compose = list("accent_table")?
        .iter()
        .map(|item| combination(item).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    if keymap.maps.contains_key(&0) {
        Ok(keymap)
    } else {
        Err(TableError::Missing("map of keys without modifiers"))
    }
}

fn combination(item: &Item<'_>) -> Option<Compose> {
    let Item::List(items) = item else { return None };
    match items.as_slice() {
        [accent, base, result] => Some(Compose {
            accent: accent.number()?,
            base: base.number()?,
            result: result.number()?,
        }),
        _ => None,
    }
}

/// `func_table` has `func_buf + OFFSET` for each function that types something, and `func_buf` the texts, each ended by a
/// NUL.
fn strings(buffer: &[Item<'_>], table: &[Item<'_>]) -> Result<BTreeMap<u8, Vec<u8>>, TableError> {
    let wrong = |name: &str| TableError::Value(name.to_owned());
    let bytes: Option<Vec<u8>> = buffer
        .iter()
        .map(|item| u8::try_from(item.number()?).ok())
        .collect();
    let bytes = bytes.ok_or_else(|| wrong("func_buf"))?;
    let mut strings = BTreeMap::new();
    for (number, item) in table.iter().enumerate() {
        let Item::Plain(tokens) = item else {
            return Err(wrong("func_table"));
        };
        let [Token::Word(_), Token::Symbol('+'), Token::Number(offset)] = tokens.as_slice() else {
            continue;
        };
        let text = usize::try_from(*offset)
            .ok()
            .and_then(|offset| bytes.get(offset..))
            .ok_or_else(|| wrong("func_table"))?;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let number = u8::try_from(number).map_err(|_| wrong("func_table"))?;
        let _none = strings.insert(number, text.to_vec());
    }
    Ok(strings)
}

/// Every `NAME[…] = { … }`, by its name.
fn lists<'a>(tokens: &[Token<'a>]) -> Result<BTreeMap<&'a str, Vec<Item<'a>>>, TableError> {
    let mut lists = BTreeMap::new();
    let mut rest = tokens.iter();
    let mut name = None;
    while let Some(token) = rest.next() {
        match token {
            Token::Word(word) => name = Some(*word),
            // What stands between brackets is a size.
            Token::Symbol('[') => while rest.next().is_some_and(|token| *token != Token::Symbol(']')) {},
            Token::Symbol('{') => {
                let items = items(&mut rest, 1)?;
                if let Some(name) = name {
                    let _none = lists.insert(name, items);
                }
            }
            _ => {}
        }
    }
    Ok(lists)
}

/// What follows a brace, up to the one that closes it.
fn items<'t, 'a: 't>(
    rest: &mut impl Iterator<Item = &'t Token<'a>>,
    depth: usize,
) -> Result<Vec<Item<'a>>, TableError> {
    let mut items = Vec::new();
    let mut plain = Vec::new();
    for _ in 0..usize::MAX {
        let token = rest.next();
        if matches!(token, Some(Token::Symbol(',' | '}'))) && !plain.is_empty() {
            items.push(Item::Plain(std::mem::take(&mut plain)));
        }
        match token {
            Some(Token::Symbol('}')) => return Ok(items),
            Some(Token::Symbol(',')) => {}
            Some(Token::Symbol('{')) if depth < DEPTH_MAX => {
                items.push(Item::List(self::items(rest, depth + 1)?));
            }
            None | Some(Token::Symbol('{')) => break,
            Some(other) => plain.push(other.clone()),
        }
    }
    Err(TableError::Syntax("a list".to_owned()))
}

fn tokens(source: &str) -> Result<Vec<Token<'_>>, TableError> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        rest = if let Some(behind) = rest.strip_prefix("/*") {
            behind.split_once("*/").map_or("", |(_, behind)| behind)
        } else if first == '#' {
            rest.split_once('\n').map_or("", |(_, behind)| behind)
        } else if first == '\'' {
            let (number, behind) = character(rest).ok_or_else(|| syntax(rest))?;
            tokens.push(Token::Number(number));
            behind
        } else if first.is_ascii() && is_word(first as u8) {
            let length = rest.bytes().take_while(|byte| is_word(*byte)).count();
            let (word, behind) = rest.split_at(length);
            tokens.push(if first.is_ascii_digit() {
                Token::Number(number(word).ok_or_else(|| syntax(rest))?)
            } else {
                Token::Word(word)
            });
            behind
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Symbol(first));
            }
            rest.get(first.len_utf8()..).unwrap_or_default()
        };
    }
    Ok(tokens)
}

fn syntax(rest: &str) -> TableError {
    TableError::Syntax(rest.chars().take(16).collect())
}

fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// `'a'`, `'\''`, `'\303'`; gives its value and what follows.
fn character(rest: &str) -> Option<(u32, &str)> {
    let inner = rest.strip_prefix('\'')?;
    let Some(escaped) = inner.strip_prefix('\\') else {
        let character = inner.chars().next()?;
        let behind = inner.get(character.len_utf8()..)?.strip_prefix('\'')?;
        return Some((character.into(), behind));
    };
    let digits = escaped
        .bytes()
        .take_while(|byte| (b'0'..b'8').contains(byte))
        .count();
    if digits > 0 {
        let (octal, behind) = escaped.split_at(digits);
        return Some((u32::from_str_radix(octal, 8).ok()?, behind.strip_prefix('\'')?));
    }
    let character = escaped.chars().next()?;
    let value = match character {
        'n' => u32::from('\n'),
        't' => u32::from('\t'),
        'r' => u32::from('\r'),
        '\'' | '"' | '\\' => character.into(),
        _ => return None,
    };
    Some((value, escaped.get(1..)?.strip_prefix('\'')?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const SOURCE: &str = "/* a comment */\n#include <linux/kd.h>\nunsigned short plain_map[NR_KEYS] = {\n\t0xf200,\t0xf01b,\n};\n\
        static unsigned short ctrl_map[NR_KEYS] = { 0x20ac };\n\
        unsigned short *key_maps[MAX_NR_KEYMAPS] = { plain_map, 0, 0, 0,\n ctrl_map, 0 };\nunsigned int keymap_count = 2;\n\
        char func_buf[] = { '\\033', '[', 'A', 0, \n '\\'', '\\\\', 0, };\nchar *funcbufptr = func_buf;\n\
        int funcbufsize = sizeof(func_buf);\nchar *func_table[MAX_NR_FUNC] = { func_buf + 0, 0, func_buf + 4, 0, };\n\
        struct kbdiacruc accent_table[MAX_DIACR] = { {'`', 'A', 0x00c0}, {'\\264', 'e', 0x20ac}, };\n\
        unsigned int accent_table_size = 2;\n";

    #[test]
    fn a_table_is_read() {
        let keymap = parse("x", SOURCE).unwrap();
        assert_eq!(keymap.maps, [(0, vec![0x0200, 0x001b]), (4, vec![0xd0ac])].into());
        assert_eq!(
            keymap.strings,
            [(0, b"\x1b[A".to_vec()), (2, b"'\\".to_vec())].into()
        );
        let compose: Vec<_> = keymap
            .compose
            .iter()
            .map(|one| (one.accent, one.base, one.result))
            .collect();
        assert_eq!(compose, [(0x60, 0x41, 0xc0), (0xb4, 0x65, 0x20ac)]);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (from, to) in [
            ("plain_map,", "other_map,"),
            ("0xf01b", "0x1f01b"),
            ("func_buf + 4", "func_buf + 400"),
            ("'\\033'", "'\\777'"),
            ("0x00c0}", "}"),
            ("key_maps", "maps"),
            ("{ plain_map, 0", "{ 0, 0"),
            ("2;\n", "2; char x[] = {"),
            ("'`'", "'`"),
        ] {
            let broken = SOURCE.replacen(from, to, 1);
            assert_ne!(broken, SOURCE);
            // The last of the texts is behind the one that is replaced first.
            let broken = if from == "2;\n" {
                format!("{SOURCE} x[] = {{")
            } else {
                broken
            };
            assert!(parse("x", &broken).is_err(), "{from} -> {to}");
        }
        assert!(parse("x", "").is_err());
        assert!(parse("x", &"{".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(key_maps|plain_map|\\[|\\]|=|\\{|\\}|,|'.'|0x[0-9a-f]{1,9}|\\PC){0,60}") {
            let _ = parse("x", &text);
            let _ = parse("x", &format!("{SOURCE}{text}"));
        }
    }
}
