//! The text format of LVM's metadata: sections, values, lists (lvm2, libdm/libdm-config.c).

use std::collections::BTreeMap;

/// Sections within sections; metadata uses four levels.
const DEEPEST: usize = 16;
/// Sections and values in one text.
const MOST_NODES: usize = 1 << 20;

/// A fault of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ConfigError {
    /// Counted from 1.
    pub line: usize,
    /// What doesn't fit.
    pub reason: &'static str,
}

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `123`
    Integer(i64),
    /// `1.5`
    Float(f64),
    /// `"text"`
    Text(String),
    /// `[ … ]`
    List(Vec<Value>),
}

/// `{ … }`: values and sections by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Section {
    pub values: BTreeMap<String, Value>,
    pub sections: BTreeMap<String, Section>,
}

impl Section {
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A list; a single value counts as a list of one.
    pub(super) fn list(&self, key: &str) -> Option<&[Value]> {
        match self.values.get(key)? {
            Value::List(values) => Some(values),
            value => Some(std::slice::from_ref(value)),
        }
    }

    /// The texts of a list, other values left out.
    pub(super) fn texts(&self, key: &str) -> Vec<&str> {
        let values = self.list(key).unwrap_or_default();
        values
            .iter()
            .filter_map(|value| {
                if let Value::Text(text) = value {
                    Some(text.as_str())
                } else {
                    None
                }
            })
            .collect()
    }
}

/// Reads a whole text.
pub(super) fn parse(text: &[u8]) -> Result<Section, ConfigError> {
    let mut parser = Parser {
        text,
        at: 0,
        nodes: 0,
    };
    let section = parser.section(0)?;
    match parser.peek() {
        None => Ok(section),
        Some(_) => Err(parser.error("a section ends that didn't begin")),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    nodes: usize,
}

impl Parser<'_> {
    fn error(&self, reason: &'static str) -> ConfigError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        ConfigError {
            line: before.split(|byte| *byte == b'\n').count(),
            reason,
        }
    }

    /// The next byte that means something.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b'#' => self.skip_while(|byte| byte != b'\n'),
                byte if byte.is_ascii_whitespace() || byte == 0 => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn skip_while(&mut self, matches: impl Fn(u8) -> bool) {
        while self.text.get(self.at).is_some_and(|byte| matches(*byte)) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn count_node(&mut self) -> Result<(), ConfigError> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            Err(self.error("too many values"))
        } else {
            Ok(())
        }
    }

    fn section(&mut self, depth: usize) -> Result<Section, ConfigError> {
        if depth > DEEPEST {
            return Err(self.error("sections are nested too deeply"));
        }
        let mut section = Section::default();
        while let Some(byte) = self.peek() {
            if byte == b'}' {
                break;
            }
            let key = self.key()?;
            self.count_node()?;
            let known = if self.take(b'{') {
                let inner = self.section(depth + 1)?;
                if !self.take(b'}') {
                    return Err(self.error("a section doesn't end"));
                }
                section.sections.insert(key, inner).is_some()
            } else if self.take(b'=') {
                let value = self.value(true)?;
                section.values.insert(key, value).is_some()
            } else {
                return Err(self.error("a name is followed by neither a value nor a section"));
            };
            if known {
                return Err(self.error("a name stands there twice"));
            }
        }
        Ok(section)
    }

    fn key(&mut self) -> Result<String, ConfigError> {
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || b"+_.-/".contains(&byte));
        match self.text.get(start..self.at) {
            Some(key) if !key.is_empty() => Ok(String::from_utf8_lossy(key).into_owned()),
            _ => Err(self.error("a name was expected")),
        }
    }

    fn value(&mut self, lists: bool) -> Result<Value, ConfigError> {
        self.count_node()?;
        match self.peek() {
            Some(b'[') if lists => {
                self.at += 1;
                self.list()
            }
            Some(b'"') => {
                self.at += 1;
                self.string()
            }
            Some(byte) if byte == b'-' || byte == b'+' || byte == b'.' || byte.is_ascii_digit() => {
                self.number()
            }
            _ => Err(self.error("a value was expected")),
        }
    }

    fn list(&mut self) -> Result<Value, ConfigError> {
        let mut values = Vec::new();
        while !self.take(b']') {
            values.push(self.value(false)?);
            if !self.take(b',') && self.peek() != Some(b']') {
                return Err(self.error("a list doesn't end"));
            }
        }
        Ok(Value::List(values))
    }

    fn string(&mut self) -> Result<Value, ConfigError> {
        let mut bytes = Vec::new();
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    bytes.push(
                        *self
                            .text
                            .get(self.at)
                            .ok_or_else(|| self.error("a text doesn't end"))?,
                    );
                }
                Some(byte) => bytes.push(*byte),
                None => return Err(self.error("a text doesn't end")),
            }
            self.at += 1;
        }
        self.at += 1;
        // Texts end up in messages, where a line break could pass for another message.
        let text = String::from_utf8_lossy(&bytes);
        Ok(Value::Text(text.replace(char::is_control, "\u{fffd}")))
    }

    fn number(&mut self) -> Result<Value, ConfigError> {
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
        let digits = self
            .text
            .get(start..self.at)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or("");
        if let Ok(number) = digits.parse() {
            return Ok(Value::Integer(number));
        }
        digits
            .parse()
            .map(Value::Float)
            .map_err(|_| self.error("a number can't be read"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sections_values_lists_and_comments() {
        let text =
            b"vg {\n# comment } {\n id = \"a-\\\"b\\\\\" # more\n seqno=3\n status = [\"READ\", \"WRITE\"]\n\
            empty = []\n x = -1.5\n pv0 { dev_size = 4 }\n}\n";
        let root = parse(text).unwrap();
        let vg = root.sections.get("vg").unwrap();
        assert_eq!(vg.text("id"), Some("a-\"b\\"));
        assert_eq!(vg.number("seqno"), Some(3));
        assert_eq!(vg.texts("status"), ["READ", "WRITE"]);
        assert_eq!(vg.texts("empty"), Vec::<&str>::new());
        assert_eq!(vg.sections.get("pv0").unwrap().number("dev_size"), Some(4));
    }

    #[test]
    fn texts_stay_on_one_line() {
        let root = parse(b"status = [\"REA\nD\", \"\x1b[2J\"]").unwrap();
        assert_eq!(root.texts("status"), ["REA\u{fffd}D", "\u{fffd}[2J"]);
    }

    #[test]
    fn faults_are_named_with_their_line() {
        let reason = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(reason("a = 1\nb {\n"), "line 3: a section doesn't end");
        assert_eq!(reason("a = \"x"), "line 1: a text doesn't end");
        assert_eq!(reason("a = 1\na = 2"), "line 2: a name stands there twice");
        assert_eq!(reason("}"), "line 1: a section ends that didn't begin");
        assert!(reason(&"a {".repeat(100)).contains("too deeply"));
        assert!(reason("a = [1 2]").contains("a list doesn't end"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text: Vec<u8>, likely in "[a{}=\\[\\]\", 1#\n]{0,200}") {
            let _ = parse(&text);
            let _ = parse(likely.as_bytes());
        }
    }
}
