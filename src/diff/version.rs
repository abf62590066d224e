//! Versions of Debian packages: their order (deb-version(7), "Sorting algorithm"), and the part in which two differ.

use std::cmp::Ordering;
use std::ops::Range;

/// The order in which dpkg puts two versions.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Parts::of(one), Parts::of(other));
    epoch(one.epoch, other.epoch)
        .then_with(|| compare_part(one.upstream, other.upstream))
        .then_with(|| compare_part(one.revision, other.revision))
}

/// `[epoch:]upstream[-revision]`.
struct Parts<'a> {
    epoch: &'a [u8],
    upstream: &'a [u8],
    /// An absent one is the same as `0`, and so is an empty one.
    revision: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self {
            epoch: epoch.as_bytes(),
            upstream: upstream.as_bytes(),
            revision: revision.as_bytes(),
        }
    }
}

fn epoch(one: &[u8], other: &[u8]) -> Ordering {
    compare_numbers(one, other)
}

/// Turns of a part without digits and one of digits, as long as there is something.
fn compare_part(mut one: &[u8], mut other: &[u8]) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (text, number, rest) = turn(one);
        let (other_text, other_number, other_rest) = turn(other);
        let order = compare_text(text, other_text).then_with(|| compare_numbers(number, other_number));
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

fn turn(part: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let text = part.iter().take_while(|byte| !byte.is_ascii_digit()).count();
    let (text, rest) = part.split_at(text);
    let number = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(number);
    (text, number, rest)
}

/// A tilde sorts before everything, even the end; then the end; letters; everything else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

fn compare_text(one: &[u8], other: &[u8]) -> Ordering {
    (0..one.len().max(other.len()))
        .map(|at| weight(one.get(at)).cmp(&weight(other.get(at))))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// By value, however many digits: nothing counts as 0.
fn compare_numbers(one: &[u8], other: &[u8]) -> Ordering {
    let strip = |digits: &[u8]| -> Vec<u8> {
        digits
            .iter()
            .copied()
            .skip_while(|digit| *digit == b'0')
            .collect()
    };
    let (one, other) = (strip(one), strip(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(&other))
}

/// Where two versions differ: the range in the first, and that in the second. Both begin and end between components, so
/// that `1.12` and `1.13` differ in `12` and `13`, not in `2` and `3`.
pub fn difference(one: &str, other: &str) -> (Range<usize>, Range<usize>) {
    let (parts, others) = (components(one), components(other));
    let pairs = || parts.iter().zip(&others);
    let start = pairs().take_while(|(part, other)| part == other).count();
    let room = parts.len().min(others.len()) - start;
    let end = parts
        .iter()
        .rev()
        .zip(others.iter().rev())
        .take(room)
        .take_while(|(part, other)| part == other)
        .count();
    let range = |parts: &[&str], text: &str| {
        let before: usize = parts.iter().take(start).map(|part| part.len()).sum();
        let after: usize = parts.iter().rev().take(end).map(|part| part.len()).sum();
        before..text.len() - after
    };
    (range(&parts, one), range(&others, other))
}

/// The epoch with its colon, runs of digits, runs of letters, and single characters of any other kind.
fn components(version: &str) -> Vec<&str> {
    #[derive(PartialEq)]
    enum Kind {
        Digit,
        Letter,
        Other,
    }
    let kind = |c: char| match c {
        _ if c.is_ascii_digit() => Kind::Digit,
        _ if c.is_ascii_alphabetic() => Kind::Letter,
        _ => Kind::Other,
    };
    let mut parts = Vec::new();
    let mut rest = version;
    if let Some(colon) = version.find(':') {
        let (epoch, after) = version.split_at(colon + 1);
        parts.push(epoch);
        rest = after;
    }
    while let Some(first) = rest.chars().next() {
        let first_kind = kind(first);
        let length = match first_kind {
            Kind::Other => first.len_utf8(),
            _ => rest.find(|c| kind(c) != first_kind).unwrap_or(rest.len()),
        };
        let (part, after) = rest.split_at(length);
        parts.push(part);
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// What dpkg itself says; nothing where there is no dpkg.
    fn dpkg(one: &str, other: &str) -> Option<Ordering> {
        let is = |relation: &str| {
            let command = Command::new("dpkg")
                .args(["--compare-versions", one, relation, other])
                .status();
            command.ok().map(|status| status.success())
        };
        match (is("lt")?, is("eq")?) {
            (true, _) => Some(Ordering::Less),
            (_, true) => Some(Ordering::Equal),
            _ => Some(Ordering::Greater),
        }
    }

    #[test]
    fn the_order_is_that_of_the_manual() {
        for (one, order, other) in [
            ("1.0", Ordering::Equal, "1.0-0"),
            ("0:1.0", Ordering::Equal, "1.0"),
            ("1:0.9", Ordering::Greater, "2.0"),
            ("1.0~rc1", Ordering::Less, "1.0"),
            ("1.0~~", Ordering::Less, "1.0~~a"),
            ("1.0~~a", Ordering::Less, "1.0~"),
            ("1.0", Ordering::Less, "1.0a"),
            ("1.0a", Ordering::Less, "1.0+"),
            ("1.9", Ordering::Less, "1.10"),
            ("1.00010", Ordering::Equal, "1.10"),
            ("2.36-9+deb12u4", Ordering::Less, "2.36-9+deb12u10"),
            ("1-2-3", Ordering::Less, "1-2-4"),
            (
                "99999999999999999999999999",
                Ordering::Greater,
                "9999999999999999",
            ),
        ] {
            assert_eq!(compare(one, other), order, "{one} {other}");
            assert_eq!(compare(other, one), order.reverse(), "{other} {one}");
            if let Some(said) = dpkg(one, other) {
                assert_eq!(said, order, "dpkg: {one} {other}");
            }
        }
    }

    /// Versions that are often near each other: the alphabet is small.
    fn version() -> impl Strategy<Value = String> {
        ("([0-2]:)?", "[0-9][0-9ab.+~]{0,6}", "(-[0-9ab.+~]{1,4})?")
            .prop_map(|(epoch, upstream, revision)| format!("{epoch}{upstream}{revision}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn dpkg_agrees(one in version(), other in version()) {
            if let Some(order) = dpkg(&one, &other) {
                prop_assert_eq!(compare(&one, &other), order);
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_outside_of_the_difference_is_the_same(one in "[0-9a-cä.~+-]{0,12}", other in "[0-9a-cä.~+-]{0,12}") {
            let (here, there) = difference(&one, &other);
            prop_assert_eq!(&one[..here.start], &other[..there.start]);
            prop_assert_eq!(&one[here.end..], &other[there.end..]);
            prop_assert_eq!(one == other, here.is_empty() && there.is_empty());
            let _never_panics = compare(&one, &other);
        }
    }

    #[test]
    fn only_the_component_that_differs_is_the_difference() {
        let parts = |one: &'static str, other: &'static str| {
            let (here, there) = difference(one, other);
            (&one[here], &other[there])
        };
        assert_eq!(parts("6.12.9-1", "6.12.13-1"), ("9", "13"));
        assert_eq!(parts("2.36-9+deb12u4", "2.36-9+deb12u10"), ("4", "10"));
        assert_eq!(parts("1.2", "1.2.1"), ("", ".1"));
        assert_eq!(parts("1:1.0", "1.0"), ("1:", ""));
        assert_eq!(parts("1.0", "1.0"), ("", ""));
    }
}
