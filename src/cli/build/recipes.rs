//! Recipes of profiles, built.

use std::collections::BTreeMap;
use std::path::Path;

use super::what;
use super::{Builder, How};
use crate::build::realise::Want;
use crate::profile::recipe::{RecipeError, Recipes};
use crate::store::locks::TempRoots;
use crate::store::{Layout, StorePath};

/// Builds what profiles are made of; what it built stays until this is dropped.
pub(in crate::cli) struct ProfileRecipes {
    layout: Layout,
    builder: Option<Builder>,
    kept: Vec<TempRoots>,
}

impl ProfileRecipes {
    /// For profiles of this store. Nothing is read before a recipe is to be built.
    pub(in crate::cli) fn new(layout: &Layout) -> Self {
        Self {
            layout: layout.clone(),
            builder: None,
            kept: Vec::new(),
        }
    }

    fn outputs(&mut self, recipe: &str) -> anyhow::Result<Vec<StorePath>> {
        let mut roots = TempRoots::new(&self.layout)?;
        let builder = match self.builder.take() {
            Some(builder) => builder,
            None => Builder::new(&self.layout, &How::default())?,
        };
        let made = what::instantiate(&self.layout, &[Path::new(recipe)], &mut roots)?;
        let wants: Vec<Want> = made.into_iter().map(Want::all).collect();
        let outcome = self.builder.insert(builder).build(&wants, &mut roots)?;
        self.kept.push(roots);
        Ok(outcome
            .outputs
            .into_values()
            .flat_map(BTreeMap::into_values)
            .collect())
    }
}

impl Recipes for ProfileRecipes {
    fn build(&mut self, recipe: &str) -> Result<Vec<StorePath>, RecipeError> {
        self.outputs(recipe).map_err(|error| RecipeError {
            recipe: recipe.to_owned(),
            why: error.into(),
        })
    }
}
