//! The immutable store in Nix's format: paths, archives, database, objects.

pub mod path;
