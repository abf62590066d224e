//! What came from recipes is built again: what profiles need of the builder, and which elements that concerns.

use super::edit;
use super::manifest::{Element, Manifest, PRIORITY_DEFAULT};
use crate::store::StorePath;

/// Why a recipe wasn't built.
#[derive(Debug, thiserror::Error)]
#[error("{recipe} can't be built: {why}")]
pub struct RecipeError {
    /// The recipe.
    pub recipe: String,
    /// Why not.
    pub why: Box<dyn std::error::Error + Send + Sync>,
}

/// Builds recipes.
pub trait Recipes {
    /// The outputs of the recipe in the file `recipe`, valid, and kept from the collector until this is dropped.
    fn build(&mut self, recipe: &str) -> Result<Vec<StorePath>, RecipeError>;
}

/// The element that `recipe` is built to.
pub fn built(recipes: &mut dyn Recipes, recipe: &str) -> Result<Element, RecipeError> {
    let outputs = recipes.build(recipe)?;
    Element::built(outputs, PRIORITY_DEFAULT, recipe.to_owned()).ok_or_else(|| RecipeError {
        recipe: recipe.to_owned(),
        why: "it was built to nothing".into(),
    })
}

/// What was built again, and what can't be.
#[derive(Debug, Default)]
pub struct Upgrade {
    elements: Vec<Element>,
    /// A sentence for each element that has no recipe.
    pub notes: Vec<String>,
}

impl Upgrade {
    /// Builds the recipes of the elements of `manifest` whose indices are in `chosen` (of all without it). No lock is needed: a
    /// build may take hours.
    pub fn build(
        manifest: &Manifest,
        chosen: Option<&[usize]>,
        recipes: &mut dyn Recipes,
    ) -> Result<Self, RecipeError> {
        let mut upgrade = Self::default();
        for (index, element) in manifest.elements.iter().enumerate() {
            if chosen.is_some_and(|chosen| !chosen.contains(&index)) {
                continue;
            }
            let package = element.package();
            match (&element.recipe, element.source()) {
                (Some(recipe), _) => upgrade.elements.push(built(recipes, recipe)?),
                (None, Some(source)) => upgrade.notes.push(format!(
                    "{package} comes from {source}, which keel can't look up: `nix profile upgrade` can"
                )),
                (None, None) => upgrade.notes.push(format!(
                    "{package} is a plain store path, which has no newer version: remove it and install another"
                )),
            }
        }
        Ok(upgrade)
    }

    /// Puts what was built into `manifest`, which may be another one by now: what was removed meanwhile stays removed.
    pub fn apply(&self, manifest: &mut Manifest) {
        let kept = |element: &&Element| manifest.elements.iter().any(|one| one.recipe == element.recipe);
        let kept = self.elements.iter().filter(kept).cloned().collect();
        edit::install(manifest, kept, None);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn path(n: u32) -> StorePath {
        StorePath::from_base_name(&format!("mgvzxmm9gsamf9p3rfr8jva7rkfbwmb{n}-tool-{n}")).unwrap()
    }

    /// Each build gives the next path.
    struct Counting(u32, Vec<String>);

    impl Recipes for Counting {
        fn build(&mut self, recipe: &str) -> Result<Vec<StorePath>, RecipeError> {
            self.0 += 1;
            self.1.push(recipe.to_owned());
            Ok(vec![path(self.0)])
        }
    }

    #[test]
    fn what_has_a_recipe_is_built_again_and_the_rest_is_told() {
        let mut recipes = Counting(0, Vec::new());
        let mut manifest = Manifest::default();
        let first = built(&mut recipes, "/a.toml").unwrap();
        let second = built(&mut recipes, "/b.toml").unwrap();
        edit::install(
            &mut manifest,
            vec![first, second, Element::new(path(9), 5)],
            Some(3),
        );

        let upgrade = Upgrade::build(&manifest, None, &mut recipes).unwrap();
        assert_eq!(recipes.1, ["/a.toml", "/b.toml", "/a.toml", "/b.toml"]);
        assert_eq!(upgrade.notes.len(), 1);
        assert!(upgrade.notes.concat().contains("tool 9 is a plain store path"));
        // The second one is removed while the builds run.
        drop(manifest.elements.remove(1));
        upgrade.apply(&mut manifest);
        let paths: Vec<_> = manifest
            .elements
            .iter()
            .flat_map(Element::paths)
            .cloned()
            .collect();
        assert_eq!(paths, [path(3), path(9)]);
        assert!(manifest.elements.iter().all(|element| element.priority == 3));

        let none = Upgrade::build(&manifest, Some(&[1]), &mut recipes).unwrap();
        assert!(none.elements.is_empty() && none.notes.len() == 1);
    }
}
