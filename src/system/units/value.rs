//! Which values systemd surely takes. An assignment that it rejects leaves the earlier one in force, so "the last one
//! wins" may only be said of values that are known to be good; of all others the whole sequence counts.

/// What a scalar key takes. Each check accepts less than systemd does, never more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `parse_boolean()`.
    Boolean,
    /// Decimal digits.
    Number,
    /// systemd.time(7): a number with or without one unit, or `infinity`.
    Span,
    /// Octal permissions.
    Mode,
    /// A text without specifiers.
    Text,
    /// An absolute path without specifiers.
    Path,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

const UNITS: &[&str] = &[
    "", "us", "usec", "ms", "msec", "s", "sec", "second", "seconds", "m", "min", "minute", "minutes", "h",
    "hr", "hour", "hours", "d", "day", "days", "w", "week", "weeks",
];

impl Class {
    /// Whether an assignment of `value` surely replaces what was there before.
    pub(super) fn takes(self, value: &str) -> bool {
        let digits = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        match self {
            Self::Boolean => {
                const WORDS: [&str; 12] = [
                    "1", "yes", "y", "true", "t", "on", "0", "no", "n", "false", "f", "off",
                ];
                WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
            }
            Self::Number => digits(value, 9),
            Self::Span => {
                let number = value.trim_start_matches(|c: char| c.is_ascii_digit());
                let length = value.len() - number.len();
                value == "infinity"
                    || (1..=9).contains(&length) && UNITS.contains(&number.trim_start_matches(' '))
            }
            Self::Mode => {
                (3..=4).contains(&value.len()) && value.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
            }
            Self::Text => {
                (1..=1000).contains(&value.len())
                    && !value.contains('%')
                    && !value.chars().any(char::is_control)
            }
            Self::Path => {
                let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
                value.len() <= 1000
                    && value.starts_with('/')
                    && value.chars().all(plain)
                    && value
                        .split('/')
                        .all(|part| part != ".." && part != "." && part.len() <= 200)
            }
            Self::OneOf(words) => words.contains(&value),
        }
    }
}

/// The words of a value that is split at blanks; nothing when quotes or backslashes would make that wrong.
pub(super) fn words(value: &str) -> Option<impl Iterator<Item = &str>> {
    (!value.contains(['"', '\'', '\\'])).then(|| {
        value
            .split([' ', '\t', '\n', '\r'])
            .filter(|word| !word.is_empty())
    })
}

/// Whether systemd surely takes `value` for a command line. One that it rejects ends the unit even when a later empty
/// assignment resets the list.
pub(super) fn is_good_command(value: &str) -> bool {
    const SPECIFIERS: &str = "%iInNpPjJ";
    let specifiers_known = value
        .split('%')
        .skip(1)
        .all(|rest| rest.starts_with(|c| SPECIFIERS.contains(c)) && !rest.starts_with('%'));
    let program = value.trim_start_matches(['-', '@', ':', '+', '!']);
    let program = program.split(' ').next().unwrap_or_default();
    words(value).is_some()
        && value.len() < 4096
        && !value.contains("%%")
        && specifiers_known
        && value.len() - value.trim_start_matches(['-', '@', ':', '+', '!']).len() <= 1
        && !value.contains(';')
        && !value.starts_with('@')
        && Class::Path.takes(program)
        && !program.ends_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_systemd_takes_and_nothing_else() {
        for (class, good, bad) in [
            (
                Class::Boolean,
                &["yes", "OFF", "1"][..],
                &["", "2", "ja", "yes "][..],
            ),
            (Class::Number, &["0", "4096"], &["", "-1", "1K", "9999999999"]),
            (
                Class::Span,
                &["5", "5s", "90 min", "infinity"],
                &["", "s", "5 x", "1min 30s", "-5"],
            ),
            (Class::Mode, &["0644", "755"], &["", "0888", "1", "00000"]),
            (Class::Text, &["a b"], &["", "%i", "a\u{7}"]),
            (Class::Path, &["/a/b-c.d"], &["", "a", "/a/../b", "/%i", "/a b"]),
        ] {
            assert!(good.iter().all(|value| class.takes(value)), "{class:?}");
            for value in bad {
                assert!(!class.takes(value), "{class:?} {value:?}");
            }
        }
    }

    #[test]
    fn good_commands_are_plain_ones() {
        for good in ["/bin/true", "-/bin/true -x %i", "/usr/bin/a@b c"] {
            assert!(is_good_command(good), "{good}");
        }
        for bad in [
            "",
            "true",
            "/bin/sh -c 'x'",
            "--/bin/x",
            "@/bin/x",
            "/bin/x %q",
            "/bin/x %",
            "/bin/ x",
            "/bin/x ;",
        ] {
            assert!(!is_good_command(bad), "{bad}");
        }
    }
}
