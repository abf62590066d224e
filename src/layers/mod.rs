//! Layers of packages: each is a derivation that installs some of the lock's `.debs` upon the layer below, with dpkg of that root
//! itself, in a sandbox without a network. What comes out is an archive of the whole root file system, and depends on nothing but
//! the lock.

mod builder;
mod control;
pub mod deb;
mod dpkg;
mod pack;
mod plan;
pub mod stub;
mod tar_write;
mod unpack;

pub use builder::{BuilderError, Description, build};
pub use plan::{Layers, LayersError, Replacement, Request, With, realise};
