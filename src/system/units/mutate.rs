//! Pairs of unit texts for testing the comparison against systemd itself: real units, each changed a little, and pairs
//! that must differ. The same input gives the same pairs on every machine, so that they can be made again in a VM.
//!
//! The claim to be tested: when [`Pair::keel_says_equal`] then systemd shows the same properties for both texts under
//! one name; and a pair that [`must_differ`] is equal neither for keel nor for systemd.

use super::name::{Kind, UnitName};
use super::parse::parse;
use super::settings::Settings;

/// Two texts for one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// A name that no other pair has: the unit's, with a number and what was done.
    pub name: String,
    /// What was done to the first text.
    pub mutation: &'static str,
    /// The first text.
    pub before: String,
    /// The second.
    pub after: String,
}

impl Pair {
    /// Whether keel sees no difference.
    pub fn keel_says_equal(&self) -> bool {
        let Some(name) = UnitName::parse(&self.name) else {
            return false;
        };
        let settings = |text: &str| Settings::new(name.kind, [&parse(text.as_bytes())], []);
        settings(&self.before) == settings(&self.after)
    }
}

/// A way to change a text: its name, and the change. Lines are those of the text; the number chooses among them.
type Mutation = (&'static str, fn(&[&str], usize) -> Option<Vec<String>>);

const MUTATIONS: &[Mutation] = &[
    // Form only.
    ("comments", |lines, _| {
        Some(
            lines
                .iter()
                .flat_map(|line| ["# a comment".to_owned(), (*line).to_owned()])
                .collect(),
        )
    }),
    ("comment in a continuation", |lines, n| {
        split_at_blank(lines, n, &["\\", "# inside", "; inside"])
    }),
    ("continuation", |lines, n| split_at_blank(lines, n, &["\\"])),
    ("carriage returns", |lines, _| {
        Some(lines.iter().map(|line| format!("{line}\r")).collect())
    }),
    ("blanks", |lines, _| {
        Some(lines.iter().map(|line| blanks(line)).collect())
    }),
    ("byte order mark", |lines, _| {
        edit(lines, 0, |line| Some(format!("\u{feff}{line}")))
    }),
    ("header repeated", |lines, n| {
        at_assignment(lines, n, |section, line| {
            vec![section.to_owned(), line.to_owned()]
        })
    }),
    ("NUL for newline", |lines, _| Some(vec![lines.join("\0")])),
    // What systemd ignores.
    ("unknown section", |lines, _| {
        Some(append(lines, "[X-Mutation]\nExecStart=/bin/false"))
    }),
    ("unknown key", |lines, n| {
        at_assignment(lines, n, |_, line| {
            vec![line.to_owned(), "X-Mutation=1".to_owned()]
        })
    }),
    ("install", |lines, _| {
        Some(append(
            lines,
            "[Install]\nWantedBy=mutation.target\nAlias=mutation.service",
        ))
    }),
    ("section of another kind", |lines, _| {
        Some(append(lines, "[Path]\nPathExists=/mutation"))
    }),
    ("no equals sign", |lines, n| {
        at_assignment(lines, n, |_, line| vec![line.to_owned(), "mutation".to_owned()])
    }),
    // What may or may not matter.
    ("twice", |lines, n| {
        at_assignment(lines, n, |_, line| vec![line.to_owned(), line.to_owned()])
    }),
    ("reset and again", |lines, n| {
        at_assignment(lines, n, |_, line| {
            vec![line.to_owned(), emptied(line), line.to_owned()]
        })
    }),
    ("reset before", |lines, n| {
        at_assignment(lines, n, |_, line| vec![emptied(line), line.to_owned()])
    }),
    ("reset after", |lines, n| {
        at_assignment(lines, n, |_, line| vec![line.to_owned(), emptied(line)])
    }),
    ("garbage before", |lines, n| {
        at_assignment(lines, n, |_, line| {
            vec![key(line) + "=\u{b6} garbage %", line.to_owned()]
        })
    }),
    ("garbage after", |lines, n| {
        at_assignment(lines, n, |_, line| {
            vec![line.to_owned(), key(line) + "=\u{b6} garbage %"]
        })
    }),
    ("word twice", |lines, n| {
        at_assignment(lines, n, |_, line| vec![format!("{line} {}", last_word(line))])
    }),
    ("words reversed", |lines, n| {
        at_assignment(lines, n, |_, line| vec![reversed(line)])
    }),
    ("two blanks", |lines, n| {
        at_assignment(lines, n, |_, line| vec![line.replace(' ', "  ")])
    }),
    ("quoted", |lines, n| {
        at_assignment(lines, n, |_, line| vec![quoted(line)])
    }),
    ("neighbours swapped", swap_neighbours),
    ("removed", |lines, n| at_assignment(lines, n, |_, _| Vec::new())),
    ("appended", |lines, n| {
        at_assignment(lines, n, |_, line| vec![format!("{line}x")])
    }),
    ("boolean turned", |lines, n| {
        at_assignment(lines, n, |_, line| vec![turned(line)])
    }),
    ("key in small letters", |lines, n| {
        at_assignment(lines, n, |_, line| vec![line.to_lowercase()])
    }),
    ("broken header", |lines, n| {
        at_assignment(lines, n, |_, line| vec!["[broken".to_owned(), line.to_owned()])
    }),
];

/// Changed versions of real units: `units` are names and texts; `rounds` times every mutation for each of them. A
/// mutation that a text has no place for is left out.
pub fn mutations<'a>(units: impl IntoIterator<Item = (&'a str, &'a str)>, rounds: usize) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (name, text) in units {
        let Some(parsed) = UnitName::parse(name) else {
            continue;
        };
        let lines: Vec<&str> = text.lines().collect();
        // Another place in each unit and round; prime, so that all places come.
        let mut place = name.bytes().fold(7usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        for (mutation, change) in (0..rounds).flat_map(|_| MUTATIONS) {
            place = place.wrapping_add(7919);
            let Some(changed) = change(&lines, place) else {
                continue;
            };
            let after = changed.join("\n") + "\n";
            if after != text {
                pairs.push(Pair {
                    name: pair_name(parsed, pairs.len()),
                    mutation,
                    before: text.to_owned(),
                    after,
                });
            }
        }
    }
    pairs
}

/// Pairs that are equal neither for keel nor for systemd.
pub fn must_differ() -> Vec<Pair> {
    let service = |before: &str, after: &str| {
        let whole = |text: &str| format!("[Service]\nExecStart=/bin/true\n{text}\n");
        (Kind::Service, whole(before), whole(after))
    };
    let other = |kind, before: &str, after: &str| (kind, before.to_owned(), after.to_owned());
    let pairs = [
        service("Type=simple", "Type=oneshot"),
        service(
            "ExecStop=/bin/true a b",
            "ExecStop=/bin/true a 'b'\nExecStop=/bin/true c",
        ),
        service("ExecStop=/bin/true 'a  b'", "ExecStop=/bin/true 'a b'"),
        service("ExecStop=/bin/true \\\n a", "ExecStop=/bin/true \\\n # a\n b"),
        service("Environment=A=1 A=2", "Environment=A=2 A=1"),
        service("Environment=A=1", "Environment=A=1\nEnvironment="),
        service(
            "RemainAfterExit=yes\nRemainAfterExit=maybe",
            "RemainAfterExit=maybe",
        ),
        service("TimeoutSec=5\nTimeoutStopSec=6", "TimeoutStopSec=6\nTimeoutSec=5"),
        service("RemainAfterExit=yes", "remainafterexit=yes"),
        service("UMask=0022", "UMask=0077"),
        service("Restart=no", "Restart=always"),
        service("StandardOutput=null", "StandardOutput=journal"),
        service("[Unit]\nConditionHost=a", "[Unit]\nConditionHost=!a"),
        service(
            "[Unit]\nConditionHost=a\nConditionUser=b",
            "[Unit]\nConditionHost=a\nConditionUser=",
        ),
        service("[Unit]\nConditionHost=a", "[Unit]\nAssertHost=a"),
        service("[Unit]\nAfter=mutation-a.service\nAfter=", "[Unit]"),
        service(
            "[Unit]\nWants=mutation-a.service",
            "[Unit]\nRequires=mutation-a.service",
        ),
        service("[Unit]\nDescription=a", "[Unit]\nDescription=A"),
        service(
            "[Unit]\nDocumentation=man:a(1)\nDocumentation=",
            "[Unit]\nDocumentation=man:a(1)",
        ),
        service("KillMode=process", "KillMode=mixed"),
        other(
            Kind::Socket,
            "[Socket]\nListenStream=/run/mutation-a\n",
            "[Socket]\nListenDatagram=/run/mutation-a\n",
        ),
        other(
            Kind::Socket,
            "[Socket]\nListenStream=/run/mutation-a\nListenStream=/run/mutation-b\n",
            "[Socket]\nListenStream=/run/mutation-a\nListenFIFO=\nListenStream=/run/mutation-b\n",
        ),
        other(
            Kind::Timer,
            "[Timer]\nOnBootSec=5\n",
            "[Timer]\nOnBootSec=5\nOnActiveSec=5\n",
        ),
        other(
            Kind::Timer,
            "[Timer]\nOnBootSec=5\nOnActiveSec=6\n",
            "[Timer]\nOnBootSec=5\nOnCalendar=\nOnActiveSec=6\n",
        ),
        other(
            Kind::Path,
            "[Path]\nPathExists=/a\nPathChanged=/b\n",
            "[Path]\nPathExists=/a\nPathChanged=/b\nPathModified=\nPathChanged=/b\n",
        ),
    ];
    let pair = |(number, (kind, before, after)): (usize, (Kind, String, String))| Pair {
        name: format!("mutation-differs-{number}.{}", kind.suffix()),
        mutation: "must differ",
        before,
        after,
    };
    pairs.into_iter().enumerate().map(pair).collect()
}

// Not a prefix that real drop-ins are for, and an instance for a template.
fn pair_name(name: UnitName<'_>, number: usize) -> String {
    let instance = if name.is_template() { "@x" } else { "" };
    let plain = name.prefix.replace('-', "_");
    format!("mutation{number}_{plain}{instance}.{}", name.kind.suffix())
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn append(lines: &[&str], text: &str) -> Vec<String> {
    let mut lines = owned(lines);
    lines.push(text.to_owned());
    lines
}

fn edit(lines: &[&str], at: usize, change: impl Fn(&str) -> Option<String>) -> Option<Vec<String>> {
    let mut lines = owned(lines);
    let line = lines.get_mut(at)?;
    *line = change(line)?;
    Some(lines)
}

// Assignments that stand on one line, by their index.
fn assignments(lines: &[&str]) -> Vec<usize> {
    let continued = |index: usize| index > 0 && lines.get(index - 1).is_some_and(|line| line.ends_with('\\'));
    let plain = |line: &str| {
        line.starts_with(|c: char| c.is_ascii_uppercase()) && line.contains('=') && !line.ends_with('\\')
    };
    (0..lines.len())
        .filter(|&index| !continued(index) && lines.get(index).is_some_and(|line| plain(line)))
        .collect()
}

fn choose(lines: &[&str], place: usize) -> Option<usize> {
    let all = assignments(lines);
    all.get(place.checked_rem(all.len())?).copied()
}

// Replaces an assignment by lines made of its section's header and itself.
fn at_assignment(
    lines: &[&str],
    place: usize,
    change: impl Fn(&str, &str) -> Vec<String>,
) -> Option<Vec<String>> {
    let at = choose(lines, place)?;
    let (before, from) = lines.split_at_checked(at)?;
    let (line, behind) = from.split_first()?;
    let section = before.iter().rev().find(|line| line.starts_with('['))?;
    let mut changed = owned(before);
    changed.extend(change(section, line));
    changed.extend(owned(behind));
    Some(changed)
}

// Breaks an assignment at a blank in its value.
fn split_at_blank(lines: &[&str], place: usize, between: &[&str]) -> Option<Vec<String>> {
    let with_blank: Vec<usize> = assignments(lines)
        .into_iter()
        .filter(|&at| {
            lines
                .get(at)
                .is_some_and(|line| line.contains(' ') && !line.contains(['"', '\'', '\\']))
        })
        .collect();
    let at = *with_blank.get(place.checked_rem(with_blank.len())?)?;
    let (first, second) = lines.get(at)?.split_once(' ')?;
    let (backslash, comments) = between.split_first()?;
    let mut changed = owned(lines.get(..at)?);
    changed.push(format!("{first} {backslash}"));
    changed.extend(owned(comments));
    changed.push(format!("  {second}"));
    changed.extend(owned(lines.get(at + 1..)?));
    Some(changed)
}

fn swap_neighbours(lines: &[&str], place: usize) -> Option<Vec<String>> {
    let all = assignments(lines);
    let neighbours: Vec<usize> = all.iter().copied().filter(|at| all.contains(&(at + 1))).collect();
    let at = *neighbours.get(place.checked_rem(neighbours.len())?)?;
    let mut changed = owned(lines);
    changed.swap(at, at + 1);
    Some(changed)
}

fn key(line: &str) -> String {
    line.split('=').next().unwrap_or_default().to_owned()
}

fn emptied(line: &str) -> String {
    key(line) + "="
}

fn blanks(line: &str) -> String {
    match line.split_once('=') {
        Some((key, value)) if !line.starts_with([' ', '\t', '#', ';']) && !line.ends_with('\\') => {
            format!(" {key} \t=  {value} ")
        }
        _ => line.to_owned(),
    }
}

fn last_word(line: &str) -> &str {
    line.rsplit([' ', '=']).next().unwrap_or_default()
}

fn reversed(line: &str) -> String {
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let words: Vec<&str> = value.split(' ').rev().collect();
    format!("{key}={}", words.join(" "))
}

fn quoted(line: &str) -> String {
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    format!("{key}=\"{value}\"")
}

fn turned(line: &str) -> String {
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let value = match value {
        "yes" => "no",
        "no" => "yes",
        "true" => "1",
        "false" => "0",
        other => other,
    };
    format!("{key}={value}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const UNIT: &str = "[Unit]\nDescription=A unit\nAfter=a.service b.service\nBefore=c.service\n\n[Service]\nType=exec\n\
                        ExecStart=/bin/sleep 1 2\nRemainAfterExit=yes\n";

    #[test]
    fn the_same_units_give_the_same_pairs_with_names_of_their_own() {
        let units = [("a-b.service", UNIT), ("t@.service", UNIT)];
        let pairs = mutations(units, 2);
        assert_eq!(pairs, mutations(units, 2));
        let names: std::collections::BTreeSet<_> = pairs.iter().map(|pair| &pair.name).collect();
        assert_eq!(names.len(), pairs.len());
        assert!(
            names
                .iter()
                .all(|name| UnitName::parse(name).is_some_and(|name| !name.is_template()))
        );
        assert!(pairs.len() > 80);
    }

    #[test]
    fn mutations_of_form_are_equal_and_others_are_not() {
        let pairs = mutations([("a.service", UNIT)], 5);
        for pair in pairs {
            match pair.mutation {
                "comments"
                | "carriage returns"
                | "blanks"
                | "byte order mark"
                | "header repeated"
                | "NUL for newline"
                | "unknown section"
                | "install"
                | "section of another kind"
                | "no equals sign"
                | "two blanks" => {
                    let whole_text = pair.mutation == "two blanks" && pair.after.contains("A  unit");
                    assert_eq!(pair.keel_says_equal(), !whole_text, "{pair:?}");
                }
                "removed" | "appended" | "key in small letters" | "broken header" => {
                    assert!(!pair.keel_says_equal(), "{pair:?}");
                }
                _ => {}
            }
        }
    }

    #[test]
    fn pairs_that_must_differ_do() {
        for pair in must_differ() {
            assert!(!pair.keel_says_equal(), "{pair:?}");
        }
    }
}
