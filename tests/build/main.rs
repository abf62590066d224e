//! What keel builds: beside the real Nix, several at once, from recipes; and what it refuses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

mod beside_nix;
mod lab;
#[path = "../nix_store/mod.rs"]
mod nix_store;
mod recipes;
mod refused;
mod together;
#[path = "../web/mod.rs"]
mod web;
