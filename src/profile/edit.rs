//! Changes of a manifest, and which of its elements a word means.

use super::manifest::{Element, Manifest, PRIORITY_DEFAULT};
use crate::store::StorePath;

/// Why a manifest can't be changed as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Nothing installed is meant.
    #[error("'{0}' is not installed in this profile: `keel profile list` shows what is")]
    NotInstalled(String),
    /// Several are meant.
    #[error("'{word}' means several: {}; give one of these paths", .paths.join(", "))]
    Ambiguous {
        /// What was given.
        word: String,
        /// What it could mean.
        paths: Vec<String>,
    },
}

/// Adds `new`, in their order. What is installed already only gets the priority that was asked for.
pub fn install(manifest: &mut Manifest, new: Vec<Element>, priority: Option<i64>) {
    for mut element in new {
        let there = manifest.elements.iter_mut().find(|one| match &element.recipe {
            // The same recipe built again, perhaps to something newer.
            Some(recipe) => one.recipe.as_ref() == Some(recipe),
            None => one.paths() == element.paths(),
        });
        if let Some(one) = there {
            one.take_outputs(element);
            one.priority = priority.unwrap_or(one.priority);
        } else {
            element.priority = priority.unwrap_or(PRIORITY_DEFAULT);
            manifest.elements.push(element);
        }
    }
}

/// Removes what `words` mean; all of them mean something, or nothing is removed.
pub fn remove(manifest: &mut Manifest, words: &[String], store_dir: &str) -> Result<(), EditError> {
    let mut gone = Vec::new();
    for word in words {
        gone.push(find(manifest, word, store_dir)?);
    }
    let mut index = 0;
    manifest.elements.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    Ok(())
}

/// The index of the element that `word` means: a store path, its base name, `hello-2.10`, or `hello`.
pub fn find(manifest: &Manifest, word: &str, store_dir: &str) -> Result<usize, EditError> {
    let is_path = |path: &StorePath| path.base_name() == word || path.absolute(store_dir) == word;
    let exact = |element: &Element| element.paths().iter().any(is_path);
    let full = |element: &Element| element.full_name() == word;
    let name = |element: &Element| element.package().name == word;
    let meanings: [&dyn Fn(&Element) -> bool; 3] = [&exact, &full, &name];
    for meaning in meanings {
        let found: Vec<_> = manifest
            .elements
            .iter()
            .enumerate()
            .filter(|(_, element)| meaning(element))
            .collect();
        match found.as_slice() {
            [] => {}
            [(index, _)] => return Ok(*index),
            // Nix may have the same path twice: one of them goes.
            [(index, first), rest @ ..] if rest.iter().all(|(_, one)| one.paths() == first.paths()) => {
                return Ok(*index);
            }
            several => {
                let paths = several.iter().filter_map(|(_, element)| element.paths().first());
                return Err(EditError::Ambiguous {
                    word: word.to_owned(),
                    paths: paths.map(|path| path.absolute(store_dir)).collect(),
                });
            }
        }
    }
    Err(EditError::NotInstalled(word.chars().take(200).collect()))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;

    const STORE: &str = "/nix/store";

    fn path(n: u32, name: &str) -> StorePath {
        StorePath::from_base_name(&format!("mgvzxmm9gsamf9p3rfr8jva7rkfbwmb{n}-{name}")).unwrap()
    }

    fn with(paths: &[StorePath]) -> Manifest {
        let mut manifest = Manifest::default();
        let new = paths.iter().map(|path| Element::new(path.clone(), 0)).collect();
        install(&mut manifest, new, None);
        manifest
    }

    #[test]
    fn words_mean_paths_before_names() {
        let manifest = with(&[path(1, "hello-2.10"), path(2, "hello-2.12"), path(3, "tool-1")]);
        let find = |word: &str| find(&manifest, word, STORE);
        assert_eq!(find("tool"), Ok(2));
        assert_eq!(find("hello-2.12"), Ok(1));
        assert_eq!(find(&path(1, "hello-2.10").absolute(STORE)), Ok(0));
        assert_eq!(find(path(3, "tool-1").base_name()), Ok(2));
        assert!(matches!(find("hello"), Err(EditError::Ambiguous { paths, .. }) if paths.len() == 2));
        assert_eq!(find("other"), Err(EditError::NotInstalled("other".into())));
    }

    #[test]
    fn all_words_are_removed_or_none() {
        let mut manifest = with(&[path(1, "hello-2.10"), path(3, "tool-1")]);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert!(remove(&mut manifest, &words(&["hello", "none"]), STORE).is_err());
        assert_eq!(manifest.elements.len(), 2);
        remove(&mut manifest, &words(&["hello", "hello"]), STORE).unwrap();
        assert_eq!(manifest, with(&[path(3, "tool-1")]));
    }

    #[test]
    fn installing_again_only_changes_the_priority() {
        let mut manifest = with(&[path(1, "hello-2.10")]);
        let before = manifest.clone();
        install(&mut manifest, vec![Element::new(path(1, "hello-2.10"), 5)], None);
        assert_eq!(manifest, before);
        install(
            &mut manifest,
            vec![Element::new(path(1, "hello-2.10"), 5)],
            Some(2),
        );
        assert_eq!(manifest.elements[0].priority, 2);
        install(&mut manifest, vec![Element::new(path(1, "hello-2.10"), 5)], None);
        assert_eq!(manifest.elements[0].priority, 2);
    }

    #[test]
    fn a_recipe_built_again_replaces_its_outputs() {
        let mut manifest = with(&[path(1, "hello-2.10")]);
        let built = |n| Element::built(vec![path(n, "tool-1")], 5, "/r.toml".into()).unwrap();
        install(&mut manifest, vec![built(2)], Some(3));
        install(&mut manifest, vec![built(4)], None);
        assert_eq!(manifest.elements.len(), 2);
        assert_eq!(manifest.elements[1].paths(), [path(4, "tool-1")]);
        assert_eq!(manifest.elements[1].priority, 3);
    }
}
