//! Command lines of `Exec…=` keys: what is run, and which paths are named (systemd.service(5), "Command Lines").

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What is run: an absolute path, or a name that systemd looks up.
    pub program: String,
    /// Its arguments, without the name that `@` gives.
    pub arguments: Vec<String>,
}

/// systemd 258's `|`: the line is a script for the user's shell.
const SHELL: &str = "/bin/sh";

/// The commands of one value: mostly one, several when a lone `;` stands between them. Specifiers other than `%%` and
/// variables aren't expanded; a line that systemd would refuse gives what can be read of it.
pub fn commands(value: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut current: Vec<String> = Vec::new();
    for word in words(value) {
        if word.text == ";" && !word.quoted {
            commands.extend(command(std::mem::take(&mut current)));
        } else {
            current.push(word.text.replace("%%", "%"));
        }
    }
    commands.extend(command(current));
    commands
}

fn command(words: Vec<String>) -> Option<Command> {
    let mut words = words.into_iter();
    let first = words.next()?;
    let program = first.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let prefix = first.get(..first.len() - program.len()).unwrap_or_default();
    if prefix.contains('|') {
        let mut arguments = vec![program.to_owned()];
        arguments.extend(words);
        return Some(Command {
            program: SHELL.to_owned(),
            arguments,
        });
    }
    if program.is_empty() {
        return None;
    }
    if prefix.contains('@') {
        let _argv0 = words.next();
    }
    Some(Command {
        program: program.to_owned(),
        arguments: words.collect(),
    })
}

/// Paths that the arguments name: whole ones, behind a `=` or a `:`, and in scripts given to a shell. Those with
/// specifiers, variables or wildcards are left out, as nobody knows here what they are.
pub fn paths<'a>(arguments: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    let ends = |c: char| c.is_whitespace() || "\"'=:;,&|<>()`".contains(c);
    let mut found = Vec::new();
    for argument in arguments {
        let candidates = argument
            .split(ends)
            .filter(|part| part.starts_with('/') && part.len() > 1);
        found.extend(candidates.filter(|part| !part.contains(['%', '$', '*', '?', '[', '{', '\\'])));
    }
    found
}

struct Word {
    text: String,
    quoted: bool,
}

// Words are parted by blanks; quotes and the escapes of C count in them.
fn words(value: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut characters = value.chars().peekable();
    loop {
        while characters.next_if(char::is_ascii_whitespace).is_some() {}
        if characters.peek().is_none() {
            return words;
        }
        let mut word = Word {
            text: String::new(),
            quoted: false,
        };
        let mut quote = None;
        while let Some(c) = characters.next_if(|c| quote.is_some() || !c.is_ascii_whitespace()) {
            match c {
                '"' | '\'' if quote.is_none() => {
                    quote = Some(c);
                    word.quoted = true;
                }
                c if quote == Some(c) => quote = None,
                '\\' => {
                    word.quoted = true;
                    escape(&mut characters, &mut word.text);
                }
                c => word.text.push(c),
            }
        }
        words.push(word);
    }
}

fn escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, text: &mut String) {
    if characters.peek().is_some_and(|c| c.is_digit(8)) {
        return numbered(characters, (8, 3), text);
    }
    let Some(c) = characters.next() else {
        return text.push('\\');
    };
    match c {
        'a' => text.push('\u{7}'),
        'b' => text.push('\u{8}'),
        'f' => text.push('\u{c}'),
        'n' => text.push('\n'),
        'r' => text.push('\r'),
        't' => text.push('\t'),
        'v' => text.push('\u{b}'),
        's' => text.push(' '),
        'x' => numbered(characters, (16, 2), text),
        'u' => numbered(characters, (16, 4), text),
        'U' => numbered(characters, (16, 8), text),
        c => text.push(c),
    }
}

// A character by its code: at most so many digits of that radix.
fn numbered(
    characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    (radix, digits): (u32, usize),
    text: &mut String,
) {
    let mut code = 0u32;
    for _ in 0..digits {
        match characters
            .next_if(|c| c.is_digit(radix))
            .and_then(|c| c.to_digit(radix))
        {
            Some(digit) => code = code.wrapping_mul(radix) + digit,
            None => break,
        }
    }
    text.extend(char::from_u32(code));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_are_split_as_systemd_splits_them() {
        for (value, program, arguments) in [
            ("/bin/a b  c", "/bin/a", &["b", "c"][..]),
            ("-+/bin/a", "/bin/a", &[]),
            ("@/bin/a name b", "/bin/a", &["b"]),
            ("!!/bin/a", "/bin/a", &[]),
            (":/bin/a $B", "/bin/a", &["$B"]),
            ("/bin/sh -c 'a  b; c'", "/bin/sh", &["-c", "a  b; c"]),
            ("/bin/a \"b \\\" c\" d'e'", "/bin/a", &["b \" c", "de"]),
            (r"/bin/a \x41\tb\s\101 100%%", "/bin/a", &["A\tb A", "100%"]),
            ("name x", "name", &["x"]),
            ("|echo 'a b'", "/bin/sh", &["echo", "a b"]),
            (r"/bin/a \; b", "/bin/a", &[";", "b"]),
        ] {
            let commands = commands(value);
            assert_eq!(commands.len(), 1, "{value}");
            assert_eq!(
                (commands[0].program.as_str(), commands[0].arguments.as_slice()),
                (
                    program,
                    &*arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>()
                ),
                "{value}"
            );
        }
        let two = commands("/bin/a b ; -/bin/c");
        assert_eq!(
            (two[0].program.as_str(), two[1].program.as_str()),
            ("/bin/a", "/bin/c")
        );
        assert!(commands("").is_empty() && commands("-").is_empty() && commands(";").is_empty());
    }

    #[test]
    fn paths_are_found_in_arguments_and_scripts() {
        let arguments = [
            "--config=/etc/a.conf",
            "-f",
            "/etc/b",
            "if [ -e /etc/c ]; then /usr/bin/d;fi",
            "/etc/%i",
            "/run/$X",
            "rel/path",
            "/",
        ];
        let arguments = arguments.map(str::to_owned);
        assert_eq!(
            paths(&arguments),
            ["/etc/a.conf", "/etc/b", "/etc/c", "/usr/bin/d"]
        );
    }

    proptest! {
        #[test]
        fn never_panics(value in r#"[ "'\\a-f0-9xuU;@%/-]{0,40}"#) {
            for command in commands(&value) {
                let _paths = paths(&command.arguments);
                prop_assert!(!command.program.is_empty());
            }
        }
    }
}
