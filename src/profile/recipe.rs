//! What profiles need of the builder of recipes.

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

/// Stands for the builder where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecipes;

impl Recipes for NoRecipes {
    fn build(&mut self, recipe: &str) -> Result<Vec<StorePath>, RecipeError> {
        Err(RecipeError {
            recipe: recipe.to_owned(),
            why: "this keel has no builder: install the path of the store that it was built to elsewhere"
                .into(),
        })
    }
}
