//! The whole of it, against what cryptsetup makes and says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::ptr_arg,
    clippy::semicolon_if_nothing_returned,
    unused_results,
    reason = "`ReadAt` objects are made of vectors; the changes in a table are one assignment each"
)]

mod damage;
mod open;
mod refuse;
mod table;
mod vectors;
