//! The whole of it, against what cryptsetup makes and says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod damage;
mod open;
mod refuse;
mod table;
mod vectors;
