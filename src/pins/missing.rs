//! Packages that the suite doesn't have: what was probably meant, and which suites have them.

use std::collections::BTreeMap;
use std::fmt;

use super::index::Index;
use super::required::PackageRequest;
use crate::nearest::distance;

/// What is known of names beyond the indexes.
const GONE: &str = include_str!("gone.txt");
/// How many names are offered.
const OFFERED: usize = 4;

/// A package that no source has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// What asks for it.
    pub because: String,
    /// Names of the suite that are near, the nearest first.
    pub near: Vec<String>,
    /// Suites that have it, as far as is known without asking anybody.
    pub suites: Vec<String>,
    /// Several packages provide it: one has to be picked.
    pub is_virtual: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' ({})", self.name, self.because)?;
        let near = self.near.join(", ");
        if self.is_virtual {
            return write!(f, " is provided by several packages, name one: {near}");
        }
        if !self.suites.is_empty() {
            write!(f, ", which {} had", self.suites.join(" and "))?;
        }
        if !near.is_empty() {
            write!(f, "; near: {near}")?;
        }
        Ok(())
    }
}

/// Of `requests`, those that no source can meet.
///
/// `elsewhere` are names of other suites' packages (only those asked for need be there), each with its suites.
pub(super) fn missing(
    requests: &[PackageRequest],
    index: &Index<'_>,
    elsewhere: &dyn Fn(&str) -> Vec<String>,
) -> Vec<Missing> {
    let gone = gone();
    let unmet = requests
        .iter()
        .filter(|request| !request.if_there && index.named(&request.name).is_empty());
    unmet
        .filter_map(|request| {
            let providers = index.providers(&request.name);
            // apt takes the only one.
            if providers.len() == 1 {
                return None;
            }
            let is_virtual = !providers.is_empty();
            let mut near: Vec<String> = providers.into_iter().map(str::to_owned).collect();
            let mut suites = elsewhere(&request.name);
            if !is_virtual {
                let known = gone.get(request.name.as_str());
                if let Some(&(last, _)) = known.filter(|(last, _)| *last != "-")
                    && !suites.iter().any(|suite| suite == last)
                {
                    suites.push(last.to_owned());
                }
                let instead = known.map(|(_, instead)| instead.clone()).unwrap_or_default();
                near = instead
                    .into_iter()
                    .filter(|name| !index.named(name).is_empty())
                    .map(str::to_owned)
                    .collect();
                for name in nearest(&request.name, index) {
                    if near.len() < OFFERED && !near.contains(&name) {
                        near.push(name);
                    }
                }
            }
            Some(Missing {
                name: request.name.clone(),
                because: request.because.clone(),
                near,
                suites,
                is_virtual,
            })
        })
        .collect()
}

/// Names to the last release that had them, and what is near.
fn gone() -> BTreeMap<&'static str, (&'static str, Vec<&'static str>)> {
    GONE.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split('|');
            let (name, last, instead) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name, (last, instead.split_whitespace().collect())))
        })
        .collect()
}

/// Names that are like `name`: a few characters apart, or with it as a whole word; then those whose summary has it as a word.
fn nearest(name: &str, index: &Index<'_>) -> Vec<String> {
    let allowed = match name.len() {
        0..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    let has_word = |text: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| word.eq_ignore_ascii_case(name))
    };
    let mut ranked: Vec<(usize, &str)> = Vec::new();
    let apart = |other: &str| {
        let is_near = other.len().abs_diff(name.len()) <= allowed;
        is_near
            .then(|| distance(name, other))
            .filter(|apart| *apart <= allowed)
    };
    for other in index.names() {
        // "firefox" is nearer to "firefox-esr" than its length says.
        let begins = other.split('-').next().unwrap_or(other);
        let whole = apart(other).map(|apart| 2 * apart);
        let beginning = apart(begins).map(|apart| 2 * apart + 1);
        if let Some(rank) = whole.into_iter().chain(beginning).min() {
            ranked.push((rank, other));
        } else if has_word(other) {
            ranked.push((2 * allowed + 2, other));
        } else if index
            .named(other)
            .first()
            .is_some_and(|package| package.paragraph.text().contains(name) && has_word(package.summary()))
        {
            ranked.push((2 * allowed + 3, other));
        }
    }
    // Of two that are as near, the shorter one.
    ranked.sort_by_key(|(rank, other)| (*rank, other.len(), *other));
    ranked
        .into_iter()
        .take(OFFERED)
        .map(|(_, other)| other.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::pins::index::Listed;

    fn found(names: &[&str], wanted: &str) -> Vec<Missing> {
        let paragraphs: Vec<String> = names
            .iter()
            .map(|name| {
                let (name, more) = name.split_once(' ').unwrap_or((name, ""));
                format!("Package: {name}\nVersion: 1\nArchitecture: all\n{more}\n\n")
            })
            .collect();
        let text = paragraphs.concat();
        let lists = [Listed {
            uri: String::new(),
            suite: "trixie".to_owned(),
            is_mirror: true,
            text,
        }];
        let request = PackageRequest {
            name: wanted.to_owned(),
            because: "packages.install".to_owned(),
            base: false,
            if_there: false,
        };
        missing(&[request], &Index::new(&lists), &|_| Vec::new())
    }

    #[test]
    fn what_debian_dropped_is_known() {
        let found = found(&["fastfetch", "vim"], "neofetch");
        assert_eq!(
            found[0].to_string(),
            "'neofetch' (packages.install), which bookworm had; near: fastfetch"
        );
    }

    #[test]
    fn slips_are_seen() {
        let found = found(&["ripgrep", "firefox-esr", "vim", "vim-tiny", "vile"], "vimm");
        assert_eq!(found[0].near, ["vim", "vim-tiny", "vile"]);
        assert!(found[0].suites.is_empty());
        let found = self::found(&["firehol", "firefox-esr", "firefox-esr-l10n-de"], "firefoks");
        assert_eq!(found[0].near.first().map(String::as_str), Some("firefox-esr"));
    }

    #[test]
    fn virtual_packages() {
        let one = ["postfix Provides: mail-transport-agent (= 1)"];
        assert_eq!(found(&one, "mail-transport-agent"), []);
        let two = [one[0], "exim4 Provides: x, mail-transport-agent"];
        assert_eq!(
            found(&two, "mail-transport-agent")[0].to_string(),
            "'mail-transport-agent' (packages.install) is provided by several packages, name one: exim4, postfix"
        );
    }

    #[test]
    fn the_table_is_whole() {
        let lines = GONE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(gone().len(), lines);
        for (name, (_, instead)) in gone() {
            assert!(!instead.is_empty(), "{name}");
        }
    }
}
