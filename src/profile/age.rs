//! Which generations are old.

use std::str::FromStr;

/// An age: `30d`, `2w`, `12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// In seconds.
    pub seconds: i64,
}

/// A text is no age.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no age: give a number with d for days, w for weeks or h for hours, such as 30d")]
pub struct BadAge(String);

impl FromStr for Age {
    type Err = BadAge;

    fn from_str(text: &str) -> Result<Self, BadAge> {
        let bad = || BadAge(text.to_owned());
        let unit = match text.chars().last() {
            Some('h') => 3600,
            Some('d') => 86400,
            Some('w') => 7 * 86400,
            _ => return Err(bad()),
        };
        let digits = text.get(..text.len() - 1).ok_or_else(bad)?;
        // The parser of numbers takes a sign, too.
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(bad());
        }
        let count: i64 = digits.parse().map_err(|_| bad())?;
        let seconds = count.checked_mul(unit).ok_or_else(bad)?;
        Ok(Self { seconds })
    }
}

/// The generations that may be forgotten of `all` (number and time, the oldest first): every one but `current`; with
/// `before` only those that a newer one had replaced by then, so that one can go back to any moment since.
pub fn prunable(all: &[(u64, i64)], current: Option<u64>, before: Option<i64>) -> Vec<u64> {
    let mut replaced = before.is_none();
    let mut numbers = Vec::new();
    for (number, created) in all.iter().rev() {
        if replaced && Some(*number) != current {
            numbers.push(*number);
        }
        // This one was the current one at that moment; all older ones were replaced.
        replaced |= before.is_some_and(|before| *created < before);
    }
    numbers.reverse();
    numbers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ages_are_read() {
        assert_eq!("30d".parse(), Ok(Age { seconds: 2_592_000 }));
        assert_eq!("2w".parse::<Age>().unwrap().seconds, 1_209_600);
        assert_eq!("12h".parse::<Age>().unwrap().seconds, 43_200);
        for bad in [
            "",
            "d",
            "30",
            "-3d",
            "+3d",
            "3 d",
            "3dd",
            "99999999999999999999d",
            "9223372036854775807w",
            "3ä",
        ] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_current_one_and_the_one_of_that_moment_stay() {
        let all = [(1, 100), (2, 200), (3, 300), (5, 400)];
        assert_eq!(prunable(&all, Some(5), None), [1, 2, 3]);
        assert_eq!(prunable(&all, Some(2), None), [1, 3, 5]);
        // At 350 the profile led to 3.
        assert_eq!(prunable(&all, Some(5), Some(350)), [1, 2]);
        assert_eq!(prunable(&all, Some(1), Some(350)), [2]);
        assert_eq!(prunable(&all, Some(5), Some(50)), [] as [u64; 0]);
        assert_eq!(prunable(&all, Some(5), Some(500)), [1, 2, 3]);
        assert_eq!(prunable(&[], None, None), [] as [u64; 0]);
    }
}
