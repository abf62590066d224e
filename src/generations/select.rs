//! Which generations a deletion means. The order of precedence, the first deciding:
//!
//! 1. What protects a generation: it runs, was booted, is the default, … It never goes. Naming a single one is an error.
//! 2. Numbers and ranges that are named: these go.
//! 3. `--keep N`: the newest N stay.
//! 4. All other conditions (`--from`, `--to`, `--older-than`, `--pattern`): those go that meet every one given; with
//!    `--keep` alone, all that it doesn't keep.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::init::modules::glob_match;

/// A number, or the numbers from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The first.
    pub first: u64,
    /// The last, which belongs to them.
    pub last: u64,
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| -> Option<u64> {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse().ok())?
        };
        let (first, last) = text
            .split_once("..")
            .or_else(|| text.split_once('-'))
            .unwrap_or((text, text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (Some(first), Some(last)) => Err(format!("{first} is after {last}: write {last}..{first}")),
            _ => Err("a generation's number, or two with .. between them, such as 3..7".to_owned()),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Generations that are named.
    pub named: Vec<Numbers>,
    /// The first that may go.
    pub from: Option<u64>,
    /// The last that may go.
    pub to: Option<u64>,
    /// Only those made before this time, seconds since 1970.
    pub before: Option<i64>,
    /// Only those whose tag or label this pattern matches, as a whole.
    pub pattern: Option<String>,
    /// So many of the newest stay.
    pub keep: Option<usize>,
}

/// A generation, as far as a selection looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub number: u64,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// Its tag and its label.
    pub texts: Vec<String>,
    /// Why it never goes.
    pub protection: Option<&'static str>,
}

/// What a selection comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Those that go, in their order.
    pub numbers: Vec<u64>,
    /// Those that would go and are protected, and by what.
    pub kept: Vec<(u64, &'static str)>,
}

/// Why nothing is deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Nothing was asked for.
    #[error(
        "nothing says which generations: give numbers, or one of --older-than, --keep, --from, --to, --pattern"
    )]
    Nothing,
    /// A named one doesn't exist.
    #[error("there is no generation {0}; nothing was deleted (`keel generations` lists them)")]
    NoGeneration(u64),
    /// A named one must not go.
    #[error("generation {number} is never deleted, since it is {why}; nothing was deleted")]
    Protected {
        /// Which.
        number: u64,
        /// Why.
        why: &'static str,
    },
}

impl Selection {
    fn has_conditions(&self) -> bool {
        self.from.is_some() || self.to.is_some() || self.before.is_some() || self.pattern.is_some()
    }

    fn meets(&self, one: &Candidate) -> bool {
        let matches = |pattern: &String| {
            let mut texts = one.texts.iter();
            texts.any(|text| glob_match(pattern.as_bytes(), text.as_bytes()))
        };
        self.from.is_none_or(|from| one.number >= from)
            && self.to.is_none_or(|to| one.number <= to)
            && self.before.is_none_or(|before| one.created < before)
            && self.pattern.as_ref().is_none_or(matches)
    }
}

/// Decides which of `all` (the oldest first) go.
pub fn choose(all: &[Candidate], selection: &Selection) -> Result<Chosen, SelectError> {
    if selection.named.is_empty() && !selection.has_conditions() && selection.keep.is_none() {
        return Err(SelectError::Nothing);
    }
    for Numbers { first, .. } in selection.named.iter().filter(|one| one.first == one.last) {
        let found = all.iter().find(|one| one.number == *first);
        let found = found.ok_or(SelectError::NoGeneration(*first))?;
        if let Some(why) = found.protection {
            return Err(SelectError::Protected { number: *first, why });
        }
    }
    let newest: BTreeSet<u64> = all
        .iter()
        .rev()
        .take(selection.keep.unwrap_or(0))
        .map(|one| one.number)
        .collect();
    let mut chosen = Chosen::default();
    for one in all {
        let is_named = selection
            .named
            .iter()
            .any(|numbers| (numbers.first..=numbers.last).contains(&one.number));
        // With names alone, nothing else goes.
        let by_condition = (selection.has_conditions() || selection.keep.is_some())
            && !newest.contains(&one.number)
            && selection.meets(one);
        match one.protection {
            _ if !is_named && !by_condition => {}
            Some(why) => chosen.kept.push((one.number, why)),
            None => chosen.numbers.push(one.number),
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn all() -> Vec<Candidate> {
        (1..=8)
            .map(|number| Candidate {
                number,
                created: i64::try_from(number).unwrap() * 100,
                texts: vec![if number % 2 == 0 { "even" } else { "odd" }.to_owned()],
                protection: match number {
                    3 => Some("pinned"),
                    8 => Some("running"),
                    _ => None,
                },
            })
            .collect()
    }

    fn named(texts: &[&str]) -> Selection {
        Selection {
            named: texts.iter().map(|text| text.parse().unwrap()).collect(),
            ..Selection::default()
        }
    }

    #[test]
    fn the_order_of_precedence_is_the_one_that_is_documented() {
        let numbers = |selection: &Selection| choose(&all(), selection).unwrap().numbers;
        assert_eq!(numbers(&named(&["2", "4..6"])), [2, 4, 5, 6]);
        assert_eq!(numbers(&named(&["1-2"])), [1, 2]);
        let keep = Selection {
            keep: Some(3),
            ..Selection::default()
        };
        assert_eq!(numbers(&keep), [1, 2, 4, 5]);
        // A named one goes although it's among the newest that stay.
        let both = Selection {
            keep: Some(3),
            ..named(&["7"])
        };
        assert_eq!(numbers(&both), [1, 2, 4, 5, 7]);
        let conditions = Selection {
            from: Some(2),
            to: Some(6),
            before: Some(600),
            pattern: Some("e*n".to_owned()),
            keep: Some(2),
            ..Selection::default()
        };
        assert_eq!(numbers(&conditions), [2, 4]);
        let old = Selection {
            before: Some(350),
            ..Selection::default()
        };
        let chosen = choose(&all(), &old).unwrap();
        assert_eq!((chosen.numbers, chosen.kept), (vec![1, 2], vec![(3, "pinned")]));
        // With names and conditions, both go.
        let mixed = Selection {
            before: Some(150),
            ..named(&["6"])
        };
        assert_eq!(numbers(&mixed), [1, 6]);
    }

    #[test]
    fn protected_absent_and_unnamed_ones_are_errors() {
        assert_eq!(choose(&all(), &Selection::default()), Err(SelectError::Nothing));
        assert_eq!(
            choose(&all(), &named(&["2", "9"])),
            Err(SelectError::NoGeneration(9))
        );
        assert_eq!(
            choose(&all(), &named(&["8"])),
            Err(SelectError::Protected {
                number: 8,
                why: "running"
            })
        );
        // In a range they are passed over, and said.
        let chosen = choose(&all(), &named(&["7..20"])).unwrap();
        assert_eq!((chosen.numbers, chosen.kept), (vec![7], vec![(8, "running")]));
    }

    #[test]
    fn numbers_are_read() {
        for bad in [
            "",
            "x",
            "3..",
            "..3",
            "7..3",
            "-3",
            "+3",
            "3...4",
            "99999999999999999999",
        ] {
            assert!(bad.parse::<Numbers>().is_err(), "{bad}");
        }
        assert_eq!("3".parse(), Ok(Numbers { first: 3, last: 3 }));
        assert_eq!("3..4".parse(), Ok(Numbers { first: 3, last: 4 }));
    }
}
