//! Splits the kernel command line into parameters.
//!
//! Double quotes group, wherever they stand in a word, for the kernel (`next_arg` in `lib/cmdline.c`) and for systemd
//! alike. On single quotes the two disagree: the kernel takes them literally, systemd lets a stray one swallow the
//! rest of the line. Here they group only when they enclose a whole value, so that `LABEL=Bob's` can't hide the
//! parameters behind it.

/// One parameter: `name`, or `name=value`, quotes removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What stands before the first `=`.
    pub name: String,
    /// What stands behind it; `None` without `=`.
    pub value: Option<String>,
}

impl Parameter {
    /// Whether this is the parameter `name`. `-` and `_` are equal in names (never in values), as they are for the
    /// kernel (`parameq`) and for systemd (`proc_cmdline_key_streq`).
    pub fn is(&self, name: &str) -> bool {
        self.name.len() == name.len()
            && self
                .name
                .bytes()
                .zip(name.bytes())
                .all(|(a, b)| underscore(a) == underscore(b))
    }
}

fn underscore(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

/// The parameters of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// In the order of the line. Ends at `--`: what follows is for the init program, which has it as its arguments.
    pub(super) parameters: Vec<Parameter>,
    /// A double quote was never closed, so that the last parameter runs to the end of the line.
    pub(super) unclosed_quote: bool,
}

/// Splits `line`. Never fails: every text is some list of parameters.
pub(super) fn split(line: &str) -> Words {
    let mut words = Words::default();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(is_space);
        if rest.is_empty() {
            break;
        }
        let word = next_word(rest);
        rest = rest.get(word.bytes..).unwrap_or_default();
        words.unclosed_quote |= word.unclosed_quote;
        if word.name == "--" && word.value.is_none() {
            break;
        }
        if !word.name.is_empty() {
            words.parameters.push(Parameter {
                name: word.name,
                value: word.value,
            });
        }
    }
    words
}

struct Word {
    /// Length of the word in the line, quotes included.
    bytes: usize,
    name: String,
    value: Option<String>,
    unclosed_quote: bool,
}

fn next_word(text: &str) -> Word {
    let mut word = Word {
        bytes: text.len(),
        name: String::new(),
        value: None,
        unclosed_quote: false,
    };
    let mut quoted = false;
    let mut skip_to = 0;
    for (at, c) in text.char_indices() {
        if at < skip_to {
            continue;
        }
        if is_space(c) && !quoted {
            word.bytes = at;
            break;
        }
        let value_starts = word.value.as_ref().is_some_and(String::is_empty) && !quoted;
        match c {
            '"' => quoted = !quoted,
            '=' if word.value.is_none() => word.value = Some(String::new()),
            '\'' if value_starts && single_quoted(text, at).is_some() => {
                let inner = single_quoted(text, at).unwrap_or_default();
                skip_to = at + inner.len() + 2;
                word.value = Some(inner.to_owned());
            }
            _ => word.value.as_mut().unwrap_or(&mut word.name).push(c),
        }
    }
    word.unclosed_quote = quoted;
    word
}

/// The text between the single quote at byte `at` and the next one, when that one ends the word.
fn single_quoted(text: &str, at: usize) -> Option<&str> {
    let behind = text.get(at + 1..)?;
    let inner = behind.get(..behind.find('\'')?)?;
    let after = behind.get(inner.len() + 1..)?;
    (after.is_empty() || after.starts_with(is_space)).then_some(inner)
}

/// The kernel's `isspace`, as far as ASCII goes: it counts the vertical tab, Rust doesn't. (Its Latin-1 no-break space
/// would split characters of UTF-8.)
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}
