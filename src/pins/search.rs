//! Packages by words of their names and summaries.

use std::collections::BTreeMap;

use serde::Serialize;

use super::index::Index;

/// A package that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Its name.
    pub name: String,
    /// Its version in the suite; the last source's when several have it.
    pub version: String,
    /// What it's for.
    pub summary: String,
    /// The version that the current system has.
    pub installed: Option<String>,
}

/// Packages that have all of `words` in their names or summaries: the names that are one of them first, those that begin with one,
/// those that have one, then the rest.
pub fn search(index: &Index<'_>, words: &[String], installed: &BTreeMap<String, String>) -> Vec<Hit> {
    let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let mut hits: Vec<(u32, Hit)> = Vec::new();
    for name in index.names() {
        let Some(package) = index.named(name).last() else {
            continue;
        };
        let summary = package.summary();
        let folded = summary.to_lowercase();
        if !words
            .iter()
            .all(|word| name.contains(word.as_str()) || folded.contains(word.as_str()))
        {
            continue;
        }
        let rank = if words.iter().any(|word| name == word) {
            0
        } else if words.iter().any(|word| name.starts_with(word.as_str())) {
            1
        } else if words.iter().any(|word| name.contains(word.as_str())) {
            2
        } else {
            3
        };
        hits.push((
            rank,
            Hit {
                name: name.to_owned(),
                version: package.version().to_owned(),
                summary: summary.to_owned(),
                installed: installed.get(name).cloned(),
            },
        ));
    }
    hits.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    hits.into_iter().map(|(_, hit)| hit).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::pins::index::Listed;

    #[test]
    fn names_come_before_summaries() {
        let text: Vec<String> = [
            ("neovim", "heavily refactored vim fork"),
            ("vim", "Vi IMproved"),
            ("emacs", "not Vim at all"),
            ("vim-tiny", "small vim"),
            ("tree", "displays directories"),
        ]
        .iter()
        .map(|(name, summary)| format!("Package: {name}\nVersion: 1\nDescription: {summary}\n more vim\n\n"))
        .collect();
        let lists = [Listed {
            uri: String::new(),
            suite: String::new(),
            is_mirror: true,
            text: text.concat(),
        }];
        let index = Index::new(&lists);
        let installed = BTreeMap::from([("vim".to_owned(), "0".to_owned())]);
        let find = |words: &[&str]| -> Vec<String> {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            search(&index, &words, &installed)
                .into_iter()
                .map(|hit| hit.name)
                .collect()
        };
        assert_eq!(find(&["VIM"]), ["vim", "vim-tiny", "neovim", "emacs"]);
        assert_eq!(find(&["vim", "small"]), ["vim-tiny"]);
        assert!(find(&["nothing"]).is_empty());
        let hits = search(&index, &["vim".to_owned()], &installed);
        assert_eq!(
            (hits[0].installed.as_deref(), hits[1].installed.as_deref()),
            (Some("0"), None)
        );
    }
}
