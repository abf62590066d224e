//! `keel store`: questions to the store, and single paths.

mod content;
mod query;
mod verify;

use std::path::Path;

use anyhow::Context;
use clap::Subcommand;

use super::StoreArgs;
use crate::store::db::Database;
use crate::store::{Layout, StorePath, roots};

/// Ask what the store holds and why, and work on single paths.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Copy files into the store.
    Add(content::Add),
    /// Write the archive of a tree to standard output.
    Dump(content::Dump),
    /// Make a tree from an archive on standard input.
    Restore(content::Restore),
    /// Make one file of equal ones.
    Optimise(content::Optimise),
    /// Look whether everything is as the database says.
    Verify(verify::Verify),
    /// Put what a cache has in the place of what was damaged.
    Repair(verify::Repair),
    Sign(crate::cli::copy::Sign),
    Log(crate::cli::build::Log),
    /// What is registered about paths.
    PathInfo(query::Paths),
    /// All that paths need, themselves included.
    Closure(query::Paths),
    /// What refers to paths.
    Referrers(query::Referrers),
    /// What keeps paths from being collected.
    Roots(query::Roots),
    /// What keeps a path alive, and along which references.
    Why(query::Why),
    /// Delete paths that nothing needs.
    Delete(query::Delete),
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let done = match &args.verb {
        Verb::Verify(args) => return verify::verify(args),
        Verb::Repair(args) => return verify::repair(args),
        Verb::Add(args) => content::add(args),
        Verb::Dump(args) => content::dump(args),
        Verb::Restore(args) => content::restore(args),
        Verb::Optimise(args) => content::optimise(args),
        Verb::Sign(args) => crate::cli::copy::sign(args),
        Verb::Log(args) => crate::cli::build::log(args),
        Verb::PathInfo(args) => query::path_info(args),
        Verb::Closure(args) => query::closure(args),
        Verb::Referrers(args) => query::referrers(args),
        Verb::Roots(args) => query::roots(args),
        Verb::Why(args) => query::why(args),
        Verb::Delete(args) => query::delete(args),
    };
    done.map(|()| 0)
}

/// A store, and its database.
struct Opened {
    layout: Layout,
    database: Database,
}

impl Opened {
    fn new(args: &StoreArgs) -> anyhow::Result<Self> {
        let layout = args.layout()?;
        let directory = layout.physical(&layout.database_dir());
        // A question doesn't make a store.
        if !directory.join("db.sqlite").exists() {
            anyhow::bail!(
                "there is no store: {} is missing",
                directory.join("db.sqlite").display()
            );
        }
        let database = Database::open(&directory, layout.store_dir())?;
        Ok(Self { layout, database })
    }

    fn shown(&self, path: &StorePath) -> String {
        path.absolute(self.layout.store_dir())
    }

    /// The valid path that `text` names: itself, a file in it, its base name, or a link that leads there.
    fn path(&self, text: &str) -> anyhow::Result<StorePath> {
        let path = self.resolve(text)?;
        if !self.database.is_valid(&path)? {
            anyhow::bail!("{} is not a valid path of this store", self.shown(&path));
        }
        Ok(path)
    }

    fn resolve(&self, text: &str) -> anyhow::Result<StorePath> {
        if let Some(path) = roots::in_store(&self.layout, Path::new(text)) {
            return Ok(path);
        }
        if let Ok(path) = StorePath::from_base_name(text) {
            return Ok(path);
        }
        let mut place = Path::new(text).to_owned();
        // Step by step: the last link may lead to a logical name that isn't there physically.
        for _ in 0..40 {
            let Ok(target) = std::fs::read_link(&place) else {
                break;
            };
            if let Some(path) = roots::in_store(&self.layout, &target) {
                return Ok(path);
            }
            place = place.parent().unwrap_or(Path::new("/")).join(target);
        }
        let real = std::fs::canonicalize(&place)
            .with_context(|| format!("'{text}' is no store path, and no link to one"))?;
        let store = self.layout.physical(self.layout.store_dir());
        let store = std::fs::canonicalize(&store).unwrap_or(store);
        real.strip_prefix(store)
            .ok()
            .and_then(|inside| {
                StorePath::from_base_name(inside.components().next()?.as_os_str().to_str()?).ok()
            })
            .with_context(|| format!("'{text}' is not in the store"))
    }
}
